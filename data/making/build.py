"""Draw the stored splits of RefScenes: scenes, targets, expressions; all follows from seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from making.categories import (
    PEOPLE_AND_ANIMALS,
    Category,
    load_categories,
    photographed_categories,
)
from making.expressions import FAMILIES, Quota, Written, write_expression, write_phrase
from making.layout import USUAL, Sizes, random_scene
from making.queries import View, view_of
from making.render import Rendered, render
from making.sprites import HELD_OUT_STYLE, TRAIN_STYLES

IMAGES_PER_SPLIT = 200
SENTENCES = {"refscenes": 3, "refscenes+": 3, "refscenesg": 2}
PHRASES_PER_IMAGE = 3
TARGET_HIDDEN_SHARE = 0.3
MIN_TARGET_PX = 150
#: every so many pictures of a photographic split have wide sizes
WIDE_EVERY = 3
WIDE_PHOTOGRAPHS = Sizes(wide_px=(60, 220), wide_share=0.6)
#: family, target index, sentences
Spoken = tuple[str, int, tuple[Written, ...]]


@dataclass(frozen=True)
class Split:
    """How a split is drawn: first seed and image id, styles, where its targets come from.

    Attributes:
        styles: drawing styles; none for a split made of photographs.
        people_and_animals: True: targets are such, False: none is, None: no matter.
    """

    name: str
    seed: int
    styles: tuple[str, ...]
    people_and_animals: bool | None = None
    images: int = IMAGES_PER_SPLIT

    @property
    def categories(self) -> tuple[Category, ...]:
        """The things that stand in its pictures."""
        if self.styles:
            return load_categories()
        return tuple(c for c in photographed_categories() if c.split == self.name)

    def sizes(self, number: int) -> Sizes:
        """How large things are drawn in the picture of this number."""
        return USUAL if self.styles or number % WIDE_EVERY else WIDE_PHOTOGRAPHS

    def asks_for(self, category: Category) -> bool:
        """Whether such a thing may be a target."""
        return self.people_and_animals in (None, category.group in PEOPLE_AND_ANIMALS)


SPLITS = {
    "val": Split("val", 100_000, TRAIN_STYLES),
    "testA": Split("testA", 200_000, TRAIN_STYLES, True),
    "testB": Split("testB", 300_000, TRAIN_STYLES, False),
    "testS": Split("testS", 400_000, (HELD_OUT_STYLE,)),
}
PHOTO_SPLITS = {
    "valP": Split("valP", 600_000, (), images=100),
    "testP": Split("testP", 700_000, ()),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """One stored scene with everything written about it; phrases mean all things they fit."""

    image_id: int
    rendered: Rendered
    view: View
    targets: tuple[int, ...]
    expressions: tuple[Spoken, ...]
    phrases: tuple[Written, ...]

    def has_distractor(self, index: int) -> bool:
        """Whether another thing of the same category stands in the scene."""
        return self.view.slugs.count(self.view.slugs[index]) > 1


def draw_split(split: Split, limit: int) -> Iterator[Picture]:
    """The first pictures of a split, in order; shares of kinds are steered on the way."""
    quota = Quota()
    for number in range(min(limit, split.images)):
        for attempt in range(50):
            rng = np.random.default_rng(split.seed + number * 50 + attempt)
            picture = _draw_picture(rng, split, number, quota)
            if picture is not None:
                yield picture
                break


def _draw_picture(
    rng: np.random.Generator, split: Split, number: int, quota: Quota
) -> Picture | None:
    main = [category for category in split.categories if split.asks_for(category)]
    graph = random_scene(rng, split.styles, split.categories, sizes=split.sizes(number), main=main)
    rendered = render(graph)
    view = view_of(rendered)
    allowed = [
        i
        for i, thing in enumerate(graph.things)
        if view.areas_px[i] >= MIN_TARGET_PX and split.asks_for(thing.category)
    ]
    if len(view) < 3 or len(allowed) < 2:
        return None
    trial, targets, expressions = Quota(quota.counts), list[int](), list[Spoken]()
    for target in _ordered(rng, view, allowed, trial):
        written = _write_all(rng, view, target, trial)
        if written is None:
            continue
        trial.add("targets", *(["hidden targets"] if _is_hidden(view, target) else []))
        targets.append(target)
        expressions += written
        if len(targets) == 3:
            break
    if len(targets) < 2:
        return None
    quota.counts = trial.counts
    phrases, image_id = _write_phrases(rng, view), split.seed + number + 1
    return Picture(image_id, rendered, view, tuple(targets), tuple(expressions), phrases)


def _is_hidden(view: View, index: int) -> bool:
    return bool(0.1 <= view.hidden_fraction[index] <= 0.6)


def _ordered(
    rng: np.random.Generator, view: View, allowed: Sequence[int], quota: Quota
) -> Iterator[int]:
    """Targets in the order to try: things with a twin first, hidden ones when they are due."""
    left = [allowed[int(i)] for i in rng.permutation(len(allowed))]
    while left:
        due = quota.below("hidden targets", "targets", TARGET_HIDDEN_SHARE)
        ranks = {
            i: (_is_hidden(view, i) != due, view.slugs.count(view.slugs[i]) == 1) for i in left
        }
        left.sort(key=ranks.__getitem__)
        yield left.pop(0)


def _write_all(
    rng: np.random.Generator, view: View, target: int, quota: Quota
) -> list[Spoken] | None:
    """Sentences of the three sentence families; None when the short family has fewer than two."""
    spoken: list[Spoken] = []
    before = dict(quota.counts)
    for family, wanted in SENTENCES.items():
        found: dict[str, Written] = {}
        while len(found) < wanted:
            sentence = write_expression(rng, view, target, family, quota, {*found})
            if sentence is None:
                break
            found[sentence.text] = sentence
        if family == FAMILIES[0] and len(found) < 2:
            quota.counts = before
            return None
        if found:
            spoken.append((family, target, tuple(found.values())))
    return spoken


def _write_phrases(rng: np.random.Generator, view: View) -> tuple[Written, ...]:
    found: dict[str, Written] = {}
    for target in (int(i) for i in rng.permutation(len(view))):
        phrase = write_phrase(rng, view, target, {*found})
        if phrase is not None:
            found[phrase.text] = phrase
        if len(found) == PHRASES_PER_IMAGE:
            break
    return tuple(found.values())
