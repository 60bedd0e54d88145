"""Free masks from dense ImageNet features, as FreeSOLO makes them (Wang et al. 2022)."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from tasutils.config import OverlapConfig
from tasutils.encoders.efficientnet import feature_maps, load_classifier
from tasutils.masks import distinct
from tasutils.proposals import filtered
from tasutils.proposals.merge import enlarged
from tasutils.proposals.settings import FreeConfig
from tasutils.proposals.superpixels import color_view, shrunk, superpixels
from tasutils.scene import Proposals

_SHARPEN_SIDE_PX = 320  # as MergeConfig: superpixels are made at one size
_SHARPEN_SCALE, _SHARPEN_MIN_PX = 50.0, 40


def soft_masks(features: torch.Tensor, query_scales: tuple[float, ...]) -> torch.Tensor:
    """Cosine similarity of every query with every key, stretched to 0..1 for each query.

    Args:
        features: float (c, h, w); its cells are the keys.
        query_scales: shares of its size that the map is resized to (bilinear); cells of those
            are the queries.

    Returns float (n_queries, h, w); zeros for a query that is equally like every key.
    Source: FreeSOLO, section 3.2, equation 1.
    """
    channels, height, width = features.shape
    keys = F.normalize(features.reshape(channels, -1), dim=0)  # (c, h * w)
    tables = []
    for scale in query_scales:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        pooled = F.interpolate(features[None], size, mode="bilinear", align_corners=False)[0]
        queries = F.normalize(pooled.reshape(channels, -1), dim=0)
        tables.append(queries.T @ keys)  # (queries, h * w)
    similarity = torch.cat(tables)
    low = similarity.amin(dim=1, keepdim=True)
    span = similarity.amax(dim=1, keepdim=True) - low
    # a span of rounding noise is no span
    stretched = torch.where(span > 1e-5, (similarity - low) / span.clamp(min=1e-5), 0.0)
    return stretched.reshape(-1, height, width)


def maskness(soft: torch.Tensor, mask_thresh: float) -> torch.Tensor:
    """Mean of each soft mask (n, h, w) where it is over the threshold: float (n,), 0 if nowhere."""
    inside = soft > mask_thresh
    return (soft * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)


class FreeMaskProposer:
    """Free masks of the dense features of an ImageNet classifier, by maskness.

    Args:
        config: see `FreeConfig`.
        overlap: the filter of the masks at the picture's own size.
        device: "cpu", "cuda", ...

    Raises TasError when the checkpoint is missing or damaged.
    """

    def __init__(self, config: FreeConfig, overlap: OverlapConfig, device: str = "cpu") -> None:
        self.config = config
        self.overlap = overlap
        self.network = load_classifier(config.checkpoint, device)

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; none for a picture too small for two cells."""
        return self.from_features(self.features(image), image)

    def from_features(self, features: torch.Tensor, image: NDArray[np.uint8]) -> Proposals:
        """Masks of a picture whose `features` are already known."""
        size_hw = (int(image.shape[0]), int(image.shape[1]))
        soft, scores = self._distinct(soft_masks(features, self.config.query_scales))
        masks = (
            self._sharpened(soft, image) if self.config.sharpen else self._resized(soft, size_hw)
        )
        return filtered(Proposals.from_masks(masks, scores), self.overlap)

    def features(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Dense features float (c, h, w) of uint8 (H, W, 3) RGB at `longest_side_px`."""
        height, width = image.shape[:2]
        factor = self.config.longest_side_px / max(height, width)
        size_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
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
        shared = flat @ flat.T
        area = flat.sum(dim=1)
        ious = shared / (area[:, None] + area - shared).clamp(min=1)
        kept = distinct(ious.numpy(), self.config.nms_thresh, self.config.max_masks)
        return soft[kept], score[kept].numpy()

    def _resized(self, soft: torch.Tensor, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        masks = np.zeros((len(soft), *size_hw), dtype=bool)
        for index, one in enumerate(soft):
            large = F.interpolate(one[None, None], size_hw, mode="bilinear", align_corners=False)
            masks[index] = (large[0, 0] > self.config.mask_thresh).numpy()
        return masks

    def _sharpened(self, soft: torch.Tensor, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Masks made of whole superpixels: those whose mean of the soft mask is over the bar."""
        small = shrunk(image, _SHARPEN_SIDE_PX)
        labels = superpixels(color_view(small, "lab"), _SHARPEN_SCALE, _SHARPEN_MIN_PX)
        area = np.bincount(labels.ravel())
        masks = np.zeros((len(soft), *small.shape[:2]), dtype=bool)
        size_hw = (int(small.shape[0]), int(small.shape[1]))
        for index, one in enumerate(soft):
            large = F.interpolate(one[None, None], size_hw, mode="bilinear", align_corners=False)
            mean = np.bincount(labels.ravel(), large.numpy().ravel()) / area
            masks[index] = (mean > self.config.mask_thresh)[labels]
        return enlarged(masks, (int(image.shape[0]), int(image.shape[1])))
