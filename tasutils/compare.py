"""Runs side by side: the same sentences, paired differences, sentences won and lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.metrics import CONVENTION, iou
from tasutils.stats import paired_difference
from tasutils.terminal import one_line

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run

METRICS = ("oiou", "miou", "p@0.5")
_SHOWN = {"oiou": "oIoU", "miou": "mIoU", "p@0.5": "P@0.5"}
WON = 0.05  # a sentence is won by more IoU than this; less is the rim of a mask


def compare_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run, each against the first run of the same sentences.

    Args:
        runs: two or more; those of one data set and split are compared with the first of them.

    Returns:
        Columns dataset, split, method, preset, n, n_images, n_images_total, n_without_proposals,
        partial; oiou, miou, p@0.5 as fractions, each with `_low` and `_high` (95 %, bootstrap over
        images) and, before its name, `oracle_`;
        miou_difference with its ends (paired, this run minus the first), won and lost (sentences
        whose IoU is more than `WON` above or below the first run's), s_per_sentence (the method's
        own time, on a described scene). The first run's difference, won and lost are NaN.

    Raises:
        TasError: a run without a metric, or runs of one split with other sentences or another
            ground truth.
    """
    import pandas as pd

    if len(runs) < 2:
        raise TasError(f"{len(runs)} run to compare; name two or more")
    rows: list[dict[str, object]] = []
    firsts: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        record = run.record
        key = (record.dataset, record.split_by, record.split)
        if not record.metrics:
            raise TasError(f"{run.folder.name} has no metric: its data set has no ground truth")
        first = firsts.setdefault(key, run)
        rows.append(_row(run) | (_against(run, first) if first is not run else {}))
    return pd.DataFrame(rows)


def compare_text(table: pd.DataFrame) -> str:
    """A table of `compare_runs` as text, numbers in per cent, one block a data set and split."""
    blocks = []
    for (dataset, split), part in table.groupby(["dataset", "split"], sort=False):
        first = part.iloc[0]
        partial = part["partial"].any()
        scope = f"{'partial, ' if partial else ''}n = {first['n']} sentences, "
        scope += f"{first['n_images']} images{f' of {first.n_images_total}' if partial else ''}"
        best = ", ".join(f"{_SHOWN[n]} {_joined(100 * part[f'oracle_{n}'])}" for n in METRICS)
        head = (
            f"{dataset} {split}: {scope}; {_joined(part['n_without_proposals'], '.0f')} without a "
            f"proposal; oracle {best}; differences from {first['label']}"
        )
        blocks.append(f"{one_line(head)}\n{_lines(part)}")
    return "\n\n".join([*blocks, f"95 % intervals over images; {CONVENTION}"])


def _row(run: Run) -> dict[str, object]:
    record = run.record
    row: dict[str, object] = {
        "dataset": " ".join(filter(None, (record.dataset, record.split_by))),
        "split": record.split,
        "method": record.method,
        "preset": record.preset,
        "label": f"{record.method} ({record.preset})",
        "run_id": record.run_id,
        "n": record.metrics["miou"].n,
        "n_images": record.metrics["miou"].n_images,
        "n_images_total": record.n_images_total,
        "n_without_proposals": record.n_without_proposals,
        "partial": record.partial,
        "s_per_sentence": record.answer_s / max(record.n_used, 1),
    }
    for name in METRICS:
        metric = record.metrics[name]
        row |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
        row[f"oracle_{name}"] = record.metrics[f"oracle_{name}"].value
    return row


def _against(run: Run, first: Run) -> dict[str, object]:
    """The paired columns of a run beside the first one of its split."""
    mine, theirs = run.samples(), first.samples()
    mine = mine.iloc[same_order(run, mine, first, theirs)]
    known = theirs["gt_area_px"].notna().to_numpy()
    pairs = [_pixels(table[known]) for table in (mine, theirs)]
    image = theirs["image_id"].to_numpy(str)[known]
    found = paired_difference(pairs[0], pairs[1], image, ("miou",))["miou"]
    gain = iou(*pairs[0]) - iou(*pairs[1])
    return {
        "miou_difference": found.value,
        "miou_difference_low": found.low,
        "miou_difference_high": found.high,
        "won": int((gain > WON).sum()),
        "lost": int((gain < -WON).sum()),
    }


def same_order(run: Run, mine: pd.DataFrame, first: Run, theirs: pd.DataFrame) -> NDArray[np.int64]:
    """The rows of a run's samples in the order of another run's.

    Raises:
        TasError: the two runs answer different sentences.
    """
    import pandas as pd

    order = pd.Index(mine["sample_id"]).get_indexer(theirs["sample_id"])
    same = len(mine) == len(theirs) and not (order < 0).any()
    if not same or run.record.index_digest != first.record.index_digest:
        raise TasError(
            f"{run.record.run_id} and {first.record.run_id} answer different sentences of "
            f"{run.record.dataset} {run.record.split}; evaluate both with the same limit"
        )
    return np.asarray(order, np.int64)


def _pixels(samples: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        samples["intersection_px"].to_numpy(np.float64),
        samples["union_px"].to_numpy(np.float64),
    )


def _lines(part: pd.DataFrame) -> str:
    """The rows of one split, aligned."""
    import pandas as pd

    columns: dict[str, list[str]] = {"method": list(part["label"])}
    for name, shown in _SHOWN.items():
        spans = part[[name, f"{name}_low", f"{name}_high"]].to_numpy(np.float64)
        columns[shown] = [f"{100 * x:.1f} [{100 * a:.1f}, {100 * b:.1f}]" for x, a, b in spans]
    ends = ("miou_difference", "miou_difference_low", "miou_difference_high")
    columns["mIoU difference"] = [
        "" if np.isnan(a) else f"{100 * a:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        for a, low, high in part.reindex(columns=ends).astype(float).to_numpy()
    ]
    columns["won / lost"] = [
        "" if np.isnan(won) else f"{won:.0f} / {lost:.0f}"
        for won, lost in part.reindex(columns=["won", "lost"]).astype(float).to_numpy()
    ]
    columns["ms a sentence"] = [
        "" if np.isnan(s) else f"{1000 * s:.1f}" for s in part["s_per_sentence"]
    ]
    return str(pd.DataFrame(columns).to_string(index=False))


def _joined(values: pd.Series, form: str = ".1f") -> str:
    return " / ".join(dict.fromkeys(f"{value:{form}}" for value in values))
