"""The released code's rectifier: four parts of the plane instead of halves of the picture.

The plane is cut into top left, bottom left, top right and bottom right. Words ask for one part,
whose best mask wins, or for two, "first over second": the better of their best masks wins, the
second's if the first's is not strictly better. A part without masks scores 0, below all others,
and stands for the best of all masks. So the answer is the best of the masks in the parts asked
for, those of the first yielding; if there is none, the best of all. Where totals are NaN
(`scores.strict_official`) no score is higher than another, and the second part has the say alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.errors import TasError
from tasutils.rectifier import Cut, cut_xy

PARTS = ("top left", "bottom left", "top right", "bottom right")


def part_of(
    points_xy: ArrayLike, size_hw: tuple[int, int], cut: Cut, centers_xy: ArrayLike | None = None
) -> NDArray[np.int64]:
    """The part that each point lies in, int64 (n,), an index into `PARTS`.

    points_xy: float (n, 2), px; cut: at the `median` of `centers_xy` (None: of the points) or at
    the picture's `middle`. A point on a cut lies right of it, or below.

    >>> part_of([[0, 0], [0, 9], [9, 0], [9, 9]], (10, 10), "median").tolist()
    [0, 1, 2, 3]
    """
    points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
    at_x, at_y = cut_xy(points if centers_xy is None else centers_xy, size_hw, cut)
    return 2 * (points[:, 0] >= at_x).astype(np.int64) + (points[:, 1] >= at_y)


def in_parts(
    points_xy: ArrayLike,
    size_hw: tuple[int, int],
    parts: Sequence[str],
    cut: Cut,
    centers_xy: ArrayLike | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which points lie in the parts asked for, and which of them yield; bool (n,) each.

    parts: none (True for all), one, or two in the order "first over second"; see the module.
    Arguments otherwise as in `part_of`. Raises TasError for an unknown part.
    """
    strays = [part for part in parts if part not in PARTS]
    if strays:
        raise TasError(f"unknown part {strays[0]!r}; choose among {', '.join(PARTS)}")
    place = part_of(points_xy, size_hw, cut, centers_xy)
    if not parts:
        return np.ones(len(place), dtype=bool), np.zeros(len(place), dtype=bool)
    wanted = [PARTS.index(part) for part in parts]
    return np.isin(place, wanted), np.isin(place, wanted[:-1])
