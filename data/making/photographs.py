"""Cut-outs of photographs: for the retrieval test, and as training scenes of the tiny SAM."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from making.backgrounds import PHOTOGRAPH
from making.categories import photographed_categories
from making.graph import SceneGraph
from making.layout import Sizes, random_scene, seen_categories
from making.sprites import TRAIN_STYLES, load_sprite

FIRST_TRAINING_SEED = 2_000_000
TEXTURED_SHARE = 0.4
#: larger than the stored splits allow, since a photograph may be filled by one thing
TRAINING_SIZES = Sizes(wide_share=0.45, enlarge=3.0)


def cutouts(split: str) -> list[tuple[str, np.ndarray, str]]:
    """The photographic cut-outs of a split, each with its caption.

    Args:
        split: train, valP or testP; no category is in two of them.

    Returns:
        (slug of the category, RGBA uint8 (H, W, 4) read-only, caption), ordered by category.
    """
    return [
        (category.slug, load_sprite(style, category.slug), tidy(caption))
        for category in photographed_categories()
        if category.split == split
        for style, caption in category.captions.items()
    ]


def tidy(caption: str) -> str:
    """A stamp's caption on one line, with straight quotes, a capital and a full stop.

    >>> tidy("a  plumber\u2019s wrench")
    "A plumber's wrench."
    """
    straight = caption.translate(str.maketrans("\u2018\u2019\u201c\u201d", "''\"\""))
    text = re.sub(r"\s+", " ", straight.replace("\u2014", ", ")).strip()
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def training_photo_scene(seed: int) -> SceneGraph:
    """A scene for training the tiny SAM: cut-outs of the split train among seen drawn things.

    Args:
        seed: 2,000,000 or more, so that neither a stored scene nor another training draw has it.

    Raises:
        ValueError: for a smaller seed.
    """
    if seed < FIRST_TRAINING_SEED:
        raise ValueError(f"seed {seed} is kept for other scenes; draw with 2,000,000 or more")
    rng = np.random.default_rng(seed)
    photographed = [c for c in photographed_categories() if c.split == "train"]
    things = [*photographed, *seen_categories()]
    graph = random_scene(rng, TRAIN_STYLES, things, sizes=TRAINING_SIZES, main=photographed)
    if rng.uniform() >= TEXTURED_SHARE:
        return graph
    return replace(graph, background=replace(graph.background, kind=PHOTOGRAPH))
