"""The spatial rectifier (article, section 3): only masks in the named part of the picture count.

The article names four directions and the centre of a mask, the mean of its foreground pixels'
coordinates. Where the picture is cut it does not say; here at its middle. Pixel x has its centre
at x, so the columns run from 0 to W - 1 and the middle is (W - 1) / 2. A centre exactly on the
middle belongs to both halves: so left and right are exact mirror images (x -> W - 1 - x). The
released code cuts at the medians of the centres instead, and there the halves are < and >=; and it
knows four parts of the plane in place of halves (`in_parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasutils.errors import TasError
from tasutils.language.reading import Direction, Matching, Plan, plan_words
from tasutils.language.released import Reading, make_plan

Cut = Literal["middle", "median"]
Bools = NDArray[np.bool_]
PARTS = ("top left", "bottom left", "top right", "bottom right")


def in_region(
    points_xy: ArrayLike,
    size_hw: tuple[int, int],
    directions: Iterable[str | Direction],
    cut: Cut = "middle",
    centers_xy: ArrayLike | None = None,
) -> Bools:
    """Which points, centres of masks as a rule, lie in every named half of the picture.

    points_xy: float (n, 2), px, x to the right and y downwards; size_hw: (H, W) in px;
    directions: any of left, right, up, bottom; two intersect, none gives True for all. cut: where
    the halves meet; at the `median` of `centers_xy` (None: of the points) they are < and >=.
    Returns bool (n,). Raises TasError for an unknown direction.

    >>> in_region([[0, 0], [1, 2], [2, 2]], (3, 3), ["left", "bottom"]).tolist()
    [False, True, False]
    """
    points = np.asarray(points_xy, np.float64).reshape(-1, 2)
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


def in_parts(
    points_xy: ArrayLike,
    size_hw: tuple[int, int],
    parts: Sequence[str],
    cut: Cut,
    centers_xy: ArrayLike | None = None,
) -> tuple[Bools, Bools]:
    """Which points lie in the released code's parts, and which of them yield; bool (n,) each.

    Words ask for one part of the plane, whose best mask wins, or for two, "first over second": the
    better of their best masks wins, the second's if the first's is not strictly better. A part
    without masks scores below all others and stands for the best of all. So the answer is the best
    of the masks in the parts asked for, those of the first yielding; if there is none, the best of
    all. Where totals are NaN no score is higher than another: the second part has the say.

    points_xy, size_hw, cut, centers_xy: as in `in_region`, but a point on a cut always lies right
    of it, or below. parts: none (True for all), one or two of `PARTS`. Raises TasError for others.

    >>> in_parts([[0, 0], [9, 9]], (10, 10), ["top left", "bottom right"], "middle")[1].tolist()
    [True, False]
    """
    strays = [part for part in parts if part not in PARTS]
    if strays:
        raise TasError(f"unknown part {strays[0]!r}; choose among {', '.join(PARTS)}")
    points = np.asarray(points_xy, np.float64).reshape(-1, 2)
    at_x, at_y = cut_xy(points if centers_xy is None else centers_xy, size_hw, cut)
    place = 2 * (points[:, 0] >= at_x) + (points[:, 1] >= at_y)  # (n,) index into PARTS
    if not parts:
        return np.ones(len(place), dtype=bool), np.zeros(len(place), dtype=bool)
    wanted = [PARTS.index(part) for part in parts]
    return np.isin(place, wanted), np.isin(place, wanted[:-1])


def cut_xy(centers_xy: ArrayLike, size_hw: tuple[int, int], cut: Cut) -> tuple[float, float]:
    """Where the picture is cut, (x, y) px: its middle, or the medians of the centres (n, 2).

    Without any mask the medians are the middle.
    """
    centers = np.asarray(centers_xy, np.float64).reshape(-1, 2)
    if cut == "middle" or not len(centers):
        return (size_hw[1] - 1) / 2, (size_hw[0] - 1) / 2
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
    totals are NaN, which nothing beats (`in_parts`). NaN totals are all alike.
    """
    scores = np.asarray(total, dtype=np.float64)
    outside = ~np.asarray(inside, dtype=bool)
    last = np.broadcast_to(yields, scores.shape)
    if np.isnan(scores).any():
        scores, outside, last = np.zeros_like(scores), outside | last, np.zeros_like(outside)
    return np.lexsort((last, -scores, outside)).astype(np.int64)  # a stable sort


@dataclass(frozen=True)
class Rectifier:
    """A form of the rectifier.

    read: which words of a sentence count and what they ask for: (text, the released parser's
        reading if the preset has a gate, matching, why the gate is shut) -> Plan.
    region: (points_xy (n, 2) px, size_hw, a Plan or Expression, cut, centers_xy) -> which points
        lie in the region, and which of them yield (`ranking`); bool (n,) each.
    yields: may any yield? Only then a run stores which do.
    """

    read: Callable[[str, Reading | None, Matching, str], Plan]
    region: Callable[..., tuple[Bools, Bools]]
    yields: bool = False


def _halves(
    points: ArrayLike, size_hw: tuple[int, int], asked: Any, cut: Cut, centers: ArrayLike
) -> tuple[Bools, Bools]:
    inside = in_region(points, size_hw, asked.directions, cut, centers)
    return inside, np.zeros_like(inside)


def _in_words(form: str) -> Rectifier:
    return Rectifier(lambda text, _, *rest: plan_words(form, text, *rest), _halves)


#: The forms: the article's four words, more words read with care, the released code, none at all.
RECTIFIERS: dict[str, Rectifier] = {
    "paper": _in_words("paper"),
    "extended": _in_words("extended"),
    "official": Rectifier(
        make_plan,
        lambda points, size_hw, asked, *rest: in_parts(points, size_hw, asked.parts, *rest),
        yields=True,
    ),
    "none": _in_words("none"),
}
