"""A grid of settings over stored scores: weights of terms, synonym rule, form of the rectifier.

These act on what a run has stored of each sentence and proposal, so a setting is array work on
that run. What changes the scene (the fill of the crops) or is no setting of TAS (another method)
takes a run of its own, and several runs make one grid. A setting's answers are those of `refer`
with the preset so changed. Settings are chosen on val and valP only; on another split the best are
shown, and are no choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, product
from typing import TYPE_CHECKING, Any

import numpy as np

from tasutils.compare import same_order, spans
from tasutils.errors import TasError, one_line
from tasutils.metrics import bootstrap, metric, paired_difference
from tasutils.score_table import OWN, Pixels

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run

ALL = "all"
GRID = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
TUNING_SPLITS = ("val", "valP")
_PLACE = ["dataset", "split_by", "split"]


def sweep(
    runs: Sequence[Run],
    weights: Mapping[str, Sequence[float]] | None = None,
    synonyms: Sequence[str] = (OWN,),
    rectifiers: Sequence[str] = (OWN,),
) -> pd.DataFrame:
    """mIoU and oIoU of every setting.

    runs: of a peer of TAS, its own answers are its one setting; weights: by the name of a term
    those to try, the others as the run has them; None: `GRID` for each term but V; synonyms,
    rectifiers: rules and forms; `OWN` is the run's, `ALL` all it holds.

    One row a setting, runs in their order, the own rule and form first: dataset, split_by, split,
    run_id, preset, method, fill, synonyms, rectifier ("" for a peer), weight_<term> (NaN for a
    peer), n, partial, oiou, miou. TasError for a run named twice or without ground truth, a term,
    rule or form unknown or not held by the run.
    """
    import pandas as pd

    ids = [run.record.run_id for run in runs]
    if twice := [name for k, name in enumerate(ids) if name in ids[:k]]:
        raise TasError(f"run {twice[0]} is named twice; name each run once")
    rows: list[dict[str, object]] = []
    for run in runs:
        if run.record.method != "tas":
            rows.append(_row(run, "", "", {}, run.pixels()))
            continue
        table, theirs = run.table, run.record.weights
        asked = dict.fromkeys(list(theirs)[1:], GRID) if weights is None else weights
        if unknown := set(asked) - set(theirs):
            raise TasError(
                f"run {run.record.run_id} has no term {min(unknown)!r}; it has {', '.join(theirs)}"
            )
        axes = {name: asked.get(name, (weight,)) for name, weight in theirs.items()}
        rules = _asked(run, "synonym rule", synonyms, table.terms)
        forms = _asked(run, "rectifier form", rectifiers, table.regions)
        tried = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        for rule in rules:
            found: dict[str, list[dict[str, object]]] = {form: [] for form in forms}
            for some in tried:
                totals = table.totals(some, rule)
                for form, made in found.items():
                    pixels = table.pixels(table.best(totals, form))
                    made.append(_row(run, rule, form, some, pixels))
            rows += chain.from_iterable(found.values())
    return pd.DataFrame(rows)


def _row(
    run: Run, rule: str, form: str, weights: Mapping[str, float], pixels: Pixels
) -> dict[str, object]:
    record, names = run.record, list(run.record.weights)[1:]
    oiou, miou = (
        metric(*pixels, name, epsilon=run.epsilon, no_target=run.no_target)
        for name in ("oiou", "miou")
    )
    return {
        "dataset": record.dataset, "split_by": record.split_by, "split": record.split,
        "run_id": record.run_id, "preset": record.preset, "method": record.method,
        "fill": record.config.get("crop", {}).get("fill", ""), "synonyms": rule, "rectifier": form,
        **{f"weight_{name}": weights.get(name, np.nan) for name in names},
        "n": len(run.samples), "partial": record.partial, "oiou": oiou, "miou": miou,
    }  # fmt: skip


def _asked(run: Run, what: str, wanted: Sequence[str], table: Iterable[str]) -> list[str]:
    """The names of the rules or forms asked for, of those that the run's table holds."""
    held = [name for name in table if name != OWN]  # its own first
    names = held if ALL in wanted else [held[0] if name == OWN else name for name in wanted]
    for name in names:
        if name not in held:
            raise TasError(
                f"run {run.record.run_id} holds no scores by the {what} {name!r}, only by "
                f"{', '.join(held)}; choose among these, {OWN} and {ALL}, or evaluate again"
            )
    return list(dict.fromkeys(names))


