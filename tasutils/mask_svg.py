"""Masks as SVG: outlines traced once a scene, and a drawing of them that lights up under a mouse.

The drawing has no script: what is under the mouse is told by the browser's own tooltip, and lit by
a style sheet, which also carries the picture (`backdrop`). So a drawing is small, and a page can
exchange it for another without fetching or decoding the picture again.
"""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from tasutils.canvas import ANSWER, OKABE_ITO, label_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasutils.scene import Scene

TRACED_PX, SHOWN_PX = 480, 960  # longest sides of the masks that are traced, and of the picture
_SLACK_PX = 0.75  # how far an outline may run beside the mask's border, in traced px
_LONGEST_REM = 34.0
STYLE = f"""
.tas-svg {{ display: block; background-size: 100% 100%; font: bold 15px sans-serif; }}
.tas-svg path {{ fill: white; fill-opacity: 0; stroke: white; stroke-opacity: .35; stroke-width: .8;
  fill-rule: evenodd; pointer-events: all; vector-effect: non-scaling-stroke; }}
.tas-svg path.out {{ stroke-dasharray: 3 3; }}
.tas-svg path.near {{ stroke-opacity: 1; stroke-width: 1.4; filter: drop-shadow(0 0 1px black); }}
.tas-svg path.first {{ fill: {ANSWER}; fill-opacity: .4; stroke: {ANSWER}; stroke-opacity: 1;
  stroke-width: 2.6; filter: drop-shadow(0 0 1px black); }}
.tas-svg path.picked {{ stroke: {OKABE_ITO["green"]}; stroke-opacity: 1; stroke-width: 3.2; }}
.tas-svg path:hover {{ fill: white; fill-opacity: .35; stroke-opacity: 1; stroke-width: 2.2; }}
.tas-svg rect {{ fill: black; fill-opacity: .5; pointer-events: none;
  shape-rendering: crispEdges; }}
.tas-svg text {{ fill: white; stroke: black; stroke-width: 3px; paint-order: stroke;
  text-anchor: middle; dominant-baseline: central; pointer-events: none; }}
"""


@dataclass(frozen=True, eq=False)
class Outlines:
    """The masks of a scene, ready to be drawn; n of them.

    paths: the `d` of an SVG path each, in px of the picture, a pixel's corner being (x, y);
    points_xy: where a number can stand; order: indices, the largest mask first, so that small ones
    lie on top.
    """

    size_hw: tuple[int, int]
    paths: tuple[str, ...]
    points_xy: tuple[tuple[float, float], ...]
    order: tuple[int, ...]


