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
from making.graph import Rendered
from making.layout import USUAL, Sizes, random_scene
from making.queries import View, view_of
from making.render import render
from making.sprites import HELD_OUT_STYLE, TRAIN_STYLES

IMAGES_PER_SPLIT = 200
SENTENCES = {"refscenes": 3, "refscenes+": 3, "refscenesg": 2}
PHRASES_PER_IMAGE = 3
TARGET_HIDDEN_SHARE = 0.3
MIN_TARGET_PX = 150
#: every so many pictures of a photographic split have wide sizes
WIDE_EVERY = 3
WIDE_PHOTOGRAPHS = Sizes(wide_px=(60, 220), wide_share=0.6)


@dataclass(frozen=True)
class Split:
    """How a split is drawn: first seed and image id, styles, where its targets come from.

    Attributes:
        styles: drawing styles; none for a split made of photographs.
        people_and_animals: True: targets are such, False: none is, None: no matter.
        images: its number of pictures.
    """

    name: str
    seed: int
    styles: tuple[str, ...]
    people_and_animals: bool | None
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


SPLITS = {
    "val": Split("val", 100_000, TRAIN_STYLES, None),
    "testA": Split("testA", 200_000, TRAIN_STYLES, True),
    "testB": Split("testB", 300_000, TRAIN_STYLES, False),
    "testS": Split("testS", 400_000, (HELD_OUT_STYLE,), None),
}
PHOTO_SPLITS = {
    "valP": Split("valP", 600_000, (), None, images=100),
    "testP": Split("testP", 700_000, (), None),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """One stored scene with everything written about it.

    Attributes:
        expressions: (family, target index, sentences).
        phrases: PhraseCut phrases, each for all things it fits.
        hidden, distractor: by target index.
    """

    image_id: int
    rendered: Rendered
    view: View
    targets: tuple[int, ...]
    expressions: tuple[tuple[str, int, tuple[Written, ...]], ...]
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


def _fits_split(category: Category, split: Split) -> bool:
    if split.people_and_animals is None:
        return True
    return (category.group in PEOPLE_AND_ANIMALS) == split.people_and_animals


def _draw_picture(
    rng: np.random.Generator, split: Split, number: int, quota: Quota
) -> Picture | None:
    main = [category for category in split.categories if _fits_split(category, split)]
    graph = random_scene(rng, split.styles, split.categories, sizes=split.sizes(number), main=main)
    rendered = render(graph)
    view = view_of(rendered)
    things = rendered.graph.things
    allowed = [
        i
        for i in range(len(view))
        if view.areas_px[i] >= MIN_TARGET_PX and _fits_split(things[i].category, split)
    ]
    if len(view) < 3 or len(allowed) < 2:
        return None
    trial = Quota()
    trial.counts = dict(quota.counts)
    targets: list[int] = []
    expressions: list[tuple[str, int, tuple[Written, ...]]] = []
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
    return Picture(
        split.seed + number + 1,
        rendered,
        view,
        tuple(targets),
        tuple(expressions),
        _write_phrases(rng, view),
    )


def _is_hidden(view: View, index: int) -> bool:
    return bool(0.1 <= view.hidden_fraction[index] <= 0.6)


def _ordered(
    rng: np.random.Generator, view: View, allowed: Sequence[int], quota: Quota
) -> Iterator[int]:
    """Targets in the order to try: things with a twin first, hidden ones when they are due."""
    left = [allowed[int(i)] for i in rng.permutation(len(allowed))]
    while left:
        due = quota.below("hidden targets", "targets", TARGET_HIDDEN_SHARE)

        def rank(i: int, due: bool = due) -> tuple[bool, bool]:
            return _is_hidden(view, i) != due, view.slugs.count(view.slugs[i]) == 1

        left.sort(key=rank)
        yield left.pop(0)


def _write_all(
    rng: np.random.Generator, view: View, target: int, quota: Quota
) -> list[tuple[str, int, tuple[Written, ...]]] | None:
    """Sentences of the three sentence families; None when the short family has fewer than two."""
    written: list[tuple[str, int, tuple[Written, ...]]] = []
    before = dict(quota.counts)
    for family in FAMILIES[:3]:
        taken: set[str] = set()
        sentences = []
        for _ in range(SENTENCES[family]):
            sentence = write_expression(rng, view, target, family, quota, taken)
            if sentence is None:
                break
            taken.add(sentence.text)
            sentences.append(sentence)
        if family == "refscenes" and len(sentences) < 2:
            quota.counts = before
            return None
        if sentences:
            written.append((family, target, tuple(sentences)))
    return written


def _write_phrases(rng: np.random.Generator, view: View) -> tuple[Written, ...]:
    taken: set[str] = set()
    phrases = []
    for target in (int(i) for i in rng.permutation(len(view))):
        phrase = write_phrase(rng, view, target, taken)
        if phrase is not None:
            taken.add(phrase.text)
            phrases.append(phrase)
        if len(phrases) == PHRASES_PER_IMAGE:
            break
    return tuple(phrases)
