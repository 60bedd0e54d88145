"""Superpixels merged hierarchically by selective search's similarities (Uijlings et al. 2013)."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasutils.config import OverlapConfig
from tasutils.masks import distinct
from tasutils.proposals import filtered
from tasutils.proposals.settings import MergeConfig
from tasutils.proposals.superpixels import (
    Floats,
    Labels,
    boxes_of,
    color_histograms,
    color_view,
    shrunk,
    superpixels,
    texture_histograms,
    touching,
)
from tasutils.scene import Proposals

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """All regions of one hierarchy: the n superpixels, then the n - 1 mergers in their order.

    Attributes:
        members: bool (2 n - 1, n), the superpixels that a region is made of; the last has all.
        contrast: float (2 n - 1,) in 0..1, how little its colours share with those of the most
            alike neighbour that it had when it arose; 0 for the last.
    """

    members: Bools
    contrast: Floats

    def order(self) -> NDArray[np.int64]:
        """Regions from the most to the least promising: late in the hierarchy and in contrast.

        The sum of both ranks counts (equal sums: the later region first). The region of the whole
        picture is left out unless there is no other.
        """
        late = np.arange(len(self.members))[::-1]  # rank 0: the last merger
        plain = np.empty(len(late), np.int64)
        plain[np.argsort(-self.contrast, kind="stable")] = np.arange(len(late))
        best = np.lexsort((late, late + plain))
        return best[best != len(late) - 1] if len(late) > 1 else best


class _Regions:
    """The regions that are alive while merging; a merger takes the row of its first part.

    `row` values are indices of superpixels; sizes and boxes count in shares of the picture.
    """

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
        """How little the colours share with the most alike neighbour's, 0..1; 0 without any."""
        others = np.flatnonzero(self.near[row])
        if not len(others):
            return 0.0
        shared = np.minimum(self.color[row], self.color[others]).sum(axis=1) / 3
        return float(1 - shared.max())

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

    Args:
        labels: int64 (H, W), superpixels 0..n - 1 without a gap, all touching.
        view: float (H, W, 3) in 0..1, see `superpixels.color_view`.

    Source: Uijlings et al. 2013, algorithm 1. Of equal similarities the first pair is merged.
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
    """Regions of one hierarchy a colour space, the most promising first.

    Args:
        config: see `MergeConfig`.
        overlap: the filter of the regions at the picture's own size.

    Raises TasError when scikit-image is not installed.
    """

    def __init__(self, config: MergeConfig, overlap: OverlapConfig) -> None:
        self.config = config
        self.overlap = overlap

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; a picture of one colour gives one mask, the whole."""
        masks = enlarged(self._regions(image), (int(image.shape[0]), int(image.shape[1])))
        return filtered(Proposals.from_masks(masks), self.overlap)

    def _regions(self, image: NDArray[np.uint8]) -> Bools:
        """Bool (n, h, w) at working size, the best first, none nearly equal to a better one."""
        config = self.config
        small = shrunk(image, config.longest_side_px)
        found, labels_by_view, ranks = [], [], []
        for space in config.color_spaces:
            view = color_view(small, space)
            labels = superpixels(view, config.scale, config.min_size_px)
            tree = hierarchy(labels, view)
            order = tree.order()
            found.append(tree.members[order])
            labels_by_view.append(labels)
            ranks.append(np.arange(len(order)))
        # cells: the pixels that lie in the same superpixel of every view, so that the IoU of
        # hundreds of regions is a product of small matrices
        stack = np.stack([labels.ravel() for labels in labels_by_view])
        kinds, cell_of, area = np.unique(stack, axis=1, return_inverse=True, return_counts=True)
        regions = np.concatenate([m[:, row] for m, row in zip(found, kinds, strict=True)])
        regions = regions[np.argsort(np.concatenate(ranks), kind="stable")]  # views take turns
        shared = (regions * area) @ regions.T.astype(np.float64)
        size = np.diag(shared)
        ious = shared / (size[:, None] + size - shared)
        kept = distinct(ious, config.nms_thresh, config.max_masks)
        return regions[kept][:, cell_of.ravel()].reshape(-1, *small.shape[:2])


def enlarged(masks: Bools, size_hw: tuple[int, int]) -> Bools:
    """Bool (n, h, w) at another size (H, W): linear between the pixels, over one half."""
    if masks.shape[1:] == size_hw:
        return masks
    large = np.empty((len(masks), *size_hw), dtype=bool)
    for index, mask in enumerate(masks):
        soft = cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        large[index] = soft > 0.5
    return large
