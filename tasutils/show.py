"""Pictures of answers, overlay, proposals, region, gallery, and what they are drawn with.

Figures are made without pyplot and belong to nobody. The colours are those of Okabe and Ito (2008),
which people with any colour vision tell apart; shapes, hatches or dashes repeat what they say.
Images are uint8 (H, W, 3), masks bool (H, W), points (x, y) in pixels.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.category import StrCategoryFormatter
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter

from tasutils.errors import TasError
from tasutils.masks import iou
from tasutils.paths import whole_file
from tasutils.refer import region
from tasutils.scene import said

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

    from tasutils.refer import TasAnswer
    from tasutils.scene import Scene

OKABE_ITO = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73",
    "yellow": "#F0E442", "blue": "#0072B2", "vermillion": "#D55E00", "purple": "#CC79A7",
}  # fmt: skip
ANSWER, TRUTH, GREY = OKABE_ITO["orange"], OKABE_ITO["blue"], "#5F5F5F"
MAX_DRAWN_PX = 1200  # longer sides are thinned out before drawing: a screen shows no more
FLATTEST, TALLEST = 0.25, 1.6  # height / width of a drawn picture, so that a strip stays visible
WIDTH_IN = 5.8  # of a picture
_JOINERS = "\u200c\u200d"  # which letters need, unlike the other signs that are not seen
_MOST, _MOST_LINES = 300, 60  # letters a line, and lines: no figure is wider or taller


class Picture(Figure):
    """A figure without pyplot that shows itself in a notebook, one with a photograph as JPEG.

    Words are drawn as they stand: a `$` begins no formula, and what no font has becomes "□".
    """

    photograph = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"dpi": 110, "facecolor": "white", **kwargs})
        FigureCanvasAgg(self)

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure, all words as they stand; formulas are the axes' own numbers alone."""
        numbers: set[Text] = set()
        for axis in (axis for ax in self.axes for axis in (ax.xaxis, ax.yaxis)):
            ticks = axis.get_major_formatter()
            if isinstance(ticks, (FixedFormatter, FuncFormatter, StrCategoryFormatter)):
                axis.set_major_formatter(_Words(ticks))
            elif not isinstance(ticks, _Words):
                numbers.update(axis.get_majorticklabels())
            numbers.update(axis.get_minorticklabels())
        for text in self.findobj(Text):
            if isinstance(text, Text) and text not in numbers:
                text.set_text(_drawable(text.get_text()))
                text.set_parse_math(False)
                text.set_usetex(False)
        super().draw(renderer)

    def encoded(self, kind: str = "") -> tuple[str, bytes]:
        """The figure as a file of a kind: image/png, or of one with a photograph image/jpeg."""
        kind, buffer = kind or ("image/jpeg" if self.photograph else "image/png"), io.BytesIO()
        pil = {"quality": 80} if kind == "image/jpeg" else None
        self.savefig(buffer, format=kind.removeprefix("image/"), pil_kwargs=pil)
        return kind, buffer.getvalue()

    def png(self) -> bytes:
        """The figure as the bytes of a PNG file."""
        return self.encoded("image/png")[1]

    @property
    def alt(self) -> str:
        """The words of the figure, for those who cannot see it."""
        found = [text.get_text() for text in self.findobj(Text) if isinstance(text, Text)]
        return textwrap.shorten("figure: " + "; ".join(dict.fromkeys(filter(None, found))), 400)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        kind, data = self.encoded()
        display({kind: data}, metadata={kind: {"alt": self.alt}}, raw=True)


class _Words(Formatter):
    """Names at the ticks of an axis, as they can be drawn."""

    def __init__(self, names: Formatter) -> None:
        self._names = names

    def __call__(self, x: float, pos: int | None = None) -> str:
        return _drawable(self._names(x, pos))


def _drawable(text: str) -> str:
    """Text of any origin as a font has it and a figure bears it; its line breaks stay."""
    lines = text.split("\n", _MOST_LINES)[:_MOST_LINES]
    return "\n".join(_in_font(x if len(x) <= _MOST else f"{x[:_MOST]} …") for x in lines)


