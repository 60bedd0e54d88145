"""What changed between two runs: settings, data, models, code, numbers, and sentence by sentence.

Times and memory are left aside: they differ between any two runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.config import Difference, differences
from tasutils.metrics import METRIC_NAMES, metric
from tasutils.score_table import Rules
from tasutils.stats import paired_difference

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run, RunRecord

Fact = tuple[str, Any, Any]
_DATA = ("dataset", "split", "split_by", "index_digest", "n_total", "n_used", "n_images")
_CODE = ("git_commit", "git_dirty", "metric_version", "device", "dtype")


@dataclass(frozen=True)
class RunDiff:
    """What changed from the first run to the second.

    settings: of the preset; method, data, models, code: facts with both values, those that differ;
    numbers: one row a metric over the sentences that both runs answered, with the second's value
    minus the first's, paired; None where the two answered no sentence of the same data in common.
    sentences: one row for each such sentence, see `sentence_table`. pictures: of the pictures that
    both used, the names of those whose pixels differ; None where a run is too old to tell.
    n_first, n_second: sentences that only the one run has.
    """

    names: tuple[str, str]
    settings: list[Difference]
    method: list[Fact]
    data: list[Fact]
    models: list[Fact]
    code: list[Fact]
    numbers: pd.DataFrame | None
    sentences: pd.DataFrame | None
    pictures: list[str] | None
    n_first: int
    n_second: int

    @property
    def changed(self) -> pd.DataFrame | None:
        """The sentences with another mask or IoU, the largest change of IoU first."""
        if self.sentences is None:
            return None
        rows = self.sentences[self.sentences["changed"]]
        order = np.argsort(-rows["change"].abs().fillna(0).to_numpy(float), kind="stable")
        return rows.iloc[order]


def diff_runs(first: Run, second: Run) -> RunDiff:
    """Compare two runs, of whatever data; raises TasError for a missing or damaged table."""
    one, other = first.record, second.record
    sentences, numbers, pictures = None, None, None
    alone = [one.n_used, other.n_used]
    if _data_of(one) == _data_of(other):
        tables = first.samples(), second.samples()
        sentences, pictures = sentence_table(*tables), other_pictures(*tables)
        alone = [len(table) - len(sentences) for table in tables]
        if len(sentences):
            numbers = _numbers(first, second, tables, sentences["sample_id"].to_list())
    return RunDiff(
        names=(one.run_id, other.run_id),
        settings=differences(one.config, other.config),
        method=_facts(_method(one), _method(other)),
        data=_facts(*({name: getattr(r, name) for name in _DATA} for r in (one, other))),
        models=_facts(_models(one), _models(other)),
        code=_facts(_code(one), _code(other)),
        numbers=numbers,
        sentences=sentences,
        pictures=pictures,
        n_first=alone[0],
        n_second=alone[1],
    )


def sentence_table(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The sentences of two tables of samples side by side, in the order of the first.

    Returns:
        sample_id, image_id, text, n_proposals_first, n_proposals_second, chosen_first,
        chosen_second (index of the mask, -1 for none), iou_first, iou_second, change (of IoU;
        NaN without ground truth), other_masks: do the proposals surely differ, so that an index
        means another mask; changed: is anything of this, or of the pixels, another.
    """
    pixels = ["n_proposals", "chosen", "iou", "intersection_px", "union_px", "oracle_iou"]
    both = first[["sample_id", "image_id", "text", *pixels]].merge(
        second[["sample_id", *pixels]], on="sample_id", suffixes=("_first", "_second")
    )
    pairs = [(both[f"{name}_first"], both[f"{name}_second"]) for name in pixels]
    equal = dict(zip(pixels, (_equal(*pair) for pair in pairs), strict=True))
    others = ~(equal["n_proposals"] & equal["oracle_iou"])
    shown = [f"{name}_{which}" for name in pixels[:3] for which in ("first", "second")]
    return both[["sample_id", "image_id", "text", *shown]].assign(
        change=both["iou_second"] - both["iou_first"],
        other_masks=others,
        changed=~np.logical_and.reduce(list(equal.values())),
    )


def other_pictures(first: pd.DataFrame, second: pd.DataFrame) -> list[str] | None:
    """The pictures of two tables of samples, by name, whose pixels differ; None if unknown."""
    if not ("image_digest" in first and "image_digest" in second):
        return None
    one, other = (
        dict(zip(table["image_id"].astype(str), table["image_digest"], strict=True))
        for table in (first, second)
    )
    return [name for name, digest in one.items() if other.get(name, digest) != digest]


def _equal(first: pd.Series, second: pd.Series) -> NDArray[np.bool_]:
    return np.asarray((first == second) | (first.isna() & second.isna()), np.bool_)


def _numbers(
    first: Run, second: Run, tables: tuple[pd.DataFrame, pd.DataFrame], ids: list[str]
) -> pd.DataFrame | None:
    """One row a metric over common sentences with ground truth; see `RunDiff`."""
    import pandas as pd

    mine, theirs = (table.set_index("sample_id").loc[ids] for table in tables)
    known = (mine["gt_area_px"].notna() & theirs["gt_area_px"].notna()).to_numpy(bool)
    if not known.any():
        return None
    image = mine["image_id"].to_numpy(str)[known]
    without = [int((table["n_proposals"][known] == 0).sum()) for table in (mine, theirs)]
    epsilons = Rules.of(first).epsilon, Rules.of(second).epsilon
    rows = []
    for who in ("", "oracle_"):
        pairs = [_pixels(table[known], who) for table in (mine, theirs)]
        # the second minus the first
        found = paired_difference(pairs[1], pairs[0], image, METRIC_NAMES, epsilons=epsilons[::-1])
        for name, span in found.items():
            values = [
                metric(*pair, name, epsilon=e) for pair, e in zip(pairs, epsilons, strict=True)
            ]
            rows.append({
                "metric": f"{who}{name}", "first": values[0], "second": values[1],
                "difference": span.value, "low": span.low, "high": span.high,
                "n": span.n, "n_images": span.n_images,
                "n_without_proposals_first": without[0], "n_without_proposals_second": without[1],
            })  # fmt: skip
    return pd.DataFrame(rows)


def _pixels(table: pd.DataFrame, who: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    names = (f"{who}intersection_px", f"{who}union_px")
    inter, union = (table[name].to_numpy(np.float64) for name in names)
    return inter, union


def _data_of(record: RunRecord) -> tuple[str, ...]:
    return record.dataset, record.split, record.split_by, record.index_digest


def _method(record: RunRecord) -> dict[str, Any]:
    return {"method": record.method, **record.method_settings}


def _models(record: RunRecord) -> dict[str, Any]:
    return {name: f"{model.name} {model.sha256[:12]}" for name, model in record.models.items()}


def _code(record: RunRecord) -> dict[str, Any]:
    seeds = {f"seed of the {name}": value for name, value in record.seeds.items()}
    return {name: getattr(record, name) for name in _CODE} | seeds | record.versions


def _facts(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Fact]:
    """What differs, by name; None for what one of them has not."""
    names = [*first, *(name for name in second if name not in first)]
    rows = [(name, first.get(name), second.get(name)) for name in names]
    return [row for row in rows if row[1] != row[2]]
