"""Draw the stored splits of RefScenes: scenes, targets, expressions; all follows from seeds."""

from __future__ import annotations

from collections.abc import Iterator
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
from making.words import shuffled

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

    def category(self, index: int) -> Category:
        """What a thing is."""
        return self.rendered.graph.things[index].category

    def ann_id(self, index: int) -> int:
        """The number of a thing's mask, its own in all of RefScenes."""
        return self.image_id * 100 + index

    def box_xywh(self, index: int) -> list[int]:
        """Left, top, width and height of what is visible of a thing, px."""
        x0, y0, x1, y1 = map(int, self.view.boxes_xyxy[index])
        return [x0, y0, x1 - x0, y1 - y0]

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
    """A picture with two or three targets, things with a twin first, hidden ones when due."""
    main = [category for category in split.categories if split.asks_for(category)]
    graph = random_scene(rng, split.styles, split.categories, sizes=split.sizes(number), main=main)
    rendered = render(graph)
    view = view_of(rendered)
    hidden = (view.hidden_fraction >= 0.1) & (view.hidden_fraction <= 0.6)
    large = [i for i in range(len(view)) if view.areas_px[i] >= MIN_TARGET_PX]
    allowed = [i for i in large if split.asks_for(graph.things[i].category)]
    if len(view) < 3 or len(allowed) < 2:
        return None
    counts, targets, expressions = Quota(quota), list[int](), list[Spoken]()
    left = shuffled(rng, allowed)
    while left and len(targets) < 3:
        due = counts.below("hidden targets", "targets", TARGET_HIDDEN_SHARE)
        left.sort(key=lambda i: (hidden[i] != due, view.slugs.count(view.slugs[i]) == 1))
        target, trial = left.pop(0), Quota(counts)
        if written := _write_all(rng, view, target, trial):
            counts = trial
            counts.update(["targets", "hidden targets"] if hidden[target] else ["targets"])
            targets.append(target)
            expressions += written
    if len(targets) < 2:
        return None
    quota.update(counts - quota)
    phrases, image_id = _write_phrases(rng, view), split.seed + number + 1
    return Picture(image_id, rendered, view, tuple(targets), tuple(expressions), phrases)


def _write_all(rng: np.random.Generator, view: View, target: int, quota: Quota) -> list[Spoken]:
    """Sentences of the three sentence families; none when the short family has fewer than two."""
    spoken: list[Spoken] = []
    for family, wanted in SENTENCES.items():
        found: dict[str, Written] = {}
        while len(found) < wanted:
            sentence = write_expression(rng, view, target, family, quota, {*found})
            if sentence is None:
                break
            found[sentence.text] = sentence
        if family == FAMILIES[0] and len(found) < 2:
            return []
        if found:
            spoken.append((family, target, tuple(found.values())))
    return spoken


def _write_phrases(rng: np.random.Generator, view: View) -> tuple[Written, ...]:
    found: dict[str, Written] = {}
    for target in shuffled(rng, range(len(view))):
        phrase = write_phrase(rng, view, target, {*found})
        if phrase is not None:
            found[phrase.text] = phrase
        if len(found) == PHRASES_PER_IMAGE:
            break
    return tuple(found.values())
