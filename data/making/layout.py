"""Draw a random scene: which things, where, how large, and who stands before whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from making.categories import Category, load_categories, photographed_categories
from making.render import (
    HEIGHT,
    PHOTOGRAPH,
    WIDTH,
    Effects,
    SceneGraph,
    Thing,
    full_mask,
    random_background,
)
from making.sprites import TRAIN_STYLES, paints_for

FIRST_TRAINING_SEED, FIRST_PHOTO_SEED = 1_000_000, 2_000_000
MIN_VISIBLE_PX = 90
MAX_HIDDEN = 0.6
TEXTURED_SHARE = 0.4  # of the training scenes with photographs


@dataclass(frozen=True)
class Sizes:
    """How large things are drawn.

    Attributes:
        usual_px: smallest and largest longest side of a thing of scale 1.
        wide_px: the same for the share ``wide_share`` (0..1) of the things.
        enlarge: most that a photograph is enlarged beyond its own longest side.
    """

    usual_px: tuple[int, int] = (26, 130)
    wide_px: tuple[int, int] = (20, 330)
    wide_share: float = 0.0
    enlarge: float = 1.3


USUAL = Sizes()
UP_TO_THE_PICTURE = Sizes(wide_share=0.3)
#: larger than the stored splits allow, since a photograph may be filled by one thing
TRAINING_PHOTOGRAPHS = Sizes(wide_share=0.45, enlarge=3.0)


def training_scene(seed: int, *, wide_sizes: bool = False) -> SceneGraph:
    """A training scene: seen categories, training styles only.

    Args:
        seed: 1,000,000 or more, so that no stored scene is ever trained on; else ValueError.
        wide_sizes: also things up to the whole picture.
    """
    if seed < FIRST_TRAINING_SEED:
        raise ValueError(f"seed {seed} is kept for stored and held-out scenes")
    sizes = UP_TO_THE_PICTURE if wide_sizes else USUAL
    return random_scene(np.random.default_rng(seed), TRAIN_STYLES, seen_categories(), sizes=sizes)


def training_photo_scene(seed: int) -> SceneGraph:
    """A scene for training the tiny SAM: cut-outs of the split train among seen drawn things.

    Args:
        seed: 2,000,000 or more, so that neither a stored scene nor another training draw has it;
            else ValueError.
    """
    if seed < FIRST_PHOTO_SEED:
        raise ValueError(f"seed {seed} is kept for other scenes; draw with 2,000,000 or more")
    rng = np.random.default_rng(seed)
    photographed = [c for c in photographed_categories() if c.split == "train"]
    things = [*photographed, *seen_categories()]
    graph = random_scene(rng, TRAIN_STYLES, things, sizes=TRAINING_PHOTOGRAPHS, main=photographed)
    if rng.uniform() >= TEXTURED_SHARE:
        return graph
    return replace(graph, background=replace(graph.background, kind=PHOTOGRAPH))


def seen_categories() -> tuple[Category, ...]:
    """The categories that training may use."""
    return tuple(category for category in load_categories() if category.seen)


def random_scene(
    rng: np.random.Generator,
    styles: Sequence[str],
    categories: Sequence[Category],
    *,
    sizes: Sizes = USUAL,
    main: Sequence[Category] | None = None,
) -> SceneGraph:
    """Draw 3 to 10 things, several of one category in most scenes, partly hiding each other.

    Args:
        styles: of drawn things; a photographed category has its own.
        main: where the first three categories come from; the same as ``categories`` when None.
    """
    wanted = int(rng.integers(3, 11))
    things: list[Thing] = []
    visible: list[np.ndarray] = []
    areas: list[int] = []
    for category in _draw_kinds(rng, categories, main or categories, wanted):
        for _ in range(12):
            thing = _draw_thing(rng, category, styles, things, sizes)
            mask = full_mask(thing)
            if _fits(mask, visible, areas):
                visible = [other & ~mask for other in visible] + [mask]
                areas.append(int(mask.sum()))
                things.append(thing)
                break
    return SceneGraph(tuple(things), random_background(rng), _draw_effects(rng))


def _draw_kinds(
    rng: np.random.Generator, categories: Sequence[Category], main: Sequence[Category], wanted: int
) -> list[Category]:
    """Categories with repetition: in most scenes one or two of them appear several times."""
    pool = [main[int(i)] for i in rng.permutation(len(main))[:3]]
    pool += [categories[int(i)] for i in rng.permutation(len(categories))[: wanted - 3]]
    kinds: list[Category] = []
    for position, category in enumerate(pool):
        several = rng.uniform() < (0.85 if position == 0 else 0.25)
        kinds += [category] * (int(rng.integers(2, 5)) if several else 1)
    kinds = kinds[:wanted]
    return [kinds[int(i)] for i in rng.permutation(len(kinds))]


def _draw_thing(
    rng: np.random.Generator,
    category: Category,
    styles: Sequence[str],
    before: Sequence[Thing],
    sizes: Sizes,
) -> Thing:
    styles = tuple(category.native_px) or styles
    style = styles[int(rng.integers(len(styles)))]
    paint = None
    if category.recolor and rng.uniform() < 0.75:
        paints = paints_for(style, category.slug)
        paint = paints[int(rng.integers(len(paints)))] if paints else None
    wide = sizes.wide_share and rng.uniform() < sizes.wide_share
    smallest, largest = sizes.wide_px if wide else sizes.usual_px
    size = smallest * (largest / smallest) ** float(rng.uniform()) * category.scale
    if category.native_px:
        size = min(size, int(sizes.enlarge * category.native_px[style]))
    if before and rng.uniform() < 0.42:  # stand before something
        other = before[int(rng.integers(len(before)))]
        reach = (size + other.size_px) / 2
        center = [place + float(rng.uniform(-0.75, 0.75)) * reach for place in other.center_xy]
    else:
        margin = min(size * 0.45, 70)
        center = [float(rng.uniform(margin, side - margin)) for side in (WIDTH, HEIGHT)]
    x = min(max(center[0], 8.0), WIDTH - 8.0)
    y = min(max(center[1], 8.0), HEIGHT - 8.0)
    angle = float(rng.uniform(-18, 18)) if rng.uniform() < 0.5 else 0.0
    mirror = bool(rng.uniform() < 0.5)
    return Thing(category.slug, style, paint, (x, y), max(12, round(size)), mirror, angle)


def _fits(mask: np.ndarray, visible: Sequence[np.ndarray], areas: Sequence[int]) -> bool:
    """A new thing must be seen, and must leave at least 40 % of every thing behind it in sight."""
    left = [int((other & ~mask).sum()) for other in visible]
    return mask.sum() >= MIN_VISIBLE_PX * 1.5 and all(
        px >= max(MIN_VISIBLE_PX, (1 - MAX_HIDDEN) * area)
        for px, area in zip(left, areas, strict=True)
    )


def _draw_effects(rng: np.random.Generator) -> Effects:
    light = float(rng.uniform(0.72, 1.18)) if rng.uniform() < 0.4 else 1.0
    blur = float(rng.uniform(0.4, 1.2)) if rng.uniform() < 0.15 else 0.0
    quality = int(rng.integers(25, 70)) if rng.uniform() < 0.2 else None
    return Effects(light, blur, quality)
