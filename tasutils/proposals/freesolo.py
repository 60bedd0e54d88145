"""FreeSOLO's masks (Wang et al. 2022), then the overlap filter; no mask label is learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tasutils.config import OverlapConfig
from tasutils.paths import weights_path
from tasutils.proposals import filtered
from tasutils.proposals.freesolo_net import STRIDES, FreeSoloOutput, build_freesolo
from tasutils.scene import Proposals

if TYPE_CHECKING:
    from tasutils.proposals.settings import FreeSoloConfig

PIXEL_MEAN = (123.675, 116.28, 103.53)  # of RGB 0..255
PIXEL_STD = (58.395, 57.12, 57.375)
_DIVISOR = 32
_AT_A_TIME = 64  # masks that are resized or scored together; memory only


class Candidates(NamedTuple):
    """Cells of the grids that claim an object, n of them."""

    scores: Tensor  # float (n,), 0..1
    labels: Tensor  # int64 (n,), the class
    kernels: Tensor  # float (n, kernels)
    strides: Tensor  # int64 (n,), px, of the cell's level


def input_size(size_hw: tuple[int, ...], short_px: int, long_px: int) -> tuple[int, int]:
    """Size (H, W) at which a picture enters: its short side `short_px`, its long side at most
    `long_px`; no side under 1 px.

    >>> input_size((480, 640), 800, 1333), input_size((100, 1000), 800, 1333)
    ((800, 1067), (133, 1333))
    """
    factor = min(short_px / min(size_hw), long_px / max(size_hw))
    return max(1, int(size_hw[0] * factor + 0.5)), max(1, int(size_hw[1] * factor + 0.5))


def network_input(
    image: NDArray[np.uint8], short_px: int, long_px: int
) -> tuple[Tensor, tuple[int, int]]:
    """Normalised float32 (1, 3, H, W), zeros right and below up to sides divisible by 32, and
    the size (H, W) of the picture in it; of uint8 (H, W, 3) RGB, resized bilinearly."""
    height, width = input_size(image.shape[:2], short_px, long_px)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized)).float()
    pixels = (pixels - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    below, right = -height % _DIVISOR, -width % _DIVISOR
    return F.pad(pixels.permute(2, 0, 1)[None], (0, right, 0, below)), (height, width)


def point_nms(scores: Tensor) -> Tensor:
    """Scores (b, c, g, g), zeroed where a neighbour above, left or above left is higher."""
    highest = F.max_pool2d(scores, 2, 1, padding=1)[:, :, :-1, :-1]
    return scores * (highest == scores)


def candidates(output: FreeSoloOutput, score_thresh: float) -> Candidates:
    """Cells of one picture's output (b = 1) whose score passes, level by level."""
    levels = []
    for logits, kernel, stride in zip(output.classes, output.kernels, STRIDES, strict=True):
        table = point_nms(logits.sigmoid())[0].flatten(1).T  # (cells, classes)
        cells, classes = (table > score_thresh).nonzero(as_tuple=True)
        kernels, strides = kernel[0].flatten(1).T[cells], torch.full_like(classes, stride)
        levels.append((table[cells, classes], classes, kernels, strides))
    return Candidates(*map(torch.cat, zip(*levels, strict=True)))


def dynamic_masks(features: Tensor, kernels: Tensor) -> Tensor:
    """Each kernel (n, k) as a 1 x 1 convolution of features (k, h, w): probabilities (n, h, w)."""
    return (kernels @ features.flatten(1)).sigmoid().unflatten(1, features.shape[1:])


def maskness(soft: Tensor, mask_thresh: float) -> Tensor:
    """Mean of each soft mask (n, h, w) where it is over the threshold: float (n,), 0 if nowhere."""
    inside = soft > mask_thresh
    return (soft * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)


