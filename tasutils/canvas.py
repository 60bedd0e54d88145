"""What pictures are made of: figures without pyplot, masks as fills and outlines, text that fits.

The colours are those of Okabe and Ito (2008), which people with any colour vision tell apart;
shapes, hatches or dashes repeat what a colour says. Images are uint8 (H, W, 3), masks bool (H, W),
points (x, y) in pixels.
"""

from __future__ import annotations

import io
import os
import tempfile
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.category import StrCategoryFormatter
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter

from tasutils.errors import TasError
from tasutils.permissions import share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
}
ANSWER, TRUTH, GREY = OKABE_ITO["orange"], OKABE_ITO["blue"], "#5F5F5F"
DPI = 110
MAX_DRAWN_PX = 1200  # longer sides are thinned out before drawing: a screen shows no more
FLATTEST, TALLEST = 0.25, 1.6  # height / width of a drawn picture, so that a strip stays visible
_JOINERS = "\u200c\u200d"  # which letters need, unlike the other signs that are not seen
_MOST_CHARACTERS, _MOST_LINES = 300, 60  # of a text that is drawn: no figure is wider or taller


class Picture(Figure):
    """A figure without pyplot that shows itself in a notebook.

    Words in it are drawn as they stand, whoever wrote them: a `$` begins no formula, and what no
    font has becomes "□".
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dpi", DPI)
        kwargs.setdefault("facecolor", "white")
        super().__init__(*args, **kwargs)
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

    def png(self) -> bytes:
        """Return the picture as the bytes of a PNG file."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


class _Words(Formatter):
    """Names at the ticks of an axis, as they can be drawn."""

    def __init__(self, names: Formatter) -> None:
        self._names = names

    def __call__(self, x: float, pos: int | None = None) -> str:
        return _drawable(self._names(x, pos))


def save_picture(path: str | Path, picture: Picture) -> None:
    """Write a picture as a PNG file, whole or not at all (temporary name, then rename).

    Raises:
        TasError: the folder cannot be written.
    """
    target, data = Path(path), picture.png()
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".png")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            share(Path(name))
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or error
        raise TasError(f"cannot write {target}: {reason}; choose another folder") from None


def drawn_aspect(size_hw: tuple[int, int]) -> float:
    """Return height / width of the field in which a picture of this size is drawn."""
    return min(max(size_hw[0] / size_hw[1], FLATTEST), TALLEST)


def picture_axes(
    size_hw: tuple[int, int], width_in: float, top_in: float, bottom_in: float
) -> tuple[Picture, Axes]:
    """Make a figure that is one picture wide, with room above and below for text, in inches."""
    height_in = (width_in - 0.16) * drawn_aspect(size_hw)
    figure = Picture(figsize=(width_in, top_in + height_in + bottom_in))
    return figure, axes_in(figure, 0.08, bottom_in, width_in - 0.16, height_in)


def axes_in(figure: Picture, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes without ticks at a place given in inches from the lower left corner."""
    w, h = figure.get_figwidth(), figure.get_figheight()
    ax = figure.add_axes((left / w, bottom / h, width / w, height / h))
    ax.set_axis_off()
    return ax


def write(
    figure: Picture, x_in: float, y_in: float, lines: list[str], size: float, color: str = "black"
) -> None:
    """Write lines of text with their lower left corner at a place given in inches."""
    x, y = x_in / figure.get_figwidth(), y_in / figure.get_figheight()
    figure.text(x, y, "\n".join(lines), fontsize=size, color=color, va="bottom", parse_math=False)


def fit_text(text: str, width_in: float, size: float, lines: int = 3) -> list[str]:
    """Break text into at most so many lines of a width in inches; what is left over becomes "…".

    Characters that the font lacks (emoji, many scripts) become "□", so that nothing warns or fails.
    """
    columns = max(int(width_in * 72 / (size * 0.58)), 4)  # 0.58 em: a wide average letter
    plain = _in_font(" ".join(text[: 100 * columns * lines].split()))
    return textwrap.wrap(plain, columns, max_lines=lines, placeholder=" …") or [""]


def _drawable(text: str) -> str:
    """Text of any origin as a font has it and a figure bears it; its line breaks stay."""
    cut = [
        line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]} …"
        for line in text.split("\n", _MOST_LINES)[:_MOST_LINES]
    ]
    return "\n".join(map(_in_font, cut))


def _in_font(line: str) -> str:
    known = _charmap()
    return "".join(
        c if ord(c) in known and (c.isprintable() or c in _JOINERS) else "□" for c in line
    )


@cache
def _charmap() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def draw_image(ax: Axes, image: np.ndarray) -> None:
    """Draw an image in pixel coordinates: the centre of the first pixel is (0, 0)."""
    height, width = image.shape[:2]
    step = -(-max(height, width) // MAX_DRAWN_PX)
    box = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(image[::step, ::step], extent=box, interpolation="antialiased")
    ax.set(xlim=box[:2], ylim=box[2:], autoscale_on=False)


def fill(ax: Axes, mask: np.ndarray, color: str, opacity: float) -> None:
    """Lay a translucent colour over the foreground of a mask."""
    height, width = mask.shape
    step = -(-max(height, width) // MAX_DRAWN_PX)
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    layer = np.zeros((*mask[::step, ::step].shape, 4))
    layer[mask[::step, ::step]] = (red, green, blue, opacity)
    ax.imshow(layer, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")


def outline(
    ax: Axes, mask: np.ndarray, color: str, line_width: float, *, dashed: bool = False
) -> None:
    """Draw the border of a mask on a contrasting rim, so that it shows on any background."""
    height, width = mask.shape
    step = -(-max(height, width) // MAX_DRAWN_PX)
    thin = np.pad(mask[::step, ::step], 1).astype(np.float32)
    ys, xs = (np.arange(-1, side - 1) * step for side in thin.shape)
    if not thin.any():
        return
    rim = "white" if dashed else "black"
    ax.contour(xs, ys, thin, [0.5], colors=rim, linewidths=1.8 * line_width + 0.4)
    style = (0, (4, 2.2)) if dashed else "solid"
    ax.contour(xs, ys, thin, [0.5], colors=color, linewidths=line_width, linestyles=[style])


def label(ax: Axes, x: float, y: float, text: str, size: float) -> None:
    """Write a short label, white with a black rim, centred at a point of the picture."""
    rim = [withStroke(linewidth=size / 4, foreground="black")]
    ax.text(
        x, y, text, fontsize=size, fontweight="bold", color="white", ha="center", va="center",
        path_effects=rim, parse_math=False, clip_on=True,
    )  # fmt: skip


def label_points(masks: np.ndarray, centers_xy: np.ndarray) -> list[tuple[float, float]]:
    """Choose a point inside each mask for its label: near its centre, away from earlier labels.

    Args:
        masks: bool (n, H, W), none of them empty.
        centers_xy: float (n, 2), pixels.
    """
    placed: list[tuple[float, float]] = []
    for mask, (x, y) in zip(masks, centers_xy, strict=True):
        ys, xs = np.nonzero(mask)
        cost = np.hypot(xs - x, ys - y)
        for other_x, other_y in placed:
            close = np.hypot(xs - other_x, ys - other_y) < 0.07 * max(mask.shape)
            cost = cost + np.where(close, 1e6, 0.0)
        best = int(cost.argmin()) if len(cost) else None
        placed.append((x, y) if best is None else (float(xs[best]), float(ys[best])))
    return placed


def name_rows(ax: Axes, names: list[str]) -> None:
    """Name the rows of a chart, the first on top, and draw lines at the values below them."""
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)
