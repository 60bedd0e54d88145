"""Sprites: the pictures of the things, their dominant colour, and colour variants."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from tasutils.errors import TasError
from tasutils.paths import PHOTOSCENES, REFSCENES

TRAIN_STYLES = ("fluent", "noto")
HELD_OUT_STYLE = "twemoji"
#: styles of cut-outs of photographs: "photo", and "photo2", "photo3", ... of the same category
PHOTO = "photo"

#: (hue in degrees, saturation factor, value factor, value offset); hue None removes colour
PAINTS: dict[str, tuple[float | None, float, float, float]] = {
    "red": (2.0, 1.0, 1.0, 0.0),
    "orange": (28.0, 1.0, 1.0, 0.0),
    "yellow": (51.0, 0.95, 1.0, 0.05),
    "green": (125.0, 0.9, 0.85, 0.0),
    "blue": (218.0, 1.0, 1.0, 0.0),
    "purple": (276.0, 0.85, 0.9, 0.0),
    "pink": (335.0, 0.5, 0.75, 0.25),
    "brown": (24.0, 0.85, 0.52, 0.0),
    "black": (None, 0.0, 0.22, 0.02),
    "white": (None, 0.0, 0.25, 0.74),
    "grey": (None, 0.0, 0.55, 0.08),
}
COLORS = tuple(PAINTS)


def rgb_to_hsv(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) floats in 0..1 to hue in degrees, saturation and value in 0..1."""
    high, low = rgb.max(-1), rgb.min(-1)
    span = high - low
    safe = np.where(span > 0, span, 1)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    others = np.where(high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    hue = np.where(high == red, (green - blue) / safe, others)
    saturation = np.where(high > 0, span / np.where(high > 0, high, 1), 0)
    return np.stack([(hue * 60) % 360, saturation, high], axis=-1)


def hsv_to_rgb(hsv: np.ndarray) -> np.ndarray:
    """The inverse of `rgb_to_hsv`."""
    hue, saturation, value = hsv[..., 0] / 60, hsv[..., 1], hsv[..., 2]
    turned = [(shift + hue) % 6 for shift in (5, 3, 1)]
    channels = [value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1) for k in turned]
    return np.stack(channels, axis=-1)


def color_shares(rgba: np.ndarray) -> dict[str, float]:
    """Share of the opaque pixels of a sprite, uint8 (H, W, 4), that each colour name covers."""
    opaque = rgba[..., 3] > 128
    hue, sat, val = np.moveaxis(rgb_to_hsv(rgba[opaque][:, :3].astype(np.float64) / 255), -1, 0)
    neutral = (sat < 0.18) | (val < 0.16)
    tan = (sat < 0.62) & (hue < 45)
    warm_dark = ~neutral & (hue >= 8) & (hue < 48) & (((val < 0.72) & (val * sat < 0.62)) | tan)
    pale_red = ~neutral & ((hue >= 310) | (hue < 8)) & (sat < 0.55) & (val > 0.7)
    vivid = ~neutral & ~warm_dark & ~pale_red
    bins = {
        "red": vivid & ((hue < 14) | (hue >= 345)),
        "orange": vivid & (hue >= 14) & (hue < 40),
        "yellow": vivid & (hue >= 40) & (hue < 68),
        "green": vivid & (hue >= 68) & (hue < 172),
        "blue": vivid & (hue >= 172) & (hue < 250),
        "purple": vivid & (hue >= 250) & (hue < 305),
        "pink": pale_red | (vivid & (hue >= 305) & (hue < 345)),
        "brown": warm_dark,
        "black": neutral & (val < 0.3),
        "grey": neutral & (val >= 0.3) & (val < 0.8),
        "white": neutral & (val >= 0.8),
    }
    total = max(1, int(opaque.sum()))
    return {name: float(mask.sum()) / total for name, mask in bins.items()}


def sprite_path(style: str, slug: str) -> Path:
    """Where a sprite is stored; photographs of one category lie beside each other."""
    if not style.startswith(PHOTO):
        return REFSCENES / "sprites" / style / f"{slug}.webp"
    number = style.removeprefix(PHOTO)
    return PHOTOSCENES / "sprites" / PHOTO / f"{slug}{'-' + number if number else ''}.webp"


@lru_cache(maxsize=4096)
def load_sprite(style: str, slug: str, paint: str | None = None) -> np.ndarray:
    """A sprite as uint8 (H, W, 4), read-only, in another colour when ``paint`` names one."""
    if paint is not None:
        rgba = repaint(load_sprite(style, slug), paint)
    else:
        path = sprite_path(style, slug)
        if not path.is_file():
            raise TasError(f"{path}: sprite is missing; restore its folder from the repository")
        with Image.open(path) as picture:
            rgba = np.array(picture.convert("RGBA"))
    rgba.setflags(write=False)
    return rgba


def main_hue(rgba: np.ndarray) -> float | None:
    """Centre in degrees of the hue that most saturated pixels share; None where there is none."""
    hsv = rgb_to_hsv(rgba[rgba[..., 3] > 128][:, :3].astype(np.float64) / 255)
    hues = hsv[(hsv[:, 1] > 0.3) & (hsv[:, 2] > 0.2), 0]
    if len(hues) < 40:
        return None
    counts = np.bincount((hues // 15).astype(int) % 24, minlength=24)
    smooth = counts + 0.5 * (np.roll(counts, 1) + np.roll(counts, -1))
    return float(smooth.argmax() * 15 + 7.5)


def repaint(rgba: np.ndarray, paint: str) -> np.ndarray:
    """Move the pixels of the main hue of uint8 (H, W, 4) to one of `COLORS`; shade stays."""
    hue = main_hue(rgba)
    out = rgba.copy()
    if hue is None:
        return out
    target, sat_factor, val_factor, val_offset = PAINTS[paint]
    hsv = rgb_to_hsv(rgba[..., :3].astype(np.float64) / 255)
    distance = np.abs((hsv[..., 0] - hue + 180) % 360 - 180)
    chosen = (distance < 45) & (hsv[..., 1] > 0.15)
    hsv[..., 0] = np.where(chosen, 0.0 if target is None else target, hsv[..., 0])
    hsv[..., 1] = np.where(chosen, np.clip(hsv[..., 1] * sat_factor, 0, 1), hsv[..., 1])
    lit = np.clip(hsv[..., 2] * val_factor + val_offset, 0, 1)
    hsv[..., 2] = np.where(chosen, lit, hsv[..., 2])
    out[..., :3] = np.round(hsv_to_rgb(hsv) * 255).astype(np.uint8)
    return out


@lru_cache(maxsize=8192)
def shares(style: str, slug: str, paint: str | None = None) -> dict[str, float]:
    """`color_shares` of a sprite, cached."""
    return color_shares(load_sprite(style, slug, paint))


def color_name(style: str, slug: str, paint: str | None = None) -> str | None:
    """The colour that covers at least half of the sprite; None when no colour does."""
    found = shares(style, slug, paint)
    best = max(found, key=lambda name: found[name])
    return best if found[best] >= 0.5 else None


@lru_cache(maxsize=512)
def paints_for(style: str, slug: str) -> tuple[str, ...]:
    """The colours that a sprite really shows when painted so (its `color_name` agrees)."""
    return tuple(paint for paint in COLORS if color_name(style, slug, paint) == paint)
