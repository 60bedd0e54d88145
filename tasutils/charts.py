"""Charts of numbers: the scores of one answer, and numbers with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tasutils.scene import said
from tasutils.show import OKABE_ITO, Picture, best_first, fit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from tasutils.refer import TasAnswer

MARKS = ("o", "s", "D", "^", "v", "P")
COLORS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "purple", "orange"))
TERM_COLORS = tuple(OKABE_ITO[name] for name in ("blue", "sky", "purple", "yellow", "vermillion"))


def score_bars(answer: TasAnswer, *, most: int = 12) -> Picture:
    """Draw what each of the best masks earned from each term, and how far it is from the winner.

    Hatched: outside the rectifier's region.
    """
    order = best_first(answer)
    shown = order[:most]
    figure = Picture(figsize=(9, 0.36 * max(len(shown), 1) + 1.15), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.35, 1])
    if len(shown) == 0:
        left.set_title("no mask, no scores", fontsize=11, loc="left")
        return figure
    weighted = _weighted(answer)
    parts = np.stack(list(weighted.values()))[:, shown].astype(np.float64)  # (terms, shown)
    outside = ~np.asarray(answer.in_region)[shown]
    _stack(left, parts, outside)
    _stack(right, parts - parts[:, :1], outside)
    total = parts.sum(axis=0)
    left.plot(total, np.arange(len(shown)), "D", ms=5, mfc="white", mec="black", zorder=5)
    for row, value in enumerate(total):
        place = max(value, parts[:, row].clip(0).sum())
        left.annotate(f"{value:.3f}", (place, row), (6, 0), textcoords="offset points",
                      va="center", fontsize=8.5)  # fmt: skip
    captions = [fit_text(said(answer.scene.captions[i]), 1.35, 8.5, 1)[0] for i in shown]
    _name_rows(left, [f"{c}  {i}" for c, i in zip(captions, shown, strict=True)])
    left.margins(x=0.16)
    left.use_sticky_edges = False  # of parts without length, which would take the margin
    left.get_yticklabels()[0].set_fontweight("bold")
    more = f", best {most} of {len(order)}" if len(order) > most else ""
    left.set_title(f"score of each mask{more}", fontsize=10, loc="left")
    right.set_title("difference to the winner", fontsize=10, loc="left")
    keys: list[Patch | Line2D] = [
        Patch(color=color, label=name) for name, color in zip(weighted, TERM_COLORS, strict=False)
    ]
    keys.append(Line2D([], [], marker="D", ls="", mfc="white", mec="black", label="sum"))
    if outside.any():
        keys.append(Patch(fc="#BBBBBB", ec="white", hatch="////", label="outside the region"))
    figure.legend(handles=keys, loc="outside lower left", ncols=5, fontsize=8.5, frameon=False)
    return figure


def _weighted(answer: TasAnswer) -> dict[str, np.ndarray]:
    """What each term of the sum gave each mask, float64 (n,), by a name that shows its weight."""
    names = {"p": "α·P, α = {:g}", "n": "λ·N, λ = {:g}"}  # the article's
    return {
        names.get(name, name.upper() if weight == 1 else f"{{:g}}·{name.upper()}").format(weight):
            weight * answer.terms[name]
        for name, weight in answer.weights.items() if weight
    }  # fmt: skip


def _stack(ax: Axes, parts: np.ndarray, outside: np.ndarray) -> None:
    """Stack the parts, float (k, rows): what adds to the right of zero, what takes to the left."""
    rows = np.arange(parts.shape[1])
    for k, values in enumerate(parts):
        before = np.where(np.sign(parts[:k]) == np.sign(values), parts[:k], 0).sum(axis=0)
        color = TERM_COLORS[k % len(TERM_COLORS)]
        bars = ax.barh(rows, values, left=before, height=0.62, color=color, ec="white", lw=0.5)
        for bar, out in zip(bars, outside, strict=True):
            bar.set(hatch="////" if out else None, alpha=0.55 if out else 1.0)
    ax.axvline(0, color="black", lw=0.8)
    ax.locator_params(axis="x", nbins=6)
    _plain(ax)


def _plain(ax: Axes) -> None:
    """No frame, and lines at the values below what is drawn."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows of a chart, the first on top."""
    ax.set_yticks(range(len(names)), list(names), fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)
    _plain(ax)


