"""Antialiased bicubic resampling of many windows of pictures at once, each sum taken tap by tap."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]


class Taps(NamedTuple):
    """Which samples of a window each output takes, and how much of each.

    sample: int64 (t,), in its window; one output's taps follow the other's.
    weight: float32 (t,).
    bounds: int64 (n, size + 1), where the taps of a window's outputs begin, and where they all end.
    """

    sample: Ints
    weight: NDArray[np.float32]
    bounds: Ints

    def of(self, part: slice) -> "Taps":
        """Those of some of the windows."""
        bounds = self.bounds[part]
        mine = slice(bounds[0, 0], bounds[-1, -1])
        return Taps(self.sample[mine], self.weight[mine], bounds - bounds[0, 0])


def taps(side: Ints, offset: Ints, extent: Ints, size: int) -> Taps:
    """Keys' cubic kernel (a = -0.5), widened where the picture shrinks, as in Pillow.

    Each line of `side` samples becomes one of `size`; of its samples only the window from `offset`
    on is given, and the others are 0. A line's taps do not hang on the other lines.

    Args:
        side, offset, extent: int64 (n,), samples of the whole line, where the window begins in it
            and how many samples the window has.
        size: samples of the result.
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
    return Taps(place[used].astype(np.int64), weight[used].astype(np.float32), bounds)


def resample(rows: "torch.Tensor", across: Taps) -> "torch.Tensor":
    """Weighted sums of rows: float32 (n, extent, width) -> (n, size, width), on their device.

    The windows of `across` have at most `extent` samples.
    """
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


def resized_by_pillow(
    images: Iterable[NDArray[np.uint8]], size: int, how: str, device: "torch.device"
) -> "torch.Tensor":
    """Pillow's bicubic in whole numbers, one picture after another, as the released code has it.

    Args:
        images: uint8 (H, W, 3) RGB, of any sizes.
        size: side of the result in px.
        how: `clip`: the shorter side, then the middle, as in torchvision; `blip`: stretched.
        device: where the result goes.

    Returns float32 (n, 3, size, size), 0..1.
    """
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
