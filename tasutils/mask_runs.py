"""Runs of foreground of a stack of masks: all that is asked of a mask, without its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Rle = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Runs:
    """Foreground of n masks as r runs down the columns, where pixel (x, y) has place x * H + y.

    Attributes:
        n: number of masks; some may be empty.
        size_hw: height and width in px, the same for all.
        owner: int64 (r,), ascending, the mask of a run.
        start, stop: int64 (r,), first place of a run and the place after its last.
    """

    n: int
    size_hw: tuple[int, int]
    owner: Ints
    start: Ints
    stop: Ints

    @classmethod
    def from_changes(cls, changes: Ints, n: int, size_hw: tuple[int, int]) -> "Runs":
        """Runs of int64 ascending `changes`, see `changes_of`."""
        owner, place = np.divmod(changes, size_hw[0] * size_hw[1] + 1)
        return cls(n, size_hw, owner[::2], place[::2], place[1::2])

    @classmethod
    def joined(cls, parts: Sequence["Runs"]) -> "Runs":
        """The masks of several, at least one, of the same size, one after the other."""
        before = np.cumsum([0, *(part.n for part in parts)])
        owner = [part.owner + first for part, first in zip(parts, before, strict=False)]
        start, stop = [part.start for part in parts], [part.stop for part in parts]
        joined = (np.concatenate(values) for values in (owner, start, stop))
        return cls(int(before[-1]), parts[0].size_hw, *joined)

    def take(self, indices: Ints) -> "Runs":
        """The masks of those indices, in their order."""
        first = np.searchsorted(self.owner, np.arange(self.n + 1))
        number = np.diff(first)[indices]
        owner = np.repeat(np.arange(len(indices)), number)
        rows = np.arange(len(owner)) + np.repeat(
            first[indices] - np.cumsum(number) + number, number
        )
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
        """Sum of int64 (r,) over the runs of each mask, exact below 2**53."""
        return np.bincount(self.owner, values, self.n).astype(np.int64)

    def _coordinate_sums(self, place: Ints) -> tuple[Ints, Ints]:
        """Sums of the x and of the y of all pixels before a place."""
        height = self.size_hw[0]
        x, y = np.divmod(place, height)
        return height * (x * (x - 1) // 2) + x * y, x * (height * (height - 1) // 2) + y * (
            y - 1
        ) // 2


def runs_of(masks: Bools) -> Runs:
    """The runs of bool (n, H, W)."""
    if masks.ndim != 3 or masks.dtype != np.bool_:
        raise ValueError(f"masks must be bool (n, H, W), not {masks.dtype} {masks.shape}")
    n, height, width = masks.shape
    return Runs.from_changes(changes_of(masks), n, (height, width))


def changes_of(masks: Bools) -> Ints:
    """Where runs begin and end: index of the mask * (H * W + 1) + place, int64, ascending.

    A run that reaches the last pixel of its mask ends at place H * W; hence the + 1.
    """
    n, height, width = masks.shape
    changed = np.empty_like(masks)
    np.not_equal(masks[:, 1:], masks[:, :-1], out=changed[:, 1:])
    np.not_equal(masks[:, 0, 1:], masks[:, -1, :-1], out=changed[:, 0, 1:])
    changed[:, 0, :1] = masks[:, 0, :1]
    rows, x = np.divmod(np.flatnonzero(changed), width)
    owner, y = np.divmod(rows, height)
    stride = height * width + 1
    ends = np.flatnonzero(masks[:, -1:, -1:]) * stride + height * width
    return np.sort(np.concatenate([owner * stride + x * height + y, ends]))


def fills(texts: Sequence[bytes], n_px: int) -> bool:
    """Whether compressed counts are those of masks of `n_px` px each: no run is negative, none
    is missing. pycocotools reads what lies beyond in memory for others.
    """
    if not texts:
        return True
    if not all(texts):
        return False
    data = np.frombuffer(b"".join(texts), np.uint8) - 48  # of a character below "0" over 63
    if (data > 63).any():
        return False
    last = np.flatnonzero(data < 32)  # the last character of each count
    ends = np.cumsum([len(text) for text in texts]) - 1
    if (data[ends] > 31).any():
        return False
    lengths = np.diff(last, prepend=-1)
    if (lengths > 7).any():
        return False
    counts = np.where(data[last] & 16, -1 << 5 * lengths, 0)
    for place in range(lengths.max()):
        has = np.flatnonzero(lengths > place)
        five = data[last[has] - lengths[has] + 1 + place] & 31
        counts[has] += five.astype(np.int64) << 5 * place
    n_counts = np.diff(np.searchsorted(last, ends), prepend=-1)
    # two columns for each mask: from the third on, a run is the sum of the counts above it
    n_rows = (n_counts + 1) // 2
    first_row = np.cumsum(n_rows) - n_rows
    first = np.cumsum(n_counts) - n_counts
    cell = np.arange(len(counts)) + np.repeat(2 * first_row - first, n_counts)
    table = np.zeros((n_rows.sum() + 1, 2), dtype=np.int64)
    table[1:].flat[cell] = counts
    table[1:].flat[2 * first_row] = 0  # the first run stands alone
    total = np.cumsum(table, axis=0)
    runs = (total[1:] - np.repeat(total[first_row], n_rows, axis=0)).reshape(-1)[cell]
    runs[first] = counts[first]
    return bool((runs >= 0).all() and (np.add.reduceat(runs, first) == n_px).all())


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
