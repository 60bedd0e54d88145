"""Pictures of answers: overlay, proposals, region, gallery.

Every function returns a `canvas.Picture`, a matplotlib figure that belongs to nobody: pyplot is
never imported, no global state changes, and it draws itself with and without a screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from matplotlib.patheffects import withStroke

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
    label,
    label_points,
    outline,
    picture_axes,
    save_picture,
    write,
)
from tasutils.masks import iou

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from tasutils.refer import Expression, TasAnswer
    from tasutils.scene import Scene


class Example(NamedTuple):
    """One field of a gallery: an image, the answer, what is true (if known), and a remark."""

    image: np.ndarray
    answer: TasAnswer
    truth: np.ndarray | None = None
    note: str = ""


class Ranked(Protocol):
    """What can be drawn over its picture: a `TasAnswer`, or an `explore.View` of any method."""

    @property
    def expression(self) -> Expression:
        """The sentence, read."""

    @property
    def scene(self) -> Scene:
        """The picture's masks."""

    @property
    def rank(self) -> np.ndarray:
        """Place of each mask, int64 (n,), 1 is the answer."""

    @property
    def best(self) -> int | None:
        """The answer, None where there is no mask."""

    @property
    def reason(self) -> str:
        """Why, in a line."""

    def mask(self) -> np.ndarray:
        """The chosen mask, bool (H, W)."""


def overlay(
    image: np.ndarray,
    answer: Ranked,
    truth: np.ndarray | None = None,
    *,
    ranks: int = 3,
    picked: int | None = None,
    width_in: float = 5.8,
) -> Picture:
    """Draw the chosen mask over its picture, the next best as outlines, the truth if known.

    Args:
        image: uint8 (H, W, 3).
        answer: what `refer` returned for this picture.
        truth: bool (H, W), the true mask; adds its outline and the IoU.
        ranks: how many of the best masks are outlined and numbered by rank.
        picked: a mask to look at, outlined in green.
        width_in: width of the picture in inches.
    """
    head = fit_text(f"“{answer.expression.text}”", width_in - 0.2, 11)
    top_in = 0.14 + 0.19 * len(head)
    figure, ax = picture_axes(image.shape[:2], width_in, top_in=top_in, bottom_in=0.7)
    write(figure, 0.1, figure.get_figheight() - top_in + 0.05, head, 11)
    draw_answer(ax, image, answer, truth, ranks=ranks)
    if picked is not None:
        mask = answer.scene.proposals.masks()[picked]
        outline(ax, mask, OKABE_ITO["green"], 3.0)
    write(figure, 0.1, 0.46, [_key(answer, truth)], 9, GREY)
    reason = fit_text(answer.reason, width_in - 0.2, 9, lines=2)
    write(figure, 0.1, 0.4 - 0.16 * len(reason), reason, 9, GREY)
    return figure


def save_overlay(
    path: str | Path,
    image: np.ndarray,
    answer: Ranked,
    truth: np.ndarray | None = None,
    *,
    picked: int | None = None,
) -> None:
    """Write `overlay` as a PNG file, whole or not at all.

    Raises:
        TasError: the folder cannot be written.
    """
    save_picture(path, overlay(image, answer, truth, picked=picked))


def draw_answer(
    ax: Axes,
    image: np.ndarray,
    answer: Ranked,
    truth: np.ndarray | None = None,
    *,
    ranks: int = 3,
    stroke: float = 1.0,
) -> None:
    """Draw image, answer, next best and truth into axes that exist already; see `overlay`.

    `stroke` scales the outlines: less than 1 for small pictures.
    """
    draw_image(ax, image)
    order = best_first(answer)[: max(ranks, 1)]
    masks = answer.scene.proposals.masks()[order]
    for mask in masks[:0:-1]:
        outline(ax, mask, "white", 1.0 * stroke)
    if answer.best is not None:
        fill(ax, masks[0], ANSWER, 0.38)
        outline(ax, masks[0], ANSWER, 2.2 * stroke)
    if truth is not None:
        outline(ax, truth, TRUTH, 1.5 * stroke, dashed=True)
    if ranks > 1:
        points = label_points(masks, answer.scene.proposals.centers_xy[order])
        for place, (x, y) in enumerate(points, start=1):
            label(ax, x, y, str(place), 13 if place == 1 else 11)


def thumbnail(example: Example, *, width_in: float = 4.6) -> Picture:
    """Draw one example of a gallery without any words."""
    size_hw = (int(example.image.shape[0]), int(example.image.shape[1]))
    figure, ax = picture_axes(size_hw, width_in, top_in=0.08, bottom_in=0.08)
    draw_answer(ax, example.image, example.answer, example.truth, ranks=1, stroke=0.75)
    return figure


def best_first(answer: Ranked) -> np.ndarray:
    """Return the mask indices of an answer, int64 (n,), the chosen one first."""
    return np.argsort(answer.rank, kind="stable")


