"""The best settings of a sweep, beside what the runs themselves answered; the choice of weights.

Settings are chosen on val and valP only. On another split the best are shown, and are no choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasutils.compare import same_order
from tasutils.errors import TasError
from tasutils.language import SYNONYM_RULES
from tasutils.metrics import metric
from tasutils.readable import percent
from tasutils.rectifier import RECTIFIERS
from tasutils.score_table import Rules
from tasutils.stats import bootstrap, paired_difference
from tasutils.study import Part
from tasutils.sweep import ALL, ALPHAS, LAMBDAS, own_names, setting_pixels, sweep
from tasutils.terminal import one_line

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run

TUNING_SPLITS = ("val", "valP")
_PLACE = ["dataset", "split_by", "split"]
_READING = ["run_id", "synonyms", "rectifier"]
_SETTING = ["synonyms", "rectifier", "alpha", "lam"]


def best_settings(parts: Sequence[Part], grid: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """The best weights of each run, synonym rule and rectifier form, against the run's own answers.

    Args:
        parts: the runs of the grid.
        grid: of `sweep`; among equal settings its first is the best.
        n_boot: bootstrap resamples of images.

    Returns:
        Of each data set and split the best setting first. The grid's columns and, for mIoU and
        oIoU, `_low` and `_high` (95 %); own_miou and difference, with its ends: mIoU of the first
        run of that data set and split, as it answered, and the setting's minus that, paired;
        oracle_miou, n_without_proposals, n_images, n_settings; choice, whether this is the setting
        to choose: the best of val or valP, and no worse than the first run.

    Raises:
        TasError: runs of one split answer different sentences.
    """
    import pandas as pd

    by_id = {part.run.record.run_id: part for part in parts}
    rows: list[dict[Any, Any]] = []
    for (_, _, split), here in grid.groupby(_PLACE, sort=False):
        first = by_id[here["run_id"].iloc[0]]
        best = here.loc[here.groupby(_READING, sort=False)["miou"].idxmax()]
        best = best.sort_values("miou", ascending=False, kind="stable")
        for rank, row in enumerate(best.to_dict("records")):
            found = _beside(by_id[row["run_id"]], first, row, n_boot)
            better = rank == 0 and found["difference"] >= 0
            choice = better and split in TUNING_SPLITS
            rows.append(row | found | {"n_settings": len(here), "choice": choice})
    return pd.DataFrame(rows)


def _beside(part: Part, first: Part, row: dict[Any, Any], n_boot: int) -> dict[str, Any]:
    """The intervals of a setting, and its difference from what the first run answered."""
    order = same_order(part.run, part.samples, first.run, first.samples)
    inter, union = (px[order] for px in setting_pixels(part, *(row[name] for name in _SETTING)))
    own = setting_pixels(first)
    names, image, epsilon = ("oiou", "miou"), first.images, Rules.of(part.run).epsilon
    alone = bootstrap(inter, union, image, names, epsilon=epsilon, n_resamples=n_boot)
    paired = paired_difference((inter, union), own, image, ("miou",), n_resamples=n_boot)["miou"]
    ends = {f"{name}_{end}": getattr(alone[name], end) for name in names for end in ("low", "high")}
    return ends | {
        "own_miou": metric(*own, "miou", epsilon=epsilon),
        "oracle_miou": metric(*part.oracle(), "miou", epsilon=epsilon),
        "n_without_proposals": int((part.samples["n_proposals"] == 0).sum()),
        "difference": paired.value,
        "difference_low": paired.low,
        "difference_high": paired.high,
        "n_images": paired.n_images,
    }


def at_own_weights(parts: Sequence[Part], n_boot: int = 1000) -> pd.DataFrame:
    """What each synonym rule and rectifier form changes, alpha and lambda as the run has them.

    Args:
        parts: runs of TAS.
        n_boot: bootstrap resamples of images.

    Returns:
        Columns family, split, synonyms, rectifier, piece (both in words), own (are they the
        run's), mean, low, high (difference of mIoU from the run's own answers, paired), n.
    """
    import pandas as pd

    rows = []
    for part in parts:
        record = part.run.record
        grid = sweep([part], [record.alpha], [record.lam], (ALL,), (ALL,))
        for row in best_settings([part], grid, n_boot).to_dict("records"):
            names = row["synonyms"], row["rectifier"]
            rows.append({
                "family": part.family, "split": part.split,
                "synonyms": names[0], "rectifier": names[1],
                "piece": f"rectifier {names[1]} with synonyms {names[0]}",
                "own": names == own_names(part), "mean": row["difference"],
                "low": row["difference_low"], "high": row["difference_high"], "n": row["n"],
            })  # fmt: skip
    orders = {"synonyms": list(SYNONYM_RULES), "rectifier": list(RECTIFIERS)}
    table = pd.DataFrame(rows)
    places = {name: table[name].map([*order, *table[name]].index) for name, order in orders.items()}
    ranks = pd.DataFrame(places).sort_values(["synonyms", "rectifier"], kind="stable")
    return table.loc[ranks.index].reset_index(drop=True)


def best_text(best: pd.DataFrame, most: int = 12) -> str:
    """The best settings as text, numbers in per cent, a block a data set and split.

    most: lines of a block.
    """
    blocks = []
    for (dataset, split_by, split), here in best.groupby(_PLACE, sort=False):
        top = here.iloc[0]
        name = one_line(" ".join(str(word) for word in (dataset, split_by, split) if word))
        head = (
            f"{name}: {top['n_settings']} settings, {'partial, ' if top['partial'] else ''}"
            f"n = {top['n']} sentences, {top['n_images']} images, {top['n_without_proposals']} "
            f"without a proposal; the run as it answered: mIoU {100 * top['own_miou']:.2f}, the "
            f"oracle {100 * top['oracle_miou']:.2f}"
        )
        alike = _merged(here)
        more = f"\n({most} of {len(alike)} lines)" if len(alike) > most else ""
        blocks.append(f"{head}\n{_lines(alike.head(most))}{more}\n{_verdict(here)}")
    return "\n\n".join(blocks)


def _merged(here: pd.DataFrame) -> pd.DataFrame:
    """One line for synonym rules that make no difference."""
    same = ["run_id", "rectifier", "alpha", "lam", "miou", "oiou"]
    joined = here.groupby(same, sort=False, dropna=False)["synonyms"].transform(" = ".join)
    return here.assign(synonyms=joined).drop_duplicates([*same, "synonyms"])


def _lines(here: pd.DataFrame) -> str:
    import pandas as pd

    weights = {
        name: [f"{x:g}" if np.isfinite(x) else "-" for x in here[name]] for name in ("alpha", "lam")
    }
    spans = {
        name: [percent(*row) for row in here[[name, f"{name}_low", f"{name}_high"]].to_numpy()]
        for name in ("miou", "oiou")
    }
    ends = here[["difference", "difference_low", "difference_high"]].to_numpy()
    columns = {
        "run": here["method"] + " (" + here["preset"] + " " + here["run_id"].str[-6:] + ")",
        "fill": here["fill"],
        "synonyms": here["synonyms"].replace("", "-"),
        "rectifier": here["rectifier"].replace("", "-"),
        "alpha": weights["alpha"],
        "lambda": weights["lam"],
        "mIoU": spans["miou"],
        "oIoU": spans["oiou"],
        "mIoU difference": [percent(*row, signed=True) for row in ends],
    }
    return str(pd.DataFrame(columns).to_string(index=False))


def _verdict(here: pd.DataFrame) -> str:
    """What the first line is: a choice or not, and what its interval does not know."""
    top = here.iloc[0]
    if top["split"] not in TUNING_SPLITS:
        return f"no choice: settings are chosen on {' or '.join(TUNING_SPLITS)} only"
    if not top["choice"]:
        return "no choice: none of these is better than the run as it answered"
    weights = f"alpha {top['alpha']:g}, lambda {top['lam']:g}, " if top["synonyms"] else ""
    reading = f"synonyms {top['synonyms']}, rectifier {top['rectifier']}, " if weights else ""
    return (
        f"choice: {top['method']}, {weights}{reading}fill {top['fill']}; "
        f"the intervals do not know that it is the best of {top['n_settings']}"
    )


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
            partial = "partial, " if part["partial"].any() else ""
            head = f"{dataset}: mIoU, {partial}n = {part['n'].iloc[0]}"
            lines += [head, pivot.round(2).to_string(), ""]
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
    names = [run.record.dataset for run in runs]
    for run in runs:
        if run.record.split not in TUNING_SPLITS:
            raise TasError(
                f"run {run.record.run_id} is on split {run.record.split}; weights are "
                f"chosen on {' or '.join(TUNING_SPLITS)} only"
            )
    if not runs or len(set(names)) < len(names):
        raise TasError(f"weights are chosen from one run for each data set, not from {names}")
    if not alphas or not lambdas:
        raise TasError("no alpha or lambda to try; give at least one of each")
    grid = sweep([Part(run) for run in runs], alphas, lambdas)
    best_rows = {
        float(str(alpha)): part.loc[part.groupby("dataset", sort=False)["miou"].idxmax()]
        for alpha, part in grid.groupby("alpha", sort=False)
    }
    alpha, rows = max(best_rows.items(), key=lambda item: float(item[1]["miou"].mean()))
    lams = dict(zip(rows["dataset"], map(float, rows["lam"]), strict=True))
    return WeightChoice(alpha, lams, float(rows["miou"].mean()), grid)
