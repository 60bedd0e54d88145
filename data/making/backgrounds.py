"""Procedural backgrounds, in basic arithmetic only, so that every machine draws the same bytes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from making.graph import HEIGHT, WIDTH, Background

KINDS = ("gradient", "noise", "horizon", "tiles", "wood")
#: a photographed texture, in training only: brick, grass or gravel of scikit-image
PHOTOGRAPH = "photograph"


def random_background(rng: np.random.Generator) -> Background:
    """Draw a kind and two muted colours."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
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
        muted = [int(mean + (value - mean) * 0.5) for value in base]
        first = (muted[0], muted[1], muted[2])
        shift = int(rng.integers(-70, 71))
        second = (muted[0] + shift, muted[1] + shift, muted[2] + int(rng.integers(-60, 61)))
    return Background(kind, (_clip(first), _clip(second)), int(rng.integers(2**31)))


def _clip(color: tuple[int, ...]) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, int(value))) for value in color)
    return red, green, blue


def _smooth_noise(rng: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    """float (H, W) in -1..1, ``cells`` (rows, columns) random values stretched over the picture."""
    small = rng.integers(0, 256, size=cells, dtype=np.uint8)
    stretched = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(stretched, dtype=np.float32) / 127.5 - 1


def _texture(rng: np.random.Generator) -> np.ndarray:
    octaves = [(3, 4), (7, 10), (24, 32), (80, 107)]
    weights = [float(rng.uniform()) for _ in octaves]
    layers = [
        _smooth_noise(rng, cells) * (w / sum(weights))
        for w, cells in zip(weights, octaves, strict=True)
    ]
    return np.sum(layers, axis=0)


def _photographed(rng: np.random.Generator) -> np.ndarray:
    """float (H, W) in 0..1: a piece of a grey texture photograph at a random scale."""
    from skimage import data

    texture = (data.brick, data.grass, data.gravel)[int(rng.integers(3))]()  # uint8 (512, 512)
    width = int(rng.integers(128, 512))
    height = width * HEIGHT // WIDTH
    left, top = int(rng.integers(512 - width)), int(rng.integers(512 - height))
    piece = Image.fromarray(texture[top : top + height, left : left + width])
    stretched = piece.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(stretched, dtype=np.float32) / 255


def draw_background(background: Background) -> np.ndarray:
    """Draw it as float (240, 320, 3), 0..255."""
    rng = np.random.default_rng(background.seed)
    first, second = (np.array(color, dtype=np.float32) for color in background.colors)
    rows = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None] * np.ones((1, WIDTH), np.float32)
    columns = np.linspace(0, 1, WIDTH, dtype=np.float32)[None, :] * np.ones((HEIGHT, 1), np.float32)
    grain = 6.0
    if background.kind == "gradient":
        slope = rng.uniform(-1, 1, size=2)
        mix = 0.5 + (slope[0] * (rows - 0.5) + slope[1] * (columns - 0.5))
    elif background.kind == "noise":
        mix = 0.5 + 0.9 * _texture(rng)
    elif background.kind == "horizon":
        line = rng.uniform(0.35, 0.65)
        mix = (rows > line + 0.03 * _smooth_noise(rng, (1, 8))).astype(np.float32)
        grain = 10.0 + 20.0 * rng.uniform()
    elif background.kind == "tiles":
        side = int(rng.integers(18, 60))
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        joint = ((y % side) < 2) | ((x % side) < 2)
        checks = ((y // side + x // side) % 2) * float(rng.uniform(0, 0.5))
        mix = np.where(joint, 1.0, checks)
    elif background.kind == PHOTOGRAPH:
        mix = _photographed(rng)
    else:  # wood: planks with a grain along them
        plank = int(rng.integers(22, 60))
        y = np.mgrid[:HEIGHT, :WIDTH][0]
        tone = rng.uniform(0, 0.6, size=HEIGHT // plank + 2)[y // plank]
        mix = np.where((y % plank) < 2, 1.0, tone + 0.25 * _smooth_noise(rng, (90, 5)))
    texture = grain * _texture(rng)
    mix = np.clip(mix, 0, 1)[..., None]
    return np.clip(first * (1 - mix) + second * mix + texture[..., None], 0, 255)
