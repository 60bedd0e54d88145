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

COLOR_NUMBER = {color: number for number, color in enumerate(COLORS, start=1)}


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
    texts: list[str] = []
    while len(images) < n_crops:
        scene = pool.draw(rng)
        number = int(rng.integers(len(scene.things)))
        thing = scene.things[number]
        phrase = thing.phrases[int(rng.integers(len(thing.phrases)))]
        view = random_view(rng, scene, number, size)
        if view is None or table.read(phrase) is None or not table.allowed(phrase):
            continue
        holds[len(images), table.index[thing.slug]] = True
        colors[len(images)] = COLOR_NUMBER.get(thing.color or "", 0)
        images.append(view)
        texts.append(_in_context(rng, phrase, table))
    captions: list[str] = []
    while len(captions) < n_scenes:
        scene = pool.draw(rng)
        if table.allowed(scene.caption):
            holds[len(images), [table.index[thing.slug] for thing in scene.things]] = True
            images.append(augment(rng, resize(scene.image, size)))
            captions.append(scene.caption)
    names = [article(table.names[int(c)]) for c in rng.permutation(len(table.names))[:n_names]]
    relation = _relation(holds, colors, n_crops, texts + names, n_crops, captions, table)
    order = [*texts, *names, *captions]
    return PairBatch(np.stack(images), order, relation)


def _in_context(rng: np.random.Generator, phrase: str, table: WordTable) -> str:
    """Some phrases go on with a relation to another thing, which must not distract."""
    if rng.uniform() > 0.15:
        return phrase
    other = table.nouns[int(rng.integers(len(table.nouns)))]
    link = ("", "that is ", "which is ", "that sits ", "standing ")[int(rng.integers(5))]
    return f"{phrase} {link}{RELATIONS[int(rng.integers(len(RELATIONS)))]} the {other}"


def _relation(
    holds: NDArray[np.bool_],
    colors: NDArray[np.int64],
    n_crops: int,
    phrases: Sequence[str],
    n_phrases_of_crops: int,
    captions: Sequence[str],
    table: WordTable,
) -> NDArray[np.int8]:
    read = [table.read(phrase) for phrase in phrases]
    rows = np.array([found[0] if found else 0 for found in read])
    said = np.array([found[1] if found else 0 for found in read])
    admits = table.admits[rows]  # (n_phrases, n_categories)
    kind_fits = (holds.astype(np.float32) @ admits.T.astype(np.float32)) > 0
    color_fits = (said[None] == 0) | (said[None] == colors[:, None])
    unsure = (colors[:, None] == 0) & (said[None] != 0)
    relation = np.where(kind_fits & color_fits, 1, 0).astype(np.int8)
    relation[kind_fits & ~color_fits & unsure] = -1
    relation[n_crops:][kind_fits[n_crops:]] = -1  # a scene and a phrase of one of its things
    diagonal = np.arange(min(n_phrases_of_crops, n_crops))
    relation[diagonal, diagonal] = 1
    n_images, n_captions = len(holds), len(captions)
    to_captions = np.zeros((n_images, n_captions), dtype=np.int8)
    shared = (holds.astype(np.float32) @ holds[n_crops:].T.astype(np.float32)) > 0
    to_captions[:n_crops][shared[:n_crops]] = -1
    own = [[caption == other for other in captions] for caption in captions]
    to_captions[n_crops:] = np.array(own, dtype=np.int8).reshape(n_captions, n_captions)
    return np.concatenate([relation, to_captions], axis=1)


@dataclass(frozen=True, eq=False)
class CropSet:
    """Ground-truth crops for a score: images uint8 (n, size, size, 3), slugs and captions."""

    images: NDArray[np.uint8]
    slugs: tuple[str, ...]
    captions: tuple[str, ...]


def crop_set(scenes: Sequence[PoolScene], size: int, fill: str = "black") -> CropSet:
    """Every visible thing of some scenes, exactly masked."""
    images, slugs, captions = [], [], []
    for scene in scenes:
        for number, thing in enumerate(scene.things):
            mask = thing_mask(scene, number)
            if mask.any():
                images.append(masked_crop(scene, mask, size, fill))
                slugs.append(thing.slug)
                captions.append(thing.caption)
    return CropSet(np.stack(images), tuple(slugs), tuple(captions))
