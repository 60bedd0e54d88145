"""The scene graph, and its drawing: the picture and the exact mask of every thing.

Backgrounds take basic arithmetic only, so that every machine draws the same bytes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from making.categories import Category, by_slug
from making.sprites import load_sprite

HEIGHT, WIDTH = 240, 320
KINDS = ("gradient", "noise", "horizon", "tiles", "wood")
#: a photographed texture, in training only: brick, grass or gravel of scikit-image
PHOTOGRAPH = "photograph"


@dataclass(frozen=True)
class Thing:
    """One sprite in a scene.

    Attributes:
        slug: category; ``style``: drawing style; ``paint``: colour it was painted, None as drawn.
        center_xy: of the sprite's box, px; ``size_px``: its longest side before rotation.
        mirror: flipped left to right; ``angle_deg``: rotation, counter-clockwise.
    """

    slug: str
    style: str
    paint: str | None
    center_xy: tuple[float, float]
    size_px: int
    mirror: bool
    angle_deg: float

    @property
    def category(self) -> Category:
        """The category this thing belongs to."""
        return by_slug()[self.slug]

    @property
    def color(self) -> str | None:
        """The colour a person would name; None when it has no single one."""
        return self.paint or self.category.colors[self.style]


@dataclass(frozen=True)
class Effects:
    """What happens to the finished picture: light, blur (px), JPEG quality (None: none)."""

    light: float = 1.0
    blur_px: float = 0.0
    jpeg_quality: int | None = None


@dataclass(frozen=True)
class Background:
    """A procedural background: its kind, two colours (RGB 0..255) and the seed of its texture."""

    kind: str
    colors: tuple[tuple[int, ...], tuple[int, ...]]
    seed: int


@dataclass(frozen=True)
class SceneGraph:
    """Things from back to front on a background."""

    things: tuple[Thing, ...]
    background: Background
    effects: Effects = field(default_factory=Effects)


@dataclass(frozen=True, eq=False)
class Rendered:
    """A drawn scene: image uint8 (240, 320, 3) RGB, and masks bool (n, 240, 320) of its things.

    visible: what is seen of each; full: each as if nothing stood before it.
    """

    graph: SceneGraph
    image: np.ndarray
    visible: np.ndarray
    full: np.ndarray

    @property
    def hidden_fraction(self) -> np.ndarray:
        """float (n,), share of each thing that others cover, 0..1."""
        return 1 - self.visible.sum((1, 2)) / np.maximum(self.full.sum((1, 2)), 1)


def random_background(rng: np.random.Generator) -> Background:
    """Draw a kind and two muted colours."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
    first: tuple[int, ...]
    if kind == "wood":
        dark = int(rng.integers(90, 160))
        first = (dark + 40, dark + 5, dark - 35)
        second = (dark + 10, dark - 20, dark - 55)
    elif kind == "horizon":
        sky = int(rng.integers(170, 235))
        first = (sky - int(rng.integers(0, 60)), sky - 10, min(255, sky + 20))
        ground = int(rng.integers(80, 170))
        second = (ground, ground + int(rng.integers(-20, 40)), ground - int(rng.integers(0, 50)))
    else:
        base = rng.integers(60, 236, size=3)
        mean = int(base.mean())
        first = tuple(int(mean + (value - mean) * 0.5) for value in base)
        shift = int(rng.integers(-70, 71))
        second = (first[0] + shift, first[1] + shift, first[2] + int(rng.integers(-60, 61)))
    colors = (tuple(max(0, min(255, value)) for value in color) for color in (first, second))
    return Background(kind, (next(colors), next(colors)), int(rng.integers(2**31)))


def _stretched(pixels: np.ndarray) -> np.ndarray:
    how = Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((WIDTH, HEIGHT), how), dtype=np.float32)


