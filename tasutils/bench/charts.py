"""Pictures of costs: ratios with their targets, stages, functions, seconds on a log scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tasutils.bench.table import ratio_text
from tasutils.canvas import GREY, OKABE_ITO, Picture, fit_text, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from tasutils.bench.rows import Bench

LONGEST = 30  # characters of a function's name, of which the end tells most
_MET = {True: "green", False: "vermillion", None: "sky"}
_STAGE_COLORS = ("blue", "sky", "green", "orange", "purple", "yellow", "vermillion")


def ratios_plot(bench: Bench, *, width_in: float = 9.4, note: str = "") -> Picture:
    """Draw how many times faster than the plain loop each row is, with its range and target."""
    rows = [row for row in bench.rows if row.ratio is not None]
    figure, ax = _bars(len(rows), width_in, 0.44)
    for y, row in enumerate(rows):
        ratio = row.ratio
        assert ratio is not None
        target = row.target if row.target and row.target.number == "ratio" else None
        met = row.met if target else None
        hatch = "//" if met is False else None
        ax.barh(y, ratio.median - 1, left=1, height=0.6, color=OKABE_ITO[_MET[met]], hatch=hatch,
                ec="white", lw=0)  # fmt: skip
        ax.plot([ratio.low, ratio.high], [y, y], color="black", lw=1.4)
        if target and target.at_least is not None:
            ax.plot([target.at_least] * 2, [y - 0.42, y + 0.42], color="black", lw=2.4)
        end = max(ratio.high, ratio.median, target.at_least or 0 if target else 0)
        ax.annotate(ratio_text(ratio), (end, y), (6, 0), textcoords="offset points",
                    va="center", fontsize=8.5)  # fmt: skip
    names = [_name(f"{row.section}: {row.what}", width_in * 0.44) for row in rows]
    _dress(ax, names, "times faster than the plain loop (log)")
    ax.set_xscale("log")
    ax.axvline(1, color="black", lw=0.8)
    ends = [v for r in rows if r.ratio for v in (r.ratio.low, r.ratio.high)] + [1.0]
    ends += [
        r.target.at_least
        for r in rows
        if r.target and r.target.number == "ratio" and r.target.at_least
    ]
    ax.set_xlim(min(ends) / 1.25, max(ends) * 4)
    _plain_ticks(ax)
    keys: list[Patch | Line2D] = [
        Patch(color=OKABE_ITO["green"], label="target reached"),
        Patch(fc=OKABE_ITO["vermillion"], ec="white", hatch="//", label="target not reached"),
        Patch(color=OKABE_ITO["sky"], label="no target"),
        Line2D([], [], color="black", lw=2.4, ls="", marker="|", ms=11, mew=2.4, label="target"),
        Line2D([], [], color="black", lw=1.4, label="range"),
    ]
    _foot(figure, keys, note)
    return figure


def seconds_plot(
    seconds: Mapping[str, float],
    *,
    targets: Mapping[str, float] | None = None,
    width_in: float = 8.4,
    note: str = "",
) -> Picture:
    """Draw seconds by name on a log scale; targets: by the same names, drawn as a line."""
    figure, ax = _bars(len(seconds), width_in, 0.38, keys=bool(targets))
    for y, (name, value) in enumerate(seconds.items()):
        ax.barh(y, value, height=0.6, color=OKABE_ITO["blue"])
        end = value
        if targets and name in targets:
            ax.plot([targets[name]] * 2, [y - 0.42, y + 0.42], color="black", lw=2.4)
            end = max(value, targets[name])
        text = f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"
        ax.annotate(text, (end, y), (6, 0), textcoords="offset points", va="center", fontsize=8.5)
    _dress(ax, [_name(name, width_in * 0.38) for name in seconds], "seconds (log)")
    ax.set_xscale("log")
    ends = [*seconds.values(), *(targets or {}).values()]
    ax.set_xlim(min(ends) / 3, max(ends) * 4)
    keys = [Line2D([], [], color="black", ls="", marker="|", ms=11, mew=2.4, label="target")]
    _foot(figure, keys if targets else [], note)
    return figure


def stages_plot(times: DataFrame, *, most: int = 12, width_in: float = 8.4) -> Picture:
    """Draw the seconds of each stage of describe(), a bar an image; see `profile.stage_times`."""
    shown = times.head(most)
    figure, ax = _bars(len(shown), width_in, 0.24)
    left = np.zeros(len(shown))
    keys: list[Patch | Line2D] = []
    for index, name in enumerate(shown):
        values = shown[name].to_numpy(np.float64)
        color = OKABE_ITO[_STAGE_COLORS[index % len(_STAGE_COLORS)]]
        ax.barh(range(len(shown)), values, left=left, height=0.66, color=color, ec="white", lw=0.6)
        left += values
        share = 100 * times[name].sum() / times.to_numpy().sum()
        keys.append(Patch(color=color, label=f"{name} {share:.0f} %"))
    _dress(ax, [_name(str(name), width_in * 0.24) for name in shown.index], "seconds an image")
    ax.set_xlim(0, left.max() * 1.04)
    more = f"; the first {most} of {len(times)} images are drawn" if len(times) > most else ""
    _foot(figure, keys, f"shares of all {len(times)} images{more}")
    return figure


def profiles_plot(
    before: DataFrame, after: DataFrame, *, most: int = 10, width_in: float = 9.4
) -> Picture:
    """Draw the functions with the most time in themselves, of the plain loop and of ours.

    Args:
        before, after: from `profile.profiled`.
    """
    figure = Picture(figsize=(width_in, 0.27 * most + 1.0))
    widest = max(before["own_s"].max(), after["own_s"].max())
    for index, (table, title) in enumerate(((before, "plain loop"), (after, "ours"))):
        top = table.head(most)
        ax = figure.add_axes((0.235 + 0.5 * index, 0.16, 0.22, 0.72))
        ax.barh(range(len(top)), top["own_s"], height=0.66, color=OKABE_ITO["blue"])
        for y, (own_s, calls) in enumerate(zip(top["own_s"], top["calls"], strict=True)):
            ax.annotate(f"{calls:,} x", (own_s, y), (4, 0), textcoords="offset points",
                        va="center", fontsize=8, color=GREY)  # fmt: skip
        names = [n if len(n) <= LONGEST else f"…{n[1 - LONGEST :]}" for n in top["function"]]
        _dress(ax, names, "seconds in itself, and calls")
        ax.set_xlim(0, widest * 1.3)
        ax.set_title(f"{title}: {table['own_s'].sum():.2f} s in all", fontsize=10, loc="left")
    return figure


def batches_plot(
    sizes: Sequence[int], seconds: Mapping[str, Sequence[float]], *, note: str = ""
) -> Picture:
    """Draw seconds an item over the batch size, a line for each name."""
    figure = Picture(figsize=(7.2, 3.1))
    ax = figure.add_axes((0.11, 0.24, 0.62, 0.70))
    styles = zip(("blue", "vermillion", "green"), ("o-", "s--", "^:"), strict=True)
    for (name, values), (color, style) in zip(seconds.items(), styles, strict=False):
        ax.plot(sizes, [1e3 * v for v in values], style, color=OKABE_ITO[color], label=name, ms=5)
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(sizes), [str(size) for size in sizes], fontsize=9)
    ax.minorticks_off()
    ax.set_ylim(bottom=0)
    ax.set_xlabel("pictures at a time", fontsize=9)
    ax.set_ylabel("ms a picture", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#DDDDDD", lw=0.6)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    write(figure, 0.12, 0.06, fit_text(note, 7.0, 9, 1), 9, GREY)
    return figure


def _bars(count: int, width_in: float, left: float, keys: bool = True) -> tuple[Picture, Axes]:
    """A figure with room for so many bars, their names on the left, and a foot."""
    foot_in = 0.95 if keys else 0.7
    height_in = 0.34 * max(count, 1) + foot_in + 0.2
    figure = Picture(figsize=(width_in, height_in))
    bottom = foot_in / height_in
    return figure, figure.add_axes((left, bottom, 0.985 - left, 1 - bottom - 0.1 / height_in))


def _dress(ax: Axes, names: Sequence[str], value: str) -> None:
    ax.set_yticks(range(len(names)), list(names), fontsize=8.5)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel(value, fontsize=9)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(left=False, labelsize=8.5)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)


def _plain_ticks(ax: Axes) -> None:
    """1, 2, 5, 10, ... in place of powers of ten."""
    low, high = ax.get_xlim()
    ticks = [m * 10.0**e for e in range(-2, 5) for m in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8.5)
    ax.minorticks_off()


def _foot(figure: Picture, keys: Sequence[Patch | Line2D], note: str) -> None:
    height_in = figure.get_figheight()
    if keys:
        figure.legend(handles=list(keys), loc="lower left", ncols=len(keys), fontsize=8.5,
                      frameon=False, bbox_to_anchor=(0.0, 0.2 / height_in),
                      columnspacing=1.2, handletextpad=0.5)  # fmt: skip
    write(figure, 0.12, 0.06, fit_text(note, figure.get_figwidth() - 0.2, 8.5, 1), 8.5, GREY)


def _name(text: str, width_in: float) -> str:
    return "\n".join(fit_text(text, width_in, 8.5, 2))
