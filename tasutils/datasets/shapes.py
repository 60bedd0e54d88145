"""Ground-truth shapes to masks: polygons and run lengths of COCO files, checked before drawing.

The files come from outside, and pycocotools reads beyond its buffers when run lengths do not fill
the picture; so run lengths are decoded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from tasutils.errors import TasError

Overlap = Literal["union", "exclusive"]
Raster = Literal["coco", "outline"]
_MAX_OUTLINE_PX = 4_000_000  # pycocotools allocates some 40 bytes for each
_MAX_DRAWN_PX = 10**10  # pixels times polygons of one target: seconds
_RUN_BITS = 60  # no run of a picture is longer


def segmentation_mask(
    segmentation: Any, size_hw: tuple[int, int], source: str, overlap: Overlap = "union"
) -> NDArray[np.bool_]:
    """Draw the `segmentation` of a COCO annotation.

    Args:
        segmentation: polygons [[x0, y0, x1, y1, ...], ...] in px, or a run-length dictionary with
            `size` (H, W) and `counts`, a list or COCO's compressed text.
        size_hw: (H, W) of the picture.
        source: what error messages name.
        overlap: what pixels covered by two polygons are: foreground (`union`), or background
            (`exclusive`: REFER sums the layers, and Global-Local keeps those equal to 1).

    Returns:
        bool (H, W).

    Raises:
        TasError: the segmentation is none of these, or does not fit the picture.
    """
    if isinstance(segmentation, dict):
        return run_length_mask(segmentation, size_hw, source)
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        raise TasError(
            f"{source}: a segmentation that is neither polygons nor run lengths; "
            "get the annotations again"
        )
    if len(segmentation) * size_hw[0] * size_hw[1] > _MAX_DRAWN_PX:
        raise TasError(
            f"{source}: {len(segmentation)} polygons, more than a target has; "
            "get the annotations again"
        )
    layers = np.zeros(size_hw, np.int64)
    for polygon in segmentation:
        layers += polygon_mask(polygon, size_hw, source)
    return layers == 1 if overlap == "exclusive" else layers > 0


def polygon_mask(
    polygon: Sequence[Any], size_hw: tuple[int, int], source: str, raster: Raster = "coco"
) -> NDArray[np.bool_]:
    """Fill one polygon.

    Args:
        polygon: x0, y0, x1, y1, ... float px; fewer than three points cover nothing.
        size_hw: (H, W) of the picture.
        source: what error messages name.
        raster: `coco` as pycocotools fills float polygons; `outline` truncates points to int and
            draws outline and fill, as PhraseCut's own evaluator does: two points are a line there.

    Returns:
        bool (H, W).

    Raises:
        TasError: coordinates that are no numbers, not in pairs, or far outside the picture.
    """
    points = polygon_points(polygon, size_hw, source)
    if len(points) < (4 if raster == "outline" else 6):  # pycocotools takes four numbers for a box
        return np.zeros(size_hw, np.bool_)
    if raster == "outline":
        return _outline_and_fill(points, size_hw)
    rle = coco.frPyObjects([points.tolist()], *size_hw)
    return coco.decode(rle)[:, :, 0].astype(np.bool_)


def polygon_points(
    polygon: Sequence[Any], size_hw: tuple[int, int], source: str
) -> NDArray[np.float64]:
    """The coordinates of a polygon, checked: float64 (2 n,) px.

    Raises:
        TasError: coordinates that are no numbers, not in pairs, or far outside the picture, or
            an outline much longer than any in a picture.
    """
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.full(2, np.nan)
    if points.ndim != 1 or len(points) % 2 or not (np.abs(points) <= 10 * max(*size_hw, 100)).all():
        raise TasError(
            f"{source}: a polygon that is no list of x, y pairs within the picture; "
            "get the annotations again"
        )
    corners = points.reshape(-1, 2)
    steps = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1, initial=0)
    if steps.sum() + len(steps) > _MAX_OUTLINE_PX:
        raise TasError(
            f"{source}: a polygon of {len(steps)} points whose outline is {steps.sum():.0f} px "
            "long; get the annotations again"
        )
    return points


def _outline_and_fill(points: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    from PIL import Image, ImageDraw

    picture = Image.new("L", (size_hw[1], size_hw[0]))
    corners = [(x, y) for x, y in points.astype(np.int64).reshape(-1, 2).tolist()]
    ImageDraw.Draw(picture).polygon(corners, fill=1, outline=1)
    return np.asarray(picture).astype(np.bool_)


def run_length_mask(
    rle: dict[str, Any], size_hw: tuple[int, int], source: str
) -> NDArray[np.bool_]:
    """Decode COCO run lengths, which alternate background and foreground down the columns.

    Args:
        rle: `size` (H, W) and `counts`, a list of int or COCO's compressed text.
        size_hw: (H, W) of the picture.
        source: what error messages name.

    Returns:
        bool (H, W).

    Raises:
        TasError: another size than the picture's, or runs that do not fill it.
    """
    counts = rle.get("counts")
    try:
        size = tuple(rle["size"])
        runs = _decompress(counts) if isinstance(counts, str | bytes) else list(counts or ())
        lengths = np.array(runs, np.int64)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError):
        size, lengths = (), np.zeros(0, np.int64)
    height, width = size_hw
    area = height * width
    fits = ((lengths >= 0) & (lengths <= area)).all() and lengths.sum() == area
    if size != size_hw or lengths.ndim != 1 or not fits:
        raise TasError(
            f"{source}: run lengths that do not fill the {height} x {width} picture; "
            "get the annotations again"
        )
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T.copy()


def _decompress(counts: str | bytes) -> list[int]:
    """COCO's text form of run lengths (maskApi.c, rleFrString): 5 bits a character, low first."""
    raw = counts.encode("ascii") if isinstance(counts, str) else counts
    runs: list[int] = []
    at = 0
    while at < len(raw):
        value, shift, more = 0, 0, True
        while more:
            bits = raw[at] - 48
            at += 1
            value |= (bits & 0x1F) << shift
            shift += 5
            more = bool(bits & 0x20)
            if shift > _RUN_BITS:
                raise ValueError("a run longer than any picture")
            if not more and bits & 0x10:
                value -= 1 << shift
        if len(runs) > 2:  # from the fourth on, the difference to the run before last
            value += runs[-2]
        runs.append(value)
    return runs
