"""Charts of numbers: the scores of one answer, the variants and weights of a study."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from tasutils.canvas import GREY, OKABE_ITO, Picture, fit_text, name_rows, write
from tasutils.show import best_first

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from tasutils.refer import TasAnswer

RULE_MARKS = (  # of the synonym rules, in their order
    ("o", "blue"), ("s", "vermillion"), ("D", "green"), ("^", "purple"), ("v", "orange"),
)  # fmt: skip
PARTS = (("V", OKABE_ITO["blue"]), ("α·P", OKABE_ITO["sky"]), ("λ·N", OKABE_ITO["purple"]))


def score_bars(answer: TasAnswer, *, most: int = 12, width_in: float = 9.0) -> Picture:
    """Draw what each mask earned from V, alpha P and lambda N, and how far it is from the winner.

    The best `most` masks are drawn, the winner on top. Hatched: outside the rectifier's region.
    """
    order = best_first(answer)
    shown = order[:most]
    height_in = 0.36 * max(len(shown), 1) + 1.15
    figure = Picture(figsize=(width_in, height_in))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.35, 1])
    figure.subplots_adjust(0.19, 0.62 / height_in, 0.985, 1 - 0.4 / height_in, wspace=0.05)
    if len(shown) == 0:
        left.set_title("no mask, no scores", fontsize=11, loc="left")
        return figure
    parts = np.stack([answer.v, answer.alpha * answer.p, answer.lam * answer.n])[:, shown]
    parts = parts.astype(np.float64)  # (3, shown)
    outside = ~np.asarray(answer.in_region)[shown]
    _stack(left, parts, outside)
    _stack(right, parts - parts[:, :1], outside)
    total = parts.sum(axis=0)
    left.plot(total, np.arange(len(shown)), "D", ms=5, mfc="white", mec="black", zorder=5)
    for row, value in enumerate(total):
        place = max(value, parts[:, row].clip(0).sum())
        left.annotate(f"{value:.3f}", (place, row), (6, 0), textcoords="offset points",
                      va="center", fontsize=8.5)  # fmt: skip
    captions = [
        fit_text(answer.scene.captions[i] or "(no caption)", 1.35, 8.5, 1)[0] for i in shown
    ]
    left.set_yticks(range(len(shown)), [f"{c}  {i}" for c, i in zip(captions, shown, strict=True)])
    left.set_ylim(len(shown) - 0.4, -0.6)
    left.tick_params(labelsize=8.5)
    left.margins(x=0.16)
    left.use_sticky_edges = False  # of parts without length, which would take the margin
    right.locator_params(axis="x", nbins=6)
    left.get_yticklabels()[0].set_fontweight("bold")
    more = f", best {most} of {len(order)}" if len(order) > most else ""
    left.set_title(f"score of each mask{more}", fontsize=10, loc="left")
    right.set_title("difference to the winner", fontsize=10, loc="left")
    figure.legend(handles=_legend(answer, bool(outside.any())), loc="lower left", ncols=5,
                  fontsize=8.5, frameon=False, bbox_to_anchor=(0.01, 0.0))  # fmt: skip
    return figure


def _stack(ax: Axes, parts: np.ndarray, outside: np.ndarray) -> None:
    """Stack the parts, float (3, rows): what adds to the right of zero, what takes to the left."""
    rows = np.arange(parts.shape[1])
    ends = {True: np.zeros(len(rows)), False: np.zeros(len(rows))}
    for values, (_, color) in zip(parts, PARTS, strict=True):
        start = np.where(values >= 0, ends[True], ends[False])
        bars = ax.barh(rows, values, left=start, height=0.62, color=color, ec="white", lw=0.5)
        for bar, out in zip(bars, outside, strict=True):
            bar.set(hatch="////" if out else None, alpha=0.55 if out else 1.0)
        ends[True] = np.where(values >= 0, start + values, ends[True])
        ends[False] = np.where(values < 0, start + values, ends[False])
    ax.axvline(0, color="black", lw=0.8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(left=False, labelsize=8.5)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)


def _legend(answer: TasAnswer, any_outside: bool) -> list[Patch | Line2D]:
    names = ("V", f"α·P, α = {answer.alpha:g}", f"λ·N, λ = {answer.lam:g}")
    keys: list[Patch | Line2D] = [
        Patch(color=color, label=name) for name, (_, color) in zip(names, PARTS, strict=True)
    ]
    keys.append(Line2D([], [], marker="D", ls="", mfc="white", mec="black", label="sum"))
    if any_outside:
        keys.append(Patch(fc="#BBBBBB", ec="white", hatch="////", label="outside the region"))
    return keys


def ablation_plot(table: DataFrame, *, value: str = "mIoU", note: str = "") -> Picture:
    """Draw the variants of a study: points with 95 % intervals, a panel a family, oracle as line.

    Args:
        table: columns family, split, variant, rectifier (bool), mean, low, high (fractions), n;
            the rows whose variant is "oracle" become the line.
        value: what the numbers are, for the axis.
        note: below the picture, such as "partial, n = 120".
    """
    keys = [
        Line2D([], [], marker="o", ls="", mfc="white", mec=OKABE_ITO["blue"], label="no rectifier"),
        Line2D([], [], marker="s", ls="", color=OKABE_ITO["vermillion"], label="with rectifier"),
        Line2D([], [], color=OKABE_ITO["green"], ls="--", label="oracle: best mask proposed"),
    ]
    return _panels(table, _ablation_panel, f"{value}, % (95 % interval)", keys, note)


def settings_plot(table: DataFrame, *, note: str = "") -> Picture:
    """Draw what each synonym rule and form of the rectifier changes, a panel a family.

    Args:
        table: of `sweep_choice.at_own_weights`.
        note: below the picture.
    """
    rules = list(dict.fromkeys(table["synonyms"]))
    keys = [
        Line2D([], [], marker=marker, ls="", color=OKABE_ITO[color], label=f"synonyms: {rule}")
        for rule, (marker, color) in zip(rules, cycle(RULE_MARKS))
    ]
    return _panels(table, _settings_panel, "change of mIoU, points (95 % interval)", keys, note)


def _settings_panel(ax: Axes, part: DataFrame) -> None:
    forms, rules = (list(dict.fromkeys(part[name])) for name in ("rectifier", "synonyms"))
    ax.axvline(0, color="black", lw=0.8)
    for _, row in part.iterrows():
        place = rules.index(row["synonyms"])
        marker, color = RULE_MARKS[place % len(RULE_MARKS)]
        y = forms.index(row["rectifier"]) + 0.64 * ((place + 0.5) / len(rules) - 0.5)
        ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=OKABE_ITO[color], lw=1.6)
        ax.plot(100 * row["mean"], y, marker, color=OKABE_ITO[color], ms=6.5,
                mfc="white" if row["own"] else OKABE_ITO[color], mew=1.5)  # fmt: skip
    name_rows(ax, forms)


def _panels(
    table: DataFrame,
    draw: Callable[[Axes, DataFrame], None],
    label: str,
    keys: list[Line2D],
    note: str,
) -> Picture:
    """A panel for each family and split, two in a row, with one key and one note below."""
    panels = list(table.groupby(["family", "split"], sort=False))
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = Picture(figsize=(4.4 * columns + 1.6, 2.35 * rows + 0.95))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, ((family, split), part) in zip(grid.flat, panels, strict=False):
        draw(ax, part)
        ax.set_title(f"{family} {split}, n = {int(part['n'].max())}", fontsize=10, loc="left")
        ax.xaxis.set_tick_params(labelbottom=True)
    for ax in grid[-1]:
        ax.set_xlabel(label, fontsize=9)
    height_in = figure.get_figheight()
    figure.legend(handles=keys, loc="lower left", ncols=3, fontsize=9, frameon=False,
                  bbox_to_anchor=(0.0, 0.25 / height_in))  # fmt: skip
    write(figure, 0.12, 0.08, fit_text(note, figure.get_figwidth(), 9, 1), 9, GREY)
    left = 1.2 / figure.get_figwidth()
    figure.subplots_adjust(left, 1.05 / height_in, 0.985, 1 - 0.3 / height_in, 0.06, 0.42)
    return figure


def _ablation_panel(ax: Axes, part: DataFrame) -> None:
    oracle = part[part["variant"] == "oracle"]
    part = part[part["variant"] != "oracle"]
    names = list(dict.fromkeys(part["variant"]))
    for _, row in oracle.iterrows():
        ax.axvspan(100 * row["low"], 100 * row["high"], color=OKABE_ITO["green"], alpha=0.15, lw=0)
        ax.axvline(100 * row["mean"], color=OKABE_ITO["green"], ls="--", lw=1.6)
    for _, row in part.iterrows():
        on = bool(row["rectifier"])
        color = OKABE_ITO["vermillion" if on else "blue"]
        y = names.index(row["variant"]) + (0.16 if on else -0.16)
        ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=color, lw=1.6)
        ax.plot(100 * row["mean"], y, "s" if on else "o", color=color, ms=6.5,
                mfc=color if on else "white", mew=1.5)  # fmt: skip
    name_rows(ax, names)


def weights_map(
    table: DataFrame, *, chosen: tuple[float, float], title: str = "", note: str = ""
) -> Picture:
    """Draw mIoU over alpha and lambda as a map with its numbers.

    Args:
        table: fractions; index lambda, columns alpha.
        chosen: the (alpha, lambda) of the preset, framed when the table holds them.
        title: what the numbers are.
        note: below the picture, such as the interval of the best.
    """
    values = 100 * table.to_numpy(dtype=np.float64)
    rows, columns = values.shape
    below = 0.22 if note else 0.0
    width_in, height_in = max(0.78 * columns + 1.1, 5.2), 0.5 * rows + 1.1 + below
    figure = Picture(figsize=(width_in, height_in))
    write(figure, 0.12, 0.08, fit_text(note, width_in, 9, 1), 9, GREY)
    left, bottom = 0.9 / width_in, (0.65 + below) / height_in
    ax = figure.add_axes((left, bottom, 0.985 - left, 1 - bottom - 0.35 / height_in))
    drawn = ax.imshow(values, cmap="cividis", aspect="auto")
    best = np.unravel_index(values.argmax(), values.shape)
    for (row, column), value in np.ndenumerate(values):
        dark = np.dot(drawn.to_rgba(value)[:3], (0.299, 0.587, 0.114)) < 0.45
        weight = "bold" if (row, column) == best else "normal"
        ax.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=9, weight=weight,
                color="white" if dark else "black")  # fmt: skip
    axes = (table.columns.to_numpy(np.float64), table.index.to_numpy(np.float64))
    for x in np.flatnonzero(np.isclose(axes[0], chosen[0])):
        for y in np.flatnonzero(np.isclose(axes[1], chosen[1])):
            corner = (float(x) - 0.5, float(y) - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec=OKABE_ITO["vermillion"], lw=3))
    ax.set_xticks(range(columns), [f"{a:g}" for a in table.columns], fontsize=9)
    ax.set_yticks(range(rows), [f"{v:g}" for v in table.index], fontsize=9)
    ax.set_xlabel("alpha (weight of P)", fontsize=9)
    ax.set_ylabel("lambda (weight of N)", fontsize=9)
    ax.set_title(title, fontsize=10, loc="left")
    return figure


def breakdown_plot(table: DataFrame, *, value: str = "mIoU", note: str = "") -> Picture:
    """Draw one number for each group of sentences, with its 95 % interval.

    Args:
        table: columns question, group, mean, low, high (fractions), n.
        value: what the numbers are, for the axis.
        note: below the picture.
    """
    questions = list(dict.fromkeys(table["question"]))
    places = np.arange(len(table)) + [0.6 * questions.index(q) for q in table["question"]]
    height_in = 0.3 * (len(table) + 0.6 * len(questions)) + 0.9
    figure = Picture(figsize=(7.2, height_in))
    ax = figure.add_axes((0.36, 0.77 / height_in, 0.44, 1 - 0.85 / height_in))
    if (table["low"] < 0).any():
        ax.axvline(0, color="black", lw=0.8)
    for y, (_, row) in zip(places, table.iterrows(), strict=True):
        color = (OKABE_ITO["blue"], OKABE_ITO["vermillion"])[questions.index(row["question"]) % 2]
        ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=color, lw=1.8)
        ax.plot(100 * row["mean"], y, "o", color=color, ms=6.5)
        ax.text(1.02, y, f"{100 * row['mean']:.1f}   n = {int(row['n'])}", fontsize=9,
                va="center", transform=ax.get_yaxis_transform())  # fmt: skip
    ax.set_yticks(places, table["group"].tolist(), fontsize=9)
    ax.set_ylim(places[-1] + 0.6, -0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_xlabel(f"{value}, % (95 % interval)", fontsize=9)
    write(figure, 0.12, 0.08, fit_text(note, figure.get_figwidth(), 9, 1), 9, GREY)
    return figure
