"""Ground-truth shapes to masks: polygons and run lengths of COCO files, checked before drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from tasutils.errors import TasError

Overlap = Literal["union", "exclusive"]
Raster = Literal["coco", "outline"]
_MAX_OUTLINE_PX = 4_000_000  # pycocotools allocates some 40 bytes for each
_AGAIN = "get the annotations again"


def segmentation_mask(
    segmentation: Any, size_hw: tuple[int, int], source: str, overlap: Overlap = "union"
) -> NDArray[np.bool_]:
    """Draw the `segmentation` of a COCO annotation as bool (H, W).

    It is polygons [[x0, y0, x1, y1, ...], ...] in px, or a run-length dictionary with `size` (H, W)
    and `counts`, a list or COCO's compressed text. Pixels under two polygons are foreground
    (`union`), or background (`exclusive`: REFER sums the layers, and Global-Local keeps those equal
    to 1). Raises TasError, naming `source`, where it is none of these or does not fit the picture.
    """
    if isinstance(segmentation, dict):
        return _run_length_mask(segmentation, size_hw, source)
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        wrong = "a segmentation that is neither polygons nor run lengths"
        raise TasError(f"{source}: {wrong}; {_AGAIN}")
    shapes = [points for p in segmentation if len(points := _points(p, size_hw, source)) >= 6]
    if not shapes:
        return np.zeros(size_hw, np.bool_)
    layers = coco.frPyObjects([points.tolist() for points in shapes], *size_hw)
    if overlap == "exclusive":
        return sum(coco.decode(layer).astype(np.int64) for layer in layers) == 1
    return coco.decode(coco.merge(layers)).astype(np.bool_)


def polygon_mask(
    polygon: Sequence[Any], size_hw: tuple[int, int], source: str, raster: Raster = "coco"
) -> NDArray[np.bool_]:
    """Fill a polygon x0, y0, x1, y1, ... in float px, of three points or more, as bool (H, W).

    `coco` is as pycocotools fills float polygons; `outline` truncates points to int and draws
    outline and fill, as PhraseCut's own evaluator does: two points are a line there. Raises
    TasError for coordinates that are no numbers, not in pairs, or far outside the picture.
    """
    if raster == "coco":
        return segmentation_mask([list(polygon)], size_hw, source)
    points = _points(polygon, size_hw, source)
    picture = Image.new("1", (size_hw[1], size_hw[0]))
    if len(points) >= 4:
        corners = [(x, y) for x, y in points.astype(np.int64).reshape(-1, 2).tolist()]
        ImageDraw.Draw(picture).polygon(corners, fill=1, outline=1)
    return np.array(picture)


def _points(polygon: Sequence[Any], size_hw: tuple[int, int], source: str) -> NDArray[np.float64]:
    """The coordinates of a polygon, float64 (2 n,) px, within the picture or not far from it."""
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.full(2, np.nan)
    if points.ndim != 1 or len(points) % 2 or not (np.abs(points) <= 10 * max(*size_hw, 100)).all():
        raise TasError(
            f"{source}: a polygon that is no list of x, y pairs within the picture; {_AGAIN}"
        )
    corners = points.reshape(-1, 2)
    length_px = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1, initial=0).sum()
    if length_px + len(corners) > _MAX_OUTLINE_PX:
        wrong = f"a polygon of {len(corners)} points, its outline {length_px:.0f} px long"
        raise TasError(f"{source}: {wrong}; {_AGAIN}")
    return points


def _run_length_mask(
    rle: dict[str, Any], size_hw: tuple[int, int], source: str
) -> NDArray[np.bool_]:
    height, width = size_hw
    # pycocotools leaves memory as it was where the runs are too short for the picture
    try:
        size, counts = tuple(rle["size"]), rle["counts"]
        runs = np.array(_decompressed(counts) if isinstance(counts, str | bytes) else counts)
        lengths = runs.astype(np.int64)
        fits = size == size_hw and lengths.sum() == height * width and (lengths >= 0).all()
    except (KeyError, TypeError, ValueError, OverflowError, IndexError):
        fits = False
    if not fits or lengths.ndim != 1 or lengths.max() > height * width:
        swapped = rle.get("size") == [width, height] != [height, width]
        wrong = f"run lengths that do not fill the picture of {width} x {height} px"
        wrong += ", width and height swapped" if swapped else ""
        raise TasError(f"{source}: {wrong}; {_AGAIN}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T.copy()


def _decompressed(counts: str | bytes) -> list[int]:
    """COCO's text form of run lengths (maskApi.c, rleFrString): 5 bits a character, low first."""
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii") if isinstance(counts, str) else counts:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32 and shift < 64:
            continue
        if bits & 16:
            value -= 1 << shift
        # from the fourth on, the difference to the run before last
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
