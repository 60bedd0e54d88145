"""Colour words for pixels: which of eleven everyday colours a thing shows, and how much of each."""

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError

COLORS = (
    *("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"),
    *("black", "grey", "white"),
)
_FILL = 0.02  # no channel above it: background, or as good as black


def color_shares(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of pixels that each of `COLORS` names, by rules on hue, saturation and value.

    rgb: float (n, 3), in 0..1, the pixels of one thing. Returns float64 (11,), in the order of
    `COLORS`, sum 1; all zero when n is 0. Raises TasError for another shape. The eleven words are
    the basic terms of Berlin and Kay (1969).

    >>> dict(zip(COLORS, color_shares(np.array([[0.9, 0.1, 0.1], [0.1, 0.1, 0.1]]))))["red"]
    np.float64(0.5)
    """
    if rgb.ndim != 2 or rgb.shape[1] != 3:
        raise TasError(f"pixels must be an array of (n, 3), not {rgb.shape}")
    if len(rgb) == 0:
        return np.zeros(len(COLORS))
    hue, saturation, value = _hue_saturation_value(rgb.astype(np.float64))
    grey = (saturation < 0.2) | (value < 0.15)
    warm = (hue >= 10) & (hue < 45)
    # a dark or dull orange is called brown, a pale red pink
    dull = warm & ((value < 0.62) | (saturation * value < 0.4))
    pale = ((hue >= 300) | (hue < 10)) & (saturation < 0.5) & (value > 0.65)
    rules = {
        "black": grey & (value < 0.25),
        "white": grey & (value >= 0.78),
        "grey": grey,
        "brown": dull,
        "pink": pale | ((hue >= 310) & (hue < 342)),
        "red": (hue < 14) | (hue >= 342),
        "orange": hue < 42,
        "yellow": hue < 68,
        "green": hue < 170,
        "blue": hue < 255,
        "purple": hue >= 255,
    }
    # the first rule that holds names the pixel
    first = np.argmax(np.stack(list(rules.values())), axis=0)  # (n,)
    counts = dict(zip(rules, np.bincount(first, minlength=len(rules)), strict=True))
    return np.array([counts[name] for name in COLORS]) / len(rgb)


def crop_color_shares(crop: NDArray[np.floating]) -> NDArray[np.float64]:
    """`color_shares` of the thing in a masked crop: of every third of its pixels that is not fill.

    crop: float (3, H, W) RGB in 0..1, black outside the mask (`crops.masked_crops`, fill "black");
    a crop that is black altogether is of a black thing.
    """
    pixels = crop[:, ::3, ::3].reshape(3, -1).T  # (n, 3)
    thing = pixels[pixels.max(axis=1) > _FILL]
    return color_shares(thing if len(thing) else pixels)


def _hue_saturation_value(rgb: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Hue in degrees 0..360, saturation and value in 0..1, of float (n, 3)."""
    high, low = rgb.max(1), rgb.min(1)
    span = high - low
    divisor = np.where(span > 0, span, 1)
    red, green, blue = rgb.T
    sector = np.where(
        high == red,
        (green - blue) / divisor % 6,
        np.where(high == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    return 60 * sector, span / np.where(high > 0, high, 1), high
