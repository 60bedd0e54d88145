"""Masks as numpy arrays: RLE and back, areas, boxes, centres, IoU, the overlap filter."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from tasutils.mask_runs import Bools, Rle, runs_of

_CHUNK_PX = 1 << 20  # below 2**24, so float32 sums of zeros and ones stay exact


def encode_rle(masks: Bools) -> list[Rle]:
    """COCO run-length codes {"size": [H, W], "counts": str} of bool (n, H, W).

    >>> encode_rle(np.ones((1, 2, 2), bool))
    [{'size': [2, 2], 'counts': '04'}]
    """
    return runs_of(masks).rles()


def decode_rle(rles: Sequence[Rle], size_hw: tuple[int, int] | None = None) -> Bools:
    """Bool (n, H, W) of COCO run-length codes; `size_hw` gives (H, W) when the list is empty."""
    if not rles:
        return np.zeros((0, *(size_hw or (0, 0))), dtype=bool)
    masks = np.empty((len(rles), *rles[0]["size"]), dtype=bool)
    for index, rle in enumerate(rles):
        masks[index] = coco_mask.decode(rle)
    return masks


def areas_px(masks: Bools) -> NDArray[np.int64]:
    """Number of foreground pixels, int64 (n,)."""
    _check(masks)
    return np.count_nonzero(masks, axis=(1, 2)).astype(np.int64)


def boxes_xyxy(masks: Bools) -> NDArray[np.float32]:
    """Tight boxes float32 (n, 4): x0, y0, x1, y1 in px, end-exclusive; zeros for an empty mask."""
    return runs_of(masks).boxes_xyxy()


def centers_xy(masks: Bools) -> NDArray[np.float32]:
    """Mean (x, y) of the foreground pixel coordinates, float32 (n, 2), px; article, rectifier (b).

    Pixel (0, 0) has the coordinates (0, 0). An empty mask has the centre (0, 0).
    """
    return runs_of(masks).centers_xy()


def intersections_px(a: Bools, b: Bools) -> NDArray[np.int64]:
    """Pixels that each mask of a (n, H, W) shares with each of b (m, H, W): int64 (n, m)."""
    n_px = a.shape[1] * a.shape[2]
    left, right = a.reshape(len(a), n_px), b.reshape(len(b), n_px)
    total = np.zeros((len(a), len(b)), dtype=np.int64)
    for start in range(0, n_px, _CHUNK_PX):
        part = slice(start, start + _CHUNK_PX)
        product = left[:, part].astype(np.float32) @ right[:, part].astype(np.float32).T
        total += product.astype(np.int64)
    return total


def overlap_filter(
    rles: Sequence[Rle],
    areas_px: NDArray[np.int64],
    min_area_px: int,
    max_overlap: float | None,
    greedy: bool = False,
) -> NDArray[np.int64]:
    """Indices (int64, ascending) of the masks that stay, of their run-length codes and areas (n,).

    Masks under `min_area_px` are dropped. For every pair of the rest, intersection / area of the
    smaller > `max_overlap` drops the smaller (equal areas: the later). Not greedy: a dropped mask
    still drops others; `greedy`, from the largest on, only masks that stay do. `max_overlap` None:
    no rule for pairs. Source: TAS released code, which is not greedy.
    """
    large = np.flatnonzero(areas_px >= min_area_px)
    if max_overlap is None or len(large) < 2:
        return large
    area, codes = areas_px[large], [rles[index] for index in large.tolist()]
    # against a crowd, COCO divides the intersection by the area of the first mask alone
    share = np.asarray(coco_mask.iou(codes, codes, [True] * len(codes)))
    order = np.arange(len(large))
    is_smaller = (area[:, None] < area[None, :]) | (
        (area[:, None] == area[None, :]) & (order[:, None] > order[None, :])
    )
    drops = is_smaller & (share > max_overlap)  # (dropped, by whom)
    stays = ~drops.any(axis=1)
    if greedy:  # those that could drop a mask are settled before it
        for index in np.lexsort((order, -area)):
            stays[index] = not (drops[index] & stays).any()
    return large[stays]


def rle_ious(rles: Sequence[Rle]) -> NDArray[np.float64]:
    """IoU of every pair of run-length codes, float64 (n, n), exact; no mask is decoded."""
    if not rles:
        return np.zeros((0, 0))
    return np.asarray(coco_mask.iou(list(rles), list(rles), [False] * len(rles)))


def distinct(ious: NDArray[np.floating], nms_thresh: float, limit: int) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: indices (int64, ascending) of the masks that stay.

    Args:
        ious: float (n, n) of masks in order of preference, the best first.
        nms_thresh: a mask with a higher IoU with one that stays is dropped.
        limit: at most so many stay.

    >>> distinct(np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]), 0.8, 5)
    array([0, 2])
    """
    kept: list[int] = []
    for index in range(len(ious)):
        if len(kept) == limit:
            break
        if not (ious[index, kept] > nms_thresh).any():
            kept.append(index)
    return np.array(kept, np.int64)


def iou(a: Bools, b: Bools) -> float:
    """Intersection over union of two masks (H, W); 0.0 when both are empty."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def intersection_union(masks: Bools, gt: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of intersection and of union, int64 (n,) each, of masks (n, H, W) with gt (H, W)."""
    _check(masks)
    if masks.shape[1:] != gt.shape:
        raise ValueError(f"masks are {masks.shape[1:]} but the ground truth is {gt.shape}; (H, W)")
    intersection = np.count_nonzero(masks & gt, axis=(1, 2)).astype(np.int64)
    union = areas_px(masks) + np.count_nonzero(gt) - intersection
    return intersection, union


def _check(masks: Bools) -> None:
    if masks.ndim != 3 or masks.dtype != np.bool_:
        raise ValueError(f"masks must be bool (n, H, W), not {masks.dtype} {masks.shape}")
