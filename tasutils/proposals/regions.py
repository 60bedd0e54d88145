"""Masks from regions: merged superpixels, free masks of dense features, the union of several.

Selective search (Uijlings et al. 2013) over Felzenszwalb and Huttenlocher's (2004) superpixels;
free masks as FreeSOLO makes them (Wang et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch.nn import functional as F

from tasutils.classifier import feature_maps, load_classifier
from tasutils.config import PLAIN, ComputeConfig, OverlapConfig
from tasutils.errors import TasError
from tasutils.masks import distinct, rle_ious
from tasutils.proposals import FreeConfig, MergeConfig, UnionConfig, filtered, propose
from tasutils.proposals.freesolo import maskness
from tasutils.scene import Proposals

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Bools = NDArray[np.bool_]
Pixels = NDArray[np.uint8]
_COLOR_BINS, _TEXTURE_BINS, _DIRECTIONS = 25, 10, 8  # Uijlings et al. 2013, section 3.2
_SHARPEN = MergeConfig()


def superpixels(image: Pixels, space: str, config: MergeConfig) -> tuple[Labels, Floats]:
    """Felzenszwalb and Huttenlocher's segments of a picture, and what they were seen in.

    Of uint8 (H, W, 3) RGB, shrunk to `longest_side_px`: int64 (h, w), labels from 0 without a gap,
    one alone under 3 px; and float (h, w, 3) in that colour space, each channel stretched to 0..1.
    Raises TasError when scikit-image is not installed.
    """
    try:
        color, segmentation = map(import_module, ("skimage.color", "skimage.segmentation"))
    except ModuleNotFoundError as error:
        raise TasError(
            "superpixels need scikit-image, which is not installed; "
            "install it with: pip install -c constraints.txt -e '.[photo]'"
        ) from error
    if config.longest_side_px < max(image.shape[:2]):
        image = _resized(image, config.longest_side_px, Image.Resampling.BOX)
    if space == "hsv":
        view = np.asarray(color.rgb2hsv(image), np.float64)
    else:
        view = np.clip((color.rgb2lab(image) + [0, 100, 100]) / [100.0, 200.0, 200.0], 0, 1)
    if min(view.shape[:2]) < 3:
        return np.zeros(view.shape[:2], np.int64), view
    found = segmentation.felzenszwalb(view, config.scale, sigma=0.8, min_size=config.min_size_px)
    return np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int64), view


def _resized(image: Pixels, longest_side_px: int, way: Image.Resampling) -> Pixels:
    factor = longest_side_px / max(image.shape[:2])
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return np.array(Image.fromarray(image).resize((width, height), way))


class _Regions:
    """The regions that are alive while merging; a merger takes the row of its first part.

    Colour: 25 bins a channel; texture: 10 for each channel and each of 8 directions of Gaussian
    derivatives, from 0 to the highest slope. Each of the 3 and of the 24 histograms sums to 1.
    """

    def __init__(self, labels: Labels, view: Floats) -> None:
        self.size = np.bincount(labels.ravel()) / labels.size
        n = len(self.size)
        color, texture = [], []
        for plane in np.moveaxis(view, -1, 0):
            color.append(_histogram(labels, plane, _COLOR_BINS))
            across = ndimage.gaussian_filter(plane, 1.0, order=(0, 1))
            down = ndimage.gaussian_filter(plane, 1.0, order=(1, 0))
            for angle in 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
                slope = np.maximum(np.cos(angle) * across + np.sin(angle) * down, 0.0)
                # below a thousandth, what is left of a flat channel is rounding noise
                slope /= max(float(slope.max()), 1e-3)
                texture.append(_histogram(labels, slope, _TEXTURE_BINS))
        self.color, self.texture = np.hstack(color), np.hstack(texture)
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels + 1)]
        self.box = np.array(boxes, np.float64)
        self.near = np.zeros((n, n), dtype=bool)  # share an edge of a pixel
        self.near[labels[:, :-1], labels[:, 1:]] = True
        self.near[labels[:-1], labels[1:]] = True
        self.near |= self.near.T
        np.fill_diagonal(self.near, False)
        self.members = np.eye(n, dtype=bool)
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
        """How little its colours share with its most alike neighbour's, 0..1; 0 without one."""
        shared = np.minimum(self.color[row], self.color[self.near[row]]).sum(axis=1) / 3
        return float(1 - shared.max()) if len(shared) else 0.0

    def join(self, row: int, other: int) -> None:
        """Put `other` into `row`: histograms are means weighted by size."""
        first, second = self.size[row], self.size[other]
        for table in (self.color, self.texture):
            table[row] = (table[row] * first + table[other] * second) / (first + second)
        for table in (self.members, self.near):
            table[row] |= table[other]
        self.size[row] = first + second
        self.box[row, :2] = np.minimum(self.box[row, :2], self.box[other, :2])
        self.box[row, 2:] = np.maximum(self.box[row, 2:], self.box[other, 2:])
        self.near[:, row] = self.near[row]
        self.near[other] = self.near[:, other] = False
        self.near[row, row] = False


