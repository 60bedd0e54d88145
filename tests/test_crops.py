"""Masked crops against a slow loop, and their properties."""

import time

import numpy as np
import pytest
import torch

from tasutils.crops import CLIP_MEAN_RGB, masked_crops, whole_image
from tasutils.masks import boxes_xyxy
from tasutils.parts import CropConfig


def cubic(x):
    """Keys' kernel with a = -0.5, as in Pillow."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def slow_resize_rows(rows, size):
    """(h, w, 3) -> (size, w, 3) by a loop over output rows."""
    scale = len(rows) / size
    stretch = max(scale, 1.0)
    out = np.zeros((size, *rows.shape[1:]))
    for index in range(size):
        center = (index + 0.5) * scale
        weights = [cubic((row + 0.5 - center) / stretch) for row in range(len(rows))]
        out[index] = sum(w * row for w, row in zip(weights, rows, strict=True)) / sum(weights)
    return out


def slow_crop(image, mask, size, outside, border):
    ys, xs = np.nonzero(mask)
    filled = np.where(mask[:, :, None], image / 255.0, outside)
    box = filled[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    side = max(box.shape[:2])
    square = np.empty((side, side, 3))
    square[:] = border
    top, left = (side - box.shape[0]) // 2, (side - box.shape[1]) // 2
    square[top : top + box.shape[0], left : left + box.shape[1]] = box
    down = slow_resize_rows(square, size)
    return np.clip(slow_resize_rows(down.transpose(1, 0, 2), size).transpose(1, 0, 2), 0, 1)


@pytest.mark.parametrize("size", [7, 16, 33])
@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
def test_equals_the_slow_crop(picture, masks, fill, size):
    import cv2

    masks = np.concatenate([masks, masks[:1] & (np.arange(80) < 17)])
    config = CropConfig(fill=fill, blur_kernel_px=9)
    got = masked_crops(picture, masks, boxes_xyxy(masks), size, config)
    assert got.shape == (4, 3, size, size) and got.dtype == torch.float32
    outside = {
        "black": np.zeros(3),
        "mean": np.array(CLIP_MEAN_RGB),
        "blur": cv2.GaussianBlur(picture, (9, 9), 0) / 255.0,
    }[fill]
    border = outside if fill == "mean" else np.zeros(3)
    for crop, mask in zip(got.numpy(), masks, strict=True):
        want = slow_crop(picture, mask, size, outside, border)
        assert np.abs(crop.transpose(1, 2, 0) - want).max() < 1e-4


def test_last_row_and_column_are_kept(masks):
    image = np.zeros((60, 80, 3), np.uint8)
    image[54, 69] = 255
    crop = masked_crops(image, masks[1:2], boxes_xyxy(masks[1:2]), 20, CropConfig())
    assert crop[0, :, 19, 19].tolist() == [1, 1, 1]
    assert crop.sum() == 3


def test_permutation_and_range(picture, masks):
    for fill in ("black", "mean", "blur"):
        config = CropConfig(fill=fill)
        crops = masked_crops(picture, masks, boxes_xyxy(masks), 24, config)
        turned = masked_crops(picture, masks[::-1], boxes_xyxy(masks)[::-1], 24, config)
        assert torch.equal(crops.flip(0), turned)
        assert crops.min() >= 0 and crops.max() <= 1


def test_mirrored_picture_gives_mirrored_crops(picture, masks):
    crops = masked_crops(picture, masks, boxes_xyxy(masks), 24, CropConfig())
    mirrored = masks[:, :, ::-1].copy()
    other = masked_crops(picture[:, ::-1], mirrored, boxes_xyxy(mirrored), 24, CropConfig())
    even = [0, 1]  # the half square is padded by an even number too, but keep to squares
    assert torch.allclose(crops[even].flip(-1), other[even], atol=1e-5)


def test_without_padding_the_box_is_stretched(picture, masks):
    config = CropConfig(pad_square=False)
    crop = masked_crops(picture, masks[2:], boxes_xyxy(masks[2:]), 16, config)
    assert (crop[0, 2] > 0.7).all()


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


def test_whole_image(picture):
    whole = whole_image(picture, 20)
    assert whole.shape == (1, 3, 20, 20) and whole.min() >= 0 and whole.max() <= 1
    assert whole_image(picture[:1, :1], 20).shape == (1, 3, 20, 20)


def test_thirty_masks_are_quick(rng):
    image = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    masks = np.zeros((30, 240, 320), bool)
    for mask in masks:
        y, x = rng.integers(0, 160), rng.integers(0, 240)
        mask[y : y + 80, x : x + 80] = True
    boxes = boxes_xyxy(masks)
    threads, times_s = torch.get_num_threads(), []
    torch.set_num_threads(1)  # processor time of one core: the bound holds beside other work
    try:
        for _ in range(5):
            start = time.process_time()
            masked_crops(image, masks, boxes, 112, CropConfig())
            times_s.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert min(times_s) < 0.15
