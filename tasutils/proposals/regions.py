"""Masks from regions: merged superpixels, free masks of dense features, the union of several.

Selective search (Uijlings et al. 2013) over Felzenszwalb and Huttenlocher's (2004) superpixels;
free masks as FreeSOLO makes them (Wang et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch.nn import functional as F

from tasutils.config import OverlapConfig
from tasutils.errors import TasError
from tasutils.masks import distinct, rle_ious
from tasutils.proposals import Proposer, filtered
from tasutils.proposals.freesolo import maskness
from tasutils.scene import Proposals

if TYPE_CHECKING:
    from tasutils.proposals.settings import FreeConfig, MergeConfig, UnionConfig

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Bools = NDArray[np.bool_]
ColorSpace = Literal["lab", "hsv"]
_COLOR_BINS, _TEXTURE_BINS, _DIRECTIONS = 25, 10, 8  # Uijlings et al. 2013, section 3.2
_SHARPEN_SIDE_PX = 320  # as MergeConfig: superpixels are made at one size
_SHARPEN_SCALE, _SHARPEN_MIN_PX = 50.0, 40


def shrunk(image: NDArray[np.uint8], longest_side_px: int) -> NDArray[np.uint8]:
    """Uint8 (h, w, 3) RGB, its longest side at most `longest_side_px`; never enlarged."""
    if longest_side_px >= max(image.shape[:2]):
        return image
    size_wh = _size_wh(image, longest_side_px)
    return np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.BOX))


def _size_wh(image: NDArray[np.uint8], longest_side_px: int) -> tuple[int, int]:
    factor = longest_side_px / max(image.shape[:2])
    return max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))


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
    return np.hstack([_histogram(labels, bins[..., channel], _COLOR_BINS) for channel in range(3)])


def texture_histograms(labels: Labels, view: Floats) -> Floats:
    """Float (n, 240): 10 bins for each channel and each of 8 directions of Gaussian derivatives.

    Each of the 24 histograms sums to 1; the bins of one reach from 0 to its highest slope.
    """
    parts = []
    for plane in np.moveaxis(view, -1, 0):
        across = ndimage.gaussian_filter(plane, 1.0, order=(0, 1))
        down = ndimage.gaussian_filter(plane, 1.0, order=(1, 0))
        for angle in 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
            slope = np.maximum(np.cos(angle) * across + np.sin(angle) * down, 0.0)
            # below a thousandth, what is left of a flat channel is rounding noise
            bins = (slope / max(float(slope.max()), 1e-3) * _TEXTURE_BINS).astype(np.int64)
            parts.append(_histogram(labels, np.minimum(bins, _TEXTURE_BINS - 1), _TEXTURE_BINS))
    return np.hstack(parts)


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
    try:
        return import_module(f"skimage.{module}")
    except ModuleNotFoundError as error:
        raise TasError(
            "superpixels need scikit-image, which is not installed; "
            "install it with: pip install -c constraints.txt -e '.[photo]'"
        ) from error


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """All regions of one hierarchy: the n superpixels, then the n - 1 mergers in their order.

    contrast: in 0..1, how little a region's colours share with those of the most alike neighbour
    that it had when it arose; 0 for the last.
    """

    members: Bools  # (2 n - 1, n), the superpixels that a region is made of
    contrast: Floats  # (2 n - 1,)

    def order(self) -> NDArray[np.int64]:
        """Regions from the most to the least promising: late in the hierarchy and in contrast.

        The sum of both ranks counts (equal sums: the later region first). The region of the whole
        picture is left out unless there is no other.
        """
        late = np.arange(len(self.members))[::-1]  # rank 0: the last merger
        plain = np.argsort(np.argsort(-self.contrast, kind="stable"))
        best = np.lexsort((late, late + plain))
        return best[best != len(late) - 1] if len(late) > 1 else best


class _Regions:
    """The regions that are alive while merging; a merger takes the row of its first part."""

    def __init__(self, labels: Labels, view: Floats) -> None:
        self.color = color_histograms(labels, view)
        self.texture = texture_histograms(labels, view)
        self.size = np.bincount(labels.ravel()) / labels.size
        self.box = boxes_of(labels)
        self.near = touching(labels)
        self.members = np.eye(len(self.size), dtype=bool)
        self.picture_px = labels.size

    def similarity(self, row: int, others: NDArray[np.int64]) -> Floats:
        """Sum of the similarities of colour, texture, size and fill, each in 0..1; section 3.2."""
        a, b = self.box[row], self.box[others]
        sides = np.maximum(a[2:], b[:, 2:]) - np.minimum(a[:2], b[:, :2])
        both = self.size[row] + self.size[others]
        color = np.minimum(self.color[row], self.color[others]).sum(axis=1) / 3
        texture = np.minimum(self.texture[row], self.texture[others]).sum(axis=1) / 24
        fill = 1 - (sides.prod(axis=1) / self.picture_px - both)
        return color + texture + (1 - both) + fill

    def contrast(self, row: int) -> float:
        """See `Hierarchy`; 0 without a neighbour."""
        shared = np.minimum(self.color[row], self.color[self.near[row]]).sum(axis=1) / 3
        return float(1 - shared.max()) if len(shared) else 0.0

    def join(self, row: int, other: int) -> None:
        """Put `other` into `row`: histograms are means weighted by size."""
        first, second = self.size[row], self.size[other]
        for table in (self.color, self.texture):
            table[row] = (table[row] * first + table[other] * second) / (first + second)
        self.size[row] = first + second
        self.box[row, :2] = np.minimum(self.box[row, :2], self.box[other, :2])
        self.box[row, 2:] = np.maximum(self.box[row, 2:], self.box[other, 2:])
        self.members[row] |= self.members[other]
        self.near[row] |= self.near[other]
        self.near[:, row] = self.near[row]
        self.near[other] = self.near[:, other] = False
        self.near[row, row] = False


def hierarchy(labels: Labels, view: Floats) -> Hierarchy:
    """Merge the two most similar neighbours until one region is left.

    labels: int64 (H, W), superpixels 0..n - 1 without a gap, all touching; view: float (H, W, 3) in
    0..1, see `color_view`. Source: Uijlings et al. 2013, algorithm 1. Of equal similarities the
    first pair is merged.
    """
    regions = _Regions(labels, view)
    n = len(regions.size)
    scores = np.full((n, n), -np.inf)
    for row in range(n):
        others = np.flatnonzero(regions.near[row])
        scores[row, others] = regions.similarity(row, others)
    members = [regions.members.copy()]
    contrast = [regions.contrast(row) for row in range(n)]
    for _ in range(n - 1):
        first, second = sorted(divmod(int(scores.argmax()), n))
        regions.join(first, second)
        for row in (first, second):
            scores[row] = scores[:, row] = -np.inf
        others = np.flatnonzero(regions.near[first])
        scores[first, others] = scores[others, first] = regions.similarity(first, others)
        members.append(regions.members[first : first + 1].copy())
        contrast.append(regions.contrast(first))
    return Hierarchy(np.concatenate(members), np.array(contrast))


class MergeProposer:
    """Regions of one hierarchy a colour space, the most promising first; see `MergeConfig`.

    Raises TasError when scikit-image is not installed.
    """

    def __init__(self, config: MergeConfig, overlap: OverlapConfig) -> None:
        self.config, self.overlap = config, overlap

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; a picture of one colour gives one mask, the whole."""
        masks = enlarged(self._regions(image), image.shape[:2])
        return filtered(Proposals.from_masks(masks), self.overlap)

    def _regions(self, image: NDArray[np.uint8]) -> Bools:
        """Bool (n, h, w) at working size, the best first, none nearly equal to a better one."""
        config, found, views = self.config, [], []
        small = shrunk(image, config.longest_side_px)
        for space in config.color_spaces:
            view = color_view(small, space)
            labels = superpixels(view, config.scale, config.min_size_px)
            tree = hierarchy(labels, view)
            found.append(tree.members[tree.order()])
            views.append(labels.ravel())
        # cells: the pixels that lie in the same superpixel of every view, so that the IoU of
        # hundreds of regions is a product of small matrices
        kinds, cell_of, area = np.unique(
            np.stack(views), axis=1, return_inverse=True, return_counts=True
        )
        regions = np.concatenate([m[:, row] for m, row in zip(found, kinds, strict=True)])
        ranks = np.concatenate([np.arange(len(m)) for m in found])
        regions = regions[np.argsort(ranks, kind="stable")]  # views take turns
        shared = (regions * area) @ regions.T.astype(np.float64)
        size = np.diag(shared)
        ious = shared / (size[:, None] + size - shared)
        kept = distinct(ious, config.nms_thresh, config.max_masks)
        return regions[kept][:, cell_of.ravel()].reshape(-1, *small.shape[:2])


