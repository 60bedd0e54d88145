"""Pictures of the peers of TAS: what each looks at for the same sentences, and all in one chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasutils.baselines import ActivationMethod, Method, scores_of
from tasutils.canvas import (
    ANSWER,
    GREY,
    OKABE_ITO,
    TRUTH,
    Picture,
    axes_in,
    draw_image,
    drawn_aspect,
    fit_text,
    outline,
    write,
)
from tasutils.masks import iou

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from tasutils.refer import Expression
    from tasutils.scene import Scene

RANKS = 3
_HEAD_IN, _NOTE_IN, _GAP_IN = 0.4, 0.26, 0.08


class Question(NamedTuple):
    """One sentence about a picture, and the mask that it means: bool (H, W)."""

    expression: Expression
    truth: NDArray[np.bool_]


def peer_row(
    method: Method,
    image: NDArray[np.uint8],
    scene: Scene,
    questions: Sequence[Question],
    *,
    width_in: float = 9.6,
) -> Picture:
    """Draw what a method makes of some sentences about one picture, side by side.

    An activation method shows its map over the picture, bright where the sentence is likeliest.
    Another one shows its three best masks and, below, what it is shown of them if it tells
    (`views`), with their scores. Orange: the answer. Dashed blue: the mask that is meant.

    Args:
        method: one of `baselines`, or of your own.
        image: uint8 (H, W, 3) RGB.
        scene: the described picture.
        questions: the sentences.
        width_in: width of the whole picture in inches.
    """
    cell = width_in / max(len(questions), 1)
    picture_h = (cell - 0.1) * drawn_aspect(scene.size_hw)
    views, words = _views(method, image, scene)
    side = (cell - 0.1) / RANKS
    tall = 0.0 if views is None else side * views.shape[1] / views.shape[2]
    strip = 0.0 if views is None else tall + (0.5 if words else 0.2)
    height = _HEAD_IN + picture_h + _NOTE_IN + strip + _GAP_IN
    figure = Picture(figsize=(width_in, height))
    for column, (expression, truth) in enumerate(questions):
        left, bottom = column * cell, height - _HEAD_IN - picture_h
        head = fit_text(f"“{expression.text}”", cell - 0.15, 9.5, 2)
        write(figure, left + 0.06, bottom + picture_h + 0.04, head, 9.5)
        ax = axes_in(figure, left + 0.05, bottom, cell - 0.1, picture_h)
        scores = scores_of(method, scene, expression, image)
        order = np.argsort(-scores, kind="stable")[:RANKS]
        if isinstance(method, ActivationMethod):
            _draw_map(ax, image, method.heatmap(image, expression))
            _draw_masks(ax, scene, order[:1], truth)
        else:
            draw_image(ax, image)
            _draw_masks(ax, scene, order, truth)
        note = _note(scene, order, truth)
        write(figure, left + 0.06, bottom - 0.2, [note], 8.5, GREY)
        if views is not None:
            for place, index in enumerate(order):
                x, y = left + 0.05 + place * side, bottom - _NOTE_IN - tall
                draw_image(axes_in(figure, x, y, side - 0.04, tall), views[index])
                write(figure, x, y - 0.16, [f"{place + 1}: {scores[index]:.3g}"], 7.5, GREY)
                said = fit_text(words[index] or "(no caption)", side, 7.5, 2) if words else []
                write(figure, x, y - 0.18 - 0.14 * len(said), said, 7.5, GREY)
    return figure


def _views(
    method: Method, image: NDArray[np.uint8], scene: Scene
) -> tuple[NDArray[np.uint8] | None, list[str]]:
    """What a method is shown of each mask, uint8 (n, h, w, 3), and in words, if it tells."""
    shown = getattr(method, "views", None)
    if shown is None or len(scene.proposals) == 0:
        return None, []
    return shown(image, scene), list(scene.captions) if method.name == "text_only" else []


def _draw_map(ax: Axes, image: NDArray[np.uint8], heat: NDArray[np.float32]) -> None:
    """The picture in grey under its map."""
    draw_image(ax, np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8))
    height, width = heat.shape
    ax.imshow(
        heat, cmap="inferno", vmin=0, vmax=1, alpha=0.65,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )  # fmt: skip


def _draw_masks(ax: Axes, scene: Scene, order: NDArray[np.int64], truth: NDArray[np.bool_]) -> None:
    """The best masks, the first in orange and the others in white, and the truth."""
    masks = scene.proposals.masks()[order]
    for mask in masks[:0:-1]:
        outline(ax, mask, "white", 0.8)
    if len(masks):
        outline(ax, masks[0], ANSWER, 1.6)
    outline(ax, truth, TRUTH, 1.1, dashed=True)


def _note(scene: Scene, order: NDArray[np.int64], truth: NDArray[np.bool_]) -> str:
    if len(order) == 0:
        return "no mask was proposed"
    masks = scene.proposals.masks()
    best = max(iou(mask, truth) for mask in masks)
    return f"IoU {iou(masks[order[0]], truth):.2f}, the best mask has {best:.2f}"


def peers_plot(table: DataFrame, *, note: str = "") -> Picture:
    """Draw `compare_runs`: mIoU of every method with its interval, a panel a family and split.

    The line is the oracle: the best that any choice among these masks could reach.
    """
    keys = list(dict.fromkeys(zip(table["dataset"], table["split"], strict=True)))
    methods = list(dict.fromkeys(table["method"]))
    columns = min(len(keys), 4)
    rows = -(-len(keys) // columns)
    height = rows * (0.24 * len(methods) + 0.62) + 0.42
    figure = Picture(figsize=(2.0 + 2.1 * columns, height))
    axes = figure.subplots(rows, columns, sharey=True, sharex=True, squeeze=False)
    figure.subplots_adjust(
        1.45 / figure.get_figwidth(), 0.69 / height, 0.985, 1 - 0.3 / height,
        wspace=0.06, hspace=0.3,
    )  # fmt: skip
    place = {method: -index for index, method in enumerate(methods)}
    for ax, key in zip(axes.flat, keys, strict=False):
        part = table[(table["dataset"] == key[0]) & (table["split"] == key[1])]
        for row in part.to_dict("records"):
            y, color = place[row["method"]], ANSWER if row["method"] == "tas" else OKABE_ITO["blue"]
            ax.plot([100 * row["miou_low"], 100 * row["miou_high"]], [y, y], color=color, lw=2)
            ax.plot(100 * row["miou"], y, "o", color=color, ms=6, mec="white", mew=0.8)
        ax.axvline(100 * part["oracle_miou"].max(), color=GREY, lw=1, ls="--")
        ax.set_title(f"{key[0]} {key[1]}, n = {part['n'].iloc[0]}", fontsize=8.5, loc="left")
        ax.set_yticks(list(place.values()), list(place), fontsize=8.5)
        ax.tick_params(axis="x", labelsize=8)
        ax.grid(axis="x", color="#DDDDDD", lw=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in list(axes.flat)[len(keys) :]:
        ax.set_visible(False)
    foot = "mIoU in %, 95 % intervals over images; dashed: the oracle"
    lines = fit_text(f"{foot}; {note}" if note else foot, figure.get_figwidth() - 0.2, 8.5, 2)
    write(figure, 0.1, 0.05, lines, 8.5, GREY)
    return figure
