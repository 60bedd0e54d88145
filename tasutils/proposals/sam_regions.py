"""Holes filled and islands removed in SAM's masks, in the part of the picture that matters."""

import cv2
import numpy as np
from numpy.typing import NDArray

from tasutils.mask_runs import Runs

Bools = NDArray[np.bool_]


def tidy_masks(masks: Bools, runs: Runs, min_area_px: int) -> tuple[Bools, Bools]:
    """Bool (n, H, W) without holes and islands under `min_area_px`, and which changed, bool (n,).

    Of a mask of small islands only, the largest stays. Pixels that touch at a corner belong
    together. Equal to segment-anything's `remove_small_regions`, holes first, which looks at the
    whole picture for every mask.
    """
    result, changed = masks.copy(), np.zeros(len(masks), dtype=bool)
    for index, box in enumerate(runs.boxes_xyxy().astype(int)):
        y, x = _window(box, masks.shape[1:], min_area_px)
        inside = result[index, y, x]
        is_open = (y.start > 0, y.stop < masks.shape[1], x.start > 0, x.stop < masks.shape[2])
        holes, labels = _small_regions(~inside, min_area_px, is_open)
        inside |= holes[labels]
        islands, labels = _small_regions(inside, min_area_px, is_open)
        changed[index] = holes.any() or islands.any()
        if len(islands) > 1 and islands[1:].all():
            islands[1 + np.bincount(labels.ravel())[1:].argmax()] = False
        inside &= ~islands[labels]
    return result, changed


def _window(
    box_xyxy: NDArray[np.int64], size_hw: tuple[int, ...], min_area_px: int
) -> tuple[slice, slice]:
    """The part of the picture in which regions can be judged as if it were the whole.

    A mask's box and a pixel around it. Background that touches the window's rim goes on outside:
    there must be so much of it that it is no hole, or else the window reaches to the picture's
    rim. Even corners, for cv2 looks at 2 x 2 px at a time and the first of equal islands counts.
    """
    limits = (size_hw[1], size_hw[0], size_hw[1], size_hw[0])
    x0, y0, x1, y1 = (int(side) for side in box_xyxy)
    x0, y0, x1, y1 = max(x0 - 1, 0) & ~1, max(y0 - 1, 0) & ~1, x1 + 1, y1 + 1
    x1, y1 = min(x1, limits[0]), min(y1, limits[1])
    height, width = y1 - y0, x1 - x0
    if (x0 + 1) * height < min_area_px:
        x0 = 0
    if (limits[0] - x1 + 1) * height < min_area_px:
        x1 = limits[0]
    if (y0 + 1) * width < min_area_px:
        y0 = 0
    if (limits[1] - y1 + 1) * width < min_area_px:
        y1 = limits[1]
    return slice(y0, y1), slice(x0, x1)


def _small_regions(
    mask: Bools, min_area_px: int, is_open: tuple[bool, bool, bool, bool]
) -> tuple[Bools, NDArray[np.int32]]:
    """Which connected regions are under `min_area_px`, bool by label, and the labels (h, w).

    Label 0 is what is not in the mask. A region at a rim that `is_open` (top, bottom, left, right)
    goes on outside the window and is not small.
    """
    _, found, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    labels = np.asarray(found, dtype=np.int32)
    small = stats[:, cv2.CC_STAT_AREA] < min_area_px
    small[0] = False
    rims = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    for rim, goes_on in zip(rims, is_open, strict=True):
        if goes_on:
            small[rim] = False
    return small, labels
