"""Mask, then crop: the views of each proposal that the encoder and the captioner see.

A view is a function (image, masks, boxes_xyxy, size, config, device) -> pixels float32
(n, 3, size, size) in 0..1, by name in `VIEWS`; describe() makes those that a preset's terms name.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasutils.compute import one_thread
from tasutils.config import CropConfig

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]
Resize = Literal["float", "clip", "blip"]
CLIP_MEAN_RGB = (0.48145466, 0.4578275, 0.40821073)  # open_clip/constants.py, 0..1
CLIP_STD_RGB = (0.26862954, 0.26130258, 0.27577711)  # the same
# crops of one resampling, by kind of device; on the CPU one alone stays in its caches
_AT_ONCE = {"cpu": 1, "cuda": 32}


def masked_crops(
    image: NDArray[np.uint8],
    masks: "NDArray[np.bool_] | torch.Tensor",
    boxes_xyxy: NDArray[np.float32],
    size: int,
    config: CropConfig,
    device: "torch.device | str" = "cpu",
) -> "torch.Tensor":
    """The article's crop(I, m) of each mask; the view `crop`.

    Outside its mask a crop is black, the blurred picture, or CLIP's mean colour (`config.fill`);
    it is cut to its box, centred in a square of the same colour (of black for blur) and resampled,
    see `CropConfig`. With the geometry `released` a box lacks its last row and column (but keeps
    one pixel), and both sides are padded by the same whole number of pixels, so that a square from
    an odd difference is a pixel short.

    image: uint8 (H, W, 3) RGB; masks: bool (n, H, W), an array or a tensor; boxes_xyxy: (n, 4), px,
    end-exclusive; size: side of the result in px. Returns float32 (n, 3, size, size) RGB in 0..1 on
    `device`, within 2e-6 of Pillow's floats. On the CPU no bit of a crop hangs on the others.
    Source of geometry `released`, resize `clip` and `blip`: TAS released code, CLIP's and LAVIS's
    preprocessing.
    """
    picture = _Picture(image, masks, device, config.blur_kernel_px)
    boxes = enumerate(boxes_xyxy.astype(int).tolist())
    windows = [_window(picture, index, box, config) for index, box in boxes]
    if config.resize == "float":
        return _resized(windows, size, config, picture.device)
    cuts = (_cut(window, config) for window in windows)
    return _resized_by_pillow(cuts, size, config.resize, picture.device)


VIEWS: dict[str, Callable[..., Any]] = {"crop": masked_crops}


def whole_image(
    image: NDArray[np.uint8],
    size: int,
    device: "torch.device | str" = "cpu",
    resize: Resize = "float",
) -> "torch.Tensor":
    """The whole picture as a square, stretched (or cut, `resize` "clip"), see `CropConfig.resize`.

    Returns float32 (1, 3, size, size) RGB in 0..1 on `device`.
    """
    picture = _Picture(image, np.zeros((0, *image.shape[:2]), bool), device)
    if resize != "float":
        return _resized_by_pillow([image], size, resize, picture.device)
    height, width = image.shape[:2]
    window = _Window(picture, None, (0, 0), (height, width), (0, 0), (height, width))
    return _resized([window], size, CropConfig(pad_square=False), picture.device)


class _Picture:
    """A picture with its masks on a device."""

    def __init__(
        self,
        image: NDArray[np.uint8],
        masks: "NDArray[np.bool_] | torch.Tensor",
        device: "torch.device | str",
        kernel_px: int = 1,
    ) -> None:
        import torch

        self.image, self.device = image, torch.device(device)
        whole = np.ascontiguousarray(masks) if isinstance(masks, np.ndarray) else masks
        self.masks = torch.as_tensor(whole, device=device)
        self.kernel_px = kernel_px

    @cached_property
    def columns(self) -> "torch.Tensor":
        """The pixels, column after column: uint8 (W, 3, H)."""
        return self._columns(self.image)

    @cached_property
    def blurred(self) -> "torch.Tensor":
        """The blurred pixels, likewise."""
        import cv2

        blurred = np.asarray(cv2.GaussianBlur(self.image, (self.kernel_px,) * 2, 0), np.uint8)
        return self._columns(blurred.reshape(self.image.shape))

    def _columns(self, image: NDArray[np.uint8]) -> "torch.Tensor":
        import torch

        pixels = torch.tensor(np.ascontiguousarray(image), device=self.device)
        return pixels.permute(1, 2, 0).contiguous()


class _Window(NamedTuple):
    """A part of a picture that lies somewhere in a larger rectangle; px."""

    picture: _Picture
    mask: int | None  # which one; None for the picture without any
    xy: tuple[int, int]
    size_hw: tuple[int, int]
    offset_yx: tuple[int, int]  # in the rectangle
    whole_hw: tuple[int, int]  # the rectangle

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        (x, y), (height, width) = self.xy, self.size_hw
        return slice(y, y + height), slice(x, x + width)


def _window(picture: _Picture, index: int, box: list[int], config: CropConfig) -> _Window:
    """Where a mask is cut and lies in its square; an odd pixel goes right, below or off."""
    short = config.geometry == "released"
    x0, y0, x1, y1 = box
    x, y = max(x0, 0), max(y0, 0)
    height, width = max(y1 - short - y, 1), max(x1 - short - x, 1)
    if not config.pad_square:
        return _Window(picture, index, (x, y), (height, width), (0, 0), (height, width))
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = (height + 2 * top, width + 2 * left) if short else (side, side)
    return _Window(picture, index, (x, y), (height, width), (top, left), square)


def _resized(
    windows: Sequence[_Window], size: int, config: CropConfig, device: "torch.device"
) -> "torch.Tensor":
    """The masked windows in their rectangles, resampled; columns first, which saves a transpose."""
    import torch

    out = torch.empty((len(windows), 3, size, size), device=device)
    if not windows:
        return out
    places = np.array([(*w.whole_hw, *w.offset_yx, *w.size_hw) for w in windows], np.int64)
    down, across = (
        _taps(places[:, axis], places[:, 2 + axis], places[:, 4 + axis], size) for axis in (0, 1)
    )
    across = across._replace(weight=across.weight / np.float32(255))
    border = _mean_colour(device) if config.fill == "mean" else None
    step = _AT_ONCE.get(device.type, 32)
    with one_thread():  # the work on one crop is too little to share: threads wait for each other
        for start in range(0, len(windows), step):
            part = slice(start, start + step)
            columns = _columns(windows[part], config)  # (n, w, 3, h)
            n, _, _, height = columns.shape
            wide = _resample(columns.flatten(2), across.of(part)).view(n, size, 3, height)
            rows = wide.permute(0, 3, 2, 1).reshape(n, height, 3 * size)
            small = _resample(rows, down.of(part)).view(n, size, 3, size).permute(0, 2, 1, 3)
            small = small if border is None else small + border[..., None]
            torch.clamp(small, 0, 1, out=out[part])
    return out


def _columns(windows: Sequence[_Window], config: CropConfig) -> "torch.Tensor":
    """Masked windows column after column, in one size: float32 (n, w, 3, h), 0..255.

    Of fill `mean` what they differ from the colour by, so that it is 0 where nothing is to be seen.
    """
    import torch

    height, width = np.max([window.size_hw for window in windows], axis=0).tolist()
    columns = torch.zeros((len(windows), width, 3, height), device=windows[0].picture.device)
    for into, window in zip(columns, windows, strict=True):
        across, down = window.size_hw[1], window.size_hw[0]
        into[:across, :, :down] = _masked(window, config)
    return columns


def _masked(window: _Window, config: CropConfig) -> "torch.Tensor":
    """With its fill outside the mask: (w, 3, h), uint8 or float32."""
    import torch

    picture, (rows, columns) = window.picture, window.slices
    pixels = picture.columns[columns, :, rows]
    if window.mask is None:
        return pixels
    stencil = picture.masks[window.mask, rows, columns].t().contiguous()[:, None]  # (w, 1, h)
    if config.fill == "mean":
        return (pixels - 255 * _mean_colour(picture.device)) * stencil
    inside = stencil.view(torch.uint8)
    if config.fill == "blur":
        behind = picture.blurred[columns, :, rows]
        return behind + (pixels - behind) * inside  # bytes wrap around, and back
    return pixels * inside


def _mean_colour(device: "torch.device") -> "torch.Tensor":
    import torch

    return torch.tensor(CLIP_MEAN_RGB, device=device)[:, None]


def _cut(window: _Window, config: CropConfig) -> NDArray[np.uint8]:
    """One masked crop, padded, as the released code holds it before Pillow resizes it."""
    picture, colour = window.picture, np.zeros(3, np.uint8)
    if config.fill == "mean":
        colour = np.round(255 * np.array(CLIP_MEAN_RGB)).astype(np.uint8)
    outside: NDArray[np.uint8] = colour
    if config.fill == "blur":
        outside = picture.blurred.permute(2, 0, 1)[window.slices].cpu().numpy()
    stencil = picture.masks[window.mask][window.slices].cpu().numpy()[:, :, None]
    square = np.empty((*window.whole_hw, 3), np.uint8)
    square[:] = colour
    (top, left), (height, width) = window.offset_yx, window.size_hw
    square[top : top + height, left : left + width] = np.where(
        stencil, picture.image[window.slices], outside
    )
    return square


class _Taps(NamedTuple):
    """Which samples of a window each output takes, and how much of each.

    sample: int64 (t,), in its window, one output's taps follow the other's; weight: float32 (t,);
    bounds: int64 (n, size + 1), where the taps of a window's outputs begin, and where they all end.
    """

    sample: Ints
    weight: NDArray[np.float32]
    bounds: Ints

    def of(self, part: slice) -> "_Taps":
        bounds = self.bounds[part]
        mine = slice(bounds[0, 0], bounds[-1, -1])
        return _Taps(self.sample[mine], self.weight[mine], bounds - bounds[0, 0])


def _taps(side: Ints, offset: Ints, extent: Ints, size: int) -> _Taps:
    """Keys' cubic kernel (a = -0.5), widened where the picture shrinks, as in Pillow.

    Each line of `side` samples becomes one of `size`; of its samples only the `extent` from
    `offset` on are given, and the others are 0. A line's taps do not hang on the other lines.
    """
    scale = (side / size)[:, None]
    stretch = np.maximum(scale, 1)
    center = (np.arange(size) + 0.5) * scale  # (n, size)
    first = np.maximum(np.floor(center - 2 * stretch + 0.5), 0)
    step = np.arange(int(np.ceil(4 * stretch.max())) + 1)  # (k,)
    place = first[..., None] + step
    x = np.abs((place + 0.5 - center[..., None]) / stretch[..., None])
    weight = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)
    weight[(x >= 2) | (place >= side[:, None, None])] = 0
    # one after the other: a longer row of taps, which another line asks for, adds but zeros
    weight /= np.cumsum(weight, axis=2)[..., -1:]
    place -= offset[:, None, None]
    used = (weight != 0) & (place >= 0) & (place < extent[:, None, None])
    ends = np.cumsum(np.count_nonzero(used, axis=2)).reshape(-1, size)
    begins = np.append(0, ends[:-1, -1])[:, None]
    bounds = np.concatenate([begins, ends], axis=1)
    return _Taps(place[used].astype(np.int64), weight[used].astype(np.float32), bounds)


def _resample(rows: "torch.Tensor", across: _Taps) -> "torch.Tensor":
    """Weighted sums of rows: float32 (n, extent, width) -> (n, size, width), on their device."""
    import torch

    n, extent, width = rows.shape
    bounds = across.bounds
    window = np.repeat(np.arange(n), bounds[:, -1] - bounds[:, 0])
    index, start, weight = (
        torch.from_numpy(array).to(rows.device)
        for array in (across.sample + extent * window, bounds[:, :-1].ravel(), across.weight)
    )
    found = torch.nn.functional.embedding_bag(
        index, rows.reshape(n * extent, width), start, mode="sum", per_sample_weights=weight
    )
    return found.view(n, -1, width)


def _resized_by_pillow(
    images: Iterable[NDArray[np.uint8]], size: int, how: str, device: "torch.device"
) -> "torch.Tensor":
    """Pillow's bicubic in whole numbers as the released code has it: float32 (n, 3, size, size)."""
    import torch
    from PIL import Image

    found = []
    for pixels in images:
        height, width = pixels.shape[:2]
        short = min(height, width)
        wanted = (size * width // short, size * height // short) if how == "clip" else (size, size)
        small = Image.fromarray(pixels).resize(wanted, Image.Resampling.BICUBIC)
        left, top = round((wanted[0] - size) / 2), round((wanted[1] - size) / 2)
        found.append(np.asarray(small.crop((left, top, left + size, top + size))))
    stack = torch.from_numpy(np.array(found, np.uint8).reshape(-1, size, size, 3))
    return stack.to(device).permute(0, 3, 1, 2).float().contiguous() / 255
