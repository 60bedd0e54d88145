"""The scores that a run stored, as arrays from which other settings choose other answers.

Choosing is done for many sentences at once, their proposals side by side, in blocks that fit the
cache. Sentences with about as many proposals share a block, and each row is filled up with its own
last entry, which adds no new value and, standing behind its original, never wins a tie. So a
setting is a few passes over small arrays and an argmax, which takes the first of equal totals as
`refer` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.metrics import iou, segment_argmax
from tasutils.terms import combine

if TYPE_CHECKING:
    import pandas as pd

OWN = "own"  # the synonym rule, or the rectifier's form, that the run itself had
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = Mapping[str, Floats]  # by the name of a term
_SENTENCES = 512


@dataclass(frozen=True, eq=False)
class Block:
    """s sentences of at most m proposals.

    sentence: int64 (s,), which ones; rows: int64 (s, m), their rows in the table; terms: by synonym
    rule and term, float64 (s, m); places: by rectifier form, int64 (s, k), entries of `rows` (flat)
    among which the form chooses, in the order in which ties are decided; first: by form, the entry
    where totals are NaN, int64 (s,).
    """

    sentence: Ints
    rows: Ints
    terms: Mapping[str, Columns]
    places: Mapping[str, Ints]
    first: Mapping[str, Ints]
    nan_ties: bool

    def totals(self, weights: Mapping[str, float], rule: str = OWN) -> Floats:
        """S of each proposal, float64 (s, m)."""
        total = combine(self.terms[rule], weights)
        if self.nan_ties:
            total[total.max(axis=1) == total.min(axis=1)] = np.nan
        return total

    def choose(self, totals: Floats, form: str) -> Ints:
        """The best entry of each sentence by a form of the rectifier, int64 (s,), flat."""
        places = self.places[form]
        best = totals.reshape(-1)[places].argmax(axis=1)
        chosen = places[np.arange(len(best)), best]
        return np.where(np.isnan(totals[:, 0]), self.first[form], chosen)


class ScoreTable:
    """scores.parquet and samples.parquet as arrays, proposals grouped by sentence.

    scores: one row a sentence and proposal, see `runs`; of a peer its score is the one term. One
    that belongs to no sample raises TasError. nan_ties: whether sums that do not differ were NaN,
    the released code's 0 / 0; epsilon: of the IoU, see `metrics.iou`.

    Attributes: segment, proposal: int64 (rows,), ascending; terms: by synonym rule, `OWN` first,
    the columns by term; regions: by rectifier form, `OWN` and `none` first, which proposals lie in
    the region and which yield; intersection_px, union_px: int64 (rows,).
    """

    def __init__(
        self, scores: pd.DataFrame, samples: pd.DataFrame, weights: Mapping[str, float],
        nan_ties: bool = False, epsilon: float = 0.0,
    ) -> None:  # fmt: skip
        import pandas as pd

        self._samples, self.nan_ties, self.epsilon = samples, nan_ties, epsilon
        self.sample_ids = samples["sample_id"].to_numpy()
        segment = pd.Index(self.sample_ids).get_indexer(scores["sample_id"])
        if (segment < 0).any():
            stray = scores["sample_id"].to_numpy()[segment < 0][0]
            raise TasError(
                f"scores of sample {stray!r} belong to no row of samples; "
                "read both tables from the same run"
            )
        proposal = scores["proposal"].to_numpy(np.int64)
        order = np.lexsort((proposal, segment))
        scores = scores.iloc[order]
        self.segment, self.proposal = segment[order], proposal[order]
        self.terms, self.regions = _terms(scores), _regions(scores)
        self.weights = dict(weights) if "score" not in self.terms[OWN] else {"score": 1.0}
        self._pixels = [scores[f"{name}_px"].to_numpy() for name in ("intersection", "union")]

    @cached_property
    def gt_area_px(self) -> Ints:
        """Of each sentence, int64 (n,) px; TasError if one has no ground truth."""
        require_truth(self._samples)
        return self._samples["gt_area_px"].to_numpy(np.int64)

    @cached_property
    def no_target(self) -> NDArray[np.bool_]:
        """Which sentences mean nothing, bool (n,)."""
        return no_target(self._samples)

    @cached_property
    def intersection_px(self) -> Ints:
        """Of each row with its sentence's truth, int64 (rows,)."""
        require_truth(self._samples)
        return self._pixels[0].astype(np.int64)

    @cached_property
    def union_px(self) -> Ints:
        """Of each row with its sentence's truth, int64 (rows,)."""
        require_truth(self._samples)
        return self._pixels[1].astype(np.int64)

    @cached_property
    def ious(self) -> Floats:
        """IoU of each row with its sentence's truth, float64 (rows,)."""
        return iou(self.intersection_px, self.union_px, self.epsilon, self.no_target[self.segment])

    @cached_property
    def blocks(self) -> list[Block]:
        """The sentences that have proposals, in blocks."""
        starts = np.flatnonzero(np.diff(self.segment, prepend=-1))
        counts = np.diff(starts, append=len(self.segment))
        by_count = np.argsort(counts, kind="stable")
        found = []
        for k in range(0, len(starts), _SENTENCES):
            some = by_count[k : k + _SENTENCES]
            rows = np.minimum(np.arange(counts[some[-1]]), counts[some, None] - 1)
            rows += starts[some, None]
            # a column that several rules share is taken once
            taken = {id(x): x[rows] for columns in self.terms.values() for x in columns.values()}
            terms = {
                rule: {name: taken[id(x)] for name, x in columns.items()}
                for rule, columns in self.terms.items()
            }
            placed = {
                form: _places(*(part[rows] for part in pair)) for form, pair in self.regions.items()
            }
            places, first = ({form: pair[i] for form, pair in placed.items()} for i in (0, 1))
            found.append(
                Block(self.segment[starts[some]], rows, terms, places, first, self.nan_ties)
            )
        return found

    def choose(
        self, weights: Mapping[str, float] | None = None, form: str = OWN, rule: str = OWN
    ) -> Ints:
        """Row of the chosen proposal of each sentence, -1 where there is none: `refer`'s answers.

        The first of equal totals wins, one that yields last; a region without proposals keeps the
        best of all. NaN totals are as in `rectifier.ranking`.

        weights: by term; those left out count 0; None: the run's. form, rule: a form of `regions`
        and a synonym rule of `terms`.
        """
        chosen = np.full(len(self.sample_ids), -1, np.int64)
        weights = self.weights if weights is None else weights
        for block in self.blocks:
            totals = block.totals(weights, rule)
            chosen[block.sentence] = block.rows.reshape(-1)[block.choose(totals, form)]
        return chosen

    def margins(self) -> Floats:
        """By how much each sentence's best total exceeds the second it competed with, float64 (n,).

        Infinite where there is no other, and where totals are NaN by rule; NaN without a proposal.
        """
        found = np.full(len(self.sample_ids), np.nan)
        for block in self.blocks:
            places, totals = block.places[OWN], block.totals(self.weights)
            values = totals.reshape(-1)[places]
            rows = block.rows.reshape(-1)[places]
            values[:, 1:][rows[:, 1:] == rows[:, :-1]] = -np.inf  # what fills a row up
            values = np.sort(np.pad(values, ((0, 0), (0, 1)), constant_values=-np.inf), axis=1)
            margin = values[:, -1] - values[:, -2]
            found[block.sentence] = np.where(np.isnan(totals[:, 0]), np.inf, margin)
        return found

    def draw(self, rectifier: bool, seed: int = 0) -> Ints:
        """Row of a proposal of each sentence at random, -1 for none; rectifier: in its region."""
        chance = np.random.default_rng(seed).random(len(self.segment))
        if rectifier:
            chance[self.regions[OWN][0]] += 1.0
        return segment_argmax(self.segment, chance, len(self.sample_ids))

    def pixels(self, chosen: Ints) -> tuple[Ints, Ints]:
        """Intersection and union px of the chosen rows; 0 and the ground truth's area for none."""
        intersection, union = np.zeros_like(chosen), self.gt_area_px.copy()
        found = chosen >= 0
        intersection[found] = self.intersection_px[chosen[found]]
        union[found] = self.union_px[chosen[found]]
        return intersection, union


