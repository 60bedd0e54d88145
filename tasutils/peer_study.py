"""TAS and its peers over the same sentences: whose runs belong together, and who is right on what.

Numbers are read from runs, see `evaluate_all`; maps judged alone are in `peer_maps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.baselines import method_names
from tasutils.errors import TasError
from tasutils.metrics import bootstrap, paired_difference
from tasutils.runs import Run, list_runs
from tasutils.study import QUESTIONS, Group

if TYPE_CHECKING:
    import pandas as pd


def _words(low: int, high: float) -> Group:
    return lambda s: np.array([low <= len(text.split()) <= high for text in s["text"]], bool)


def _area(low: float, high: float) -> Group:
    """Targets of a share of the picture, low <= share < high."""
    return lambda s: (
        (s["gt_area_px"] >= low * s["image_px"]) & (s["gt_area_px"] < high * s["image_px"])
    ).to_numpy(bool)


def _split(prefix: str) -> Group:
    return lambda s: (s["split"] == prefix).to_numpy(bool)


PEER_QUESTIONS: dict[str, dict[str, Group]] = {
    **{name: groups for name, groups in QUESTIONS.items() if name != "ImageNet"},
    "length": {
        "up to 3 words": _words(1, 3),
        "4 to 6 words": _words(4, 6),
        "7 words and more": _words(7, np.inf),
    },
    "size": {
        "under 1 % of the picture": _area(0, 0.01),
        "1 to 5 %": _area(0.01, 0.05),
        "5 % and more": _area(0.05, np.inf),
    },
}


def peer_runs(out: Path | str, preset: str) -> list[Run]:
    """The newest runs of as many methods as possible over the same sentences.

    Args:
        out: the folder that holds the runs.
        preset: name of the preset.

    Returns:
        For each family and split that several methods answered, one run a method, in the order of
        `method_names`, methods of your own last. Nothing where there is no such run.
    """
    together: dict[tuple[str, str], dict[tuple[str, int], dict[str, Run]]] = {}
    for run in sorted(list_runs(out), key=lambda run: run.record.created):
        record = run.record
        if record.preset == preset and record.metrics:
            same = together.setdefault((record.dataset, record.split), {})
            same.setdefault((record.index_digest, record.n_used), {})[record.method] = run
    names, found = method_names(), []
    for _, same in sorted(together.items(), key=lambda item: _place(*item[0])):
        methods = max(same.values(), key=lambda runs: (len(runs), _newest(runs)))
        if len(methods) > 1:
            known = [name for name in names if name in methods]
            found += [methods[name] for name in (*known, *sorted(methods.keys() - set(names)))]
    return found


def _place(dataset: str, split: str) -> tuple[int, str, str]:
    """Where a data set's runs stand in a table: in the order of the door, then others."""
    from tasutils.datasets import dataset_names

    names = dataset_names()
    return (names.index(dataset) if dataset in names else len(names), dataset, split)


def _newest(runs: dict[str, Run]) -> str:
    return max(run.record.created for run in runs.values())


def peer_breakdown(runs: Sequence[Run], n_boot: int = 1000) -> pd.DataFrame:
    """Every method on groups of sentences, all families and splits together.

    Args:
        runs: of the same methods over each family and split; differences are from the first's.
        n_boot: bootstrap resamples of images.

    Returns:
        Columns question, group, method, n; mean, low, high (mIoU, fractions); difference,
        difference_low, difference_high (paired; NaN for the first method). Groups without a
        sentence and questions that a data set does not answer are left out; splits are compared
        where there are several.

    Raises TasError when a method lacks a family or split that another has.
    """
    import pandas as pd

    tables = _by_method(runs)
    first = next(iter(tables))
    questions = dict(PEER_QUESTIONS)
    splits = tables[first]["split"].unique()
    if len(splits) > 1:
        questions["split"] = {str(name): _split(name) for name in splits}
    rows = []
    for question, groups in questions.items():
        for group, member in groups.items():
            try:
                who = member(tables[first])
            except KeyError:  # a data set that does not say
                continue
            if who.any():
                rows += _group_rows(tables, first, who, n_boot, question, group)
    return pd.DataFrame(rows)