@lru_cache(maxsize=8)
def outlines(scene: Scene) -> Outlines:
    """Trace the masks of a scene (the last eight scenes are remembered)."""
    masks = scene.proposals.masks()
    step = -(-max(scene.size_hw) // TRACED_PX)
    small = [coarse(mask, step) for mask in masks]
    centers = scene.proposals.centers_xy / step
    points = label_points(np.array(small).reshape(len(small), *_shape(small)), centers)
    order = np.argsort(-scene.proposals.areas_px, kind="stable")
    return Outlines(
        scene.size_hw,
        tuple(_path(mask, step, scene.size_hw) for mask in small),
        tuple(((x + 0.5) * step, (y + 0.5) * step) for x, y in points),
        tuple(order.tolist()),
    )


def _shape(masks: list[NDArray[np.bool_]]) -> tuple[int, ...]:
    return masks[0].shape if masks else (1, 1)


def coarse(mask: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """A mask (H, W) in squares of `step` px: which squares have any of it; nothing vanishes."""
    if step == 1:
        return mask
    height, width = mask.shape
    full = np.pad(mask, ((0, -height % step), (0, -width % step)))
    squares = full.reshape(full.shape[0] // step, step, full.shape[1] // step, step)
    return np.asarray(squares.any(axis=(1, 3)))


def borders(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The closed borders of a mask (H, W), holes too: int64 (k, 2) corners (x, y) each, exact.

    Pixel (x, y) covers x..x+1 and y..y+1. Filled by the even-odd rule they give the mask again.

    >>> borders(np.ones((1, 2), bool))[0].tolist()
    [[0, 0], [2, 0], [2, 1], [0, 1]]
    """
    around = np.pad(mask, 1)
    a, b, c, d = around[:-1, :-1], around[:-1, 1:], around[1:, :-1], around[1:, 1:]
    touching = (a == d) & (b == c) & (a != b)  # two pixels meet at a corner: it counts twice
    times = (a ^ b ^ c ^ d).astype(np.int64) + 2 * touching
    ys, xs = np.nonzero(times)
    repeats = times[ys, xs]
    ys, xs = np.repeat(ys, repeats), np.repeat(xs, repeats)
    # along a row, corners are the ends of stretches of border, two by two; so along a column
    in_row, in_column = _mates(np.lexsort((xs, ys))), _mates(np.lexsort((ys, xs)))
    seen, found = [False] * len(xs), []
    for start in range(len(xs)):
        loop, at = [], start
        while not seen[at]:
            other = in_row[at]
            seen[at] = seen[other] = True
            loop += [at, other]
            at = in_column[other]
        if loop:
            found.append(np.stack([xs[loop], ys[loop]], axis=1))
    return found


def _mates(order: NDArray[np.intp]) -> list[int]:
    mates = np.empty(len(order), np.int64)
    mates[order[0::2]], mates[order[1::2]] = order[1::2], order[0::2]
    return list(mates.tolist())


def _path(mask: NDArray[np.bool_], step: int, size_hw: tuple[int, int]) -> str:
    """The borders as an SVG path, with fewer corners."""
    parts = []
    for loop in borders(mask):
        smooth = cv2.approxPolyDP(loop.astype(np.int32)[:, None], _SLACK_PX, True)[:, 0]
        corners = loop if len(smooth) < 3 else smooth
        corners = np.minimum(corners * step, size_hw[::-1])
        parts.append("M" + " ".join(map(str, corners.ravel().tolist())) + "z")
    return "".join(parts)


def picture_class(image: NDArray[np.uint8], scene: Scene) -> str:
    """A name for style sheets, the same for the same picture (H, W, 3) and masks."""
    step = -(-max(image.shape[:2]) // 128)
    number = zlib.crc32(np.ascontiguousarray(image[::step, ::step]).tobytes())
    for rle in scene.proposals.rles:
        number = zlib.crc32(str(rle["counts"]).encode(), number)
    return f"tas-{number:08x}"


def backdrop(image: NDArray[np.uint8], scene: Scene) -> str:
    """The style sheet that lays a picture (H, W, 3) under its drawings and lights what is hovered.

    A mask is lit by its row of a table in the same `div` of the picture's class, and the other way.
    """
    from PIL import Image

    step = max(image.shape[:2]) / SHOWN_PX
    picture = Image.fromarray(image)
    if step > 1:
        picture.thumbnail((SHOWN_PX, SHOWN_PX))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=92)
    data, name = base64.b64encode(buffer.getvalue()).decode("ascii"), picture_class(image, scene)
    lit = [
        f".{name}:has(tr.m{i}:hover) path.m{i} {{ fill-opacity: .5; stroke-opacity: 1; }}"
        f".{name}:has(path.m{i}:hover) tr.m{i} {{ box-shadow: inset 0 0 0 2px {ANSWER}; }}"
        for i in range(len(scene.proposals))
    ]
    under = f'.{name} .tas-svg {{ background-image: url("data:image/jpeg;base64,{data}"); }}'
    return f"<style>{STYLE}{under}\n{''.join(lit)}</style>"


def mask_svg(
    shapes: Outlines,
    rank: Sequence[int],
    inside: Sequence[bool],
    tips: Sequence[str],
    label: str,
    picked: int | None = None,
    dark: Sequence[tuple[float, float, float, float]] = (),
) -> str:
    """Draw masks: the first in rank filled, the next two outlined, each with its tooltip.

    Args:
        shapes: the masks, n of them.
        rank: 1 is the best; inside: which masks may win; tips: what is said of each, plain text.
        label: what the drawing shows, for those who cannot see it.
        picked: a mask to outline in green.
        dark: x0, y0, x1, y1 in px of the parts of the picture that are left out.
    """
    height, width = shapes.size_hw
    size = f"width: min(100%, {_LONGEST_REM * min(1, width / height):.2f}rem)"
    lines = [
        f'<svg class="tas-svg" role="img" aria-label="{escape(label)}"'
        f' viewBox="0 0 {width} {height}"'
        f' style="{size}; aspect-ratio: {width} / {height}">'
    ]
    for x0, y0, x1, y1 in dark:
        lines.append(f'<rect x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}"/>')
    for i in shapes.order:
        looks = {"out": not inside[i], "first": rank[i] == 1, "near": rank[i] in (2, 3)}
        looks["picked"] = i == picked
        names = " ".join([f"m{i}", *(name for name, on in looks.items() if on)])
        title = f"<title>{escape(tips[i])}</title>"
        lines.append(f'<path class="{names}" d="{shapes.paths[i]}">{title}</path>')
    scale = max(width, height) / 560  # px of the picture in one of the screen, about
    for i in np.argsort(rank)[:3].tolist():
        x, y = shapes.points_xy[i]
        place = f'x="{x:.1f}" y="{y:.1f}" style="font-size: {17 * scale:.1f}px;'
        lines.append(f'<text {place} stroke-width: {3.4 * scale:.1f}px">{rank[i]}</text>')
    return "".join([*lines, "</svg>"])
