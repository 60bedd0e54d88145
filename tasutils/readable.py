"""Tables and sentences for reading: numbers rounded, in percent, with n, and all text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from tasutils.compare import METRICS
from tasutils.show import best_first

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from pandas.io.formats.style import Styler

    from tasutils.refer import TasAnswer
    from tasutils.study import Part

_DENSE: Any = [
    {"selector": "td, th", "props": "font-size: 78%; padding: 2px 4px"},
    {"selector": "td, th.row_heading", "props": "white-space: nowrap"},
]


def style_table(answer: TasAnswer) -> Styler:
    """Return `answer.table()` for a notebook: best first, the answer marked, outsiders grey."""
    table = answer.table().loc[best_first(answer)]
    table.index.name = "mask"

    def look(row: Series) -> list[str]:
        chosen, inside = row.name == answer.best, bool(row["in_region"])
        css = "background-color: #FFF3D6; font-weight: bold" if chosen else ""
        return [css if inside or chosen else "color: #8A8A8A"] * len(row)

    styler = table.style.apply(look, axis=1)
    styler = styler.format(precision=3, escape="html")
    return styler.set_caption("best first; shaded: the answer; grey: outside the region")


def negatives_table(answer: TasAnswer) -> Styler:
    """Return the noun phrases of the picture's caption with the verdict on each."""
    import pandas as pd

    rows = [(c.phrase, c.kept, c.similarity, c.reason) for c in answer.candidates]
    table = pd.DataFrame(rows, columns=["phrase", "negative", "similarity", "why"])
    return table.style.hide(axis="index").format(precision=2, escape="html")


