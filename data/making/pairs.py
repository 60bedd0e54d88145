"""Batches of pictures and texts for the contrastive training, and which of them agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from making.captions import article
from making.pools import PoolScene, ScenePool
from making.views import augment, masked_crop, random_view, resize, thing_mask
from making.words import COLORS, RELATIONS, WordTable


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Pictures, texts and their agreement.

    Attributes:
        images: uint8 (n, size, size, 3).
        texts: m texts.
        relation: int8 (n, m): 1 agrees, 0 disagrees, -1 neither is said nor learned.
    """

    images: NDArray[np.uint8]
    texts: list[str]
    relation: NDArray[np.int8]


def draw_pairs(
    rng: np.random.Generator,
    pool: ScenePool,
    table: WordTable,
    n_crops: int,
    n_scenes: int,
    n_names: int,
    size: int,
) -> PairBatch:
    """Crops with a phrase each, scenes with a caption each, and names of random categories."""
    images: list[NDArray[np.uint8]] = []
    holds = np.zeros((n_crops + n_scenes, len(table.slugs)), dtype=bool)
    colors = np.zeros(n_crops + n_scenes, dtype=np.int64)
    phrases: list[str] = []
    while len(images) < n_crops:
        scene = pool.draw(rng)
        number = int(rng.integers(len(scene.things)))
        thing = scene.things[number]
        phrase = thing.phrases[int(rng.integers(len(thing.phrases)))]
        view = random_view(rng, scene, number, size)
        if view is None or table.read(phrase) is None or not table.allowed(phrase):
            continue
        holds[len(images), table.index[thing.slug]] = True
        colors[len(images)] = COLORS.index(thing.color) + 1 if thing.color else 0
        images.append(view)
        phrases.append(_in_context(rng, phrase, table))
    captions: list[str] = []
    while len(captions) < n_scenes:
        scene = pool.draw(rng)
        if table.allowed(scene.caption):
            holds[len(images), [table.index[thing.slug] for thing in scene.things]] = True
            images.append(augment(rng, resize(scene.image, size)))
            captions.append(scene.caption)
    phrases += [article(table.names[int(c)]) for c in rng.permutation(len(table.names))[:n_names]]
    to_phrases = _to_phrases(holds, colors, n_crops, phrases, table)
    shared = (holds.astype(np.float32) @ holds[n_crops:].T.astype(np.float32)) > 0
    to_captions = np.where(shared, -1, 0)  # a caption is no crop's, nor another scene's
    to_captions[n_crops:] = np.equal.outer(captions, captions) if captions else 0
    relation = np.concatenate([to_phrases, to_captions], axis=1).astype(np.int8)
    return PairBatch(np.stack(images), [*phrases, *captions], relation)


def _in_context(rng: np.random.Generator, phrase: str, table: WordTable) -> str:
    """Some phrases go on with a relation to another thing, which must not distract."""
    if rng.uniform() > 0.15:
        return phrase
    other = table.nouns[int(rng.integers(len(table.nouns)))]
    link = ("", "that is ", "which is ", "that sits ", "standing ")[int(rng.integers(5))]
    return f"{phrase} {link}{RELATIONS[int(rng.integers(len(RELATIONS)))]} the {other}"


def _to_phrases(
    holds: NDArray[np.bool_],
    colors: NDArray[np.int64],
    n_crops: int,
    phrases: Sequence[str],
    table: WordTable,
) -> NDArray[np.int64]:
    """Whether each picture shows what each phrase names; the i-th crop has the i-th phrase.

    Args:
        holds: bool (n, n_categories), what the pictures show; ``colors``: 1 + colour, 0 for none.
    """
    rows, said = np.array([table.read(phrase) or (0, 0) for phrase in phrases]).T
    kind = (holds.astype(np.float32) @ table.admits[rows].T.astype(np.float32)) > 0
    fits = (said[None] == 0) | (said[None] == colors[:, None])
    relation = np.where(kind & fits, 1, 0)
    relation[kind & ~fits & (colors[:, None] == 0)] = -1  # nobody could say
    relation[n_crops:][kind[n_crops:]] = -1  # a scene and a phrase of one of its things
    relation[np.arange(n_crops), np.arange(n_crops)] = 1
    return relation


@dataclass(frozen=True, eq=False)
class CropSet:
    """Ground-truth crops for a score: images uint8 (n, size, size, 3), slugs and captions."""

    images: NDArray[np.uint8]
    slugs: tuple[str, ...]
    captions: tuple[str, ...]


def crop_set(scenes: Sequence[PoolScene], size: int) -> CropSet:
    """Every visible thing of some scenes, exactly masked, on black."""
    shown = [
        (masked_crop(scene, mask, size, "black"), thing.slug, thing.caption)
        for scene in scenes
        for number, thing in enumerate(scene.things)
        if (mask := thing_mask(scene, number)).any()
    ]
    images, slugs, captions = zip(*shown, strict=True)
    return CropSet(np.stack(images), slugs, captions)
