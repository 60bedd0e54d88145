"""Charts of numbers: the scores of one answer, numbers with their intervals, a map of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from tasutils.show import OKABE_ITO, Picture, best_first, fit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from tasutils.refer import TasAnswer

MARKS = ("o", "s", "D", "^", "v", "P")
COLORS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "purple", "orange"))
TERM_COLORS = tuple(OKABE_ITO[name] for name in ("blue", "sky", "purple", "yellow", "vermillion"))


def score_bars(answer: TasAnswer, *, most: int = 12, width_in: float = 9.0) -> Picture:
    """Draw what each mask earned from each term, and how far it is from the winner.

    The best `most` masks are drawn, the winner on top. Hatched: outside the rectifier's region.
    """
    order = best_first(answer)
    shown = order[:most]
    figure = Picture(figsize=(width_in, 0.36 * max(len(shown), 1) + 1.15), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.35, 1])
    if len(shown) == 0:
        left.set_title("no mask, no scores", fontsize=11, loc="left")
        return figure
    weighted = weighted_terms(answer)
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
    captions = [
        fit_text(answer.scene.captions[i] or "(no caption)", 1.35, 8.5, 1)[0] for i in shown
    ]
    name_rows(left, [f"{c}  {i}" for c, i in zip(captions, shown, strict=True)])
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


def weighted_terms(answer: TasAnswer) -> dict[str, np.ndarray]:
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
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.locator_params(axis="x", nbins=6)
    ax.tick_params(labelsize=8.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows of a chart, the first on top, and draw lines at the values below them."""
    ax.set_yticks(range(len(names)), list(names), fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)


def interval_plot(
    table: DataFrame,
    row: str,
    *,
    series: str = "",
    panel: Sequence[str] = (),
    line: DataFrame | None = None,
    value: str = "mIoU, %",
    note: str = "",
) -> Picture:
    """Draw numbers as points with their 95 % intervals, one row each.

    Args:
        table: columns mean, low, high (fractions), n and those named here.
        row: the column that names the rows, in their order.
        series: a column whose values lie beside each other in a row, with a mark and colour each;
            without one, number and n stand beside each point.
        panel: columns of which each combination gets a panel of its own.
        line: rows with the same panels; their mean becomes a line through it, the interval a band.
        value: what the numbers are.
        note: below the picture, such as "partial, n = 120".
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
        name_rows(ax, [str(name) for name in names])
    keys = [_key(k, str(kind)) for k, kind in enumerate(kinds)] if series else []
    if line is not None:
        keys.append(Line2D([], [], color=COLORS[2], ls="--", label="oracle: best mask proposed"))
    title = fit_text(note, width_in, 9, 1)[0]
    figure.legend(handles=keys, loc="outside lower left", ncols=columns + 1, fontsize=9,
                  frameon=False, title=title, title_fontsize=9, alignment="left")  # fmt: skip
    return figure


def _key(k: int, name: str) -> Line2D:
    color = COLORS[k % len(COLORS)]
    return Line2D([], [], marker=MARKS[k % len(MARKS)], ls="", color=color, label=name,
                  mfc=color if k else "white")  # fmt: skip


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


def ablation_plot(table: DataFrame, *, value: str = "mIoU, %", note: str = "") -> Picture:
    """Draw the variants of a study, a panel a family, the oracle as a line.

    Args:
        table: columns family, split, variant, rectifier (bool), mean, low, high (fractions), n;
            the rows whose variant is "oracle" become the line.
        value: what the numbers are.
        note: below the picture.
    """
    oracle = table["variant"] == "oracle"
    names = {False: "no rectifier", True: "with rectifier"}
    rest = table[~oracle].assign(rectifier=table["rectifier"].map(names))
    return interval_plot(
        rest, "variant", series="rectifier", panel=["family", "split"], line=table[oracle],
        value=value, note=note,
    )  # fmt: skip


def settings_plot(table: DataFrame, *, note: str = "") -> Picture:
    """Draw what each synonym rule and form of the rectifier changes, a panel a family.

    Args:
        table: of `sweep_choice.at_own_weights`.
        note: below the picture.
    """
    rules = table.assign(synonyms="synonyms: " + table["synonyms"].astype(str))
    return interval_plot(
        rules, "rectifier", series="synonyms", panel=["family", "split"],
        value="change of mIoU, points", note=note,
    )  # fmt: skip


def breakdown_plot(table: DataFrame, *, value: str = "mIoU, %", note: str = "") -> Picture:
    """Draw one number for each group of sentences, column group, with its 95 % interval."""
    return interval_plot(table, "group", value=value, note=note)


def weights_map(
    table: DataFrame, *, chosen: tuple[float, float], title: str = "", note: str = ""
) -> Picture:
    """Draw mIoU over two weights as a map with its numbers.

    Args:
        table: fractions; columns and index are weights, of the terms that name them.
        chosen: the weights of the preset (column, row), framed when the table holds them.
        title: what the numbers are.
        note: below the picture, such as the interval of the best.
    """
    values = 100 * table.to_numpy(dtype=np.float64)
    rows, columns = values.shape
    size = (max(0.78 * columns + 1.1, 5.2), 0.5 * rows + 1.3)
    figure = Picture(figsize=size, layout="constrained")
    ax = figure.subplots()
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
    ax.set_xlabel(str(table.columns.name or "alpha (weight of P)"), fontsize=9)
    ax.set_ylabel(str(table.index.name or "lambda (weight of N)"), fontsize=9)
    ax.set_title(title, fontsize=10, loc="left")
    figure.supxlabel(fit_text(note, size[0], 9, 1)[0], x=0.02, ha="left", fontsize=9)
    return figure
