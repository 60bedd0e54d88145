"""A `RunDiff` as text and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tasutils.config import difference_lines
from tasutils.terminal import one_line

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.run_diff import Fact, RunDiff
    from tasutils.runs import Run

MOST = 10  # sentences shown unless all are asked for
_NAMED = 5  # pictures


def diff_lines(diff: RunDiff, runs: tuple[Run, Run], every: bool = False) -> list[str]:
    """What changed, for reading; runs: the two, for what each rests on; every: all sentences."""
    from tasutils.run_lines import run_scope, run_subject

    lines = [
        f"{which}: {name}: {run_subject(run.record)} ({run_scope(run.record)})"
        for which, name, run in zip(("first ", "second"), diff.names, runs, strict=True)
    ]
    n = len(diff.settings)
    lines += ["", f"settings: {n} differ{'s' if n == 1 else ''}" if n else "settings: the same"]
    lines += [f"    {line}" for line in difference_lines(diff.settings, ("first", "second")) if n]
    for what in ("method", "data", "models", "code"):
        lines += _fact_lines(what, getattr(diff, what))
    lines += _picture_lines(diff)
    partial = any(run.record.partial for run in runs)
    return [*lines, *_number_lines(diff, partial), *_sentence_lines(diff, every)]


def diff_json(diff: RunDiff, every: bool = False) -> str:
    """What changed, as JSON; of the sentences those that changed, or with `every` all."""
    rows = diff.sentences if every else diff.changed
    return json.dumps(
        {
            "first": diff.names[0],
            "second": diff.names[1],
            "settings": [row._asdict() for row in diff.settings],
            **{
                what: {name: [first, second] for name, first, second in getattr(diff, what)}
                for what in ("method", "data", "models", "code")
            },
            "pictures": diff.pictures,
            "numbers": _records(diff.numbers),
            "n_common": None if diff.sentences is None else len(diff.sentences),
            "n_changed": None if diff.changed is None else len(diff.changed),
            "n_only_first": diff.n_first,
            "n_only_second": diff.n_second,
            "sentences": _records(rows),
        },
        indent=2,
        ensure_ascii=False,
        allow_nan=False,
    )


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    """Rows of a table as JSON takes them: None for NaN."""
    if table is None:
        return None
    plain = table.astype(object).where(table.notna(), None)
    names = [str(name) for name in plain.columns]
    return [dict(zip(names, row, strict=True)) for row in plain.itertuples(index=False)]


def _picture_lines(diff: RunDiff) -> list[str]:
    """How many of the pictures of both differ, and which first."""
    if diff.sentences is None:
        return []
    if diff.pictures is None:
        return ["pictures: not known: a run is older than their digests"]
    return [f"pictures: {pictures_told(diff.pictures)}" if diff.pictures else "pictures: the same"]


def pictures_told(names: list[str]) -> str:
    """Pictures that differ, counted, the first few by name."""
    more = ", ..." if len(names) > _NAMED else ""
    told = one_line(", ".join(names[:_NAMED]))
    return f"{len(names)} differ{'s' if len(names) == 1 else ''} in their pixels: {told}{more}"


def _fact_lines(what: str, facts: list[Fact]) -> list[str]:
    if not facts:
        return [f"{what}: the same"]
    return [
        f"{what}:",
        *(f"    {one_line(name)}: {_told(a)} -> {_told(b)}" for name, a, b in facts),
    ]


def _told(value: Any) -> str:
    return "-" if value is None or value == "" else one_line(str(value))


def _number_lines(diff: RunDiff, partial: bool) -> list[str]:
    """The metrics side by side, or why they cannot be paired."""
    import pandas as pd

    if diff.sentences is None:
        return ["", "numbers: not paired: the two runs are over other data"]
    if diff.numbers is None:
        return ["", "numbers: none: no sentence in common that has a ground truth"]
    table = diff.numbers
    first = table.iloc[0]
    without = [first[f"n_without_proposals_{which}"] for which in ("first", "second")]
    scope = (
        f"{'partial, ' if partial else ''}n = {first['n']} common sentences, "
        f"{first['n_images']} images; {without[0]} and {without[1]} without a proposal"
    )
    if diff.n_first or diff.n_second:
        scope += f"; only in the first {diff.n_first}, in the second {diff.n_second}"
    spans = table[["difference", "low", "high"]].to_numpy(float)
    shown = pd.DataFrame({
        "metric": [
            name.replace("oracle_", "oracle ").replace("iou", "IoU").replace("p@", "P@")
            for name in table["metric"]
        ],
        "first": [f"{100 * value:.2f}" for value in table["first"]],
        "second": [f"{100 * value:.2f}" for value in table["second"]],
        "difference": [
            f"{100 * a:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]" for a, low, high in spans
        ],
    })  # fmt: skip
    head = f"numbers ({scope}; second minus first, paired, 95 % over images):"
    return ["", head, *(f"    {line}" for line in shown.to_string(index=False).split("\n"))]


def _sentence_lines(diff: RunDiff, every: bool) -> list[str]:
    """How many sentences changed, and which."""
    changed = diff.changed
    if changed is None or diff.sentences is None:
        return []
    masks = int((changed["chosen_first"] != changed["chosen_second"]).sum())
    better, worse = (int((sign * changed["change"] > 0).sum()) for sign in (1, -1))
    head = (
        f"sentences: {len(changed)} of {len(diff.sentences)} changed: {masks} with another mask, "
        f"{better} with a better IoU, {worse} with a worse one"
    )
    if n_others := int(changed["other_masks"].sum()):
        head += f"; in {n_others} the proposals differ, where an index means another mask"
    rows = diff.sentences if every else changed.head(MOST)
    if len(rows) < len(changed):
        head += f"; the {len(rows)} largest changes (--all: every sentence)"
    return ["", head, *(_sentence_line(row) for row in rows.to_dict("records"))]


def _sentence_line(row: dict[Any, Any]) -> str:
    mask = f"mask {row['chosen_first']}"
    if row["chosen_first"] != row["chosen_second"]:
        mask += f" -> {row['chosen_second']}"
    ious = f"IoU {row['iou_first']:.3f} -> {row['iou_second']:.3f}"
    where = one_line(f"{row['sample_id']} ({row['image_id']})")
    return f"    {where} {row['text']!r}: {mask}, {ious}"
