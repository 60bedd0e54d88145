"""The scores that a run stored, as arrays from which other weights choose other answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.metrics import segment_argmax
from tasutils.score_blocks import Block, Region, make_blocks

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run

OWN = "own"  # the synonym rule, or the rectifier's form, that the run itself had


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
        require_truth(samples)
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
        self.v, self.p = (scores[name].to_numpy(np.float64)[order] for name in ("v", "p"))
        self.n, self.regions = _by_rule(scores, order), _by_form(scores, order)
        self.intersection_px = scores["intersection_px"].to_numpy(np.int64)[order]
        self.union_px = scores["union_px"].to_numpy(np.int64)[order]

    @cached_property
    def blocks(self) -> list[Block]:
        """The sentences that have proposals, in blocks."""
        return list(make_blocks(self.segment, self.v, self.p, self.n, self.regions))

    def choose(
        self, alpha: float, lam: float, rectifier: str = OWN, synonyms: str = OWN
    ) -> NDArray[np.int64]:
        """Row of the chosen proposal of each sentence, -1 where there is none: `refer`'s answers.

        The first of equal totals wins, one that yields last; a region without proposals keeps the
        best of all. NaN totals are as in `rectifier.ranking`. rectifier, synonyms: a form of
        `regions` and a rule of `n`.
        """
        chosen = np.full(len(self.sample_ids), -1, np.int64)
        for block in self.blocks:
            totals = block.totals(alpha, lam, synonyms, self.rules.nan_ties)
            chosen[block.sentence] = block.rows.reshape(-1)[block.choose(totals, rectifier)]
        return chosen

    def draw(self, rectifier: bool, seed: int = 0) -> NDArray[np.int64]:
        """Row of a proposal of each sentence drawn at random, -1 where there is none.

        With the rectifier it is drawn from the region, where there are proposals in it.
        """
        chance = np.random.default_rng(seed).random(len(self.segment))
        if rectifier:
            chance[self.regions[OWN][0]] += 1.0
        return segment_argmax(self.segment, chance, len(self.sample_ids))

    def pixels(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Intersection and union px of the chosen rows; 0 and the ground truth's area for none."""
        intersection, union = np.zeros_like(chosen), self.gt_area_px.copy()
        found = chosen >= 0
        intersection[found] = self.intersection_px[chosen[found]]
        union[found] = self.union_px[chosen[found]]
        return intersection, union


def require_truth(samples: pd.DataFrame) -> None:
    """Raise TasError if a sentence has no ground truth."""
    n_unknown = int(samples["gt_area_px"].isna().sum())
    if n_unknown:
        raise TasError(
            f"{n_unknown} of {len(samples)} sentences have no ground truth, so settings "
            "cannot be compared; evaluate those that have one"
        )


def _by_rule(scores: pd.DataFrame, order: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """N by each synonym rule that the run holds."""
    names = {OWN: "n"} | {name[2:]: name for name in map(str, scores) if name.startswith("n_")}
    return {rule: scores[name].to_numpy(np.float64)[order] for rule, name in names.items()}


def _by_form(scores: pd.DataFrame, order: NDArray[np.int64]) -> dict[str, Region]:
    """Region and yields by each form of the rectifier that the run holds, and by none at all."""
    nowhere = np.zeros(len(order), bool)

    def flags(name: str) -> NDArray[np.bool_]:
        return scores[name].to_numpy(np.bool_)[order] if name in scores else nowhere

    found = {OWN: (flags("region"), flags("yields")), "none": (~nowhere, nowhere)}
    forms = [
        name.removeprefix("region_") for name in map(str, scores) if name.startswith("region_")
    ]
    return found | {form: (flags(f"region_{form}"), flags(f"yields_{form}")) for form in forms}