def best_settings(runs: Sequence[Run], grid: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """The best weights of each run, synonym rule and rectifier form, against the run's own answers.

    grid: of `sweep`; among equal settings its first is the best. Of each data set and split the
    best setting first: the grid's columns and, for mIoU and oIoU, `_low` and `_high` (95 %);
    own_miou and difference, with its ends: mIoU of the first run of that data set and split, as it
    answered, and the setting's minus that, paired; oracle_miou, n_without_proposals, n_images,
    n_settings; choice, whether this is the setting to choose: the best of val or valP, and no worse
    than the first run. TasError where runs of one split answer different sentences.
    """
    import pandas as pd

    by_id = {run.record.run_id: run for run in runs}
    rows: list[dict[Any, Any]] = []
    for (_, _, split), here in grid.groupby(_PLACE, sort=False):
        first = by_id[here["run_id"].iloc[0]]
        reading = here.groupby(["run_id", "synonyms", "rectifier"], sort=False)
        best = here.loc[reading["miou"].idxmax()]
        best = best.sort_values("miou", ascending=False, kind="stable")
        for rank, row in enumerate(best.to_dict("records")):
            found = _beside(by_id[row["run_id"]], first, row, n_boot)
            choice = rank == 0 and found["difference"] >= 0 and split in TUNING_SPLITS
            rows.append(row | found | {"n_settings": len(here), "choice": choice})
    return pd.DataFrame(rows)


def _beside(run: Run, first: Run, row: Mapping[Any, Any], n_boot: int) -> dict[str, Any]:
    """The intervals of a setting, and its difference from what the first run answered."""
    order, own, pixels = same_order(run, first), first.pixels(), run.pixels()
    if row["synonyms"]:
        weights = {n: row.get(f"weight_{n}", weight) for n, weight in run.record.weights.items()}
        pixels = run.table.pixels(run.table.choose(weights, row["rectifier"], row["synonyms"]))
    inter, union = (px[order] for px in pixels)
    rules: Any = {"epsilon": first.epsilon, "no_target": first.no_target}
    alone = bootstrap(inter, union, first.images, ("oiou", "miou"), n_resamples=n_boot, **rules)
    paired = paired_difference(
        (inter, union), own, first.images, ("miou",), no_target=first.no_target, n_resamples=n_boot
    )["miou"]
    ends = {f"{name}_{end}": getattr(alone[name], end) for name in alone for end in ("low", "high")}
    return ends | {
        "own_miou": metric(*own, "miou", **rules),
        "oracle_miou": metric(*run.pixels("oracle_"), "miou", **rules),
        "n_without_proposals": int((run.samples["n_proposals"] == 0).sum()),
        "difference": paired.value, "difference_low": paired.low, "difference_high": paired.high,
        "n_images": paired.n_images,
    }  # fmt: skip


def best_text(best: pd.DataFrame, most: int = 12) -> str:
    """The best settings as text, in per cent, a block of at most so many lines a split."""
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
        # one line for synonym rules that make no difference
        same = ["run_id", "rectifier", *_weights(here), "miou", "oiou"]
        joined = here.groupby(same, sort=False, dropna=False)["synonyms"].transform(" = ".join)
        alike = here.assign(synonyms=joined).drop_duplicates([*same, "synonyms"])
        more = f"\n({most} of {len(alike)} lines)" if len(alike) > most else ""
        blocks.append(f"{head}\n{_lines(alike.head(most))}{more}\n{_verdict(here)}")
    return "\n\n".join(blocks)


def _weights(table: pd.DataFrame) -> dict[str, str]:
    """The columns with weights, and the terms' names."""
    names = [str(name) for name in table if str(name).startswith("weight_")]
    return {name: name.removeprefix("weight_") for name in names}


def _lines(here: pd.DataFrame) -> str:
    import pandas as pd

    columns = {
        "run": here["method"] + " (" + here["preset"] + " " + here["run_id"].str[-6:] + ")",
        "fill": here["fill"],
        "synonyms": here["synonyms"].replace("", "-"),
        "rectifier": here["rectifier"].replace("", "-"),
        **{
            shown: [f"{x:g}" if np.isfinite(x) else "-" for x in here[name]]
            for name, shown in _weights(here).items()
        },
        "mIoU": spans(here, "miou"),
        "oIoU": spans(here, "oiou"),
        "mIoU difference": spans(here, "difference", signed=True),
    }
    return str(pd.DataFrame(columns).to_string(index=False))


def _verdict(here: pd.DataFrame) -> str:
    """What the first line is: a choice or not, and what its interval does not know."""
    top = here.iloc[0]
    if top["split"] not in TUNING_SPLITS:
        return f"no choice: settings are chosen on {' or '.join(TUNING_SPLITS)} only"
    if not top["choice"]:
        return "no choice: none of these is better than the run as it answered"
    weights = ",".join(f"{shown}={top[name]:g}" for name, shown in _weights(here).items())
    reading = f"weights {weights}, synonyms {top['synonyms']}, rectifier {top['rectifier']}, "
    return (
        f"choice: {top['method']}, {reading if top['synonyms'] else ''}fill {top['fill']}; "
        f"the intervals do not know that it is the best of {top['n_settings']}"
    )