def enlarged(masks: Bools, size_hw: tuple[int, ...]) -> Bools:
    """Bool (n, h, w) at another size (H, W): linear between the pixels, over one half."""
    if masks.shape[1:] == size_hw:
        return masks
    large = np.empty((len(masks), *size_hw), dtype=bool)
    for index, mask in enumerate(masks):
        soft = cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        large[index] = soft > 0.5
    return large


def soft_masks(features: torch.Tensor, query_scales: tuple[float, ...]) -> torch.Tensor:
    """Cosine similarity of every query with every key, stretched to 0..1 for each query.

    features: float (c, h, w); its cells are the keys. query_scales: shares of its size that the map
    is resized to (bilinear); cells of those are the queries. Returns float (n_queries, h, w); zeros
    for a query that is equally like every key. Source: FreeSOLO, section 3.2, equation 1.
    """
    height, width = features.shape[1:]
    keys = F.normalize(features.flatten(1), dim=0)  # (c, h * w)
    tables = []
    for scale in query_scales:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        pooled = F.interpolate(features[None], size, mode="bilinear", align_corners=False)[0]
        tables.append(F.normalize(pooled.flatten(1), dim=0).T @ keys)  # (queries, h * w)
    similarity = torch.cat(tables)
    low = similarity.amin(dim=1, keepdim=True)
    span = similarity.amax(dim=1, keepdim=True) - low
    # a span of rounding noise is no span
    stretched = torch.where(span > 1e-5, (similarity - low) / span.clamp(min=1e-5), 0.0)
    return stretched.reshape(-1, height, width)


