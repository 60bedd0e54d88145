"""The scores that a run stored, as arrays from which other settings choose other answers.

A setting is a few passes over flat arrays, one entry a sentence and proposal, reduced by sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, TypeVar

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
Bools = NDArray[np.bool_]
Pixels = tuple[Ints, Ints]  # intersections and unions, int64 (n,) px each
T = TypeVar("T", bound=np.generic)


class ScoreTable:
    """scores.parquet and samples.parquet as arrays, proposals grouped by sentence.

    scores: one row a sentence and proposal, see `runs`; of a peer its score is the one term. One
    that belongs to no sample raises TasError. nan_ties: whether sums that do not differ were NaN,
    the released code's 0 / 0; epsilon: of the IoU, see `metrics.iou`; rule, form: the
    run's synonym rule and rectifier form, whose terms and regions are found by `OWN` as well;
    decides: whether the run's answers may be none or several masks, where a chosen row is none.

    Attributes: segment, proposal: int64 (rows,), ascending; terms: by synonym rule, `OWN` first,
    the columns by term; regions: by rectifier form, `OWN` and `none` first, which proposals lie in
    the region and which yield; no_target: bool (n,), which sentences mean nothing.
    """

    def __init__(
        self, scores: pd.DataFrame, samples: pd.DataFrame, weights: Mapping[str, float],
        nan_ties: bool = False, epsilon: float = 0.0, rule: str = OWN, form: str = OWN,
        decides: bool = False,
    ) -> None:  # fmt: skip
        import pandas as pd

        self._samples, self.nan_ties, self.epsilon = samples, nan_ties, epsilon
        self._decides = decides
        segment = pd.Index(samples["sample_id"]).get_indexer(scores["sample_id"])
        if (segment < 0).any():
            stray = scores["sample_id"].to_numpy()[segment < 0][0]
            raise TasError(
                f"scores of sample {stray!r} belong to no row of samples; "
                "read both tables from the same run"
            )
        proposal = scores["proposal"].to_numpy(np.int64)
        order = np.lexsort((proposal, segment))
        self._scores = scores.iloc[order]
        self.segment, self.proposal = segment[order], proposal[order]
        self.terms, self.regions = _terms(self._scores, rule), _regions(self._scores, form)
        self.weights = dict(weights) if "score" not in self.terms[OWN] else {"score": 1.0}
        self.no_target = no_target(samples)
        self._starts = np.flatnonzero(np.diff(self.segment, prepend=-1))  # of sentences with rows
        self._counts = np.diff(self._starts, append=len(self.segment))

    @cached_property
    def gt_area_px(self) -> Ints:
        """Of each sentence, int64 (n,) px; TasError if one has no ground truth."""
        return known(self._samples)["gt_area_px"].to_numpy(np.int64)

    @cached_property
    def _pixels(self) -> Pixels:
        """Of each row with its sentence's truth, int64 (rows,) px each."""
        known(self._samples)
        return pixels_of(self._scores)

    @cached_property
    def ious(self) -> Floats:
        """IoU of each row with its sentence's truth, float64 (rows,)."""
        return iou(*self._pixels, self.epsilon, self.no_target[self.segment])

    def totals(self, weights: Mapping[str, float], rule: str = OWN) -> Floats:
        """S of each row, float64 (rows,)."""
        total = combine(self.terms[rule], weights)
        if self.nan_ties:
            ends = (f.reduceat(total, self._starts) for f in (np.maximum, np.minimum))
            total[np.repeat(np.equal(*ends), self._counts)] = np.nan
        return total

    def best(self, totals: Floats, form: str = OWN) -> Ints:
        """Row of each sentence's highest total in the region of a form, int64 (n,); see `choose`.

        Of NaN totals the first that lies in the region and does not yield, else the first of all.
        """
        inside, yields = self._places(form)
        highest = self._highest(np.where(inside, totals, -np.inf))
        wins = inside & ((totals == highest) | np.isnan(totals) & ~yields)
        n_rows = len(totals)
        key = np.arange(n_rows) + n_rows * np.where(wins, yields.astype(np.int64), 2)
        found = np.full(len(self._samples), -1, np.int64)
        found[self.segment[self._starts]] = np.minimum.reduceat(key, self._starts) % n_rows
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
        return self.best(self.totals(self.weights if weights is None else weights, rule), form)

    def margins(self) -> Floats:
        """By how much each sentence's best total exceeds the second it competed with, float64 (n,).

        Infinite where there is no other, and where totals are NaN by rule; NaN without a proposal.
        """
        totals = self.totals(self.weights)
        chosen = self.best(totals)
        others, _ = self._places(OWN)
        others[chosen[chosen >= 0]] = False
        second = self._highest(np.where(others, totals, -np.inf))
        margins = np.full(len(chosen), np.nan)
        rows = chosen[chosen >= 0]
        margins[chosen >= 0] = np.where(np.isnan(totals), np.inf, totals - second)[rows]
        return margins

    def draw(self, rectifier: bool, seed: int = 0) -> Ints:
        """Row of a proposal of each sentence at random, -1 for none; rectifier: in its region."""
        chance = np.random.default_rng(seed).random(len(self.segment))
        if rectifier:
            chance[self.regions[OWN][0]] += 1.0
        return segment_argmax(self.segment, chance, len(self._samples))

    def pixels(self, chosen: Ints) -> Pixels:
        """Intersection and union px of the chosen rows; 0 and the ground truth's area for none.

        Raises TasError for a run whose preset decides how many masks are meant.
        """
        if self._decides:
            raise TasError(
                "stored scores choose one mask, and this run's preset decides how many are meant; "
                "take a run of the preset without `decide`, such as tiny_graded"
            )
        found = chosen >= 0
        inter, union = (px[chosen[found]] for px in self._pixels)
        intersection, unions = np.zeros_like(chosen), self.gt_area_px.copy()
        intersection[found], unions[found] = inter, union
        return intersection, unions

    def _highest(self, values: NDArray[T]) -> NDArray[T]:
        """The highest of each sentence's values, for each of its rows."""
        return np.repeat(np.maximum.reduceat(values, self._starts), self._counts)

    def _places(self, form: str) -> tuple[Bools, Bools]:
        """The rows that compete by a form, a region without proposals keeping all; who yields."""
        inside, yields = self.regions[form]
        return inside | ~self._highest(inside), yields


