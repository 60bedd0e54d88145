"""Training views: masked crops of pool scenes with imperfect masks, and whole scenes.

OpenCV approximations of `tasutils.crops` (which the running system uses), a few times faster.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from making.pools import PoolScene
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
    crop = scene.image[window]
    if fill != "none":
        crop = np.where(mask[window][..., None] > 0, crop, _behind(crop, fill))
    side = max(width, height)
    top, left = (side - height) // 2, (side - width) // 2
    border = MEAN_RGB if fill == "mean" else (0, 0, 0)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = border
    square[top : top + height, left : left + width] = crop
    return resize(square, size)


def _behind(crop: NDArray[np.uint8], fill: str) -> NDArray[np.uint8]:
    if fill == "blur":
        small = cv2.resize(crop, (8, 8), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (5, 5), 0)
        return np.asarray(cv2.resize(small, crop.shape[1::-1]), dtype=np.uint8)
    return np.array(MEAN_RGB if fill == "mean" else (0, 0, 0), np.uint8)


def resize(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """uint8 (h, w, 3) stretched to (size, size, 3)."""
    shrinks = max(picture.shape[:2]) > size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=how), dtype=np.uint8)


def thing_mask(scene: PoolScene, number: int) -> NDArray[np.uint8]:
    """uint8 (240, 320), 255 where thing ``number`` (from 0) is visible."""
    return (scene.labels == number + 1).view(np.uint8) * np.uint8(255)


def spoil_mask(rng: np.random.Generator, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
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
    crop = masked_crop(scene, spoil_mask(rng, mask), size, fill)
    return augment(rng, crop)


def augment(rng: np.random.Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror half of the pictures and change the light of some; colours keep their names."""
    if rng.uniform() < 0.5:
        picture = picture[:, ::-1]
    if rng.uniform() < 0.4:
        light = np.arange(256) * rng.uniform(0.75, 1.2)
        picture = np.clip(light, 0, 255).round().astype(np.uint8)[picture]
    return np.ascontiguousarray(picture)
