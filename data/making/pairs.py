"""Crops and scenes for training, and batches of pictures and texts with what of them agrees.

The crops, with imperfect masks, are OpenCV approximations of `tasutils.crops` (which the running
system uses), a few times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from making.pools import PoolScene, ScenePool
from making.sprites import COLORS
from making.words import RELATIONS, WordTable, article, choose
from tasutils.crops import CLIP_MEAN_RGB

FILLS = ("black", "blur", "mean", "none")
MEAN_RGB = tuple(round(255 * value) for value in CLIP_MEAN_RGB)
SMALLEST_PX = 60
cv2.setNumThreads(0)


def masked_crop(
    scene: PoolScene, mask: NDArray[np.uint8], size: int, fill: str
) -> NDArray[np.uint8]:
    """Mask, crop to the box, pad to a square, resize: uint8 (size, size, 3).

    Args:
        mask: uint8 (240, 320), non-zero inside.
        fill: "black", "blur", "mean", or "none" for the box as it is.
    """
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    crop, border = scene.image[window], MEAN_RGB if fill == "mean" else (0, 0, 0)
    if fill != "none":
        behind = _blurred(crop) if fill == "blur" else np.array(border, np.uint8)
        crop = np.where(mask[window][..., None] > 0, crop, behind)
    side = max(width, height)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.empty((side, side, 3), np.uint8)
    square[:] = border
    square[top : top + height, left : left + width] = crop
    return resize(square, size)


def _blurred(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(crop, (8, 8), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.GaussianBlur(small, (5, 5), 0), crop.shape[1::-1]), np.uint8)


def resize(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """uint8 (h, w, 3) stretched to (size, size, 3)."""
    how = cv2.INTER_AREA if max(picture.shape[:2]) > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=how), np.uint8)


def thing_mask(scene: PoolScene, number: int) -> NDArray[np.uint8]:
    """uint8 (240, 320), 255 where thing ``number`` (from 0) is visible."""
    return (scene.labels == number + 1).view(np.uint8) * np.uint8(255)


def _spoilt(rng: np.random.Generator, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask as a segmenter might give it: grown, shrunk, or partly cut; never empty."""
    draw = rng.uniform()
    if draw < 0.45:
        return mask
    if draw < 0.85:
        side = int(rng.integers(1, 4)) * 2 + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        change = cv2.dilate if rng.uniform() < 0.6 else cv2.erode
        spoilt = np.asarray(change(mask, kernel), dtype=np.uint8)
    else:
        spoilt = mask.copy()
        x, y, width, height = cv2.boundingRect(mask)
        share = rng.uniform(0.1, 0.4)
        along_x, at_end = rng.uniform() < 0.5, rng.uniform() < 0.5
        start, length = (x, width) if along_x else (y, height)
        cut = int(length * share)
        start += (length - cut) * at_end
        (spoilt.T if along_x else spoilt)[start : start + cut] = 0
    return spoilt if cv2.countNonZero(spoilt) >= SMALLEST_PX // 2 else mask


def random_view(
    rng: np.random.Generator, scene: PoolScene, number: int, size: int
) -> NDArray[np.uint8] | None:
    """An augmented crop of one thing, uint8 (size, size, 3); None when too little of it is seen."""
    mask = thing_mask(scene, number)
    if cv2.countNonZero(mask) < SMALLEST_PX:
        return None
    fill = FILLS[int(rng.choice(4, p=(0.5, 0.22, 0.2, 0.08)))]
    return augment(rng, masked_crop(scene, _spoilt(rng, mask), size, fill))


def augment(rng: np.random.Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror half of the pictures and change the light of some; colours keep their names."""
    if rng.uniform() < 0.5:
        picture = picture[:, ::-1]
    if rng.uniform() < 0.4:
        light = np.arange(256) * rng.uniform(0.75, 1.2)
        picture = np.clip(light, 0, 255).round().astype(np.uint8)[picture]
    return np.ascontiguousarray(picture)


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Pictures uint8 (n, size, size, 3), m texts and their agreement.

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
        number, thing = choose(rng, [*enumerate(scene.things)])
        phrase = choose(rng, thing.phrases)
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
    other = choose(rng, table.nouns)
    link = choose(rng, ("", "that is ", "which is ", "that sits ", "standing "))
    return f"{phrase} {link}{choose(rng, RELATIONS)} the {other}"


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
