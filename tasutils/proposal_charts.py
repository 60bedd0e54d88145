"""Pictures of makers of masks side by side: what each proposes, and how much of it is good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasutils.canvas import (
    OKABE_ITO,
    Picture,
    axes_in,
    draw_image,
    drawn_aspect,
    fill,
    fit_text,
    outline,
    write,
)
from tasutils.masks import intersection_union
from tasutils.metrics import iou

if TYPE_CHECKING:
    from pandas import DataFrame

    from tasutils.scene import Proposals


def makers_grid(
    image: np.ndarray,
    truths: Sequence[np.ndarray],
    makers: Mapping[str, Proposals],
    *,
    columns: int = 2,
    width_in: float = 10.0,
) -> Picture:
    """Draw one picture once a maker: its masks as thin lines, its best one for each target filled.

    Args:
        image: uint8 (H, W, 3).
        truths: bool (H, W) each, the targets; dashed.
        makers: proposals by the name that stands above them.
    """
    cell_w, text_in = width_in / columns, 0.3
    picture_h = (cell_w - 0.08) * drawn_aspect((image.shape[0], image.shape[1]))
    rows = -(-len(makers) // columns)
    figure = Picture(figsize=(width_in, rows * (picture_h + text_in)))
    for index, (name, proposals) in enumerate(makers.items()):
        row, column = divmod(index, columns)
        left = column * cell_w + 0.04
        bottom = figure.get_figheight() - (row + 1) * (picture_h + text_in)
        ax = axes_in(figure, left, bottom, cell_w - 0.08, picture_h)
        draw_image(ax, image)
        masks, best = proposals.masks(), []
        for mask in masks:
            outline(ax, mask, "white", 0.5)
        for number, truth in enumerate(truths):
            color = list(OKABE_ITO.values())[1:][number % (len(OKABE_ITO) - 1)]
            overlap = iou(*intersection_union(masks, truth))
            best.append(float(overlap.max(initial=0.0)))
            if len(masks):
                fill(ax, masks[int(overlap.argmax())], color, 0.45)
            outline(ax, truth, color, 1.4, dashed=True)
        reached = ", ".join(f"{value:.2f}" for value in best)
        text = f"{name}: {len(masks)} masks, best IoU {reached}"
        write(
            figure,
            left + 0.02,
            bottom + picture_h + 0.08,
            fit_text(text, cell_w - 0.1, 9.5, 1),
            9.5,
        )
    return figure


def recall_plot(curves: DataFrame, *, note: str = "") -> Picture:
    """Draw recall over the IoU that a mask must exceed, a line a maker.

    Args:
        curves: index IoU, a column a maker, values 0..1; see `compare.recall_curve`.
        note: below the picture, such as "valP, n = 36 targets".
    """
    figure = Picture(figsize=(7.4, 4.0))
    ax = figure.add_axes((0.09, 0.2, 0.56, 0.76))
    colors = list(OKABE_ITO.values())[1:]
    for index, name in enumerate(curves.columns):
        ax.plot(
            curves.index,
            100 * curves[name],
            lw=1.6,
            color=colors[index % len(colors)],
            marker="osD^v<>p"[index % 8],
            ms=4,
            label=str(name),
        )
    ax.set_xlabel("IoU of a target's best mask is over", fontsize=9)
    ax.set_ylabel("targets, %", fontsize=9)
    ax.set_ylim(0, 100)
    ax.grid(color="#DDDDDD", lw=0.6)
    ax.tick_params(labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="upper left", bbox_to_anchor=(0.67, 0.97), fontsize=9, frameon=False)
    write(figure, 0.1, 0.1, fit_text(note, 7.2, 9, 1), 9)
    return figure
