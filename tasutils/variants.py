"""Ablations from stored scores alone: V, V+P, V+N, V+P+N, each with and without the rectifier.

Nothing is described or encoded again; a variant is array work on scores.parquet. With the weights
of the run, `V+P+N` with the rectifier gives exactly the answers of samples.parquet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.metrics import iou, metric, segment_argmax
from tasutils.scores import combine

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run

VARIANTS = {"V": (0, 0), "V+P": (1, 0), "V+N": (0, 1), "V+P+N": (1, 1)}
ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
LAMBDAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
TUNING_SPLITS = ("val", "valP")


class ScoreTable:
    """scores.parquet and samples.parquet as arrays, proposals grouped by sentence.

    Args:
        scores: one row a sentence and proposal, see `runs`.
        samples: one row a sentence.

    Raises:
        TasError: a score belongs to no sample.
    """

    def __init__(self, scores: pd.DataFrame, samples: pd.DataFrame) -> None:
        import pandas as pd

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
        self.intersection_px = scores["intersection_px"].to_numpy(np.int64)[order]
        self.union_px = scores["union_px"].to_numpy(np.int64)[order]

    def choose(self, alpha: float, lam: float, rectifier: bool) -> NDArray[np.int64]:
        """Row of the chosen proposal of each sentence, -1 where there is none.

        The first of equal totals wins; a region without proposals keeps the best of all.
        """
        total = combine(self.v, self.p, self.n, alpha, lam)
        chosen = segment_argmax(self.segment, total, len(self.sample_ids))
        if rectifier:
            inside = np.flatnonzero(self.region)
            best = segment_argmax(self.segment[inside], total[inside], len(self.sample_ids))
            chosen[best >= 0] = inside[best[best >= 0]]
        return chosen

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


def variants(scores: pd.DataFrame, samples: pd.DataFrame, alpha: float, lam: float) -> pd.DataFrame:
    """The answers of all variants.

    Args:
        scores: scores.parquet of a run.
        samples: its samples.parquet.
        alpha: weight of P where a variant has it.
        lam: weight of N where a variant has it.

    Returns:
        One row a variant, rectifier setting and sentence, sentences in the order of `samples`:
        variant, rectifier, sample_id, image_id, chosen (-1 for none), intersection_px, union_px,
        iou.

    Raises:
        TasError: the tables belong to different runs.
    """
    import pandas as pd

    table = ScoreTable(scores, samples)
    parts = []
    for name, (with_p, with_n) in VARIANTS.items():
        for rectifier in (False, True):
            rows = table.choose(alpha * with_p, lam * with_n, rectifier)
            intersection, union = table.pixels(rows)
            chosen = np.full(len(rows), -1, np.int64)
            chosen[rows >= 0] = table.proposal[rows[rows >= 0]]
            parts.append(pd.DataFrame({
                "variant": name,
                "rectifier": rectifier,
                "sample_id": table.sample_ids,
                "image_id": samples["image_id"].to_numpy(),
                "chosen": chosen,
                "intersection_px": intersection,
                "union_px": union,
                "iou": iou(intersection, union),
            }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def weight_grid(
    run: Run, alphas: Sequence[float] = ALPHAS, lambdas: Sequence[float] = LAMBDAS
) -> pd.DataFrame:
    """Metrics of V + alpha P + lambda N with the rectifier over a grid of weights.

    Returns:
        One row a pair: dataset, alpha, lam, n, oiou, miou.
    """
    import pandas as pd

    table = ScoreTable(run.scores(), run.samples())
    rows = []
    for alpha in alphas:
        for lam in lambdas:
            pixels = table.pixels(table.choose(alpha, lam, rectifier=True))
            rows.append({
                "dataset": run.record.dataset, "alpha": alpha, "lam": lam,
                "n": len(table.sample_ids),
                "oiou": metric(*pixels, "oiou"), "miou": metric(*pixels, "miou"),
            })  # fmt: skip
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class WeightChoice:
    """The weights that are best on val, and the grid they were chosen from."""

    alpha: float
    lambda_by_dataset: dict[str, float]
    miou: float
    grid: pd.DataFrame

    def __str__(self) -> str:
        lines = []
        for dataset, part in self.grid.groupby("dataset", sort=False):
            pivot = 100 * part.pivot(index="alpha", columns="lam", values="miou")
            lines += [f"{dataset}: mIoU, n = {part['n'].iloc[0]}", pivot.round(2).to_string(), ""]
        lambdas = ", ".join(f"{name} {lam}" for name, lam in self.lambda_by_dataset.items())
        return "\n".join(
            [
                *lines,
                f"alpha {self.alpha}; lambda {lambdas}; "
                f"mean mIoU of the data sets {100 * self.miou:.2f}",
            ]
        )


def choose_weights(
    runs: Sequence[Run],
    alphas: Sequence[float] = ALPHAS,
    lambdas: Sequence[float] = LAMBDAS,
) -> WeightChoice:
    """One alpha for all data sets and one lambda each, with the best mean of their mIoU.

    Args:
        runs: one run for each data set, on a tuning split.
        alphas: weights of P to try.
        lambdas: weights of N to try. Among equal results the first alpha and lambda win.

    Returns:
        The choice; `print` shows it with its grid.

    Raises:
        TasError: no run, two of one data set, or a run on a split that is not for tuning.
    """
    import pandas as pd

    names = [run.record.dataset for run in runs]
    for run in runs:
        if run.record.split not in TUNING_SPLITS:
            raise TasError(
                f"run {run.record.run_id} is on split {run.record.split}; weights are "
                f"chosen on {' or '.join(TUNING_SPLITS)} only"
            )
    if not runs or len(set(names)) < len(names):
        raise TasError(f"weights are chosen from one run for each data set, not from {names}")
    grid = pd.concat([weight_grid(run, alphas, lambdas) for run in runs], ignore_index=True)
    best: tuple[float, float, dict[str, float]] | None = None
    for alpha, part in grid.groupby("alpha", sort=False):
        rows = part.loc[part.groupby("dataset", sort=False)["miou"].idxmax()]
        mean = float(rows["miou"].mean())
        if best is None or mean > best[0]:
            lams = [float(lam) for lam in rows["lam"]]
            best = (mean, float(str(alpha)), dict(zip(rows["dataset"], lams, strict=True)))
    if best is None:
        raise TasError("no alpha or lambda to try; give at least one of each")
    return WeightChoice(best[1], best[2], best[0], grid)
