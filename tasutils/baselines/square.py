"""The whole picture as the square that an image tower takes, and maps and masks on its grid.

A picture of any aspect is stretched to the square, never cut, so the grid of its features lies
over all of it, and a map is brought back by resampling it to (H, W).
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasutils.parts import Part

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's, RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)  # the same


class SquareConfig(Part):
    """How a picture is resampled and normalised.

    interpolation, antialias: CLIP's own preprocessing is bicubic and antialiased. torchvision's
        resizing of tensors is bilinear, and was not antialiased before 2023.
    statistics: the encoder's own mean and deviation, or ImageNet's, which the code of Global-Local
        uses even for CLIP.
    """

    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = True
    statistics: Literal["encoder", "imagenet"] = "encoder"


def square_picture(
    image: NDArray[np.uint8], encoder: Any, config: SquareConfig, size: int | None = None
) -> "torch.Tensor":
    """Uint8 (H, W, 3) stretched: float32 (1, 3, size, size) RGB, ready for `encoder.pixel_values`.

    size: in px; None: the encoder's own. The values are in 0..1 unless the statistics are others
    than the encoder's, see `restandardised`.
    """
    size = encoder.image_size if size is None else size
    square = resampled(planes(image, encoder.device), size, config)[None]
    return restandardised(square, encoder, config)


def planes(image: NDArray[np.uint8], device: str) -> "torch.Tensor":
    """Uint8 (H, W, 3) -> float32 (3, H, W) in 0..1 on `device`."""
    import torch

    return torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1).float() / 255


def resampled(picture: "torch.Tensor", size: int, config: SquareConfig) -> "torch.Tensor":
    """Float32 (3, h, w) -> (3, size, size), clipped to 0..1."""
    from torch.nn.functional import interpolate

    small = interpolate(
        picture[None],
        (size, size),
        mode=config.interpolation,
        antialias=config.antialias,
        align_corners=False,
    )
    return small[0].clamp(0, 1)


def restandardised(crops: "torch.Tensor", encoder: Any, config: SquareConfig) -> "torch.Tensor":
    """Crops such that `encoder.pixel_values` of them is what the config's statistics make of them.

    crops: float32 (n, 3, s, s) RGB in 0..1. With the encoder's own statistics they stay.
    """
    if config.statistics == "encoder":
        return crops
    mean, std = encoder_statistics(encoder)
    other_mean, other_std = (crops.new_tensor(v) for v in (IMAGENET_MEAN, IMAGENET_STD))
    scale = std / other_std
    shift = mean - scale * other_mean
    return crops * scale.view(3, 1, 1) + shift.view(3, 1, 1)


def encoder_statistics(encoder: Any) -> "tuple[torch.Tensor, torch.Tensor]":
    """Mean and deviation, float32 (3,) each, by which an encoder normalises pixels."""
    import torch

    size = encoder.image_size
    shades = torch.stack([torch.zeros(3, size, size), torch.ones(3, size, size)])
    black, white = encoder.pixel_values(shades.to(encoder.device))[:, :, 0, 0]
    std = 1 / (white - black)
    return -black * std, std


def over_picture(grid: "torch.Tensor", size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """A map (h, w) over the square, brought to the picture: float32 (H, W).

    Bilinear between the centres of the places, align_corners False, not antialiased.
    """
    from torch.nn.functional import interpolate

    large = interpolate(grid[None, None], size_hw, mode="bilinear", align_corners=False)
    return large[0, 0].float().cpu().numpy()


def min_max(values: "torch.Tensor") -> "torch.Tensor":
    """Values stretched to 0..1; zeros where they do not differ."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values * 0


def masks_on_grid(
    masks: NDArray[np.bool_],
    grid_hw: tuple[int, int],
    device: str,
    mode: Literal["nearest", "bilinear"],
    antialias: bool = False,
) -> "torch.Tensor":
    """Bool (n, H, W) -> float32 (n, h, w) in 0..1: the share of a mask at each place of a grid.

    `nearest` takes the one pixel at the top left of each place (torch's rule), so a small mask may
    have no place at all; `bilinear` without `antialias` looks at four pixels of each.
    """
    import torch
    from torch.nn.functional import interpolate

    stencils = torch.from_numpy(np.ascontiguousarray(masks)).to(device).float()[:, None]
    if mode == "nearest":
        return interpolate(stencils, grid_hw, mode="nearest")[:, 0]
    return interpolate(
        stencils, grid_hw, mode="bilinear", antialias=antialias, align_corners=False
    )[:, 0]


def drawable(crops: "torch.Tensor") -> NDArray[np.uint8]:
    """Float32 (n, 3, h, w) in 0..1 -> uint8 (n, h, w, 3), for pictures of what a method sees."""
    pixels = (crops.clamp(0, 1) * 255).round().byte()
    return np.asarray(pixels.permute(0, 2, 3, 1).cpu().numpy(), dtype=np.uint8)


def lit_patches(picture: "torch.Tensor", shares: "torch.Tensor") -> NDArray[np.uint8]:
    """A picture (1, 3, s, s) times what a mask leaves of each patch (n, h, w): (n, s, s, 3)."""
    from torch.nn.functional import interpolate

    light = 0.15 + 0.85 * shares[:, None]
    return drawable(picture * interpolate(light, picture.shape[2:], mode="nearest"))
