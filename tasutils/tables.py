"""Tables and sentences for reading: numbers rounded, in percent, with n, and all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from tasutils.metrics import percent

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandas.io.formats.style import Styler

    from tasutils.runs import Run


def styled(
    table: DataFrame, caption: str = "", *, index: bool = False, precision: int = 3
) -> Styler:
    """A table for a notebook, all text escaped, which a later `format` would undo."""

    def escaped(axis: Any) -> Any:
        return [None if name is None else escape(str(name)) for name in axis.names]

    table = table.rename_axis(index=escaped(table.index), columns=escaped(table.columns))
    styler = table.style.format(precision=precision, escape="html")
    for axis in (0, 1):
        styler = styler.format_index(escape="html", axis=axis)
    cells = "font-size: 85%; padding: 2px 5px; font-variant-numeric: tabular-nums"
    styler = styler.set_table_styles([{"selector": "td, th", "props": cells}])
    return (styler if index else styler.hide(axis="index")).set_caption(escape(caption))


def interval_table(table: DataFrame, caption: str, *, signed: bool = False) -> Styler:
    """Any table with mean, low, high and n for reading, in percent of IoU."""
    ends = table[["mean", "low", "high"]].to_numpy(float)
    spans = [percent(*row, signed=signed) for row in ends]
    return styled(
        table.drop(columns=["mean", "low", "high", "n"]).assign(mIoU=spans, n=table["n"]), caption
    )


def scope_note(runs: Iterable[Run]) -> str:
    """What a table rests on, for its caption, and whether P repeats what V's classifier says."""
    records = [run.record for run in runs]
    used, total = sum(r.n_used for r in records), sum(r.n_total for r in records)
    note = f"n = {used} sentences, whole splits"
    if any(record.partial for record in records):
        note = f"partial, n = {used} of {total} sentences"
    if any(record.config["captioner"]["kind"] == "composed" for record in records):
        note += "; P no independent evidence: captions come from V's classifier"
    return note


def finding(row: Mapping[Any, Any]) -> str:
    """Say a change of mIoU in words; row: piece (or group), mean, low, high (fractions) and n.

    >>> finding({"piece": "P", "mean": 0.02, "low": 0.0001, "high": 0.04, "n": 9})
    'P makes no clear change: +2.0 [+0.0, +4.0] mIoU (n = 9)'
    """
    name = row["piece"] if "piece" in row else row["group"]
    change, low, high = row["mean"], row["low"], row["high"]
    if change == low == high == 0:
        return f"{name} changes nothing at all (n = {row['n']})"
    gains, costs = round(100 * low, 1) > 0, round(100 * high, 1) < 0
    verb = "gains" if gains else "costs" if costs else "makes no clear change:"
    return f"{name} {verb} {percent(change, low, high, signed=True)} mIoU (n = {row['n']})"
