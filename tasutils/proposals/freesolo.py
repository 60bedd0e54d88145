"""FreeSOLO's masks (Wang et al. 2022), no mask label learned; its network, a SOLOv2.

For ``r101`` the keys and shapes are those of the published FreeSOLO_R101_30k_pl.pth (591 keys);
``tiny`` is the same network with small widths, for pictures of 320 x 240.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d

from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.config import OverlapConfig
from tasutils.paths import weights_path
from tasutils.proposals import FreeSoloConfig, filtered
from tasutils.scene import Proposals

PIXEL_MEAN = (123.675, 116.28, 103.53)  # of RGB 0..255
PIXEL_STD = (58.395, 57.12, 57.375)
STRIDES = (8, 8, 16, 32, 32)  # px per cell of what the instance head sees of p2-p6
_DIVISOR = 32
_AT_A_TIME = 64  # masks that are scored together; memory only
_EXPANSION = 4  # channels that a block gives for each inner one


class FreeSoloProposer:
    """FreeSOLO, then the overlap filter; its score of a mask is the proposals' `predicted_iou`."""

    def __init__(
        self, config: FreeSoloConfig, overlap: OverlapConfig, device: str = "cpu", *_: Any
    ) -> None:
        self.config, self.overlap, self.device = config, overlap, device
        self.model = build_freesolo(config.size, config.checkpoint).to(device)

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
        claims, labels, kernels, strides = _candidates(output, config.score_thresh)
        large, quality = [claims[:0]], [claims[:0]]
        # many thousand cells may pass, too many for one table of masks
        for some in kernels.split(_AT_A_TIME):
            soft = _cut_out(features, some)
            large.append((soft > config.mask_thresh).sum(dim=(1, 2)))
            quality.append(maskness(soft, config.mask_thresh))
        scores = claims * torch.cat(quality)
        order = torch.argsort(-scores, stable=True)
        order = order[(torch.cat(large) > strides)[order]][: config.max_candidates]
        soft = _cut_out(features, kernels[order])
        hard = soft > config.mask_thresh
        scores = matrix_nms(hard, scores[order], labels[order], config.nms_sigma)
        order = torch.argsort(-scores, stable=True)
        order = order[scores[order] >= config.final_thresh][: config.max_masks]
        return soft[order], scores[order]


