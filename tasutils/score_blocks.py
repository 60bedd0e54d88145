"""Choosing for many sentences at once: their proposals side by side, in blocks that fit the cache.

Sentences with about as many proposals share a block, and each row is filled up with its own last
entry, which adds no new value and, standing behind its original, never wins a tie. So a setting is
three passes over small arrays and an argmax, which takes the first of equal totals as `refer` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasutils.terms import combine

Region = tuple[NDArray[np.bool_], NDArray[np.bool_]]
_SENTENCES = 512


@dataclass(frozen=True, eq=False)
class Block:
    """s sentences of at most m proposals.

    sentence: int64 (s,), which ones; rows: int64 (s, m), their rows in the table; v, p: float64
    (s, m); n: by synonym rule; places: by rectifier form, int64 (s, k), entries of `rows` (flat)
    among which the form chooses, in the order in which ties are decided; first: the entry where
    totals are NaN, int64 (s,).
    """

    sentence: NDArray[np.int64]
    rows: NDArray[np.int64]
    v: NDArray[np.float64]
    p: NDArray[np.float64]
    n: Mapping[str, NDArray[np.float64]]
    places: Mapping[str, NDArray[np.int64]]
    first: Mapping[str, NDArray[np.int64]]

    def totals(self, alpha: float, lam: float, rule: str, nan_ties: bool) -> NDArray[np.float64]:
        """S of each proposal, float64 (s, m); see `ScoreTable.choose`."""
        n = self.n[rule]
        total = combine({"v": self.v, "p": self.p, "n": n}, {"v": 1, "p": alpha, "n": lam})
        if nan_ties:
            total[total.max(axis=1) == total.min(axis=1)] = np.nan
        return total

    def choose(self, totals: NDArray[np.float64], form: str) -> NDArray[np.int64]:
        """The best entry of each sentence by a form of the rectifier, int64 (s,), flat."""
        places = self.places[form]
        best = totals.reshape(-1)[places].argmax(axis=1)
        chosen = places[np.arange(len(best)), best]
        return np.where(np.isnan(totals[:, 0]), self.first[form], chosen)


def make_blocks(
    segment: NDArray[np.int64],
    v: NDArray[np.float64],
    p: NDArray[np.float64],
    n: Mapping[str, NDArray[np.float64]],
    regions: Mapping[str, Region],
) -> Iterator[Block]:
    """All sentences that have proposals, in blocks.

    Args:
        segment: int64 (rows,), the sentence of each proposal, ascending.
        v, p, n: float64 (rows,); n by synonym rule.
        regions: which proposals lie in the region and which of them yield, by form.
    """
    starts = np.flatnonzero(np.diff(segment, prepend=-1))
    counts = np.diff(starts, append=len(segment))
    by_count = np.argsort(counts, kind="stable")
    for k in range(0, len(starts), _SENTENCES):
        some = by_count[k : k + _SENTENCES]
        start, count = starts[some, None], counts[some, None]
        rows = start + np.minimum(np.arange(counts[some[-1]]), count - 1)
        placed = {form: _places(*(part[rows] for part in pair)) for form, pair in regions.items()}
        yield Block(
            sentence=segment[starts[some]],
            rows=rows,
            v=v[rows],
            p=p[rows],
            n={rule: values[rows] for rule, values in n.items()},
            places={form: places for form, (places, _) in placed.items()},
            first={form: first for form, (_, first) in placed.items()},
        )


def _places(
    inside: NDArray[np.bool_], yields: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a form chooses, (s, k), and which entry it takes of NaN totals, (s,).

    Those of the region come first, then the ones that yield; a region without proposals keeps all.
    Of NaN totals those that yield count as outside, and outside the first entry is the best.
    """
    inside = inside | ~inside.any(axis=1, keepdims=True)
    order = np.where(inside, yields.astype(np.int8), 2).argsort(axis=1, kind="stable")
    order = order[:, : inside.sum(axis=1).max()]
    last = inside.sum(axis=1, keepdims=True) - 1
    k = np.minimum(np.arange(order.shape[1]), last)
    order = np.take_along_axis(order, k, axis=1)
    firm = inside & ~yields
    first = np.where(firm.any(axis=1), firm.argmax(axis=1), 0)
    start = np.arange(len(inside)) * inside.shape[1]
    return start[:, None] + order, start + first
