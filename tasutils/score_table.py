"""The scores that a run stored, as arrays from which other weights choose other answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.metrics import segment_argmax
from tasutils.scores import combine

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run


@dataclass(frozen=True)
class Rules:
    """What of a run's preset still has a say over stored scores.

    Normalisation has none: it keeps the order of the sums.

    nan_ties: whether sums that do not differ were NaN (`strict_official` with normalisation).
    epsilon: of the IoU, see `metrics.iou`.
    """

    nan_ties: bool = False
    epsilon: float = 0.0

    @classmethod
    def of(cls, run: Run) -> Rules:
        """The rules of a run; runs from before there was a choice have the defaults."""
        scores, metrics = (run.record.config.get(part, {}) for part in ("scores", "metrics"))
        strict = bool(scores.get("strict_official")) and scores.get("normalise", "none") != "none"
        return cls(strict, float(metrics.get("epsilon", 0.0)))


class ScoreTable:
    """scores.parquet and samples.parquet as arrays, proposals grouped by sentence.

    Args:
        scores: one row a sentence and proposal, see `runs`.
        samples: one row a sentence.
        rules: of the run, see `Rules`.

    Raises:
        TasError: a score belongs to no sample, a sentence has no ground truth, or the scores are
            not TAS's.
    """

    def __init__(
        self, scores: pd.DataFrame, samples: pd.DataFrame, rules: Rules | None = None
    ) -> None:
        import pandas as pd

        if not {"v", "p", "n", "region"} <= set(scores):
            raise TasError("scores without V, P and N are a peer's; read a run of TAS itself")
        n_unknown = int(samples["gt_area_px"].isna().sum())
        if n_unknown:
            raise TasError(
                f"{n_unknown} of {len(samples)} sentences have no ground truth, so other weights "
                "cannot be compared; evaluate those that have one"
            )
        self.rules = rules or Rules()
        self.sample_ids = samples["sample_id"].to_numpy()
        self.gt_area_px = samples["gt_area_px"].to_numpy(np.int64)
        segment = pd.Index(self.sample_ids).get_indexer(scores["sample_id"])
        if (segment < 0).any():
            stray = scores["sample_id"].to_numpy()[segment < 0][0]
            raise TasError(
                f"scores of sample {stray!r} belong to no row of samples; "
                "read both tables from the same run"
            )
        proposal = scores["proposal"].to_numpy(np.int64)
        order = np.lexsort((proposal, segment))
        self.segment, self.proposal = segment[order], proposal[order]
        self.v, self.p, self.n = (scores[name].to_numpy()[order] for name in ("v", "p", "n"))
        self.region = scores["region"].to_numpy(np.bool_)[order]
        yields = scores["yields"] if "yields" in scores else scores["region"] & False
        self.yields = yields.to_numpy(np.bool_)[order]
        self.intersection_px = scores["intersection_px"].to_numpy(np.int64)[order]
        self.union_px = scores["union_px"].to_numpy(np.int64)[order]

    def choose(self, alpha: float, lam: float, rectifier: bool) -> NDArray[np.int64]:
        """Row of the chosen proposal of each sentence, -1 where there is none.

        The first of equal totals wins, one that yields last; a region without proposals keeps the
        best of all. NaN totals are as in `rectifier.ranking`.
        """
        total = combine(self.v, self.p, self.n, alpha, lam)
        nan = np.isnan(total) | self._without_difference(total)
        total[nan] = 0.0
        chosen = segment_argmax(self.segment, total, len(self.sample_ids))
        if rectifier:
            inside = np.flatnonzero(self.region & ~(nan & self.yields))
            inside = inside[np.lexsort((self.yields[inside], self.segment[inside]))]
            best = segment_argmax(self.segment[inside], total[inside], len(self.sample_ids))
            chosen[best >= 0] = inside[best[best >= 0]]
        return chosen

    def _without_difference(self, total: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which totals are as high as all others of their sentence, if that makes them NaN."""
        if not self.rules.nan_ties or not len(total):
            return np.zeros(len(total), bool)
        starts = np.flatnonzero(np.diff(self.segment, prepend=-1))
        lengths = np.diff(starts, append=len(total))
        same = np.maximum.reduceat(total, starts) == np.minimum.reduceat(total, starts)
        return np.repeat(same, lengths)

    def draw(self, rectifier: bool, seed: int = 0) -> NDArray[np.int64]:
        """Row of a proposal of each sentence drawn at random, -1 where there is none.

        With the rectifier it is drawn from the region, where there are proposals in it.
        """
        chance = np.random.default_rng(seed).random(len(self.segment))
        if rectifier:
            chance[self.region] += 1.0
        return segment_argmax(self.segment, chance, len(self.sample_ids))

    def pixels(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Intersection and union px of the chosen rows; 0 and the ground truth's area for none."""
        intersection, union = np.zeros_like(chosen), self.gt_area_px.copy()
        found = chosen >= 0
        intersection[found] = self.intersection_px[chosen[found]]
        union[found] = self.union_px[chosen[found]]
        return intersection, union
