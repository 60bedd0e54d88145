"""Ablations from stored scores alone: V, V+P, V+N, V+P+N, each with and without the rectifier.

Nothing is described or encoded again; a variant is array work on scores.parquet. With the weights
of the run, `V+P+N` with the rectifier gives exactly the answers of samples.parquet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasutils.errors import TasError
from tasutils.metrics import iou, metric
from tasutils.score_table import Rules, ScoreTable

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run

VARIANTS = {"V": (0, 0), "V+P": (1, 0), "V+N": (0, 1), "V+P+N": (1, 1)}
ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
LAMBDAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
TUNING_SPLITS = ("val", "valP")


def variants(
    scores: pd.DataFrame,
    samples: pd.DataFrame,
    alpha: float,
    lam: float,
    rules: Rules | None = None,
) -> pd.DataFrame:
    """The answers of all variants.

    Args:
        scores: scores.parquet of a run.
        samples: its samples.parquet.
        alpha: weight of P where a variant has it.
        lam: weight of N where a variant has it.
        rules: of the run.

    Returns:
        One row a variant, rectifier setting and sentence, sentences in the order of `samples`:
        variant, rectifier, sample_id, image_id, chosen (-1 for none), intersection_px, union_px,
        iou.

    Raises:
        TasError: the tables belong to different runs.
    """
    import pandas as pd

    table = ScoreTable(scores, samples, rules)
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
                "iou": iou(intersection, union, table.rules.epsilon),
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

    table = ScoreTable(run.scores(), run.samples(), Rules.of(run))
    epsilon = table.rules.epsilon
    rows = []
    for alpha in alphas:
        for lam in lambdas:
            pixels = table.pixels(table.choose(alpha, lam, rectifier=True))
            rows.append({
                "dataset": run.record.dataset, "alpha": alpha, "lam": lam,
                "n": len(table.sample_ids),
                "oiou": metric(*pixels, "oiou"), "miou": metric(*pixels, "miou", epsilon=epsilon),
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
