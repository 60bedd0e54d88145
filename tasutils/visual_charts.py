"""Pictures of V: masks as the encoder is shown them, and pairs that it confuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from tasutils.canvas import (
    ANSWER,
    GREY,
    TRUTH,
    Picture,
    axes_in,
    draw_image,
    fit_text,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

Look = tuple[NDArray[np.float32], NDArray[np.float64]]


def crops_grid(
    looks: Mapping[str, Look], masks: Sequence[int], *, width_in: float = 9.0
) -> Picture:
    """Draw the same masks cut out in several ways, a row a way, with V below each.

    Args:
        looks: by a name, crops float (n, s, s, 3) in 0..1 and V of the n masks; see
            `visual_study.look`. Orange: the highest V of a row.
        masks: their n numbers, first the one that is asked for, in a blue frame.
        width_in: width of the picture in inches.
    """
    side, head, foot = min(width_in / max(len(masks), 1), 1.5), 0.28, 0.24
    figure = Picture(figsize=(width_in, len(looks) * (head + side + foot) + 0.26))
    top = figure.get_figheight()
    for name, (crops, v) in looks.items():
        write(figure, 0.06, top - head + 0.06, fit_text(name, width_in, 9.5, 1), 9.5)
        bottom = top - head - side
        for column, mask in enumerate(masks):
            left = column * side + 0.04
            ax = axes_in(figure, left, bottom, side - 0.08, side - 0.08)
            draw_image(ax, crops[column])
            if column == 0:
                _frame(ax, TRUTH, 5.0)
            if column == int(np.argmax(v)):
                _frame(ax, ANSWER, 2.4)
            write(figure, left + 0.02, bottom - 0.19, [f"{mask}: {v[column]:.3f}"], 8.5, GREY)
        top = bottom - foot
    key = "number of the mask: V   orange: highest V of the row   blue: the mask that is meant"
    write(figure, 0.06, 0.04, [key], 9, GREY)
    return figure


def _frame(ax: Axes, color: str, line_width: float) -> None:
    frame = Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, ec=color, lw=line_width)
    frame.set_clip_on(False)
    ax.add_patch(frame)


def confusion_pairs(
    found: DataFrame,
    crops: Sequence[NDArray[np.float32]],
    *,
    columns: int = 4,
    width_in: float = 9.0,
) -> Picture:
    """Draw what was meant beside what V took, with V of both.

    Args:
        found: rows of `visual_study.mistakes` that have both masks.
        crops: of `visual_study.pair_crops`.
        columns: pairs side by side.
        width_in: width of the picture in inches.
    """
    cell, head, foot = width_in / columns, 0.4, 0.58
    side = cell / 2 - 0.06
    lines = max(-(-len(found) // columns), 1)
    figure = Picture(figsize=(width_in, lines * (head + side + foot) + 0.26))
    for place, (pair, row) in enumerate(zip(crops, found.to_dict("records"), strict=True)):
        line, column = divmod(place, columns)
        bottom = figure.get_figheight() - line * (head + side + foot) - head - side
        left = column * cell + 0.04
        said = fit_text(f"“{row['text']}”", cell - 0.05, 8.5, 2)
        write(figure, left, bottom + side + 0.04, said, 8.5)
        write(figure, left, bottom - 0.47, fit_text(row["kind"], cell, 8.5, 1), 8.5)
        meant = (row["category"], row["v_meant"], TRUTH)
        taken = (row["taken"] or "not asked for", row["v_chosen"], ANSWER)
        for k, (name, v, color) in enumerate((meant, taken)):
            x = left + k * (side + 0.03)
            ax = axes_in(figure, x, bottom, side, side)
            draw_image(ax, pair[k])
            _frame(ax, color, 2.0)
            text = [*fit_text(name, side, 8.5, 1), f"V {v:.3f}"]
            write(figure, x, bottom - 0.32, text, 8.5, GREY)
    write(figure, 0.06, 0.04, ["blue: what is meant   orange: what V alone took"], 9, GREY)
    return figure
