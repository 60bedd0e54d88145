"""Pictures of an error anatomy: the waterfall, the causes of each family, and cases to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.patches import Patch

from tasutils.anatomy import CAUSES, RIGHT
from tasutils.canvas import GREY, OKABE_ITO, Picture, fit_text, name_rows, write
from tasutils.readable import percent
from tasutils.show import Example

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandas.io.formats.style import Styler

    from tasutils.gallery import Gallery

COLORS = {
    "proposals": GREY,
    "ambiguous": OKABE_ITO["yellow"],
    "pronoun": OKABE_ITO["green"],
    "rectifier": OKABE_ITO["vermillion"],
    "V": OKABE_ITO["blue"],
    "P": OKABE_ITO["sky"],
    "N": OKABE_ITO["purple"],
    RIGHT: "#C9C9C9",
}


def waterfall_plot(steps: DataFrame, *, note: str = "") -> Picture:
    """Draw `anatomy.waterfall`: the oracle, what each cause takes away, and what is left.

    The thin lines are 95 % intervals, of a step at the end where it arrives.
    """
    height_in = 0.36 * len(steps) + 0.98
    figure = Picture(figsize=(8.4, height_in))
    ax = figure.add_axes((0.25, 0.68 / height_in, 0.55, 1 - 0.76 / height_in))
    level = 0.0
    for y, row in enumerate(steps.to_dict("records")):
        whole = row["step"] in ("oracle", "result")
        start, level = (0.0, row["mean"]) if whole else (level, level + row["mean"])
        color = "white" if whole else COLORS[row["step"]]
        ax.barh(y, 100 * (level - start), left=100 * start, height=0.66, color=color, ec="black",
                lw=1.3 if whole else 0.5)  # fmt: skip
        ends = [100 * (start + row[end]) for end in ("low", "high")]
        ax.plot(ends, [y, y], color="black", lw=1)
        if y + 1 < len(steps):
            ax.plot([100 * level] * 2, [y + 0.33, y + 1.33], color=GREY, lw=0.8, ls=":")
        change = f"{100 * row['mean']:.1f}" if whole else f"{100 * row['mean']:+.1f}"
        ax.text(1.02, y, f"{change}   n = {row['n']}", fontsize=9, va="center",
                transform=ax.get_yaxis_transform())  # fmt: skip
    name_rows(ax, list(steps["step"]))
    ax.set_xlabel("mIoU, points", fontsize=9)
    write(figure, 0.12, 0.08, fit_text(note, figure.get_figwidth(), 9, 1), 9, GREY)
    return figure


def causes_plot(table: DataFrame, *, note: str = "") -> Picture:
    """Draw the wrong answers of `anatomy.anatomy` by their causes, a bar a family and split."""
    groups = list(table.groupby(["family", "split"], sort=False))
    height_in = 0.4 * len(groups) + 1.45
    figure = Picture(figsize=(8.4, height_in))
    ax = figure.add_axes((0.2, 1.13 / height_in, 0.62, 1 - 1.2 / height_in))
    for y, (_, part) in enumerate(groups):
        counts, left = part["cause"].value_counts(), 0.0
        for name in CAUSES:
            n = int(counts.get(name, 0))
            width = 100 * n / len(part)
            ax.barh(y, width, left=left, height=0.68, color=COLORS[name], ec="white", lw=0.6)
            if width > 3:
                dark = name in ("proposals", "V", "rectifier", "pronoun")
                ax.text(left + width / 2, y, str(n), ha="center", va="center", fontsize=8.5,
                        color="white" if dark else "black")  # fmt: skip
            left += width
        wrong = int((part["cause"] != "").sum())
        ax.text(1.02, y, f"{wrong} of {len(part)}", fontsize=9, va="center",
                transform=ax.get_yaxis_transform())  # fmt: skip
    name_rows(ax, [f"{family} {split}" for (family, split), _ in groups])
    ax.set_xlim(0, 100)
    ax.set_xlabel("wrong answers, % of the sentences", fontsize=9)
    keys = [Patch(color=COLORS[name], label=name) for name in CAUSES]
    figure.legend(handles=keys, loc="lower left", ncols=len(keys), fontsize=8.5, frameon=False,
                  bbox_to_anchor=(0.0, 0.25 / height_in), columnspacing=1.1,
                  handlelength=1.1)  # fmt: skip
    write(figure, 0.12, 0.08, fit_text(note, figure.get_figwidth(), 9, 1), 9, GREY)
    return figure


def steps_table(steps: DataFrame, caption: str) -> Styler:
    """Return `anatomy.waterfall` for reading, with what each cause means."""
    rows = steps[["step", "n"]].copy()
    rows.insert(1, "meaning", [CAUSES.get(name, "") for name in steps["step"]])
    rows["of the wrong"] = ["" if x != x else f"{100 * x:.0f} %" for x in steps["share"]]
    rows["right without it"] = ["" if x != x else f"{x:.0f}" for x in steps["cured"]]
    signed = [name not in ("oracle", "result") for name in steps["step"]]
    spans = steps[["mean", "low", "high"]].to_numpy()
    rows["mIoU"] = [percent(*span, signed=s) for span, s in zip(spans, signed, strict=True)]
    return rows.style.hide(axis="index").format(escape="html").set_caption(caption)


def case_rows(table: DataFrame, cause: str, start: int = 0, count: int = 3) -> DataFrame:
    """Cases of a cause, from number `start` on, dearest sentence of each image first.

    One an image before any image comes again, so that the first ones differ.
    """
    found = table[table["cause"] == cause].sort_values("lost", ascending=False, kind="stable")
    again = found.groupby("image_id").cumcount()
    return found.loc[again.sort_values(kind="stable").index].iloc[start : start + count]


def cases(galleries: Sequence[Gallery], rows: DataFrame) -> list[Example]:
    """The pictures of some rows of `anatomy.anatomy`, each with what it was lost by.

    galleries: one for each run that was sorted, in their order.
    """
    found = []
    for row in rows.to_dict("records"):
        example = galleries[row["part"]].example(row["row"])
        found.append(example._replace(note=_remark(row)))
    return found


def _remark(row: dict[Any, Any]) -> str:
    place = (
        f"{row['family']} {row['split']}: IoU {row['iou']:.2f}, best mask {row['oracle_iou']:.2f}"
    )
    if row["v"] != row["v"]:
        return place
    terms = f"V {-row['v']:+.3f}, alpha P {-row['p']:+.3f}, lambda N {-row['n']:+.3f}"
    return f"{place}; the best good mask against the answer: {terms}"