def known(samples: pd.DataFrame) -> pd.DataFrame:
    """A table of samples, of which each has a ground truth, else TasError."""
    if n_unknown := int(samples["gt_area_px"].isna().sum()):
        raise TasError(
            f"{n_unknown} of {len(samples)} sentences have no ground truth, so settings "
            "cannot be compared; evaluate those that have one"
        )
    return samples


def pixels_of(table: pd.DataFrame, who: str = "") -> Pixels:
    """Intersection and union of each row of a run's table; who: "oracle_" for the best masks."""
    inter, union = table[[f"{who}intersection_px", f"{who}union_px"]].to_numpy(np.int64).T
    return inter, union


def no_target(samples: pd.DataFrame) -> Bools:
    """Which sentences of a table of samples mean nothing, bool (n,)."""
    return np.asarray(samples.get("no_target", np.zeros(len(samples))), np.bool_)


def _terms(scores: pd.DataFrame, rule: str) -> dict[str, dict[str, Floats]]:
    """The terms by each synonym rule that the run holds."""
    columns = {str(name): scores[name] for name in scores}
    own = {
        name.removeprefix("term_"): column.to_numpy(np.float64)
        for name, column in columns.items()
        if name.startswith("term_") or name == "score"
    }
    found = {OWN: own, rule: own}
    for term, (name, column) in product(own, columns.items()):
        if name.startswith(start := f"alt_{term}_"):
            other = found.setdefault(name.removeprefix(start), dict(own))
            other[term] = column.to_numpy(np.float64)
    return found


def _regions(scores: pd.DataFrame, form: str) -> dict[str, tuple[Bools, Bools]]:
    """Region and yields by each form of the rectifier that the run holds, and by none at all."""

    def flags(name: str, absent: bool = False) -> Bools:
        return scores[name].to_numpy(bool) if name in scores else np.full(len(scores), absent)

    own = flags("region", True), flags("yields")
    found = {OWN: own, form: own, "none": (flags("", True), flags(""))}
    forms = [str(name)[7:] for name in scores if str(name).startswith("region_")]
    return found | {form: (flags(f"region_{form}"), flags(f"yields_{form}")) for form in forms}
