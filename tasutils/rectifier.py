"""The spatial rectifier (article, section 3): only masks in the named part of the picture count.

The article names four directions and the centre of a mask, the mean of its foreground pixels'
coordinates. Where the picture is cut it does not say; here at its middle. Pixel x has its centre
at x, so the columns run from 0 to W - 1 and the middle is (W - 1) / 2. A centre exactly on the
middle belongs to both halves: so left and right are exact mirror images (x -> W - 1 - x). The
released code cuts at the medians of the centres instead, and there the halves are < and >=.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.errors import TasError

Cut = Literal["middle", "median"]


class Named(Protocol):
    """A direction word, of which only the name is asked (`language.Direction` has it)."""

    @property
    def name(self) -> str:
        """left, right, up or bottom."""


def in_region(
    points_xy: ArrayLike,
    size_hw: tuple[int, int],
    directions: Iterable[str | Named],
    cut: Cut = "middle",
    centers_xy: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Which points, centres of masks as a rule, lie in every named half of the picture.

    points_xy: float (n, 2), px, x to the right and y downwards; size_hw: (H, W) in px;
    directions: any of left, right, up, bottom, as words or as `Direction`. Two intersect; none
    gives True for all. cut: where the halves meet; at the `median` of `centers_xy` (None: of the
    points) they are < and >=. Returns bool (n,). Raises TasError for an unknown direction.

    >>> in_region([[0, 0], [1, 2], [2, 2]], (3, 3), ["left", "bottom"]).tolist()
    [False, True, False]
    """
    points = _points(points_xy)
    x, y = points.T
    at_x, at_y = cut_xy(points if centers_xy is None else centers_xy, size_hw, cut)
    closed = cut == "middle"
    halves = {
        "left": (x < at_x) | (closed & (x == at_x)),
        "right": x >= at_x,
        "up": (y < at_y) | (closed & (y == at_y)),
        "bottom": y >= at_y,
    }
    inside = np.ones(len(x), dtype=bool)
    for direction in directions:
        name = direction if isinstance(direction, str) else direction.name
        if name not in halves:
            raise TasError(f"unknown direction {name!r}; choose among {', '.join(halves)}")
        inside &= halves[name]
    return inside


def cut_xy(centers_xy: ArrayLike, size_hw: tuple[int, int], cut: Cut) -> tuple[float, float]:
    """Where the picture is cut, (x, y) px: its middle, or the medians of the centres (n, 2).

    Without any mask the medians are the middle.
    """
    centers, (height, width) = _points(centers_xy), size_hw
    if cut == "middle" or not len(centers):
        return (width - 1) / 2, (height - 1) / 2
    x, y = np.median(centers, axis=0)
    return float(x), float(y)


def rectify(total: ArrayLike, inside: ArrayLike, yields: ArrayLike = False) -> int | None:
    """The answer: the best mask of the region, or of all masks where the region is empty.

    total: float (n,), the summed scores; inside: bool (n,), from `in_region`; yields: as in
    `ranking`. Ties go to the first. Returns None where there is no mask at all.

    >>> rectify([3, 1, 2], [False, True, True]), rectify([3, 1], [False, False])
    (2, 0)
    """
    order = ranking(total, inside, yields)
    return int(order[0]) if len(order) else None


def ranking(total: ArrayLike, inside: ArrayLike, yields: ArrayLike = False) -> NDArray[np.int64]:
    """Mask indices from best to worst, int64 (n,): those of the region first, ties by index.

    yields: bool (n,), which masks of the region lose every tie, and count as outside where the
    totals are NaN, which nothing beats (`rectifier_released`). NaN totals are all alike.
    """
    scores = np.asarray(total, dtype=np.float64)
    outside = ~np.asarray(inside, dtype=bool)
    last = np.broadcast_to(yields, scores.shape)
    if np.isnan(scores).any():
        scores, outside, last = np.zeros_like(scores), outside | last, np.zeros_like(outside)
    return np.lexsort((last, -scores, outside)).astype(np.int64)  # a stable sort


def _points(points_xy: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