def percent(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """Write a fraction with its interval in percent.

    >>> percent(0.5, 0.412, 0.6), percent(0.01, -0.02, 0.04, signed=True)
    ('50.0 [41.2, 60.0]', '+1.0 [-2.0, +4.0]')
    """
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def ablation_table(table: DataFrame, caption: str) -> Styler:
    """Return `study.ablation` for reading: a line a variant beside the oracle, in percent."""
    import pandas as pd

    rows = []
    for (family, split), part in table.groupby(["family", "split"], sort=False):
        found = {(row["variant"], row["rectifier"]): row for row in part.to_dict("records")}
        oracle = found.pop(("oracle", False))
        for variant in dict.fromkeys(name for name, _ in found):
            off, on = found[variant, False], found[variant, True]
            rows.append(
                {
                    "family": family,
                    "split": split,
                    "variant": variant,
                    "mIoU, no rectifier": percent(off["mean"], off["low"], off["high"]),
                    "mIoU, rectifier": percent(on["mean"], on["low"], on["high"]),
                    "oracle mIoU": f"{100 * oracle['mean']:.1f}",
                    "oIoU, no rectifier": percent(off["oiou"], off["oiou_low"], off["oiou_high"]),
                    "oIoU, rectifier": percent(on["oiou"], on["oiou_low"], on["oiou_high"]),
                    "oracle oIoU": f"{100 * oracle['oiou']:.1f}",
                    "n": on["n"],
                }
            )
    styler = pd.DataFrame(rows).style.hide(axis="index").format(escape="html")
    styler = styler.set_table_styles([{"selector": "td", "props": "white-space: nowrap"}])
    return styler.set_caption(escape(caption, quote=False))


def peers_table(table: DataFrame, caption: str) -> Styler:
    """Return `compare.compare_runs` for reading, in percent; differences are from the first row."""
    import pandas as pd

    rows = []
    for row in table.to_dict("records"):
        spans = {name: (row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in METRICS}
        first = row["miou_difference"] != row["miou_difference"]  # NaN
        ends = (row["miou_difference"], row["miou_difference_low"], row["miou_difference_high"])
        rows.append(
            {
                "family": row["dataset"],
                "split": row["split"],
                "method": row["method"],
                "mIoU": percent(*spans["miou"]),
                "oIoU": percent(*spans["oiou"]),
                "P@0.5": percent(*spans["p@0.5"]),
                "mIoU against the first": "" if first else percent(*ends, signed=True),
                "won / lost": "" if first else f"{row['won']:.0f} / {row['lost']:.0f}",
                "oracle": f"{100 * row['oracle_miou']:.1f}",
                "ms a sentence": f"{1000 * row['s_per_sentence']:.1f}",
                "n": row["n"],
            }
        )
    styler = pd.DataFrame(rows).style.hide(axis="index").format(escape="html")
    return styler.set_table_styles(_DENSE).set_caption(escape(caption, quote=False))


def peer_groups_table(table: DataFrame, caption: str) -> Styler:
    """Return `peer_study.peer_breakdown` for reading: a line a group, a column a method, mIoU in %.

    Bold: the best of a line. Orange: clearly below the first method (paired interval without 0),
    blue: clearly above.
    """
    keys, methods = ["question", "group", "n"], list(dict.fromkeys(table["method"]))
    lines = table[keys].drop_duplicates()

    def wide(column: str) -> DataFrame:
        found = table.pivot(index=keys, columns="method", values=column)
        return found.loc[list(lines.itertuples(index=False, name=None)), methods]

    means, low, high = (wide(name) for name in ("mean", "difference_low", "difference_high"))

    def look(part: DataFrame) -> DataFrame:
        css = part.astype(object).mask(high < 0, "background-color: #FBE3D0")
        css = css.mask(low > 0, "background-color: #D3E8F5")
        css = css.where((high < 0) | (low > 0), "")
        return css + part.eq(part.max(axis=1), axis=0).replace(
            {True: "; font-weight: bold", False: ""}
        )

    styler = (100 * means).style.apply(look, axis=None).format(precision=1)
    # long names break at their underscores
    styler = styler.format_index(lambda name: str(name).replace("_", " "), axis=1, escape="html")
    styler = styler.format_index(escape="html")
    return styler.set_table_styles(_DENSE).set_caption(escape(caption, quote=False))


def published_table() -> Styler:
    """Return `peer_study.published_numbers` for reading."""
    from tasutils.peer_study import published_numbers

    styler = published_numbers().style.hide(axis="index").format(escape="html")
    return styler.set_table_styles(_DENSE).set_caption("mIoU in percent, on RefCOCO's photographs")


def interval_table(table: DataFrame, caption: str, *, signed: bool = False) -> Styler:
    """Return any table with mean, low, high and n for reading, in percent of IoU."""
    rows = table.drop(columns=["mean", "low", "high", "n"])
    rows["mIoU"] = [
        percent(*row, signed=signed) for row in table[["mean", "low", "high"]].to_numpy()
    ]
    rows["n"] = table["n"]
    return (
        rows.style.hide(axis="index")
        .format(escape="html")
        .format_index(axis=1, escape="html")
        .set_caption(escape(caption, quote=False))
    )


def weights_note(best: Series) -> str:
    """Say what the best weights of a run reach; best: a row of `sweep_choice.best_settings`."""
    ends = ("", "_low", "_high")
    value = percent(*(best[f"miou{end}"] for end in ends))
    gain = percent(*(best[f"difference{end}"] for end in ends), signed=True)
    return f"best {value}, alpha {best['alpha']:g}, lambda {best['lam']:g}; against the run {gain}"


def settings_table(table: DataFrame, caption: str) -> Styler:
    """Return `sweep_choice.at_own_weights` for reading: a column a form, in points of mIoU."""
    spans = table[["mean", "low", "high"]].to_numpy()
    cells = table.assign(change=[percent(*span, signed=True) for span in spans])
    wide = cells.pivot_table(
        "change", ["family", "split", "n", "synonyms"], "rectifier", aggfunc="first", sort=False
    )
    styler = wide.reset_index().style.hide(axis="index").format(escape="html")
    return styler.set_table_styles(_DENSE).set_caption(escape(caption, quote=False))


def scope_note(parts: Iterable[Part]) -> str:
    """What a table rests on, for its caption: "partial, n = ..." as soon as one part is partial.

    Where captions are composed from the classifier that gives V, it says so.
    """
    records = [part.run.record for part in parts]
    used, total = sum(r.n_used for r in records), sum(r.n_total for r in records)
    note = f"n = {used} sentences, whole splits"
    if any(record.partial for record in records):
        note = f"partial, n = {used} of {total} sentences"
    if any(record.config["captioner"]["kind"] == "composed" for record in records):
        note += "; P no independent evidence: captions come from V's classifier"
    return note


def findings(table: DataFrame) -> list[str]:
    """Say in words what `contributions` measured; "no clear change" where the interval holds 0."""
    lines = []
    for family, split in table[["family", "split"]].drop_duplicates().itertuples(index=False):
        part = table[(table["family"] == family) & (table["split"] == split)]
        said = [finding(row) for row in part.to_dict("records") if row["n"]]
        lines.append(f"{family} {split}: {'; '.join(said)}.")
    return lines


def finding(row: dict[Any, Any]) -> str:
    """Say a change of mIoU in words: piece, mean, low, high (fractions) and n."""
    change, low, high = row["mean"], row["low"], row["high"]
    if change == low == high == 0:
        return f"{row['piece']} changes nothing at all (n = {row['n']})"
    verb = "gains" if low > 0 else "costs" if high < 0 else "makes no clear change:"
    numbers = percent(change, low, high, signed=True)
    return f"{row['piece']} {verb} {numbers} mIoU (n = {row['n']})"


def summary(
    ablation: DataFrame, contributions: DataFrame, breakdown: DataFrame, note: str
) -> list[str]:
    """Say in words what the three tables of a study hold: every number is read from them."""
    lines = [f"What all of this rests on: {note}."]
    for (family, split), part in ablation.groupby(["family", "split"], sort=False):
        lines.append(f"{family} {split}: {_reach(part)}")
    pieces = contributions[~contributions["piece"].str.contains(", (?:no )?direction")]
    clear = pieces[(pieces["low"] > 0) | (pieces["high"] < 0)]
    for row in clear.sort_values("mean", ascending=False).to_dict("records"):
        lines.append(f"Clear on {row['family']} {row['split']}: {finding(row)}.")
    if clear.empty:
        lines.append("No piece makes a clear change: every interval holds 0.")
    for question, part in breakdown.groupby("question", sort=False):
        lines.append(f"By {question}: {_gap(part)}")
    return lines


def _reach(part: DataFrame) -> str:
    """How far the whole method gets on one family and split, and which variant gets furthest."""
    oracle = part[part["variant"] == "oracle"].iloc[0]
    rest = part[part["variant"] != "oracle"]
    whole = rest[(rest["variant"] == "V+P+N") & rest["rectifier"]].iloc[0]
    best = rest.sort_values("mean", ascending=False).iloc[0]
    name = f"{best['variant']} {'with' if best['rectifier'] else 'without'} the rectifier"
    share = 100 * whole["mean"] / oracle["mean"] if oracle["mean"] > 0 else 0.0
    interval = percent(whole["mean"], whole["low"], whole["high"])
    return (
        f"the whole method reaches {interval} mIoU, {share:.0f} % of the oracle's "
        f"{100 * oracle['mean']:.1f}; the best variant is {name} "
        f"with {100 * best['mean']:.1f} (n = {whole['n']})."
    )


def _gap(part: DataFrame) -> str:
    """The groups of one question from the easiest to the hardest."""
    rows = part.sort_values("mean", ascending=False).to_dict("records")
    said = [f"{r['group']} {percent(r['mean'], r['low'], r['high'])} (n = {r['n']})" for r in rows]
    apart = len(rows) > 1 and rows[0]["low"] > rows[-1]["high"]
    return "; ".join(said) + ("; the intervals lie apart." if apart else "; the intervals overlap.")