class FreeMaskProposer:
    """Free masks of the dense features of an ImageNet classifier, by maskness; see `FreeConfig`.

    Raises TasError when the checkpoint is missing or damaged.
    """

    def __init__(self, config: FreeConfig, overlap: OverlapConfig, device: str = "cpu") -> None:
        from tasutils.encoders.efficientnet import load_classifier

        self.config, self.overlap = config, overlap
        self.network = load_classifier(config.checkpoint, device)

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; none for a picture too small for two cells."""
        return self.from_features(self.features(image), image)

    def from_features(self, features: torch.Tensor, image: NDArray[np.uint8]) -> Proposals:
        """Masks of a picture whose `features` are already known."""
        soft, scores = self._distinct(soft_masks(features, self.config.query_scales))
        if self.config.sharpen:
            masks = self._sharpened(soft, image)
        else:
            large = _resized(soft, image.shape[:2])
            hard = [one > self.config.mask_thresh for one in large]
            masks = np.array(hard, bool).reshape(-1, *image.shape[:2])
        return filtered(Proposals.from_masks(masks, scores), self.overlap)

    def features(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Dense features float (c, h, w) of uint8 (H, W, 3) RGB at `longest_side_px`."""
        from tasutils.encoders.efficientnet import feature_maps

        size_wh = _size_wh(image, self.config.longest_side_px)
        resized = Image.fromarray(image).resize(size_wh, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float() / 255
        return feature_maps(self.network, pixels)[self.config.stride][0].cpu()

    def _distinct(self, soft: torch.Tensor) -> tuple[torch.Tensor, NDArray[np.float32]]:
        """Soft masks (n, h, w) by falling maskness (n,), doubles and empty ones dropped."""
        score = maskness(soft, self.config.mask_thresh)
        order = torch.argsort(-score, stable=True)
        order = order[score[order] > 0]
        soft, score = soft[order], score[order]
        flat = (soft > self.config.mask_thresh).flatten(1).float()
        shared, area = flat @ flat.T, flat.sum(dim=1)
        ious = shared / (area[:, None] + area - shared).clamp(min=1)
        kept = distinct(ious.numpy(), self.config.nms_thresh, self.config.max_masks)
        return soft[kept], score[kept].numpy()

    def _sharpened(self, soft: torch.Tensor, image: NDArray[np.uint8]) -> Bools:
        """Masks made of whole superpixels: those whose mean of the soft mask is over the bar."""
        small = shrunk(image, _SHARPEN_SIDE_PX)
        labels = superpixels(color_view(small, "lab"), _SHARPEN_SCALE, _SHARPEN_MIN_PX)
        area = np.bincount(labels.ravel())
        masks = np.zeros((len(soft), *small.shape[:2]), dtype=bool)
        for mask, large in zip(masks, _resized(soft, small.shape[:2]), strict=True):
            mean = np.bincount(labels.ravel(), large.ravel()) / area
            mask[:] = (mean > self.config.mask_thresh)[labels]
        return enlarged(masks, image.shape[:2])


def _resized(soft: torch.Tensor, size_hw: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    for one in soft:  # one at a time spares memory
        yield F.interpolate(one[None, None], size_hw, mode="bilinear")[0, 0].numpy()


class UnionProposer:
    """Several makers' masks in turn, each giving its best first; of doubles the first stays."""

    def __init__(
        self, members: Sequence[Proposer], config: UnionConfig, overlap: OverlapConfig
    ) -> None:
        self.members, self.config, self.overlap = members, config, overlap

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB: the best of every maker, then the second best, and on."""
        found = [member(image) for member in self.members]
        # equal scores of a maker in the order they had
        ranks = [np.argsort(np.argsort(-one.predicted_iou, kind="stable")) for one in found]
        together = Proposals.joined(found).take(np.argsort(np.concatenate(ranks), kind="stable"))
        kept = distinct(rle_ious(together.rles), self.config.mask_nms_thresh, self.config.max_masks)
        return filtered(together.take(kept), self.overlap)
