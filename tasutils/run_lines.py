"""A run as text: what `tas evaluate` prints."""

from __future__ import annotations

from tasutils.metrics import CONVENTION
from tasutils.run_tables import metrics_of
from tasutils.runs import MASKS_FOLDER, Metric, Run, RunRecord
from tasutils.score_table import Rules
from tasutils.terminal import one_line

_SHOWN = {"oiou": "oIoU", "miou": "mIoU", "p@0.5": "P@0.5"}


def run_lines(run: Run) -> list[str]:
    """A run as `tas evaluate` prints it: its summary, PhraseCut's parts, and where it lies.

    One mask is the whole answer, so phrases with several instances are capped and told apart.
    """
    lines = [summary_line(run)]
    if run.record.metrics:
        lines.append(
            f"    95 % intervals over images, then the oracle; {CONVENTION}; other conventions: "
            f"tas metrics {run.folder}"
        )
    if run.record.dataset == "phrasecut":
        from tasutils.datasets.phrasecut import subsets

        samples = run.samples()
        for name, member in subsets(samples).items():
            part = samples[member]
            if name in ("i_single", "i_multi") and len(part):
                found = metrics_of(part, Rules.of(run).epsilon)
                without = int((part["n_proposals"] == 0).sum())
                lines.append(
                    f"    {name}: mean IoU {figure(found, 'miou')}, cumulative IoU "
                    f"{figure(found, 'oiou')} (n = {len(part)}, {without} without a proposal)"
                )
    lines.append(f"    {run.folder}")
    if (run.folder / MASKS_FOLDER).is_dir():
        lines.append(f"    chosen masks: {run.folder / MASKS_FOLDER}/<sample_id>.png")
    return lines


def summary_line(run: Run) -> str:
    """The run in one line: what, on how much of it, each metric with interval and oracle."""
    record = run.record
    what = f"{run_subject(record)} ({run_scope(record)})"
    if not record.metrics:
        return f"{what}: no ground truth, so no metric"
    figures = (f"{shown} {figure(record.metrics, name)}" for name, shown in _SHOWN.items())
    return f"{what}: {', '.join(figures)}"


def run_subject(record: RunRecord) -> str:
    """Data set, split, preset and method of a run."""
    method = "" if record.method == "tas" else record.method
    names = (record.dataset, record.split_by, record.split, record.preset, method)
    return one_line(" ".join(filter(None, names)))


def run_scope(record: RunRecord) -> str:
    """What the numbers of a run rest on: "partial" first, if it is over part of its split."""
    scope = f"n = {record.n_used} sentences, {record.n_images} images"
    if record.partial:
        scope = f"partial, {scope} of {record.n_images_total}"
    if record.n_without_mask:
        scope += f"; metrics on the {record.n_used - record.n_without_mask} with a mask"
    return f"{scope}; {record.n_without_proposals} without a proposal"


def figure(metrics: dict[str, Metric], name: str) -> str:
    """A metric in per cent with its interval, and the oracle's."""
    metric, best = metrics[name], metrics[f"oracle_{name}"].value
    ends = f"[{100 * metric.low:.1f}, {100 * metric.high:.1f}]"
    return f"{100 * metric.value:.1f} {ends} of {100 * best:.1f}"
