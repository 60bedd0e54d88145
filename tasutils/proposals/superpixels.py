"""Superpixels of a picture, and what selective search compares them by."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tasutils.errors import TasError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
ColorSpace = Literal["lab", "hsv"]
_COLOR_BINS, _TEXTURE_BINS, _DIRECTIONS = 25, 10, 8  # Uijlings et al. 2013, section 3.2


def shrunk(image: NDArray[np.uint8], longest_side_px: int) -> NDArray[np.uint8]:
    """Uint8 (h, w, 3) RGB, its longest side at most `longest_side_px`; never enlarged."""
    height, width = image.shape[:2]
    factor = longest_side_px / max(height, width)
    if factor >= 1:
        return image
    size_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.BOX))


def color_view(image: NDArray[np.uint8], space: ColorSpace) -> Floats:
    """Uint8 (H, W, 3) RGB in another colour space, each channel stretched to 0..1.

    Raises TasError when scikit-image is not installed.
    """
    color = _skimage("color")
    if space == "hsv":
        return np.asarray(color.rgb2hsv(image), np.float64)
    lab = color.rgb2lab(image)
    return np.clip((lab + [0.0, 100.0, 100.0]) / [100.0, 200.0, 200.0], 0.0, 1.0)


def superpixels(view: Floats, scale: float, min_size_px: int) -> Labels:
    """Felzenszwalb and Huttenlocher's (2004) segments of float (H, W, 3) in 0..1: int64 (H, W).

    Labels run from 0 without a gap; a picture under 3 px wide or high is one segment. Raises
    TasError when scikit-image is not installed.
    """
    segmentation = _skimage("segmentation")
    if min(view.shape[:2]) < 3:
        return np.zeros(view.shape[:2], np.int64)
    labels = segmentation.felzenszwalb(view, scale=scale, sigma=0.8, min_size=min_size_px)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


def color_histograms(labels: Labels, view: Floats) -> Floats:
    """Float (n, 75) of each superpixel: 25 bins a channel, each channel summing to 1."""
    bins = np.minimum((view * _COLOR_BINS).astype(np.int64), _COLOR_BINS - 1)
    return np.concatenate(
        [_histogram(labels, bins[..., channel], _COLOR_BINS) for channel in range(3)], axis=1
    )


def texture_histograms(labels: Labels, view: Floats) -> Floats:
    """Float (n, 240): 10 bins for each channel and each of 8 directions of Gaussian derivatives.

    Each of the 24 histograms sums to 1; the bins of one reach from 0 to its highest slope.
    """
    parts = []
    for channel in range(3):
        plane = view[..., channel]
        across = ndimage.gaussian_filter(plane, 1.0, order=(0, 1))
        down = ndimage.gaussian_filter(plane, 1.0, order=(1, 0))
        for step in range(_DIRECTIONS):
            angle = 2 * np.pi * step / _DIRECTIONS
            slope = np.maximum(np.cos(angle) * across + np.sin(angle) * down, 0.0)
            # below a thousandth, what is left of a flat channel is rounding noise
            bins = (slope / max(float(slope.max()), 1e-3) * _TEXTURE_BINS).astype(np.int64)
            parts.append(_histogram(labels, np.minimum(bins, _TEXTURE_BINS - 1), _TEXTURE_BINS))
    return np.concatenate(parts, axis=1)


def boxes_of(labels: Labels) -> Floats:
    """Boxes of superpixels 0..n - 1 as float (n, 4): x0, y0, x1, y1 in px, end-exclusive."""
    slices = ndimage.find_objects(labels + 1)
    return np.array([[x.start, y.start, x.stop, y.stop] for y, x in slices], np.float64)


def touching(labels: Labels) -> NDArray[np.bool_]:
    """Bool (n, n), symmetric: which superpixels share an edge of a pixel."""
    n = int(labels.max()) + 1
    met = np.zeros((n, n), dtype=bool)
    met[labels[:, :-1], labels[:, 1:]] = True
    met[labels[:-1], labels[1:]] = True
    met |= met.T
    np.fill_diagonal(met, False)
    return met


def _histogram(labels: Labels, bins: Labels, n_bins: int) -> Floats:
    """Float (n, n_bins): shares of each superpixel's pixels in each bin."""
    n = int(labels.max()) + 1
    flat = np.bincount((labels * n_bins + bins).ravel(), minlength=n * n_bins)
    counts = flat.reshape(n, n_bins).astype(np.float64)
    return counts / counts.sum(axis=1, keepdims=True)


def _skimage(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"skimage.{module}")
    except ModuleNotFoundError as error:
        raise TasError(
            "superpixels need scikit-image, which is not installed; "
            "install it with: pip install -c constraints.txt -e '.[photo]'"
        ) from error