def require_truth(samples: pd.DataFrame) -> None:
    """Raise TasError if a sentence of a table of samples has no ground truth."""
    if n_unknown := int(samples["gt_area_px"].isna().sum()):
        raise TasError(
            f"{n_unknown} of {len(samples)} sentences have no ground truth, so settings "
            "cannot be compared; evaluate those that have one"
        )


def no_target(samples: pd.DataFrame) -> NDArray[np.bool_]:
    """Which sentences of a table of samples mean nothing, bool (n,)."""
    if "no_target" not in samples:
        return np.zeros(len(samples), bool)
    return samples["no_target"].to_numpy(bool)


def _terms(scores: pd.DataFrame) -> dict[str, dict[str, Floats]]:
    """The terms by each synonym rule that the run holds."""
    columns = {str(name): scores[name] for name in scores}
    own = {
        name.removeprefix("term_"): column.to_numpy(np.float64)
        for name, column in columns.items()
        if name.startswith("term_") or name == "score"
    }
    found = {OWN: own}
    for term, (name, column) in product(own, columns.items()):
        if name.startswith(start := f"alt_{term}_"):
            rule = found.setdefault(name.removeprefix(start), dict(own))
            rule[term] = column.to_numpy(np.float64)
    return found


def _regions(scores: pd.DataFrame) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Region and yields by each form of the rectifier that the run holds, and by none at all."""

    def flags(name: str, absent: bool = False) -> NDArray[np.bool_]:
        return scores[name].to_numpy(bool) if name in scores else np.full(len(scores), absent)

    found = {OWN: (flags("region", True), flags("yields")), "none": (flags("", True), flags(""))}
    forms = [str(name)[7:] for name in scores if str(name).startswith("region_")]
    return found | {form: (flags(f"region_{form}"), flags(f"yields_{form}")) for form in forms}


def _places(inside: NDArray[np.bool_], yields: NDArray[np.bool_]) -> tuple[Ints, Ints]:
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
