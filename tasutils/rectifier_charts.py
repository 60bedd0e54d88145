"""Pictures of the rectifier: words that count and words that do not, regions, what forms change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tasutils.canvas import (
    ANSWER,
    GREY,
    OKABE_ITO,
    TRUTH,
    Picture,
    axes_in,
    draw_image,
    drawn_aspect,
    fill,
    fit_text,
    outline,
    write,
)
from tasutils.masks import iou
from tasutils.rectifier_study import COUNTS
from tasutils.refer import region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from tasutils.refer import TasAnswer

MARKS = (("o", "blue"), ("s", "vermillion"), ("D", "green"), ("^", "purple"))


def words_plot(words: DataFrame, *, most: int = 16, note: str = "") -> Picture:
    """Draw how often each direction word counts, and why it does not; the `most` frequent ones."""
    reasons = [COUNTS, *sorted(set(words["verdict"]) - {COUNTS})]
    names = list(words["word"].value_counts().head(most).index)
    height_in = 0.27 * max(len(names), 1) + 1.25
    figure = Picture(figsize=(8.0, height_in))
    ax = figure.add_axes((0.16, 1.0 / height_in, 0.8, 1 - 1.07 / height_in))
    colors = [OKABE_ITO["blue"], *(OKABE_ITO[c] for c in ("orange", "vermillion", "purple"))]
    colors += [OKABE_ITO[c] for c in ("sky", "green", "yellow", "black")]
    left = np.zeros(len(names))
    for reason, color in zip(reasons, colors, strict=False):
        counts = words[words["verdict"] == reason]["word"].value_counts()
        widths = np.array([counts.get(name, 0) for name in names])
        ax.barh(names, widths, left=left, height=0.7, color=color, ec="white", lw=0.5)
        left += widths
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel("occurrences in the split", fontsize=9)
    _tidy(ax)
    keys = [Patch(color=c, label=r) for r, c in zip(reasons, colors, strict=False)]
    _key(figure, keys, note)
    return figure


def forms_row(
    image: np.ndarray,
    answers: Mapping[str, TasAnswer],
    truth: np.ndarray | None = None,
    *,
    columns: int = 3,
    width_in: float = 9.0,
) -> Picture:
    """Draw what each form makes of one sentence: its region bright, its answer, its words.

    Dots are centres of masks in the region, crosses those outside. Orange: the answer. Dashed
    blue: what is meant, where that is known.

    Args:
        image: uint8 (H, W, 3).
        answers: to the same sentence about the same scene, by the form's name.
        truth: bool (H, W).
        columns: pictures side by side.
        width_in: width of the whole picture in inches.
    """
    cell, (above, below) = width_in / columns, (0.3, 0.6)
    tall = (cell - 0.1) * drawn_aspect((image.shape[0], image.shape[1]))
    rows = -(-len(answers) // columns)
    figure = Picture(figsize=(width_in, rows * (above + tall + below) + 0.32))
    text = next((answer.expression.text for answer in answers.values()), "")
    head = fit_text(f"“{text}”", width_in - 0.2, 11, 1)
    write(figure, 0.06, figure.get_figheight() - 0.27, head, 11)
    for place, (name, answer) in enumerate(answers.items()):
        row, column = divmod(place, columns)
        left = column * cell
        bottom = (rows - row) * (above + tall + below) - above - tall
        write(figure, left + 0.06, bottom + tall + 0.05, [name], 10)
        _draw_region(axes_in(figure, left + 0.05, bottom, cell - 0.1, tall), image, answer, truth)
        lines = fit_text(_said(answer, truth), cell - 0.1, 8, 3)
        write(figure, left + 0.06, bottom - 0.06 - 0.15 * len(lines), lines, 8, GREY)
    return figure


def _draw_region(ax: Axes, image: np.ndarray, answer: TasAnswer, truth: np.ndarray | None) -> None:
    scene, (height, width) = answer.scene, image.shape[:2]
    draw_image(ax, image)
    ys, xs = np.mgrid[0:height, 0:width]
    points_xy = np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.float64)  # (H * W, 2)
    inside, _ = region(scene, answer.expression, answer.preset, points_xy)
    fill(ax, ~inside.reshape(height, width), "#000000", 0.6)
    for good, mark, color in ((True, "o", OKABE_ITO["sky"]), (False, "X", "white")):
        x, y = scene.proposals.centers_xy[answer.in_region == good].T
        ax.plot(x, y, mark, ls="", ms=5, mfc=color, mec="black", mew=0.7)
    if answer.best is not None:
        outline(ax, answer.mask(), ANSWER, 1.8)
    if truth is not None:
        outline(ax, truth, TRUTH, 1.2, dashed=True)


def _said(answer: TasAnswer, truth: np.ndarray | None) -> str:
    """Which words count, or why none does; and the IoU."""
    expression = answer.expression
    where = expression.parts or tuple(dict.fromkeys(d.name for d in expression.directions))
    words = ", ".join(dict.fromkeys(f"“{d.token}”" for d in expression.directions))
    said = f"{words}: {' or '.join(where) if expression.parts else ' and '.join(where)}"
    if not words:
        skipped = [f"“{d.token}” does not count: {d.skipped}" for d in expression.skipped]
        idle = "no word of its own" if answer.preset.rectifier.form != "none" else "no rectifier"
        said = skipped[0] if skipped else idle
    return said if truth is None else f"IoU {iou(answer.mask(), truth):.2f}; {said}"


def changes_plot(table: DataFrame, *, note: str = "") -> Picture:
    """Draw `rectifier_study.changes`: what each form changes on each group of sentences."""
    groups, names = (list(dict.fromkeys(table[name])) for name in ("group", "form"))
    step = 1 / (len(names) + 1)
    height_in = 0.21 * len(groups) * (len(names) + 1) + 1.3
    figure = Picture(figsize=(8.4, height_in))
    ax = figure.add_axes((0.28, 1.0 / height_in, 0.46, 1 - 1.07 / height_in))
    ax.axvline(0, color="black", lw=0.8)
    for row in table.to_dict("records"):
        mark, color = MARKS[names.index(row["form"]) % len(MARKS)]
        y = groups.index(row["group"]) + step * (names.index(row["form"]) - (len(names) - 1) / 2)
        ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=OKABE_ITO[color], lw=1.6)
        ax.plot(100 * row["mean"], y, mark, color=OKABE_ITO[color], ms=6)
        said = f"{100 * row['mean']:+.1f}; {row['mended']} mended, {row['broken']} broken"
        ax.text(1.02, y, said, fontsize=8.5, va="center", transform=ax.get_yaxis_transform())
    counts = table.groupby("group")["n"].first()
    ax.set_yticks(range(len(groups)), [f"{group}\nn = {counts[group]}" for group in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.set_xlabel("change of mIoU against no rectifier, points (95 % interval)", fontsize=9)
    _tidy(ax)
    keys = [
        Line2D([], [], marker=mark, ls="", color=OKABE_ITO[color], label=name)
        for name, (mark, color) in zip(names, MARKS, strict=False)
    ]
    _key(figure, keys, note)
    return figure


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)


def _key(figure: Picture, keys: list[Line2D] | list[Patch], note: str) -> None:
    figure.legend(handles=keys, loc="lower left", ncols=min(len(keys), 7), fontsize=8.5,
                  bbox_to_anchor=(0.0, 0.24 / figure.get_figheight()), frameon=False)  # fmt: skip
    write(figure, 0.12, 0.08, fit_text(note, figure.get_figwidth(), 9, 1), 9, GREY)
