"""Draw a scene graph: the picture and the exact mask of every thing."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from making.backgrounds import draw_background
from making.graph import HEIGHT, WIDTH, Rendered, SceneGraph, Thing
from making.sprites import load_sprite


def draw_thing(thing: Thing) -> tuple[np.ndarray, tuple[int, int]]:
    """The transformed sprite as uint8 (h, w, 4) and its upper left corner (x, y) in the picture."""
    rgba = load_sprite(thing.style, thing.slug, thing.paint)
    picture = Image.fromarray(rgba)
    if thing.mirror:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = thing.size_px / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    if thing.angle_deg:
        picture = picture.rotate(thing.angle_deg, Image.Resampling.BICUBIC, expand=True)
    corner = (
        round(thing.center_xy[0] - picture.width / 2),
        round(thing.center_xy[1] - picture.height / 2),
    )
    return np.asarray(picture), corner


def place(sprite: np.ndarray, corner: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of the picture that a sprite covers, and the part of the sprite inside it."""
    x, y = corner
    height, width = sprite.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, WIDTH), min(y + height, HEIGHT)
    if x1 <= x0 or y1 <= y0:
        return (slice(0, 0), slice(0, 0)), sprite[:0, :0]
    return (slice(y0, y1), slice(x0, x1)), sprite[y0 - y : y1 - y, x0 - x : x1 - x]


def full_mask(thing: Thing) -> np.ndarray:
    """bool (240, 320): the thing as if nothing stood before it."""
    window, part = place(*draw_thing(thing))
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[window] = part[..., 3] > 127
    return mask


def render(graph: SceneGraph) -> Rendered:
    """Draw a scene back to front, then apply light, blur and JPEG noise."""
    canvas = draw_background(graph.background)
    full = np.zeros((len(graph.things), HEIGHT, WIDTH), dtype=bool)
    visible = np.zeros_like(full)
    for index, thing in enumerate(graph.things):
        window, part = place(*draw_thing(thing))
        alpha = part[..., 3:].astype(np.float32) / 255
        canvas[window] = canvas[window] * (1 - alpha) + part[..., :3] * alpha
        full[index][window] = part[..., 3] > 127
        visible[:index] &= ~full[index]
        visible[index] = full[index]
    image = np.round(np.clip(canvas * graph.effects.light, 0, 255)).astype(np.uint8)
    return Rendered(graph, _spoil(image, graph), visible, full)


def _spoil(image: np.ndarray, graph: SceneGraph) -> np.ndarray:
    effects = graph.effects
    picture = Image.fromarray(image)
    if effects.blur_px:
        picture = picture.filter(ImageFilter.GaussianBlur(effects.blur_px))
    if effects.jpeg_quality is not None:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=effects.jpeg_quality)
        picture = Image.open(buffer)
    return np.asarray(picture.convert("RGB"))