def _smooth_noise(rng: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    """float (H, W) in -1..1, ``cells`` (rows, columns) random values stretched over the picture."""
    return _stretched(rng.integers(0, 256, size=cells, dtype=np.uint8)) / 127.5 - 1


def _texture(rng: np.random.Generator) -> np.ndarray:
    octaves = [(3, 4), (7, 10), (24, 32), (80, 107)]
    weights = [float(rng.uniform()) for _ in octaves]
    pairs = zip(weights, octaves, strict=True)
    return np.sum([_smooth_noise(rng, cells) * (w / sum(weights)) for w, cells in pairs], axis=0)


def _photographed(rng: np.random.Generator) -> np.ndarray:
    """float (H, W) in 0..1: a piece of a grey texture photograph at a random scale."""
    from skimage import data

    texture = (data.brick, data.grass, data.gravel)[int(rng.integers(3))]()  # uint8 (512, 512)
    width = int(rng.integers(128, 512))
    height = width * HEIGHT // WIDTH
    left, top = int(rng.integers(512 - width)), int(rng.integers(512 - height))
    return _stretched(texture[top : top + height, left : left + width]) / 255


def draw_background(background: Background) -> np.ndarray:
    """Draw it as float (240, 320, 3), 0..255."""
    rng = np.random.default_rng(background.seed)
    first, second = (np.array(color, dtype=np.float32) for color in background.colors)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rows = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None] * np.ones((1, WIDTH), np.float32)
    grain = 6.0
    match background.kind:
        case "gradient":
            slope = rng.uniform(-1, 1, size=2)
            columns = np.linspace(0, 1, WIDTH, dtype=np.float32)[None, :]
            mix = 0.5 + (slope[0] * (rows - 0.5) + slope[1] * (columns - 0.5))
        case "noise":
            mix = 0.5 + 0.9 * _texture(rng)
        case "horizon":
            line = rng.uniform(0.35, 0.65)
            mix = (rows > line + 0.03 * _smooth_noise(rng, (1, 8))).astype(np.float32)
            grain = 10.0 + 20.0 * rng.uniform()
        case "tiles":
            side = int(rng.integers(18, 60))
            joint = ((y % side) < 2) | ((x % side) < 2)
            checks = ((y // side + x // side) % 2) * float(rng.uniform(0, 0.5))
            mix = np.where(joint, 1.0, checks)
        case "photograph":
            mix = _photographed(rng)
        case _:  # wood: planks with a grain along them
            plank = int(rng.integers(22, 60))
            tone = rng.uniform(0, 0.6, size=HEIGHT // plank + 2)[y // plank]
            mix = np.where((y % plank) < 2, 1.0, tone + 0.25 * _smooth_noise(rng, (90, 5)))
    texture = grain * _texture(rng)
    mix = np.clip(mix, 0, 1)[..., None]
    return np.clip(first * (1 - mix) + second * mix + texture[..., None], 0, 255)


def draw_thing(thing: Thing) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of the picture that a thing covers, and its pixels there, uint8 (h, w, 4)."""
    picture = Image.fromarray(load_sprite(thing.style, thing.slug, thing.paint))
    if thing.mirror:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = thing.size_px / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    if thing.angle_deg:
        picture = picture.rotate(thing.angle_deg, Image.Resampling.BICUBIC, expand=True)
    x = round(thing.center_xy[0] - picture.width / 2)
    y = round(thing.center_xy[1] - picture.height / 2)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = max(x0, min(x + picture.width, WIDTH)), max(y0, min(y + picture.height, HEIGHT))
    return np.s_[y0:y1, x0:x1], np.asarray(picture)[y0 - y : y1 - y, x0 - x : x1 - x]


def full_mask(thing: Thing) -> np.ndarray:
    """bool (240, 320): the thing as if nothing stood before it."""
    window, part = draw_thing(thing)
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[window] = part[..., 3] > 127
    return mask


def render(graph: SceneGraph) -> Rendered:
    """Draw a scene back to front, then apply light, blur and JPEG noise."""
    canvas = draw_background(graph.background)
    full = np.zeros((len(graph.things), HEIGHT, WIDTH), dtype=bool)
    visible = np.zeros_like(full)
    for index, thing in enumerate(graph.things):
        window, part = draw_thing(thing)
        alpha = part[..., 3:].astype(np.float32) / 255
        canvas[window] = canvas[window] * (1 - alpha) + part[..., :3] * alpha
        full[index][window] = part[..., 3] > 127
        visible[:index] &= ~full[index]
        visible[index] = full[index]
    image = np.round(np.clip(canvas * graph.effects.light, 0, 255)).astype(np.uint8)
    return Rendered(graph, _spoil(image, graph.effects), visible, full)


def _spoil(image: np.ndarray, effects: Effects) -> np.ndarray:
    picture = Image.fromarray(image)
    if effects.blur_px:
        picture = picture.filter(ImageFilter.GaussianBlur(effects.blur_px))
    if effects.jpeg_quality is not None:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=effects.jpeg_quality)
        picture = Image.open(buffer)
    return np.asarray(picture.convert("RGB"))
