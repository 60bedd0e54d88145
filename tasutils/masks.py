"""Masks: their runs and run-length codes, areas, boxes, centres, IoU, the overlap filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Rle = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Runs:
    """Foreground of n masks as r runs down the columns, where pixel (x, y) has place x * H + y.

    n: number of masks, some may be empty; size_hw: px, the same for all; owner: int64 (r,),
    ascending, the mask of a run; start, stop: int64 (r,), its first place and that after its last.
    """

    n: int
    size_hw: tuple[int, int]
    owner: Ints
    start: Ints
    stop: Ints

    @classmethod
    def joined(cls, parts: Sequence["Runs"]) -> "Runs":
        """The masks of several, at least one, of the same size, one after the other."""
        before = np.cumsum([0, *(part.n for part in parts)])
        owner = np.concatenate([p.owner + n for p, n in zip(parts, before, strict=False)])
        start = np.concatenate([part.start for part in parts])
        stop = np.concatenate([part.stop for part in parts])
        return cls(int(before[-1]), parts[0].size_hw, owner, start, stop)

    def take(self, indices: Ints) -> "Runs":
        """The masks of those indices, in their order."""
        first = np.searchsorted(self.owner, np.arange(self.n + 1))
        number = np.diff(first)[indices]
        owner = np.repeat(np.arange(len(indices)), number)
        before = first[indices] - np.cumsum(number) + number
        rows = np.arange(len(owner)) + np.repeat(before, number)
        return Runs(len(indices), self.size_hw, owner, self.start[rows], self.stop[rows])

    def areas_px(self) -> Ints:
        """Number of foreground pixels, int64 (n,)."""
        return self._sums(self.stop - self.start)

    def boxes_xyxy(self) -> NDArray[np.float32]:
        """Tight boxes float32 (n, 4), px, end-exclusive; zeros for an empty mask."""
        height, width = self.size_hw
        (x0, y0), (x1, y1) = np.divmod(self.start, height), np.divmod(self.stop - 1, height)
        y0, y1 = np.where(x1 > x0, 0, y0), np.where(x1 > x0, height - 1, y1)
        low, high = np.tile([width, height], (self.n, 1)), np.zeros((self.n, 2), np.int64)
        np.minimum.at(low, self.owner, np.stack([x0, y0], axis=1))
        np.maximum.at(high, self.owner, np.stack([x1, y1], axis=1) + 1)
        low[high[:, 0] == 0] = 0
        return np.concatenate([low, high], axis=1).astype(np.float32)

    def centers_xy(self) -> NDArray[np.float32]:
        """Mean (x, y) of the foreground coordinates, float32 (n, 2), px; (0, 0) if empty."""
        before, after = self._coordinate_sums(self.start), self._coordinate_sums(self.stop)
        total = [self._sums(b - a) for a, b in zip(before, after, strict=True)]
        return (np.stack(total, 1) / np.maximum(self.areas_px(), 1)[:, None]).astype(np.float32)

    def rles(self) -> list[Rle]:
        """COCO run-length codes {"size": [H, W], "counts": str}, those that pycocotools writes."""
        height, width = self.size_hw
        number = np.bincount(self.owner, minlength=self.n)
        last = np.cumsum(number)
        before = np.concatenate([[0], self.stop[:-1]])  # where the background before a run began
        before[(last - number)[number > 0]] = 0
        counts = np.stack([self.start - before, self.stop - self.start], axis=1).ravel()
        rest = np.full(self.n, height * width)
        rest[number > 0] -= self.stop[last[number > 0] - 1]
        counts = np.insert(counts, 2 * last[rest > 0], rest[rest > 0])
        texts = _coco_texts(counts, 2 * number + (rest > 0))
        return [{"size": [height, width], "counts": text} for text in texts]

    def _sums(self, values: Ints) -> Ints:
        # over the runs of each mask, exact below 2**53
        return np.bincount(self.owner, values, self.n).astype(np.int64)

    def _coordinate_sums(self, place: Ints) -> tuple[Ints, Ints]:
        """Sums of the x and of the y of all pixels before a place."""
        height = self.size_hw[0]
        x, y = np.divmod(place, height)
        whole = height * (height - 1) // 2  # of the y of a column
        return height * (x * (x - 1) // 2) + x * y, x * whole + y * (y - 1) // 2


def runs_of(masks: Bools) -> Runs:
    """The runs of bool (n, H, W)."""
    _check(masks)
    n, height, width = masks.shape
    changed = np.empty_like(masks)
    np.not_equal(masks[:, 1:], masks[:, :-1], out=changed[:, 1:])
    np.not_equal(masks[:, 0, 1:], masks[:, -1, :-1], out=changed[:, 0, 1:])
    changed[:, 0, :1] = masks[:, 0, :1]
    rows, x = np.divmod(np.flatnonzero(changed), width)
    owner, y = np.divmod(rows, height)
    stride = height * width + 1  # a run that reaches the last pixel ends at place H * W
    ends = np.flatnonzero(masks[:, -1:, -1:]) * stride + height * width
    changes = np.sort(np.concatenate([owner * stride + x * height + y, ends]))
    owner, place = np.divmod(changes, stride)
    return Runs(n, (height, width), owner[::2], place[::2], place[1::2])


def _coco_texts(counts: Ints, lengths: Ints) -> list[str]:
    """The compressed counts of masks that have `lengths` of them, one after the other.

    From the fourth on, a count is given as its difference to the one before the last; 5 bits a
    character, the lowest first; 32 marks that more follow. Source: pycocotools, maskApi.c.
    """
    ends = np.cumsum(lengths)
    place = np.arange(len(counts)) - np.repeat(ends - lengths, lengths)
    rest = counts.copy()
    rest[2:] -= np.where(place[2:] > 2, counts[:-2], 0)
    characters, used = [], []
    more = np.ones(len(counts), dtype=bool)
    while more.any():
        low = rest & 31
        rest = rest >> 5
        used.append(more)
        more = more & np.where(low & 16, rest != -1, rest != 0)
        characters.append(low + 48 + 32 * more)
    if not characters:
        return []
    table, valid = np.stack(characters, 1).astype(np.uint8), np.stack(used, 1)
    text = table[valid].tobytes().decode("ascii")
    cuts = [0, *np.cumsum(valid.sum(axis=1))[ends - 1].tolist()]
    return [text[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


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
    for mask, rle in zip(masks, rles, strict=True):
        mask[:] = coco_mask.decode(rle)
    return masks


def areas_px(masks: Bools) -> NDArray[np.int64]:
    """Number of foreground pixels, int64 (n,)."""
    _check(masks)
    return np.count_nonzero(masks, axis=(1, 2)).astype(np.int64)


def boxes_xyxy(masks: Bools) -> NDArray[np.float32]:
    """Tight boxes float32 (n, 4): x0, y0, x1, y1 in px, end-exclusive; zeros for an empty mask."""
    return runs_of(masks).boxes_xyxy()


def overlap_filter(
    rles: Sequence[Rle],
    areas_px: NDArray[np.int64],
    min_area_px: int,
    max_overlap: float | None,
    greedy: bool = False,
) -> NDArray[np.int64]:
    """Indices (int64, ascending) of the masks that stay, of their run-length codes and areas (n,).

    Masks under `min_area_px` go. Of every pair of the rest, intersection / area of the smaller >
    `max_overlap` (None: no such rule) drops the smaller (equal areas: the later); not `greedy`,
    a dropped mask still drops others. Source: TAS released code, which is not greedy.
    """
    large = np.flatnonzero(areas_px >= min_area_px)
    if max_overlap is None or len(large) < 2:
        return large
    area, codes = areas_px[large], [rles[index] for index in large.tolist()]
    # against a crowd, COCO divides the intersection by the area of the first mask alone
    share = np.asarray(coco_mask.iou(codes, codes, [True] * len(codes)))
    order = np.argsort(-area, kind="stable")  # the largest first, of equals the first
    place = np.argsort(order)
    drops = (place[:, None] > place) & (share > max_overlap)  # (dropped, by whom)
    stays: Bools = np.logical_not(drops.any(axis=1))
    if greedy:  # those that could drop a mask are settled before it
        for index in order:
            stays[index] = not (drops[index] & stays).any()
    return large[stays]


def rle_ious(rles: Sequence[Rle]) -> NDArray[np.float64]:
    """IoU of every pair of run-length codes, float64 (n, n), exact; no mask is decoded."""
    if not rles:
        return np.zeros((0, 0))
    return np.asarray(coco_mask.iou(list(rles), list(rles), [False] * len(rles)))


def distinct(ious: NDArray[np.floating], nms_thresh: float, limit: int) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: indices (int64, ascending) of the masks that stay.

    ious: float (n, n), the best mask first; one with a higher IoU than `nms_thresh` with one that
    stays is dropped; at most `limit` stay.

    >>> distinct(np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]), 0.8, 5)
    array([0, 2])
    """
    kept: list[int] = []
    for index in range(len(ious)):
        if len(kept) < limit and not (ious[index, kept] > nms_thresh).any():
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