def _key(answer: Ranked, truth: np.ndarray | None) -> str:
    if answer.best is None:
        return "no mask was proposed, so there is no answer"
    key = f"orange: the answer, mask {answer.best}   numbers: rank"
    if truth is None:
        return key
    return f"{key}   dashed blue: the truth   IoU {iou(answer.mask(), truth):.2f}"


def proposals_grid(
    image: np.ndarray, scene: Scene, *, columns: int | None = None, width_in: float = 9.6
) -> Picture:
    """Draw every proposal in a field of its own, lit up in the dark picture, with its caption.

    `columns` is 4, or 6 where there are more than 12 proposals.
    """
    n = len(scene.proposals)
    columns = columns or (4 if n <= 12 else 6)
    if n == 0:
        figure, ax = picture_axes(image.shape[:2], 6.4, top_in=0.34, bottom_in=0.05)
        write(figure, 0.1, figure.get_figheight() - 0.27, ["no mask was proposed here"], 11)
        draw_image(ax, image)
        return figure
    cell_w, text_in = width_in / columns, 0.46
    picture_h = cell_w * drawn_aspect(scene.size_hw)
    figure = Picture(figsize=(width_in, -(-n // columns) * (picture_h + text_in)))
    for index, mask in enumerate(scene.proposals.masks()):
        row, column = divmod(index, columns)
        left, bottom = column * cell_w, figure.get_figheight() - (row + 1) * (picture_h + text_in)
        ax = axes_in(figure, left + 0.04, bottom, cell_w - 0.08, picture_h)
        draw_image(ax, np.where(mask[..., None], image, image // 3))
        outline(ax, mask, OKABE_ITO["yellow"], 1.0)
        text = f"{index}: {scene.captions[index] or '(no caption)'}"
        write(
            figure,
            left + 0.06,
            bottom + picture_h + 0.04,
            fit_text(text, cell_w - 0.1, 8.5, 2),
            8.5,
        )
    return figure


def region_picture(image: np.ndarray, answer: TasAnswer, *, width_in: float = 5.8) -> Picture:
    """Darken what the rectifier leaves out; mark the centres: dots inside, crosses outside."""
    from tasutils.refer import region

    directions, (height, width) = answer.expression.directions, answer.scene.size_hw
    words = ", ".join(d.token for d in directions)
    head = f"direction: {words}" if words else "no direction word: the whole picture counts"
    figure, ax = picture_axes((height, width), width_in, top_in=0.34, bottom_in=0.34)
    write(figure, 0.1, figure.get_figheight() - 0.27, fit_text(head, width_in - 0.2, 11, 1), 11)
    draw_image(ax, image)
    ys, xs = np.mgrid[0:height, 0:width]
    points_xy = np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.float64)  # (H * W, 2)
    inside, _ = region(answer.scene, answer.expression, answer.preset, points_xy)
    inside = inside.reshape(height, width)
    fill(ax, ~inside, "#000000", 0.6)
    centers_xy, order = answer.scene.proposals.centers_xy, best_first(answer)
    for index in order[::-1]:  # the answer last, on top
        (x, y), good = centers_xy[index], bool(answer.in_region[index])
        color = ANSWER if index == answer.best else OKABE_ITO["sky"] if good else "white"
        ax.plot(x, y, "o" if good else "X", ms=9, mfc=color, mec="black", mew=1.2)
        if len(order) > 12 and answer.rank[index] > 3:  # so many numbers would hide each other
            continue
        ax.annotate(
            str(index), (x, y), (7, 3), textcoords="offset points", fontsize=10, color="white",
            path_effects=[withStroke(linewidth=2.5, foreground="black")],
        )  # fmt: skip
    key = "centres of the masks:  ● in the region   ✖ outside   orange: the answer"
    write(figure, 0.1, 0.1, [key], 9, GREY)
    return figure


def gallery(examples: Sequence[Example], *, columns: int = 3, width_in: float = 9.6) -> Picture:
    """Draw many answers side by side, each under its sentence, with its remark below."""
    rows, cell_w = -(-len(examples) // columns), width_in / columns
    top_in, bottom_in = 0.42, 0.72
    picture_h = cell_w * 0.75
    figure = Picture(figsize=(width_in, max(rows, 1) * (top_in + picture_h + bottom_in)))
    for place, example in enumerate(examples):
        row, column = divmod(place, columns)
        left = column * cell_w
        bottom = figure.get_figheight() - (row + 1) * (top_in + picture_h + bottom_in)
        ax = axes_in(figure, left + 0.05, bottom + bottom_in, cell_w - 0.1, picture_h)
        draw_answer(ax, *example[:3], ranks=1, stroke=0.6)
        head = fit_text(f"“{example.answer.expression.text}”", cell_w - 0.15, 9.5, 2)
        write(figure, left + 0.06, bottom + bottom_in + picture_h + 0.04, head, 9.5)
        note = fit_text(example.note, cell_w - 0.15, 8.5, 4)
        write(figure, left + 0.06, bottom + bottom_in - 0.16 * len(note) - 0.03, note, 8.5, GREY)
    return figure
