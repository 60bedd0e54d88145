"""Tables and sentences for reading: numbers rounded, in percent, with n, and all text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from tasutils.metrics import percent

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from pandas.io.formats.style import Styler

    from tasutils.refer import TasAnswer
    from tasutils.runs import Run

CHOSEN = "background-color: #FFF3D6; color: #212121; font-weight: bold"
WORSE, BETTER = (f"background-color: {color}; color: #212121" for color in ("#FBE3D0", "#D3E8F5"))


def styled(
    table: DataFrame, caption: str = "", *, index: bool = False, precision: int = 3
) -> Styler:
    """A table for a notebook; text of others in it is escaped, in names and caption as well.

    Args:
        table: of numbers and text.
        caption: below it.
        index: whether its index is shown.
        precision: digits after the point. A later `format` of the result would undo the escaping.
    """
    table = table.rename_axis(index=_escaped(table.index), columns=_escaped(table.columns))
    styler = table.style.format(precision=precision, escape="html")
    for axis in (0, 1):
        styler = styler.format_index(escape="html", axis=axis)
    cells = "font-size: 85%; padding: 2px 5px; font-variant-numeric: tabular-nums"
    styler = styler.set_table_styles([{"selector": "td, th", "props": cells}])
    return (styler if index else styler.hide(axis="index")).set_caption(escape(caption))


def _escaped(axis: Any) -> Any:
    return [None if name is None else escape(str(name)) for name in axis.names]


def style_table(answer: TasAnswer) -> Styler:
    """`answer.table()` for a notebook: best first, the answer marked, outsiders grey."""
    table = answer.table().rename_axis("mask").sort_values("rank", kind="stable")

    def look(row: Series) -> list[str]:
        css = CHOSEN if row["rank"] == 1 else "" if row["in_region"] else "color: #767676"
        return [css] * len(row)

    caption = "best first; shaded: the answer; grey: outside the region"
    return styled(table, caption, index=True).apply(look, axis=1)


def negatives_table(answer: TasAnswer) -> Styler:
    """The noun phrases of the picture's caption with the verdict on each."""
    import pandas as pd

    rows = [(c.phrase, c.kept, c.similarity, c.reason) for c in answer.candidates]
    columns = ["phrase", "negative", "similarity", "why"]
    return styled(pd.DataFrame(rows, columns=columns), precision=2)


def spans(table: DataFrame, *columns: str, signed: bool = False) -> list[str]:
    """`percent` of each row; columns: of the value and of the ends of its interval."""
    columns = columns or ("mean", "low", "high")
    return [percent(*row, signed=signed) for row in table[list(columns)].to_numpy(float)]


def interval_table(table: DataFrame, caption: str, *, signed: bool = False) -> Styler:
    """Any table with mean, low, high and n for reading, in percent of IoU."""
    rows = table.drop(columns=["mean", "low", "high", "n"])
    return styled(rows.assign(mIoU=spans(table, signed=signed), n=table["n"]), caption)


def ablation_table(table: DataFrame, caption: str) -> Styler:
    """`study.ablation` for reading: a line a variant beside the oracle, in percent."""
    keys = ["family", "split"]
    cells = table.assign(
        mIoU=spans(table), oIoU=spans(table, "oiou", "oiou_low", "oiou_high"),
        rectifier=table["rectifier"].map({False: "no rectifier", True: "rectifier"}),
    )  # fmt: skip
    oracle = cells[cells["variant"] == "oracle"].set_index(keys)
    wide = cells[cells["variant"] != "oracle"].pivot_table(
        ["mIoU", "oIoU"], [*keys, "variant", "n"], "rectifier", aggfunc="first", sort=False
    )
    wide.columns = [", ".join(names) for names in wide.columns]
    rows = wide.reset_index().join(oracle[["mean", "oiou"]], on=keys)
    for name, column in (("mIoU", "mean"), ("oIoU", "oiou")):
        rows[f"oracle {name}"] = (100 * rows.pop(column)).map("{:.1f}".format)
    order = [
        f"{name}{form}" if form else f"oracle {name}"
        for name in ("mIoU", "oIoU")
        for form in (", no rectifier", ", rectifier", "")
    ]
    return styled(rows[[*keys, "variant", *order, "n"]], caption)


def peers_table(table: DataFrame, caption: str) -> Styler:
    """`compare.compare_runs` for reading, in percent; differences are from the first row."""
    ends = ("", "_low", "_high")
    metrics = {"mIoU": "miou", "oIoU": "oiou", "P@0.5": "p@0.5"}
    shown = {
        head: spans(table, *(f"{name}{end}" for end in ends)) for head, name in metrics.items()
    }
    first = table["miou_difference"].isna()
    gain = spans(table, *(f"miou_difference{end}" for end in ends), signed=True)
    rows = table[["dataset", "split", "method"]].rename(columns={"dataset": "family"})
    rows = rows.assign(**shown)
    rows["mIoU against the first"] = rows["method"].where(first, gain).mask(first, "")
    won = [f"{a:.0f} / {b:.0f}" for a, b in table[["won", "lost"]].to_numpy(float)]
    rows["won / lost"] = rows["method"].where(first, won).mask(first, "")
    rows["oracle"] = (100 * table["oracle_miou"]).map("{:.1f}".format)
    rows["ms a sentence"] = (1000 * table["s_per_sentence"]).map("{:.1f}".format)
    return styled(rows.assign(n=table["n"]), caption)


def settings_table(table: DataFrame, caption: str) -> Styler:
    """`sweep.at_own_weights` for reading: a column a form, in points of mIoU."""
    wide = table.assign(change=spans(table, signed=True)).pivot_table(
        "change", ["family", "split", "n", "synonyms"], "rectifier", aggfunc="first", sort=False
    )
    return styled(wide.reset_index().rename_axis(columns=None), caption)


def weights_note(best: Series) -> str:
    """Say what the best weights of a run reach; best: a row of `sweep.best_settings`."""
    ends = ("", "_low", "_high")
    value = percent(*(best[f"miou{end}"] for end in ends))
    gain = percent(*(best[f"difference{end}"] for end in ends), signed=True)
    names = [str(name) for name in best.index if str(name).startswith("weight_")]
    weights = ", ".join(f"{name.removeprefix('weight_')} {best[name]:g}" for name in names)
    return f"best {value}, weights {weights}; against the run {gain}"


def scope_note(parts: Iterable[Run]) -> str:
    """What a table rests on, for its caption: "partial, n = ..." as soon as one part is partial.

    Where captions are composed from the classifier that gives V, it says so.
    """
    records = [part.record for part in parts]
    used, total = sum(r.n_used for r in records), sum(r.n_total for r in records)
    note = f"n = {used} sentences, whole splits"
    if any(record.partial for record in records):
        note = f"partial, n = {used} of {total} sentences"
    if any(record.config["captioner"]["kind"] == "composed" for record in records):
        note += "; P no independent evidence: captions come from V's classifier"
    return note


def finding(row: dict[Any, Any]) -> str:
    """Say a change of mIoU in words: piece, mean, low, high (fractions) and n."""
    change, low, high = row["mean"], row["low"], row["high"]
    if change == low == high == 0:
        return f"{row['piece']} changes nothing at all (n = {row['n']})"
    verb = "gains" if low > 0 else "costs" if high < 0 else "makes no clear change:"
    numbers = percent(change, low, high, signed=True)
    return f"{row['piece']} {verb} {numbers} mIoU (n = {row['n']})"