def _histogram(labels: Labels, values: Floats, n_bins: int) -> Floats:
    """Float (n, n_bins): shares of each superpixel's pixels in bins of values (h, w) in 0..1."""
    n, bins = int(labels.max()) + 1, np.minimum((values * n_bins).astype(np.int64), n_bins - 1)
    flat = np.bincount((labels * n_bins + bins).ravel(), minlength=n * n_bins)
    counts = flat.reshape(n, n_bins).astype(np.float64)
    return counts / counts.sum(axis=1, keepdims=True)


def hierarchy(labels: Labels, view: Floats) -> tuple[Bools, Floats]:
    """Merge the two most similar neighbours (of equals the first) until one region is left.

    labels, view: see `superpixels`. Source: Uijlings et al. 2013, algorithm 1. Of the n
    superpixels, then of the n - 1 mergers in their order: the superpixels in each, bool (2 n - 1,
    n), and its contrast with the neighbours that it had when it arose, float (2 n - 1,).
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
    return np.concatenate(members), np.array(contrast)


def promising(contrast: Floats) -> NDArray[np.int64]:
    """Regions of a hierarchy by the sum of two ranks: late in it, and high in contrast.

    Of equal sums the later first; the last, the whole picture, is left out unless it is alone.
    """
    late = np.arange(len(contrast))[::-1]  # rank 0: the last merger
    plain = np.argsort(np.argsort(-contrast, kind="stable"))
    best = np.lexsort((late, late + plain))
    return best[best != len(late) - 1] if len(late) > 1 else best


class MergeProposer:
    """Regions of one hierarchy a colour space, the most promising first; see `MergeConfig`."""

    def __init__(self, config: MergeConfig, overlap: OverlapConfig, *_: Any) -> None:
        self.config, self.overlap = config, overlap

    def __call__(self, image: Pixels) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB, none nearly equal to a better one; of one colour: one."""
        config, found, views = self.config, [], []
        for space in config.color_spaces:
            labels, view = superpixels(image, space, config)
            members, contrast = hierarchy(labels, view)
            found.append(members[promising(contrast)])
            views.append(labels.ravel())
        # cells: the pixels that lie in the same superpixel of every view, so that the IoU of
        # hundreds of regions is a product of small matrices
        kinds, cell_of, area = np.unique(
            np.stack(views), axis=1, return_inverse=True, return_counts=True
        )
        regions = np.concatenate([m[:, row] for m, row in zip(found, kinds, strict=True)])
        ranks = np.concatenate([np.arange(len(m)) for m in found])
        regions = regions[np.argsort(ranks, kind="stable")]  # views take turns
        kept = distinct(_ious(regions, area), config.nms_thresh, config.max_masks)
        masks = regions[kept][:, cell_of.ravel()].reshape(-1, *labels.shape)
        return filtered(Proposals.from_masks(enlarged(masks, image.shape[:2])), self.overlap)


