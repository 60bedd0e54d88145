"""Masked crops against a slow loop and against Pillow, and their properties."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils import crops as module
from tasutils.config import CropConfig
from tasutils.crops import CLIP_MEAN_RGB, masked_crops, whole_image
from tasutils.masks import boxes_xyxy


def test_no_masks_empty_mask_and_one_pixel(picture):
    none = np.zeros((0, 60, 80), bool)
    assert masked_crops(picture, none, boxes_xyxy(none), 8, CropConfig()).shape == (0, 3, 8, 8)
    empty = np.zeros((1, 60, 80), bool)
    assert masked_crops(picture, empty, boxes_xyxy(empty), 8, CropConfig()).sum() == 0
    dot = np.ones((1, 1, 1), bool)
    for fill in ("black", "mean", "blur"):
        image = np.full((1, 1, 3), 255, np.uint8)
        crop = masked_crops(image, dot, boxes_xyxy(dot), 8, CropConfig(fill=fill))
        assert torch.allclose(crop, torch.ones(1, 3, 8, 8))


# --- many at once ---

TOLERANCE = 2e-6  # of Pillow's floats, in 0..1
CONFIGS = [
    CropConfig(fill=fill, pad_square=pad, geometry=geometry, blur_kernel_px=9)
    for fill, pad, geometry in itertools.product(
        ("black", "blur", "mean"), (True, False), ("exact", "released")
    )
]


def pillow_crop(image, mask, size, config):
    """One crop as one plainly writes it with Pillow: mask, cut, pad, resize, a band at a time."""
    import cv2
    from PIL import Image

    outside = {
        "black": np.zeros(3),
        "mean": 255 * np.array(CLIP_MEAN_RGB),
        "blur": cv2.GaussianBlur(image, (9, 9), 0).reshape(image.shape),
    }[config.fill]
    short = int(config.geometry == "released")
    ys, xs = np.nonzero(mask)
    (y0, x0), (y1, x1) = (ys.min(), xs.min()), (ys.max() + 1 - short, xs.max() + 1 - short)
    box = slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))
    cut = np.where(mask[:, :, None], image, outside)[box]
    if config.pad_square:
        h, w = cut.shape[:2]
        up, left = (max(w - h, 0)) // 2, (max(h - w, 0)) // 2
        down, right = (up, left) if short else (max(h, w) - h - up, max(h, w) - w - left)
        border = outside if config.fill == "mean" else np.zeros(3)
        padded = np.empty((h + up + down, w + left + right, 3))
        padded[:] = border
        padded[up : up + h, left : left + w] = cut
        cut = padded
    bands = [
        Image.fromarray(np.ascontiguousarray(cut[:, :, k], np.float32)).resize((size, size), 3)
        for k in range(3)
    ]
    return np.clip(np.stack([np.asarray(band) for band in bands]) / 255, 0, 1)


def random_picture(seed, n):
    """A picture of any size with n masks of any shape, lines and single pixels among them."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 90, 2)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    masks = np.zeros((n, height, width), bool)
    for mask in masks:
        y, x = rng.integers(0, height), rng.integers(0, width)
        h, w = np.exp(rng.uniform(0, np.log([height + 1, width + 1]))).astype(int)
        mask[y : y + h, x : x + w] = rng.random(mask[y : y + h, x : x + w].shape) < 0.8
        mask[y, x] = True
    return image, masks


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.integers(0, 5), st.sampled_from([1, 5, 16, 40]),
       st.sampled_from(CONFIGS), st.integers(1, 9))  # fmt: skip
def test_crops_equal_pillow_s_one_by_one(seed, n, size, config, at_once):
    image, masks = random_picture(seed, n)
    together = masked_crops(image, masks, boxes_xyxy(masks), size, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module._AT_ONCE, "cpu", at_once)  # as another device does it
        other = masked_crops(image, masks, boxes_xyxy(masks), size, config)
    torch.testing.assert_close(other, together, atol=1e-6, rtol=0)
    assert together.is_contiguous() and together.dtype == torch.float32
    plain = [pillow_crop(image, mask, size, config) for mask in masks]
    wanted = np.array(plain, np.float32).reshape(-1, 3, size, size)
    np.testing.assert_allclose(together.numpy(), wanted, atol=TOLERANCE)


def test_whole_images_are_pillow_s(picture):
    for size in (1, 20, 97):
        wanted = pillow_crop(picture, np.ones((60, 80), bool), size, CropConfig(pad_square=False))
        np.testing.assert_allclose(whole_image(picture, size)[0].numpy(), wanted, atol=TOLERANCE)


def test_masks_may_be_a_tensor_and_nothing_is_written_to(picture, masks):
    tensor, before = torch.from_numpy(masks), masks.copy()
    for fill in ("black", "mean", "blur"):
        config = CropConfig(fill=fill)
        crops = masked_crops(picture, tensor, boxes_xyxy(masks), 24, config)
        assert torch.equal(crops, masked_crops(picture, masks, boxes_xyxy(masks), 24, config))
    assert np.array_equal(masks, before)