def interval_plot(
    table: DataFrame, row: str = "group", *, series: str = "", panel: Sequence[str] = (),
    line: DataFrame | None = None, value: str = "mIoU, %", note: str = "",
) -> Picture:  # fmt: skip
    """Draw numbers as points with their 95 % intervals, one row each.

    table: columns mean, low, high (fractions), n and those named here; row: names the rows; series:
    beside each other in a row, a mark and colour each, or number and n stand beside the point;
    panel: a panel each; line: rows with the same panels, drawn as a line and band; note: below.
    """
    groups = list(table.groupby(list(panel), sort=False)) if panel else [((), table)]
    columns = 2 if len(groups) > 1 else 1
    rows, names = -(-len(groups) // columns), list(dict.fromkeys(table[row]))
    kinds = list(dict.fromkeys(table[series])) if series else [""]
    height_in = (0.28 + 0.14 * (len(kinds) - 1)) * len(names) + 0.6
    width_in = 4.0 * columns + min(0.07 * max(map(len, map(str, names))), 3) + 0.6
    figure = Picture(figsize=(width_in, rows * height_in + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[len(groups) :]:
        ax.set_axis_off()
    for ax, (key, part) in zip(grid.flat, groups, strict=False):
        found = part if line is None else line[(line[list(panel)] == list(key)).all(axis=1)]
        for _, one in found.iterrows() if line is not None else ():
            ax.axvspan(100 * one["low"], 100 * one["high"], color=COLORS[2], alpha=0.15, lw=0)
            ax.axvline(100 * one["mean"], color=COLORS[2], ls="--", lw=1.6)
        _points(ax, part, row, series, names, kinds)
        if panel:
            title = f"{' '.join(map(str, key))}, n = {int(part['n'].max())}"
            ax.set_title(title, fontsize=10, loc="left")
        ax.xaxis.set_tick_params(labelbottom=True)
        ax.set_xlabel(f"{value} (95 % interval)", fontsize=9)
        _name_rows(ax, [str(name) for name in names])
    keys = [
        Line2D([], [], marker=MARKS[k % len(MARKS)], ls="", color=COLORS[k % len(COLORS)],
               label=str(kind), mfc=COLORS[k % len(COLORS)] if k else "white")
        for k, kind in enumerate(kinds if series else ())
    ]  # fmt: skip
    if line is not None:
        keys.append(Line2D([], [], color=COLORS[2], ls="--", label="oracle: best mask proposed"))
    title = fit_text(note, width_in, 9, 1)[0]
    figure.legend(handles=keys, loc="outside lower left", ncols=columns + 1, fontsize=9,
                  frameon=False, title=title, title_fontsize=9, alignment="left")  # fmt: skip
    return figure


def _points(
    ax: Axes, part: DataFrame, row: str, series: str, names: list[str], kinds: list[str]
) -> None:
    if (part["low"] < 0).any():
        ax.axvline(0, color="black", lw=0.8)
    for _, one in part.iterrows():
        k = kinds.index(one[series]) if series else 0
        y = names.index(one[row]) + (k - (len(kinds) - 1) / 2) * 0.6 / len(kinds)
        color = COLORS[k % len(COLORS)]
        ax.plot([100 * one["low"], 100 * one["high"]], [y, y], color=color, lw=1.7)
        ax.plot(100 * one["mean"], y, MARKS[k % len(MARKS)], color=color, ms=6.5, mew=1.5,
                mfc=color if k or not series else "white")  # fmt: skip
        if not series:
            ax.text(1.02, y, f"{100 * one['mean']:.1f}   n = {int(one['n'])}", fontsize=9,
                    va="center", transform=ax.get_yaxis_transform())  # fmt: skip


def ablation_plot(table: DataFrame, *, note: str = "") -> Picture:
    """Draw the variants of `study.ablation`, a panel a family, the oracle as a line."""
    oracle = table["variant"] == "oracle"
    names = {False: "no rectifier", True: "with rectifier"}
    rest = table[~oracle].assign(rectifier=table["rectifier"].map(names))
    panel = ["family", "split"]
    return interval_plot(
        rest, "variant", series="rectifier", panel=panel, line=table[oracle], note=note
    )