def matrix_nms(masks: Tensor, scores: Tensor, labels: Tensor, sigma: float) -> Tensor:
    """Scores lowered by how much each mask overlaps better ones of its class: float (n,).

    masks: bool (n, h, w), not empty, by falling score; scores: float (n,); labels: int64 (n,);
    sigma: of the Gaussian exp(-sigma IoU^2). A better mask that is itself hidden by a still better
    one counts less. No score rises. Source: SOLOv2 (Wang et al. 2020), section 3.3.
    """
    if not len(masks):
        return scores
    flat = masks.flatten(1).to(scores.dtype)
    shared, area = flat @ flat.T, flat.sum(1)
    iou = shared / (area[:, None] + area - shared)
    iou = (iou * (labels[:, None] == labels)).triu(1)  # (better, worse)
    hidden = iou.amax(0)[:, None]  # of the better one
    decay = torch.exp(-sigma * (iou.square() - hidden.square()))
    return scores * decay.amin(0)


class FreeSoloProposer:
    """FreeSOLO behind `Proposer`; its score of a mask is the proposals' `predicted_iou`.

    Random weights without a checkpoint; TasError when it is missing, damaged or another network's.
    """

    def __init__(self, config: FreeSoloConfig, overlap: OverlapConfig, device: str = "cpu") -> None:
        self.config, self.overlap, self.device = config, overlap, device
        path = None if config.checkpoint is None else weights_path(config.checkpoint)
        self.model = build_freesolo(config.size, path).to(device)

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB by falling score."""
        config, size = self.config, self.model.size
        short_px = config.short_side_px or size.short_px
        pixels, inner_hw = network_input(image, short_px, config.longest_side_px or size.long_px)
        soft, scores = self._ranked(self.model(pixels.to(self.device)))
        masks = full_size(soft, inner_hw, image.shape[:2], config.mask_thresh)
        return filtered(Proposals.from_masks(masks, scores.cpu().numpy()), self.overlap)

    def _ranked(self, output: FreeSoloOutput) -> tuple[Tensor, Tensor]:
        """Soft masks (n, h, w) at a quarter of the input, and scores (n,), falling."""
        config, features = self.config, output.masks[0]
        found = candidates(output, config.score_thresh)
        large, quality = [], []
        # many thousand cells may pass, too many for one table of masks
        for kernels in found.kernels.split(_AT_A_TIME):
            soft = dynamic_masks(features, kernels)
            large.append((soft > config.mask_thresh).sum(dim=(1, 2)))
            quality.append(maskness(soft, config.mask_thresh))
        none = found.scores[:0]
        kept = torch.cat([none, *large]) > found.strides
        scores = found.scores * torch.cat([none, *quality])
        order = torch.argsort(-scores, stable=True)
        order = order[kept[order]][: config.max_candidates]
        soft = dynamic_masks(features, found.kernels[order])
        hard = soft > config.mask_thresh
        scores = matrix_nms(hard, scores[order], found.labels[order], config.nms_sigma)
        order = torch.argsort(-scores, stable=True)
        order = order[scores[order] >= config.final_thresh][: config.max_masks]
        return soft[order], scores[order]


def full_size(
    soft: Tensor, inner_hw: tuple[int, int], size_hw: tuple[int, ...], mask_thresh: float
) -> NDArray[np.bool_]:
    """Soft masks (n, h, w) of a padded input as bool (n, H, W) of the picture; some may be empty.

    Enlarged four times, cut to the picture inside the input, resized to the picture's own size
    (bilinear both times), then compared with the threshold.
    """
    masks = np.zeros((len(soft), *size_hw), dtype=bool)
    for start in range(0, len(soft), _AT_A_TIME):
        part = soft[start : start + _AT_A_TIME, None]
        part = F.interpolate(part, scale_factor=4.0, mode="bilinear")
        part = F.interpolate(part[..., : inner_hw[0], : inner_hw[1]], size_hw, mode="bilinear")[
            :, 0
        ]
        masks[start : start + _AT_A_TIME] = (part > mask_thresh).cpu().numpy()
    return masks