def _by_method(runs: Iterable[Run]) -> dict[str, pd.DataFrame]:
    """The sentences of each method in one order, with `split` and `image_px`."""
    import pandas as pd

    found: dict[str, list[pd.DataFrame]] = {}
    for run in runs:
        record, table = run.record, run.samples
        table = table[table["gt_area_px"].notna()]
        image_ids = table["image_id"].to_numpy(str)
        table = table.assign(
            split=record.split,
            image_px=_image_px(run, image_ids),
            sentence=[f"{record.dataset} {record.split} {name}" for name in table["sample_id"]],
            picture=[f"{record.split} {name}" for name in image_ids],
        )
        found.setdefault(record.method, []).append(table)
    tables = {name: pd.concat(parts).set_index("sentence") for name, parts in found.items()}
    first = next(iter(tables.values()))
    for name, table in tables.items():
        if len(table) != len(first) or set(table.index) != set(first.index):
            raise TasError(f"the runs of {name} answer other sentences than those of the rest")
    return {name: table.loc[first.index] for name, table in tables.items()}


def _image_px(run: Run, image_ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Size of the picture of each sentence, int64 (n,) px."""
    from tasutils.datasets import load_dataset

    data = load_dataset(run.record.dataset, run.record.split, run.record.split_by or None)
    area = {name: int(np.prod(data.size_hw(name))) for name in np.unique(image_ids)}
    return np.array([area[name] for name in image_ids], np.int64)


def _group_rows(
    tables: dict[str, pd.DataFrame],
    first: str,
    who: NDArray[np.bool_],
    n_boot: int,
    question: str,
    group: str,
) -> list[dict[str, object]]:
    base = _pixels(tables[first], who)
    image = tables[first]["picture"].to_numpy(str)[who]
    rows = []
    for method, table in tables.items():
        pair = _pixels(table, who)
        found = bootstrap(*pair, image, ("miou",), n_resamples=n_boot)["miou"]
        row: dict[str, object] = {
            "question": question, "group": group, "method": method, "n": found.n,
            "mean": found.value, "low": found.low, "high": found.high,
        }  # fmt: skip
        if method != first:
            gain = paired_difference(pair, base, image, ("miou",), n_resamples=n_boot)["miou"]
            row |= {"difference": gain.value, "difference_low": gain.low}
            row |= {"difference_high": gain.high}
        rows.append(row)
    return rows


def _pixels(
    table: pd.DataFrame, who: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    names = ("intersection_px", "union_px")
    inter, union = (table[name].to_numpy(np.float64)[who] for name in names)
    return inter, union


def published_numbers() -> pd.DataFrame:
    """What has been published on RefCOCO, + and g, mIoU in percent, as text; blank: not sourced.

    Columns method, proposals, kind (P: the authors' own text, S: another paper's table), source,
    and one for each split. Other data, other proposals and other models than any run here.
    """
    import pandas as pd

    with (files("tasutils") / "published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)


def peer_words(table: pd.DataFrame, groups: pd.DataFrame) -> list[str]:
    """Say in words what `compare.compare_runs` and `peer_breakdown` found."""
    lines = []
    for (dataset, split), part in table.groupby(["dataset", "split"], sort=False):
        first, rest = part.iloc[0], part.iloc[1:]
        below = rest[rest["miou_difference_high"] < 0]
        above = rest[rest["miou_difference_low"] > 0]
        best = rest.sort_values("miou").iloc[-1]
        lines.append(
            f"{dataset} {split}, n = {first['n']} sentences, {first['n_images']} images: "
            f"{first['method']} "
            f"reaches {_percent(first)} mIoU of the oracle's {100 * first['oracle_miou']:.1f}. "
            f"Clearly below it: {_names(below)}; clearly above: {_names(above)}; the rest is not "
            f"told apart. The best of the others is {best['method']} with {_percent(best)}."
        )
    for question, part in groups.groupby("question", sort=False):
        winners = part.loc[part.groupby("group", sort=False)["mean"].idxmax()]
        said = [
            f"{row['group']}: {row['method']} {100 * row['mean']:.1f} (n = {row['n']})"
            for row in winners.to_dict("records")
        ]
        lines.append(f"Highest by {question}: {'; '.join(said)}.")
    return lines


def _percent(row: pd.Series) -> str:
    return f"{100 * row['miou']:.1f} [{100 * row['miou_low']:.1f}, {100 * row['miou_high']:.1f}]"


def _names(part: pd.DataFrame) -> str:
    return ", ".join(part["method"]) or "none"