def _ious(regions: Bools, area: Any) -> Floats:
    """IoU of every two regions, float (n, n); of bool (n, cells) that are not empty."""
    shared = (regions * area) @ regions.T.astype(np.float64)
    size = np.diag(shared)
    return np.asarray(shared / (size[:, None] + size - shared))


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
    """Free masks of the dense features of an ImageNet classifier, by maskness; see `FreeConfig`."""

    def __init__(
        self, config: FreeConfig, overlap: OverlapConfig, device: str = "cpu", *_: Any
    ) -> None:
        self.config, self.overlap = config, overlap
        self.network = load_classifier(config.checkpoint, device)

    def __call__(self, image: Pixels) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; none for a picture too small for two cells."""
        return self.from_features(self.features(image), image)

    def features(self, image: Pixels) -> torch.Tensor:
        """Dense features float (c, h, w) of uint8 (H, W, 3) RGB at `longest_side_px`."""
        resized = _resized(image, self.config.longest_side_px, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255
        return feature_maps(self.network, pixels)[self.config.stride][0].cpu()

    def from_features(self, features: torch.Tensor, image: Pixels) -> Proposals:
        """Masks of a picture whose `features` are already known."""
        config, size_hw = self.config, image.shape[:2]
        soft = soft_masks(features, config.query_scales)
        score = maskness(soft, config.mask_thresh)
        order = torch.argsort(-score, stable=True)
        order = order[score[order] > 0]
        soft, score = soft[order], score[order]
        inside = (soft > config.mask_thresh).flatten(1).numpy()
        kept = distinct(_ious(inside, 1), config.nms_thresh, config.max_masks)
        if config.sharpen:
            masks = self._sharpened(soft[kept], image)
        else:
            hard = [large > config.mask_thresh for large in _one_by_one(soft[kept], size_hw)]
            masks = np.array(hard, bool).reshape(-1, *size_hw)
        return filtered(Proposals.from_masks(masks, score[kept].numpy()), self.overlap)

    def _sharpened(self, soft: torch.Tensor, image: Pixels) -> Bools:
        """Masks made of whole superpixels: those whose mean of the soft mask is over the bar."""
        labels, _ = superpixels(image, "lab", _SHARPEN)
        area = np.bincount(labels.ravel())
        masks = np.zeros((len(soft), *labels.shape), dtype=bool)
        for mask, large in zip(masks, _one_by_one(soft, labels.shape), strict=True):
            mean = np.bincount(labels.ravel(), large.ravel()) / area
            mask[:] = (mean > self.config.mask_thresh)[labels]
        return enlarged(masks, image.shape[:2])


def _one_by_one(soft: torch.Tensor, size_hw: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    for one in soft:  # spares memory
        yield F.interpolate(one[None, None], size_hw, mode="bilinear")[0, 0].numpy()


class UnionProposer:
    """Several makers' masks in turn, each giving its best first; of doubles the first stays."""

    def __init__(
        self, config: UnionConfig, overlap: OverlapConfig, device: str = "cpu",
        compute: ComputeConfig = PLAIN,
    ) -> None:  # fmt: skip
        self.config, self.overlap = config, overlap
        parts = (config.sam, config.merge, config.free)
        self.members = [one.make(overlap, device, compute) for one in parts if one is not None]

    def __call__(self, image: Pixels) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB: the best of every maker, then the second best, and on."""
        found = [propose(member, image) for member in self.members]
        # equal scores of a maker in the order they had
        ranks = [np.argsort(np.argsort(-one.predicted_iou, kind="stable")) for one in found]
        together = Proposals.joined(found).take(np.argsort(np.concatenate(ranks), kind="stable"))
        kept = distinct(rle_ious(together.rles), self.config.mask_nms_thresh, self.config.max_masks)
        return filtered(together.take(kept), self.overlap)
