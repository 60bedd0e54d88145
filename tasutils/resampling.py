"""Antialiased bicubic resampling of many windows of pictures at once, each sum taken tap by tap."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]


class Taps(NamedTuple):
    """Which samples of a window each output takes, and how much of each.

    place: int64 (n, size, k), sample in the window; what lies outside of it has no weight.
    weight: float32 (n, size, k), 0 where a tap is not used.
    """

    place: Ints
    weight: NDArray[np.float32]

    def of(self, part: slice) -> "Taps":
        """Those of some of the windows."""
        return Taps(self.place[part], self.weight[part])


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
    weight[(place < 0) | (place >= extent[:, None, None])] = 0
    return Taps(place.astype(np.int64), weight.astype(np.float32))


def resample(rows: "torch.Tensor", across: Taps) -> "torch.Tensor":
    """Weighted sums of rows: float32 (n, extent, width) -> (n, size, width), on their device.

    The windows of `across` have at most `extent` samples.
    """
    import torch

    n, extent, width = rows.shape
    used = across.weight != 0  # (n, size, k)
    number = np.count_nonzero(used, axis=2).ravel()
    place = across.place + extent * np.arange(n)[:, None, None]
    index, start, weight = (
        torch.from_numpy(array).to(rows.device)
        for array in (place[used], np.cumsum(number) - number, across.weight[used])
    )
    found = torch.nn.functional.embedding_bag(
        index, rows.reshape(n * extent, width), start, mode="sum", per_sample_weights=weight
    )
    return found.view(n, -1, width)
