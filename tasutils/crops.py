"""Mask, then crop: the pictures that the encoder and the captioner see of each proposal."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.parts import CropConfig

if TYPE_CHECKING:
    import torch

CLIP_MEAN_RGB = (0.48145466, 0.4578275, 0.40821073)  # open_clip/constants.py, 0..1
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
    bicubically with antialiasing. Without `pad_square` the box is stretched to the square.

    Args:
        image: uint8 (H, W, 3) RGB.
        masks: bool (n, H, W).
        boxes_xyxy: (n, 4), px, end-exclusive, see `masks.boxes_xyxy`.
        size: side of the result in px.
        config: fill and padding.
        device: where the work is done.
    """
    import torch

    if len(masks) == 0:
        return torch.zeros((0, 3, size, size), device=device)
    picture = _planes(image, device)  # (3, H, W)
    outside = _background(image, config, device)  # (3, H, W) or (3, 1, 1)
    border = outside if config.fill == "mean" else torch.zeros((3, 1, 1), device=device)
    stencils = torch.from_numpy(np.ascontiguousarray(masks)).to(device)  # (n, H, W)
    crops = []
    for stencil, box in zip(stencils, boxes_xyxy.astype(int).tolist(), strict=True):
        x0, y0 = max(box[0], 0), max(box[1], 0)
        window = (slice(y0, max(box[3], y0 + 1)), slice(x0, max(box[2], x0 + 1)))
        behind = outside[:, *window] if config.fill == "blur" else outside
        crop = torch.where(stencil[window], picture[:, *window], behind)
        if config.pad_square:
            crop = _square(crop, border)
        crops.append(_resize(crop, size))
    return torch.stack(crops)  # (n, 3, size, size)


def whole_image(
    image: NDArray[np.uint8], size: int, device: "torch.device | str" = "cpu"
) -> "torch.Tensor":
    """The whole picture stretched to a square, as BLIP-2's own processor does.

    Returns float32 (1, 3, size, size) RGB in 0..1 on `device`.
    """
    return _resize(_planes(image, device), size)[None]


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


def _square(crop: "torch.Tensor", border: "torch.Tensor") -> "torch.Tensor":
    """Centre (3, h, w) in a square of `border` (3, 1, 1); the odd pixel goes right or below."""
    _, height, width = crop.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = border.expand(3, side, side).clone()
    square[:, top : top + height, left : left + width] = crop
    return square


def _resize(crop: "torch.Tensor", size: int) -> "torch.Tensor":
    """Bicubic with antialiasing (a = -0.5, as Pillow's) to (3, size, size), clipped to 0..1."""
    from torch.nn.functional import interpolate

    device = crop.device
    if device.type != "cpu" and max(crop.shape[1:]) > _CUDA_MAX_SHRINK * size:
        crop = crop.cpu()
    small = interpolate(crop[None], (size, size), mode="bicubic", antialias=True)[0]
    return small.clamp(0, 1).to(device)