def _in_font(line: str) -> str:
    known = {c for c in set(line) if ord(c) in _charmap() and (c.isprintable() or c in _JOINERS)}
    return "".join(c if c in known else "□" for c in line)


@cache
def _charmap() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def fit_text(text: str, width_in: float, size: float, lines: int = 3) -> list[str]:
    """Break text into at most so many lines of a width in inches; what is left over becomes "…"."""
    columns = max(int(width_in * 72 / (size * 0.58)), 4)  # 0.58 em: a wide average letter
    plain = _in_font(" ".join(text[: 100 * columns * lines].split()))
    return textwrap.wrap(plain, columns, max_lines=lines, placeholder=" …") or [""]


def picture_axes(
    size_hw: tuple[int, int], width_in: float, top_in: float, bottom_in: float
) -> tuple[Picture, Axes]:
    """A figure that is one picture wide, with room above and below for text, in inches."""
    height_in = (width_in - 0.16) * np.clip(size_hw[0] / size_hw[1], FLATTEST, TALLEST)
    figure = Picture(figsize=(width_in, top_in + height_in + bottom_in))
    return figure, axes_in(figure, 0.08, bottom_in, width_in - 0.16, height_in)


def axes_in(figure: Picture, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes without ticks at a place given in inches from the lower left corner."""
    w, h = figure.get_size_inches()
    ax = figure.add_axes((left / w, bottom / h, width / w, height / h))
    ax.set_axis_off()
    return ax


def write(
    figure: Picture, x_in: float, y_in: float, lines: list[str], size: float, color: str = "black"
) -> None:
    """Write lines of text with their lower left corner at a place given in inches."""
    w, h = figure.get_size_inches()
    figure.text(x_in / w, y_in / h, "\n".join(lines), fontsize=size, color=color, va="bottom")


def draw_image(ax: Axes, image: np.ndarray) -> None:
    """Draw an image in pixel coordinates: the centre of the first pixel is (0, 0)."""
    height, width = image.shape[:2]
    step = -(-max(height, width) // MAX_DRAWN_PX)
    box = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(image[::step, ::step], extent=box, interpolation="antialiased")
    ax.set(xlim=box[:2], ylim=box[2:], autoscale_on=False)
    if isinstance(ax.figure, Picture):
        ax.figure.photograph = True


def fill(ax: Axes, mask: np.ndarray, color: str, opacity: float) -> None:
    """Lay a translucent colour over the foreground of a mask."""
    height, width = mask.shape
    step = -(-max(height, width) // MAX_DRAWN_PX)
    layer = np.zeros((*mask[::step, ::step].shape, 4))
    layer[mask[::step, ::step]] = to_rgba(color, opacity)
    ax.imshow(layer, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")


def outline(ax: Axes, mask: np.ndarray, color: str, width: float, *, dashed: bool = False) -> None:
    """Draw the border of a mask on a contrasting rim, so that it shows on any background."""
    step = -(-max(mask.shape) // MAX_DRAWN_PX)
    thin = np.pad(mask[::step, ::step], 1).astype(np.float32)
    ys, xs = (np.arange(-1, side - 1) * step for side in thin.shape)
    if not thin.any():
        return
    rim = "white" if dashed else "black"
    ax.contour(xs, ys, thin, [0.5], colors=rim, linewidths=1.8 * width + 0.4)
    style = (0, (4, 2.2)) if dashed else "solid"
    ax.contour(xs, ys, thin, [0.5], colors=color, linewidths=width, linestyles=[style])


def label_points(masks: np.ndarray, centers_xy: np.ndarray) -> list[tuple[float, float]]:
    """A point inside each mask, bool (n, H, W), near its centre, float (n, 2), off earlier ones."""
    placed: list[tuple[float, float]] = []
    for mask, (x, y) in zip(masks, centers_xy, strict=True):
        ys, xs = np.nonzero(mask)
        cost = np.hypot(xs - x, ys - y)
        for other_x, other_y in placed:
            cost += 1e6 * (np.hypot(xs - other_x, ys - other_y) < 0.07 * max(mask.shape))
        best = int(cost.argmin())
        placed.append((float(xs[best]), float(ys[best])))
    return placed


class Example(NamedTuple):
    """One field of a gallery: an image, the answer, what is true (if known), and a remark."""

    image: np.ndarray
    answer: Any
    truth: np.ndarray | None = None
    note: str = ""


def best_first(answer: Any) -> np.ndarray:
    """The mask indices of an answer, int64 (n,), the chosen one first."""
    return np.argsort(answer.rank, kind="stable")


def draw_answer(
    ax: Axes, image: np.ndarray, answer: Any, truth: np.ndarray | None = None, *,
    ranks: int = 3, stroke: float = 1.0,
) -> None:  # fmt: skip
    """Draw image, answer, next best and truth into axes; see `overlay`. stroke scales outlines."""
    draw_image(ax, image)
    order = best_first(answer)[: max(ranks, 1)]
    masks = answer.scene.proposals.masks()[order]
    for mask in masks[:0:-1]:
        outline(ax, mask, "white", 1.0 * stroke)
    chosen = answer.mask()
    if chosen.any():
        fill(ax, chosen, ANSWER, 0.38)
        outline(ax, chosen, ANSWER, 2.2 * stroke)
    if truth is not None:
        outline(ax, truth, TRUTH, 1.5 * stroke, dashed=True)
    if ranks > 1:
        points = label_points(masks, answer.scene.proposals.centers_xy[order])
        for place, (x, y) in enumerate(points, start=1):
            size = 13 if place == 1 else 11
            ax.text(
                x, y, str(place), fontsize=size, fontweight="bold", color="white", ha="center",
                va="center", clip_on=True,
                path_effects=[withStroke(linewidth=size / 4, foreground="black")],
            )  # fmt: skip


def overlay(
    image: np.ndarray, answer: Any, truth: np.ndarray | None = None, *, picked: int | None = None
) -> Picture:
    """Draw the chosen mask over its picture, the next best as outlines, the truth if known.

    image: uint8 (H, W, 3); answer: of `refer` for it, or an `explore.View`; truth: bool (H, W);
    picked: a mask outlined in green.
    """
    head, width_in = fit_text(f"“{answer.expression.text}”", WIDTH_IN - 0.2, 11), WIDTH_IN
    top_in = 0.14 + 0.19 * len(head)
    figure, ax = picture_axes(image.shape[:2], width_in, top_in=top_in, bottom_in=0.7)
    write(figure, 0.1, figure.get_figheight() - top_in + 0.05, head, 11)
    draw_answer(ax, image, answer, truth)
    if picked is not None:
        outline(ax, answer.scene.proposals.masks()[picked], OKABE_ITO["green"], 3.0)
    key = "no mask was proposed, so there is no answer"
    if len(answer.scene.proposals):
        key = "nothing is meant   numbers: rank"
    if answer.best is not None:
        several = "masks" if len(answer.chosen) > 1 else "mask"
        chosen = ", ".join(map(str, answer.chosen))
        key = f"orange: the answer, {several} {chosen}   numbers: rank"
        if truth is not None:
            key += f"   dashed blue: the truth   IoU {iou(answer.mask(), truth):.2f}"
    write(figure, 0.1, 0.46, [key], 9, GREY)
    reason = fit_text(answer.reason, width_in - 0.2, 9, lines=2)
    write(figure, 0.1, 0.4 - 0.16 * len(reason), reason, 9, GREY)
    return figure


def save_overlay(path: str | Path, image: np.ndarray, answer: Any, **options: Any) -> None:
    """Write `overlay` as a PNG file, whole or not at all; TasError where that cannot be."""
    data = overlay(image, answer, **options).png()
    try:
        with whole_file(Path(path)) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        reason = error.strerror or error
        raise TasError(f"cannot write {path}: {reason}; choose another folder") from None


def proposals_grid(image: np.ndarray, scene: Scene) -> Picture:
    """Draw every proposal in a field of its own, lit up in the dark picture, with its caption."""
    n = len(scene.proposals)
    columns, width_in = 4 if n <= 12 else 6, 9.6
    if n == 0:
        figure, ax = picture_axes(image.shape[:2], 6.4, top_in=0.34, bottom_in=0.05)
        write(figure, 0.1, figure.get_figheight() - 0.27, ["no mask was proposed here"], 11)
        draw_image(ax, image)
        return figure
    cell_w, text_in = width_in / columns, 0.46
    picture_h = cell_w * np.clip(scene.size_hw[0] / scene.size_hw[1], FLATTEST, TALLEST)
    figure = Picture(figsize=(width_in, -(-n // columns) * (picture_h + text_in)))
    for index, mask in enumerate(scene.proposals.masks()):
        row, column = divmod(index, columns)
        left, bottom = column * cell_w, figure.get_figheight() - (row + 1) * (picture_h + text_in)
        ax = axes_in(figure, left + 0.04, bottom, cell_w - 0.08, picture_h)
        draw_image(ax, np.where(mask[..., None], image, image // 3))
        outline(ax, mask, OKABE_ITO["yellow"], 1.0)
        words = fit_text(f"{index}: {said(scene.captions[index])}", cell_w - 0.1, 8.5, 2)
        write(figure, left + 0.06, bottom + picture_h + 0.04, words, 8.5)
    return figure


def region_left_out(answer: TasAnswer, step: int = 1) -> np.ndarray:
    """Where no mask may win, at each `step`-th pixel, bool (ceil(H / step), ceil(W / step))."""
    height, width = answer.scene.size_hw
    ys, xs = np.mgrid[0:height:step, 0:width:step]
    points_xy = np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.float64)
    inside, _ = region(answer.scene, answer.expression, answer.preset, points_xy)
    return ~inside.reshape(xs.shape)


def region_picture(image: np.ndarray, answer: TasAnswer) -> Picture:
    """Darken what the rectifier leaves out; mark the centres: dots inside, crosses outside."""
    width_in = WIDTH_IN
    words = ", ".join(word.token for word in answer.expression.directions)
    head = f"direction: {words}" if words else "no direction word: the whole picture counts"
    figure, ax = picture_axes(answer.scene.size_hw, width_in, top_in=0.34, bottom_in=0.34)
    write(figure, 0.1, figure.get_figheight() - 0.27, fit_text(head, width_in - 0.2, 11, 1), 11)
    draw_image(ax, image)
    fill(ax, region_left_out(answer), "#000000", 0.6)
    centers_xy, order = answer.scene.proposals.centers_xy, best_first(answer)
    for index in order[::-1]:  # the answer last, on top
        (x, y), good = centers_xy[index], bool(answer.in_region[index])
        color = ANSWER if index in answer.chosen else OKABE_ITO["sky"] if good else "white"
        ax.plot(x, y, "o" if good else "X", ms=9, mfc=color, mec="black", mew=1.2)
        if len(order) <= 12 or answer.rank[index] <= 3:  # more numbers would hide each other
            ax.annotate(
                str(index), (x, y), (7, 3), textcoords="offset points", fontsize=10, color="white",
                path_effects=[withStroke(linewidth=2.5, foreground="black")],
            )  # fmt: skip
    key = "centres of the masks:  ● in the region   ✖ outside   orange: the answer"
    write(figure, 0.1, 0.1, [key], 9, GREY)
    return figure


def gallery(examples: Sequence[Example], *, columns: int = 3) -> Picture:
    """Draw many answers side by side, each under its sentence, with its remark below."""
    rows, cell_w, bottom_in = -(-len(examples) // columns), 9.6 / columns, 0.72
    picture_h = cell_w * 0.75
    field_h = 0.42 + picture_h + bottom_in
    figure = Picture(figsize=(9.6, max(rows, 1) * field_h))
    for place, example in enumerate(examples):
        row, column = divmod(place, columns)
        left, bottom = column * cell_w, figure.get_figheight() - (row + 1) * field_h
        ax = axes_in(figure, left + 0.05, bottom + bottom_in, cell_w - 0.1, picture_h)
        draw_answer(ax, *example[:3], ranks=1, stroke=0.6)
        head = fit_text(f"“{example.answer.expression.text}”", cell_w - 0.15, 9.5, 2)
        write(figure, left + 0.06, bottom + bottom_in + picture_h + 0.04, head, 9.5)
        note = fit_text(example.note, cell_w - 0.15, 8.5, 4)
        write(figure, left + 0.06, bottom + bottom_in - 0.16 * len(note) - 0.03, note, 8.5, GREY)
    return figure
