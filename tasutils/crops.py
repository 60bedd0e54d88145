"""Mask, then crop: the pictures that the encoder and the captioner see of each proposal."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tasutils.parts import CropConfig

if TYPE_CHECKING:
    import torch

Resize = Literal["float", "clip", "blip"]
CLIP_MEAN_RGB = (0.48145466, 0.4578275, 0.40821073)  # open_clip/constants.py, 0..1
CLIP_STD_RGB = (0.26862954, 0.26130258, 0.27577711)  # the same
_CUDA_MAX_SHRINK = 16  # the antialiased CUDA kernel refuses larger factors


def masked_crops(
    image: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    boxes_xyxy: NDArray[np.float32],
    size: int,
    config: CropConfig,
    device: "torch.device | str" = "cpu",
) -> "torch.Tensor":
    """The article's crop(I, m) of each mask: float32 (n, 3, size, size) RGB in 0..1 on `device`.

    Outside its mask a crop is black, the blurred picture, or CLIP's mean colour (`config.fill`);
    it is cut to its box, centred in a square of the same colour (of black for blur) and resampled
    as `config.resize` says. Without `pad_square` it is not padded. With the geometry `released` a
    box lacks its last row and column (but keeps one pixel), and both sides are padded by the same
    whole number of pixels, so that a square from an odd difference is a pixel short.

    Args:
        image: uint8 (H, W, 3) RGB.
        masks: bool (n, H, W).
        boxes_xyxy: (n, 4), px, end-exclusive, see `masks.boxes_xyxy`.
        size: side of the result in px.
        config: fill, geometry, padding and resampling.
        device: where the work is done.

    Source of geometry `released`, resize `clip` and `blip`: TAS released code, CLIP's and LAVIS's
    preprocessing.
    """
    import torch

    if len(masks) == 0:
        return torch.zeros((0, 3, size, size), device=device)
    picture = _planes(image, device)  # (3, H, W)
    outside = _background(image, config, device)  # (3, H, W) or (3, 1, 1)
    border = outside if config.fill == "mean" else torch.zeros((3, 1, 1), device=device)
    stencils = torch.from_numpy(np.ascontiguousarray(masks)).to(device)  # (n, H, W)
    released = config.geometry == "released"
    crops = []
    for stencil, box in zip(stencils, boxes_xyxy.astype(int).tolist(), strict=True):
        x0, y0 = max(box[0], 0), max(box[1], 0)
        x1, y1 = box[2] - released, box[3] - released
        window = (slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1)))
        behind = outside[:, *window] if config.fill == "blur" else outside
        crop = torch.where(stencil[window], picture[:, *window], behind)
        if config.pad_square:
            crop = _square(crop, border, short=released)
        crops.append(_resize(crop, size, config.resize))
    return torch.stack(crops)  # (n, 3, size, size)


def whole_image(
    image: NDArray[np.uint8],
    size: int,
    device: "torch.device | str" = "cpu",
    resize: Resize = "float",
) -> "torch.Tensor":
    """The whole picture as a square, stretched (or cut, `resize` "clip"), see `CropConfig.resize`.

    Returns float32 (1, 3, size, size) RGB in 0..1 on `device`.
    """
    return _resize(_planes(image, device), size, resize)[None]


def _planes(image: NDArray[np.uint8], device: "torch.device | str") -> "torch.Tensor":
    import torch

    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).to(device)
    return pixels.permute(2, 0, 1).float() / 255


def _background(
    image: NDArray[np.uint8], config: CropConfig, device: "torch.device | str"
) -> "torch.Tensor":
    import torch

    if config.fill == "blur":
        import cv2

        kernel = (config.blur_kernel_px, config.blur_kernel_px)
        blurred = np.asarray(cv2.GaussianBlur(image, kernel, 0), dtype=np.uint8)
        return _planes(blurred.reshape(image.shape), device)
    colour = CLIP_MEAN_RGB if config.fill == "mean" else (0.0, 0.0, 0.0)
    return torch.tensor(colour, device=device).view(3, 1, 1)


def _square(crop: "torch.Tensor", border: "torch.Tensor", short: bool) -> "torch.Tensor":
    """Centre (3, h, w) in a square of `border` (3, 1, 1); an odd pixel goes right, below or off."""
    _, height, width = crop.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    rows, columns = (height + 2 * top, width + 2 * left) if short else (side, side)
    square = border.expand(3, rows, columns).clone()
    square[:, top : top + height, left : left + width] = crop
    return square


def _resize(crop: "torch.Tensor", size: int, how: Resize) -> "torch.Tensor":
    """Resample (3, h, w) to (3, size, size) in 0..1."""
    return _resize_float(crop, size) if how == "float" else _resize_pillow(crop, size, how)


def _resize_pillow(crop: "torch.Tensor", size: int, how: Resize) -> "torch.Tensor":
    """Pillow's bicubic in whole numbers; "clip": shorter side, then middle, as in torchvision."""
    import torch
    from PIL import Image

    pixels = (crop * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    height, width = pixels.shape[:2]
    short = min(height, width)
    wanted = (size * width // short, size * height // short) if how == "clip" else (size, size)
    small = Image.fromarray(pixels).resize(wanted, Image.Resampling.BICUBIC)
    left, top = round((wanted[0] - size) / 2), round((wanted[1] - size) / 2)
    middle = small.crop((left, top, left + size, top + size))
    return _planes(np.asarray(middle), crop.device)


def _resize_float(crop: "torch.Tensor", size: int) -> "torch.Tensor":
    """Bicubic with antialiasing (a = -0.5, as Pillow's), clipped to 0..1."""
    from torch.nn.functional import interpolate

    device = crop.device
    if device.type != "cpu" and max(crop.shape[1:]) > _CUDA_MAX_SHRINK * size:
        crop = crop.cpu()
    small = interpolate(crop[None], (size, size), mode="bicubic", antialias=True)[0]
    return small.clamp(0, 1).to(device)
