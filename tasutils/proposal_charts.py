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
    for index, name in enumerate(curves.columns):
        color, marker = _look(index)
        ax.plot(
            curves.index, 100 * curves[name], lw=1.6, color=color, marker=marker, ms=4,
            label=str(name),
        )  # fmt: skip
    ax.set_xlabel("IoU of a target's best mask is over", fontsize=9)
    ax.set_ylabel("targets, %", fontsize=9)
    ax.set_ylim(0, 100)
    ax.grid(color="#DDDDDD", lw=0.6)
    ax.tick_params(labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    # named one by one: a name that begins with "_" would be left out
    figure.legend(handles=list(ax.lines), loc="upper left", bbox_to_anchor=(0.67, 0.97),
                  fontsize=9, frameon=False)  # fmt: skip
    write(figure, 0.1, 0.1, fit_text(note, 7.2, 9, 1), 9)
    return figure


def groups_plot(table: DataFrame, *, value: str = "oracle mIoU", note: str = "") -> Picture:
    """Draw what each maker reaches on groups of targets: a point with its interval a maker.

    Args:
        table: of `proposal_study.reach_by_group`.
        value: what the numbers are, for the axis.
        note: below the picture.
    """
    makers = list(dict.fromkeys(table["proposer"]))
    rows = table.drop_duplicates(["question", "group"])[["question", "group", "n"]]
    questions = list(dict.fromkeys(rows["question"]))
    step = max(0.34, 0.12 * len(makers))  # inches a row
    places = np.arange(len(rows)) + [0.5 * questions.index(q) for q in rows["question"]]
    above = 0.25 * -(-len(makers) // 3) + 0.1
    height_in = step * (places[-1] + 1) + 0.8 + above
    figure = Picture(figsize=(7.6, height_in))
    ax = figure.add_axes((0.37, 0.72 / height_in, 0.51, 1 - (0.72 + above) / height_in))
    for index, maker in enumerate(makers):
        own = table[table["proposer"] == maker]
        color, marker = _look(index)
        y = places + 0.7 * ((index + 0.5) / len(makers) - 0.5)
        ends = [100 * own[name] for name in ("low", "high")]
        ax.hlines(y, *ends, color=color, lw=1.6)
        ax.plot(100 * own["mean"], y, marker, color=color, ms=5.5, label=str(maker))
    for y, n in zip(places, rows["n"], strict=True):
        ax.text(1.02, y, f"n = {int(n)}", fontsize=9, va="center",
                transform=ax.get_yaxis_transform())  # fmt: skip
    ax.set_yticks(places, rows["group"].tolist(), fontsize=9)
    ax.set_ylim(places[-1] + 0.6, -0.6)
    ax.set_xlabel(f"{value}, % (95 % interval)", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    figure.legend(handles=list(ax.lines), loc="upper left", ncols=3, fontsize=9, frameon=False,
                  bbox_to_anchor=(0.0, 1 - 0.02 / height_in))  # fmt: skip
    write(figure, 0.12, 0.08, fit_text(note, 7.4, 9, 1), 9)
    return figure


def settings_plot(table: DataFrame, *, note: str = "") -> Picture:
    """Draw oracle mIoU over the values of each setting, with the masks a picture; own value hollow.

    Args:
        table: of `proposal_study.settings_table`.
        note: below the picture.
    """
    panels = list(table.groupby("setting", sort=False))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Picture(figsize=(3.0 * columns + 0.3, 2.3 * rows + 0.35))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    reached = 100 * table["oracle_miou"]
    plain = {"fc": "white", "ec": "none", "pad": 0.6}
    room = 0.25 * max(float(reached.max() - reached.min()), 4.0)
    for ax, (setting, part) in zip(grid.flat, panels, strict=False):
        heights = (100 * part["oracle_miou"]).tolist()
        ax.plot(range(len(part)), heights, color=OKABE_ITO["blue"], lw=1.4)
        for x, (y, own, masks) in enumerate(zip(heights, part["own"], part["masks"], strict=True)):
            ax.plot(x, y, "o", color=OKABE_ITO["blue"], ms=7, mew=1.6,
                    mfc="white" if own else OKABE_ITO["blue"])  # fmt: skip
            ax.annotate(f"{masks:.0f} masks", (x, y), (0, 8), textcoords="offset points",
                        fontsize=8.5, ha="center", bbox=plain)  # fmt: skip
        names = [str(value).replace(" ", "\n", 1) for value in part["value"]]
        ax.set_xticks(range(len(part)), names, fontsize=8.5)
        ax.set_xlim(-0.6, len(part) - 0.4)
        ax.set_ylim(float(reached.min()) - room, float(reached.max()) + 1.6 * room)
        ax.set_title(str(setting), fontsize=10, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(axis="y", labelsize=9)
        ax.grid(axis="y", color="#DDDDDD", lw=0.6)
    for ax in grid[:, 0]:
        ax.set_ylabel("oracle mIoU, %", fontsize=9)
    height_in, width_in = figure.get_figheight(), figure.get_figwidth()
    figure.subplots_adjust(0.6 / width_in, 0.75 / height_in, 0.99, 1 - 0.3 / height_in, 0.08, 0.62)
    write(figure, 0.12, 0.08, fit_text(note, width_in, 9, 1), 9)
    return figure


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of the maker at a place of the list."""
    colors = list(OKABE_ITO.values())[1:]
    return colors[index % len(colors)], "osD^v<>p"[index % 8]
