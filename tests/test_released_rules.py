"""The released code's rules: crops, overlap filter, synonyms; slow, and by hand."""

import numpy as np
import pytest

from tasutils.scene import Proposals

# ---------------------------------------------------------------- crops and the overlap filter


def plain_crop(image, mask, fill):
    """The released crop, plainly: box one px short, same padding on both sides."""
    import cv2

    ys, xs = np.nonzero(mask)
    x, y, w, h = xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()
    outside = cv2.GaussianBlur(image, (75, 75), 0) if fill == "blur" else np.zeros_like(image)
    crop = np.where(mask[:, :, None], image, outside)[y : y + h, x : x + w]
    rows, columns = (0, (h - w) // 2) if h > w else ((w - h) // 2, 0)
    return np.pad(crop, ((rows, rows), (columns, columns), (0, 0)))


@pytest.mark.parametrize("resize", ["clip", "blip"])
@pytest.mark.parametrize("fill", ["black", "blur"])
def test_crops_equal_torchvision_s_pixel_for_pixel(rng, fill, resize):
    from PIL import Image
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    from tasutils.config import CropConfig
    from tasutils.crops import masked_crops
    from tasutils.masks import boxes_xyxy

    image = rng.integers(0, 256, (90, 130, 3), dtype=np.uint8)
    masks = np.zeros((12, 90, 130), bool)
    for mask in masks:
        (h, w), (y, x) = rng.integers(2, 80, 2), (rng.integers(0, 10), rng.integers(0, 40))
        mask[y : y + h, x : x + w] = rng.random((h, w)) < 0.7
        mask[y, x] = mask[y + h - 1, x + w - 1] = True
    config = CropConfig(fill=fill, geometry="released", resize=resize)
    shapes = set()
    for size in (16, 17):
        bicubic = InterpolationMode.BICUBIC
        sides = size if resize == "clip" else (size, size)
        transform = Compose([Resize(sides, bicubic), CenterCrop(size)])
        crops = masked_crops(image, masks, boxes_xyxy(masks), size, config)
        for crop, mask in zip(crops, masks, strict=True):
            plain = plain_crop(image, mask, fill)
            shapes.add(abs(plain.shape[0] - plain.shape[1]))
            wanted = np.asarray(transform(Image.fromarray(plain)))
            got = (crop.permute(1, 2, 0).numpy() * 255).round().astype(int)
            assert np.array_equal(got, wanted) and crop.min() >= 0 and crop.max() <= 1
    assert shapes == {0, 1}  # squares, and those that are a pixel short


def test_a_line_keeps_a_pixel():
    from tasutils.config import CropConfig
    from tasutils.crops import masked_crops
    from tasutils.masks import boxes_xyxy

    image, line = np.full((20, 20, 3), 255, np.uint8), np.zeros((1, 20, 20), bool)
    line[0, 9, 3:12] = True
    for config in (CropConfig(geometry="released", resize=way) for way in ("blip", "clip")):
        crop = masked_crops(image, line, boxes_xyxy(line), 8, config)
        assert crop.shape == (1, 3, 8, 8) and crop.max() > 0.5


def test_floored_centres_are_exact():
    masks = np.zeros((4, 400, 700), bool)
    masks[0, :, :699] = True  # centre x 349
    masks[0, 0, 698] = False  # now 348.9987...
    masks[1, 10:12, 20:22] = True  # 20.5, 10.5
    masks[2, 5, 5] = True
    floors = Proposals.from_masks(masks).floored_centers_xy()
    for mask, floor in zip(masks[:3], floors, strict=False):
        y, x = np.nonzero(mask)
        assert floor.tolist() == [int(np.mean(x)), int(np.mean(y))]
    assert floors[0].tolist() == [348, 199] and floors[3].tolist() == [0, 0]
    wide = np.ones((1, 700, 699), bool)
    wide[0, 0, 698] = False  # the mean is 1 / 1398 px below 349, more than float32 tells apart
    assert Proposals.from_masks(wide).floored_centers_xy()[0, 0] == 348
    assert Proposals.from_masks(masks[:0]).floored_centers_xy().shape == (0, 2)
