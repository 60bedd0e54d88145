"""The spatial rectifier (article, section 3): only masks in the named part of the picture count.

The article names four directions and the centre of a mask, the mean of its foreground pixels'
coordinates. Where the picture is cut it does not say; here at its middle. Pixel x has its centre
at x, so the columns run from 0 to W - 1 and the middle is (W - 1) / 2. A centre exactly on the
middle belongs to both halves: so left and right are exact mirror images (x -> W - 1 - x).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.errors import TasError


class Named(Protocol):
    """A direction word, of which only the name is asked (`language.Direction` has it)."""

    @property
    def name(self) -> str:
        """left, right, up or bottom."""


def in_region(
    centers_xy: ArrayLike, size_hw: tuple[int, int], directions: Iterable[str | Named]
) -> NDArray[np.bool_]:
    """Which masks have their centre in every named half of the picture.

    centers_xy: float (n, 2), px, x to the right and y downwards; size_hw: (H, W) in px;
    directions: any of left, right, up, bottom, as words or as `Direction`. Two intersect; none
    gives True for all. Returns bool (n,). Raises TasError for an unknown direction.

    >>> in_region([[0, 0], [1, 2], [2, 2]], (3, 3), ["left", "bottom"]).tolist()
    [False, True, False]
    """
    height, width = size_hw
    x, y = np.asarray(centers_xy, dtype=np.float64).reshape(-1, 2).T
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    halves = {
        "left": x <= middle_x,
        "right": x >= middle_x,
        "up": y <= middle_y,
        "bottom": y >= middle_y,
    }
    inside = np.ones(len(x), dtype=bool)
    for direction in directions:
        name = direction if isinstance(direction, str) else direction.name
        if name not in halves:
            raise TasError(f"unknown direction {name!r}; choose among {', '.join(halves)}")
        inside &= halves[name]
    return inside


def rectify(total: ArrayLike, inside: ArrayLike) -> int | None:
    """The answer: the best mask of the region, or of all masks where the region is empty.

    total: float (n,), the summed scores; inside: bool (n,), from `in_region`. Ties go to the
    first. Returns None where there is no mask at all.

    >>> rectify([3, 1, 2], [False, True, True]), rectify([3, 1], [False, False])
    (2, 0)
    """
    order = ranking(total, inside)
    return int(order[0]) if len(order) else None


def ranking(total: ArrayLike, inside: ArrayLike) -> NDArray[np.int64]:
    """Mask indices from best to worst, int64 (n,): those of the region first, ties by index."""
    scores = np.asarray(total, dtype=np.float64).reshape(-1)
    outside = ~np.asarray(inside, dtype=bool).reshape(-1)
    return np.lexsort((-scores, outside)).astype(np.int64)  # a stable sort
