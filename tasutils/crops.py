"""Mask, then crop: the pictures that the encoder and the captioner see of each proposal."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasutils.compute import one_thread
from tasutils.config import CropConfig
from tasutils.resampling import resample, resized_by_pillow, taps

if TYPE_CHECKING:
    import torch

Resize = Literal["float", "clip", "blip"]
CLIP_MEAN_RGB = (0.48145466, 0.4578275, 0.40821073)  # open_clip/constants.py, 0..1
CLIP_STD_RGB = (0.26862954, 0.26130258, 0.27577711)  # the same
# crops of one resampling, by kind of device; on the CPU one alone stays in its caches
_AT_ONCE = {"cpu": 1, "cuda": 32}
_WHOLE = CropConfig(pad_square=False)


class Picture:
    """A picture with its masks on a device, for crops of several kinds.

    Args:
        image: uint8 (H, W, 3) RGB.
        masks: bool (n, H, W), an array or a tensor.
        boxes_xyxy: (n, 4), px, end-exclusive, see `masks.boxes_xyxy`.
        device: where the crops are made.
    """

    def __init__(
        self,
        image: NDArray[np.uint8],
        masks: "NDArray[np.bool_] | torch.Tensor",
        boxes_xyxy: NDArray[np.float32],
        device: "torch.device | str" = "cpu",
    ) -> None:
        import torch

        self.image = image
        whole = np.ascontiguousarray(masks) if isinstance(masks, np.ndarray) else masks
        self.masks = torch.as_tensor(whole, device=device)
        self.boxes = boxes_xyxy.astype(int).tolist()
        self.device = torch.device(device)
        self._blurred: dict[int, torch.Tensor] = {}

    @cached_property
    def columns(self) -> "torch.Tensor":
        """The pixels, column after column: uint8 (W, 3, H)."""
        return self._columns(self.image)

    def blurred(self, kernel_px: int) -> "torch.Tensor":
        """The blurred pixels, likewise; blurred once for each kernel."""
        if kernel_px not in self._blurred:
            import cv2

            blurred = np.asarray(cv2.GaussianBlur(self.image, (kernel_px, kernel_px), 0), np.uint8)
            self._blurred[kernel_px] = self._columns(blurred.reshape(self.image.shape))
        return self._blurred[kernel_px]

    def _columns(self, image: NDArray[np.uint8]) -> "torch.Tensor":
        import torch

        pixels = torch.tensor(np.ascontiguousarray(image), device=self.device)
        return pixels.permute(1, 2, 0).contiguous()


class _Window(NamedTuple):
    """A part of a picture that lies somewhere in a larger rectangle; px."""

    picture: Picture
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


def masked_crops(
    image: NDArray[np.uint8],
    masks: "NDArray[np.bool_] | torch.Tensor",
    boxes_xyxy: NDArray[np.float32],
    size: int,
    config: CropConfig,
    device: "torch.device | str" = "cpu",
) -> "torch.Tensor":
    """`crops_of` one picture."""
    return crops_of([Picture(image, masks, boxes_xyxy, device)], size, config)


def crops_of(pictures: Sequence[Picture], size: int, config: CropConfig) -> "torch.Tensor":
    """The article's crop(I, m) of each mask, picture after picture, on the pictures' device.

    Outside its mask a crop is black, the blurred picture, or CLIP's mean colour (`config.fill`);
    it is cut to its box, centred in a square of the same colour (of black for blur) and resampled
    as `config.resize` says. Without `pad_square` it is not padded. With the geometry `released` a
    box lacks its last row and column (but keeps one pixel), and both sides are padded by the same
    whole number of pixels, so that a square from an odd difference is a pixel short.

    Args:
        pictures: at least one, all on the same device.
        size: side of the result in px.
        config: fill, geometry, padding and resampling.

    Returns float32 (n, 3, size, size) RGB in 0..1, within 2e-6 of Pillow's floats. On the CPU no
    bit of a crop hangs on the others.

    Source of geometry `released`, resize `clip` and `blip`: TAS released code, CLIP's and LAVIS's
    preprocessing.
    """
    windows = [
        _window(picture, index, config)
        for picture in pictures
        for index in range(len(picture.boxes))
    ]
    if config.resize == "float":
        return _resized(windows, size, config, pictures[0].device)
    cuts = (_cut(window, config) for window in windows)
    return resized_by_pillow(cuts, size, config.resize, pictures[0].device)


def whole_images(
    pictures: Sequence[Picture], size: int, resize: Resize = "float"
) -> "torch.Tensor":
    """The whole pictures as squares, stretched (or cut, `resize` "clip"): see `whole_image`."""
    if resize == "float":
        sizes = [picture.image.shape[:2] for picture in pictures]
        windows = [
            _Window(picture, None, (0, 0), size_hw, (0, 0), size_hw)
            for picture, size_hw in zip(pictures, sizes, strict=True)
        ]
        return _resized(windows, size, _WHOLE, pictures[0].device)
    images = (picture.image for picture in pictures)
    return resized_by_pillow(images, size, resize, pictures[0].device)


def whole_image(
    image: NDArray[np.uint8],
    size: int,
    device: "torch.device | str" = "cpu",
    resize: Resize = "float",
) -> "torch.Tensor":
    """The whole picture as a square, stretched (or cut, `resize` "clip"), see `CropConfig.resize`.

    Returns float32 (1, 3, size, size) RGB in 0..1 on `device`.
    """
    none = np.zeros((0, *image.shape[:2]), bool)
    picture = Picture(image, none, np.zeros((0, 4), np.float32), device)
    return whole_images([picture], size, resize)


def _window(picture: Picture, index: int, config: CropConfig) -> _Window:
    """Where a mask is cut and lies in its square; an odd pixel goes right, below or off."""
    short = config.geometry == "released"
    x0, y0, x1, y1 = picture.boxes[index]
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
        taps(places[:, axis], places[:, 2 + axis], places[:, 4 + axis], size) for axis in (0, 1)
    )
    across = across._replace(weight=across.weight / np.float32(255))
    border = _mean_colour(device) if config.fill == "mean" else None
    step = _AT_ONCE.get(device.type, 32)
    with one_thread():  # the work on one crop is too little to share: threads wait for each other
        for start in range(0, len(windows), step):
            part = slice(start, start + step)
            columns = _columns(windows[part], config)  # (n, w, 3, h)
            n, _, _, height = columns.shape
            wide = resample(columns.flatten(2), across.of(part)).view(n, size, 3, height)
            rows = wide.permute(0, 3, 2, 1).reshape(n, height, 3 * size)
            small = resample(rows, down.of(part)).view(n, size, 3, size).permute(0, 2, 1, 3)
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
    """A window's pixels with its fill outside the mask: (w, 3, h), uint8 or float32."""
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
        behind = picture.blurred(config.blur_kernel_px)[columns, :, rows]
        return behind + (pixels - behind) * inside  # bytes wrap around, and back
    return pixels * inside


def _mean_colour(device: "torch.device") -> "torch.Tensor":
    """CLIP's mean colour, float32 (3, 1), 0..1."""
    import torch

    return torch.tensor(CLIP_MEAN_RGB, device=device)[:, None]


def _cut(window: _Window, config: CropConfig) -> NDArray[np.uint8]:
    """One masked crop, padded, as the released code holds it before Pillow resizes it."""
    picture, colour = window.picture, np.zeros(3, np.uint8)
    if config.fill == "mean":
        colour = np.round(255 * np.array(CLIP_MEAN_RGB)).astype(np.uint8)
    outside: NDArray[np.uint8] = colour
    if config.fill == "blur":
        columns = picture.blurred(config.blur_kernel_px)  # (W, 3, H)
        outside = columns.permute(2, 0, 1)[window.slices].cpu().numpy()
    stencil = picture.masks[window.mask][window.slices].cpu().numpy()[:, :, None]
    square = np.empty((*window.whole_hw, 3), np.uint8)
    square[:] = colour
    (top, left), (height, width) = window.offset_yx, window.size_hw
    square[top : top + height, left : left + width] = np.where(
        stencil, picture.image[window.slices], outside
    )
    return square
