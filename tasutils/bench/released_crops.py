"""One masked crop at a time, by Pillow: the plain loop's way to what `crops.masked_crops` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.config import CropConfig
from tasutils.crops import CLIP_MEAN_RGB

if TYPE_CHECKING:
    import torch
    from PIL import Image


def crop_one(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    size: int,
    config: CropConfig,
    outside: NDArray[np.uint8],
) -> torch.Tensor:
    """Mask, cut to the box, pad to a square, resample: float32 (1, 3, size, size) RGB in 0..1.

    Args:
        image: uint8 (H, W, 3) RGB.
        mask: bool (H, W).
        size: side of the result in px.
        config: fill and padding; the geometry is `exact`.
        outside: what is seen outside the mask, from `background`.

    Pillow resamples floats here, bytes in the released code: that takes it as long, but the
    rounding of bytes turns one caption in a hundred, and then there is nothing to compare.
    """
    from PIL import Image

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    filled = np.where(mask[:, :, None], image, outside)
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    cut = Image.fromarray(filled).crop(box)
    if config.pad_square:
        side = max(cut.size)
        border = tuple(round(255 * c) for c in CLIP_MEAN_RGB) if config.fill == "mean" else 0
        square = Image.new("RGB", (side, side), border)
        square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
        cut = square
    return _resampled(cut, size)


def background(image: NDArray[np.uint8], config: CropConfig) -> NDArray[np.uint8]:
    """What is seen outside a mask: uint8 (H, W, 3), or (3,) of one colour."""
    if config.fill == "blur":
        import cv2

        kernel = (config.blur_kernel_px, config.blur_kernel_px)
        return np.asarray(cv2.GaussianBlur(image, kernel, 0), np.uint8).reshape(image.shape)
    colour = CLIP_MEAN_RGB if config.fill == "mean" else (0.0, 0.0, 0.0)
    return np.array([round(255 * c) for c in colour], np.uint8)


def whole_one(image: NDArray[np.uint8], size: int) -> torch.Tensor:
    """The whole picture, stretched: float32 (1, 3, size, size) RGB in 0..1."""
    from PIL import Image

    return _resampled(Image.fromarray(image), size)


def _resampled(picture: Image.Image, size: int) -> torch.Tensor:
    import torch
    from PIL import Image

    bands = [
        band.convert("F").resize((size, size), Image.Resampling.BICUBIC) for band in picture.split()
    ]
    pixels = np.stack([np.array(band) for band in bands])[None]  # (1, 3, size, size)
    return torch.from_numpy(pixels / np.float32(255)).clamp(0, 1)
