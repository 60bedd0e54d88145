"""A run as text: what `tas evaluate` prints."""

from __future__ import annotations

from tasutils.runs import MASKS_FOLDER, Run, summary_line


def run_lines(run: Run) -> list[str]:
    """A run as `tas evaluate` prints it: its summary, PhraseCut's parts, and where it lies.

    One mask is the whole answer, so phrases with several instances are capped and told apart.
    """
    lines = [summary_line(run)]
    if run.record.dataset == "phrasecut":
        from tasutils.datasets.phrasecut_metrics import scores

        parts = scores(run.samples()).loc[["i_single", "i_multi"]]
        lines += [
            f"    {name}: mean IoU {100 * row['mean_iou']:.1f}, "
            f"cumulative IoU {100 * row['cum_iou']:.1f} (n = {row['n']:.0f})"
            for name, row in parts.iterrows()
        ]
    lines.append(f"    {run.folder}")
    if (run.folder / MASKS_FOLDER).is_dir():
        lines.append(f"    chosen masks: {run.folder / MASKS_FOLDER}/<sample_id>.png")
    return lines