def network_input(
    image: NDArray[np.uint8], short_px: int, long_px: int
) -> tuple[Tensor, tuple[int, int]]:
    """Normalised float32 (1, 3, H, W), zeros right and below up to sides divisible by 32, and
    the size (h, w) of the picture in it; of uint8 RGB, resized bilinearly until its short side is
    `short_px`, but its long side at most `long_px`."""
    factor = min(short_px / min(image.shape[:2]), long_px / max(image.shape[:2]))
    height, width = (max(1, int(side * factor + 0.5)) for side in image.shape[:2])
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized)).float()
    pixels = (pixels - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    below, right = -height % _DIVISOR, -width % _DIVISOR
    return F.pad(pixels.permute(2, 0, 1)[None], (0, right, 0, below)), (height, width)


def _candidates(output: FreeSoloOutput, score_thresh: float) -> list[Tensor]:
    """Scores, classes, kernels (n, k) and strides of one picture's cells that pass (b = 1).

    Point NMS: a cell with a higher neighbour above, left or above left has no score.
    """
    levels = []
    for logits, kernel, stride in zip(output.classes, output.kernels, STRIDES, strict=True):
        heat = logits.sigmoid()
        highest = F.max_pool2d(heat, 2, 1, padding=1)[:, :, :-1, :-1]
        table = (heat * (highest == heat))[0].flatten(1).T  # (cells, classes)
        cells, classes = (table > score_thresh).nonzero(as_tuple=True)
        kernels, strides = kernel[0].flatten(1).T[cells], torch.full_like(classes, stride)
        levels.append((table[cells, classes], classes, kernels, strides))
    return [torch.cat(parts) for parts in zip(*levels, strict=True)]


def _cut_out(features: Tensor, kernels: Tensor) -> Tensor:
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


def full_size(
    soft: Tensor, inner_hw: tuple[int, int], size_hw: tuple[int, ...], mask_thresh: float
) -> NDArray[np.bool_]:
    """Soft masks (n, h, w) of a padded input as bool (n, H, W) of the picture; some may be empty.

    Enlarged four times, cut to the picture inside the input, resized to the picture's own size
    (bilinear both times), then compared with the threshold.
    """
    masks = np.zeros((len(soft), *size_hw), dtype=bool)
    for mask, one in zip(masks, soft, strict=True):  # one by one spares memory
        large = F.interpolate(one[None, None], scale_factor=4.0, mode="bilinear")
        large = F.interpolate(large[..., : inner_hw[0], : inner_hw[1]], size_hw, mode="bilinear")
        mask[:] = (large[0, 0] > mask_thresh).cpu().numpy()
    return masks


# the network


@dataclass(frozen=True)
class FreeSoloSize:
    """What distinguishes one size from another; numbers of channels but for the last four."""

    stem: int  # after the 7 x 7 convolution
    widths: tuple[int, ...]  # inner ones of the blocks of res2-res5
    blocks: tuple[int, ...]  # how many
    fpn: int
    tower: int
    embedding: int
    mask: int
    kernels: int  # of the mask features, and so weights of a mask's 1 x 1 kernel
    groups: int  # of every group norm
    grids: tuple[int, ...]  # cells along a side of the picture, for p2-p6
    short_px: int  # the input's short side
    long_px: int  # the most its long side may have


SIZES = {
    "tiny": FreeSoloSize(
        stem=16, widths=(16, 32, 48, 64), blocks=(2, 2, 2, 1), fpn=48, tower=48, embedding=16,
        mask=48, kernels=32, groups=8, grids=(24, 20, 16, 10, 8), short_px=240, long_px=400,
    ),
    "r101": FreeSoloSize(
        stem=64, widths=(64, 128, 256, 512), blocks=(3, 4, 23, 3), fpn=256, tower=512,
        embedding=128, mask=128, kernels=256, groups=32, grids=(40, 36, 24, 16, 12),
        short_px=800, long_px=1333,
    ),
}  # fmt: skip


class _NormedConv(nn.Conv2d):
    """Convolution without bias, then frozen batch norm, whose four tensors are buffers."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = FrozenBatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolution beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs, same = width * _EXPANSION, inputs == width * _EXPANSION
        self.shortcut = nn.Identity() if same else _NormedConv(inputs, outputs, 1, stride)
        self.conv1 = _NormedConv(inputs, width, 1)
        self.conv2 = _NormedConv(width, width, 3, stride)
        self.conv3 = _NormedConv(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.conv3(inner) + self.shortcut(x))


class _ResNet(nn.Module):
    """Stem and res2-res5; (b, 3, H, W) to their outputs (b, c, H / s, W / s), s = 4, 8, 16, 32."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"conv1": _NormedConv(3, size.stem, 7, 2)})
        inputs = size.stem
        for level, (width, blocks) in enumerate(zip(size.widths, size.blocks, strict=True)):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(_Bottleneck(inputs, width, 2 if level and not index else 1))
                inputs = width * _EXPANSION
            setattr(self, f"res{level + 2}", stage)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [F.max_pool2d(F.relu(self.stem["conv1"](x)), 3, 2, 1)]
        for level in (2, 3, 4, 5):
            maps.append(self.get_submodule(f"res{level}")(maps[-1]))
        return maps[1:]


class _FeaturePyramid(nn.Module):
    """FPN (Lin et al. 2017) without norm: p2-p5, and p6, which is every second cell of p5."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        for level, width in enumerate(size.widths, 2):
            setattr(self, f"fpn_lateral{level}", nn.Conv2d(width * _EXPANSION, size.fpn, 1))
            setattr(self, f"fpn_output{level}", nn.Conv2d(size.fpn, size.fpn, 3, padding=1))
        self.bottom_up = _ResNet(size)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.bottom_up(x)
        top = self.get_submodule("fpn_lateral5")(maps[3])
        pyramid = [self.get_submodule("fpn_output5")(top)]
        for level in (4, 3, 2):
            lateral = self.get_submodule(f"fpn_lateral{level}")(maps[level - 2])
            top = lateral + F.interpolate(top, scale_factor=2.0, mode="nearest")
            pyramid.insert(0, self.get_submodule(f"fpn_output{level}")(top))
        return [*pyramid, F.max_pool2d(pyramid[-1], 1, 2)]


class _InstanceHead(nn.Module):
    """For each cell of a grid: is an object here, and which kernel cuts out its mask?"""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.grids = size.grids
        self.cate_tower = _tower(size.fpn, size)
        self.kernel_tower = _tower(size.fpn + 2, size)
        self.cate_pred = nn.Conv2d(size.tower, 2, 3, padding=1)  # an object, or not
        self.kernel_pred = nn.Conv2d(size.tower, size.kernels, 3, padding=1)
        self.emb_pred = nn.Conv2d(size.tower, size.embedding, 3, padding=1)  # of no mask's use

    def forward(self, pyramid: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        fine, *middle, top = pyramid
        fine = F.interpolate(fine, scale_factor=0.5, mode="bilinear")
        top = F.interpolate(top, middle[-1].shape[-2:], mode="bilinear")
        classes, kernels = [], []
        for level, grid in zip((fine, *middle, top), self.grids, strict=True):
            cells = F.interpolate(_with_places(level), (grid, grid), mode="bilinear")
            classes.append(self.cate_pred(self.cate_tower(cells[:, :-2])))
            kernels.append(self.kernel_pred(self.kernel_tower(cells)))
        return classes, kernels


class _MaskHead(nn.Module):
    """Mask features at a quarter of the input: p2-p5, each brought there step by step, summed."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.convs_all_levels = nn.ModuleList()
        for level in range(4):
            steps = nn.Sequential()
            for step in range(max(level, 1)):
                inputs = size.mask if step else size.fpn + 2 * (level == 3)
                steps.add_module(f"conv{step}", _grouped(inputs, size.mask, 3, size.groups))
                if level:
                    larger = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
                    steps.add_module(f"upsample{step}", larger)
            self.convs_all_levels.append(steps)
        self.conv_pred = _grouped(size.mask, size.kernels, 1, size.groups)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        maps = [*pyramid[:3], _with_places(pyramid[3])]
        parts = [steps(x) for steps, x in zip(self.convs_all_levels, maps, strict=True)]
        return self.conv_pred(parts[0] + parts[1] + parts[2] + parts[3])


def _with_places(x: Tensor) -> Tensor:
    """(b, c, h, w) with two channels more: x and y of each cell, from -1 to 1."""
    across = torch.linspace(-1, 1, x.shape[-1], device=x.device, dtype=x.dtype)
    down = torch.linspace(-1, 1, x.shape[-2], device=x.device, dtype=x.dtype)
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"))
    return torch.cat([x, places.expand(len(x), -1, -1, -1)], dim=1)


def _grouped(inputs: int, outputs: int, kernel: int, groups: int) -> nn.Sequential:
    return Conv2dNormActivation(inputs, outputs, kernel, norm_layer=partial(nn.GroupNorm, groups))


def _tower(inputs: int, size: FreeSoloSize) -> nn.Sequential:
    steps = [_grouped(n, size.tower, 3, size.groups) for n in (inputs, *[size.tower] * 3)]
    return nn.Sequential(*(layer for step in steps for layer in step))


class FreeSoloOutput(NamedTuple):
    """What the network says of b pictures; the lists run over p2-p6, g is `FreeSoloSize.grids`."""

    classes: list[Tensor]  # logits, float (b, 2, g, g)
    kernels: list[Tensor]  # float (b, kernels, g, g)
    masks: Tensor  # features, float (b, kernels, H / 4, W / 4)


class FreeSolo(nn.Module):
    """The whole network; float (b, 3, H, W), normalised, sides divisible by 32."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.size = size
        self.backbone = _FeaturePyramid(size)
        self.ins_head = _InstanceHead(size)
        self.mask_head = _MaskHead(size)
        self.register_buffer("_iter", torch.zeros(1))  # the published training's counter

    def forward(self, x: Tensor) -> FreeSoloOutput:
        """See `FreeSoloOutput`."""
        pyramid = self.backbone(x)
        classes, kernels = self.ins_head(pyramid)
        return FreeSoloOutput(classes, kernels, self.mask_head(pyramid[:4]))


def build_freesolo(size: str, checkpoint: str | Path | None = None) -> FreeSolo:
    """FreeSOLO of one of `SIZES`, as `sam.build_sam` makes SAM."""
    model = FreeSolo(SIZES[size])
    if checkpoint is not None:
        load_strict(model, read_state_dict(weights_path(checkpoint)), str(checkpoint))
    return model.eval()
