"""SAM's automatic masks, and its networks: the published sizes, and a tiny one.

``tiny`` puts SAM's prompt encoder and mask decoder on a small encoder of 256 px pictures,
convolutional below and SAM's attention blocks above, the way of MobileSAM (Zhang et al. 2023).
"""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.image_encoder import Block
from segment_anything.utils import amg
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation as _Unit  # with batch norm and ReLU
from torchvision.ops import batched_nms

from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.compute import Batches, autocast, tune
from tasutils.config import PLAIN, ComputeConfig, OverlapConfig
from tasutils.masks import Runs, decode_rle, runs_of
from tasutils.paths import weights_path
from tasutils.proposals import SamConfig, filtered
from tasutils.scene import Proposals

# pixels at a time: on a CPU what its cache holds, else what a small GPU has room for
_CPU_PX, _GPU_PX = 1 << 20, 1 << 26
_CROP_NMS_THRESH = 0.7  # the generator's default
_HELD_PX = 1 << 30  # more pixels of masks than this are not kept beside their runs
_SIDE_PX, _WIDTH, _PROMPT = 256, 192, 64  # of tiny: input; channels of attention, of the embedding


class SamProposer:
    """The masks of segment-anything's `SamAutomaticMaskGenerator`, made in less time.

    Its modules and its rules, but a mask that its predicted IoU rules out is never enlarged, and
    masks stay on the device. In float32 on a CPU, masks, order and scores are the generator's bit
    for bit, unless its last batch has under four points: products of few rows are rounded
    otherwise. Layers of crops are left to the generator itself. Random weights without a
    checkpoint; TasError when it is missing or damaged.
    """

    def __init__(
        self, config: SamConfig, overlap: OverlapConfig, device: str = "cpu",
        compute: ComputeConfig = PLAIN,
    ) -> None:  # fmt: skip
        self.config, self.overlap, self.device = config, overlap, device
        self.precision = compute.precision
        self.point_batches = Batches("SAM", config.points_per_batch, device)
        self.model = build_sam(config.size, config.checkpoint).to(device)
        tune(self.model.image_encoder, compute)
        self._resize = ResizeLongestSide(self.model.image_encoder.img_size)

    @cached_property
    def generator(self) -> Any:
        """segment-anything's generator over `model`, with the same settings."""
        rules = self.config.model_dump(exclude={"kind", "size", "checkpoint"})
        return SamAutomaticMaskGenerator(self.model, **rules, output_mode="coco_rle")

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; none for a picture too thin for the network's input."""
        size_hw, config = image.shape[:2], self.config
        short, long = sorted(size_hw)
        if short < 2 or int(short * self._resize.target_length / long + 0.5) < 1:
            return Proposals.from_masks(np.zeros((0, *size_hw), dtype=bool))
        if config.crop_n_layers:
            return filtered(self._of_generator(image), self.overlap)
        parts, guesses, stability, held = zip(*self._stable(image), strict=True)
        runs, scores = Runs.joined(parts), torch.cat(guesses)
        kept = _box_nms(runs.boxes_xyxy(), scores, config.box_nms_thresh)
        masks = None if any(one is None for one in held) else torch.cat(held)[kept]
        both = scores[kept].numpy(), torch.cat(stability)[kept].nan_to_num().numpy()
        found = Proposals.from_runs(runs.take(kept), *both, masks)
        if config.min_mask_region_area:
            found = _tidy(found, config.min_mask_region_area, config.box_nms_thresh)
        return filtered(found, self.overlap)

    def _stable(self, image: NDArray[np.uint8]) -> list[Found]:
        """The stable masks of the points, some points at a time."""
        size_hw = image.shape[:2]
        resized = torch.from_numpy(self._resize.apply_image(image)).to(self.device)
        pixels = resized.permute(2, 0, 1).contiguous()[None]  # (1, 3, h, w)
        input_hw = (int(pixels.shape[2]), int(pixels.shape[3]))
        with autocast(self.device, self.precision):
            embedding = self.model.image_encoder(self.model.preprocess(pixels))
        grid = amg.build_point_grid(self.config.points_per_side) * np.array(size_hw[::-1])
        points_xy = torch.from_numpy(self._resize.apply_coords(grid, size_hw)).to(self.device)

        def of_points(points: Tensor) -> Found:
            bar = self.config.pred_iou_thresh
            with autocast(self.device, self.precision):
                logits, guesses = decode_points(self.model, embedding, points, bar)
            return stable_masks(self.model, logits, guesses, input_hw, size_hw, self.config)

        return self.point_batches(points_xy, of_points)

    def _of_generator(self, image: NDArray[np.uint8]) -> Proposals:
        try:
            records = self.generator.generate(image)
        except IndexError:  # segment-anything: layers of crops, and no mask in any of them
            records = []
        masks = decode_rle([record["segmentation"] for record in records], image.shape[:2])
        scores = [(record["predicted_iou"], record["stability_score"]) for record in records]
        table = np.nan_to_num(np.array(scores, np.float32).reshape(-1, 2))  # (n, 2); 0 / 0 is 0
        return Proposals.from_masks(masks, table[:, 0], table[:, 1])


class Found(NamedTuple):
    """Masks of some points, n of them."""

    runs: Runs
    guesses: Tensor  # float32 (n,), the network's of quality
    stability: Tensor  # float32 (n,)
    masks: Tensor | None  # bool (n, H, W) on its device; None if too many to keep


def decode_points(
    sam: Sam, embedding: Tensor, points_xy: Tensor, pred_iou_thresh: float
) -> tuple[Tensor, Tensor]:
    """Small masks of points and the network's guesses of their quality, those of promise only.

    By segment-anything's own modules, but the picture enters the transformer once, not once a
    point, and only points with a promising mask are upscaled. embedding: float (1, c, h, w);
    points_xy: float64 (m, 2), px of the network's input; pred_iou_thresh: a mask needs a higher
    guess; 0 or less lets every mask pass. Returns float32 logits (k, 4 h, 4 w) and guesses (k,), by
    point and, for each, in the order of its three masks.
    """
    decoder = sam.mask_decoder
    # a half-precision caller must not round coordinates
    with torch.autocast(embedding.device.type, enabled=False):
        labels = torch.ones((len(points_xy), 1), dtype=torch.int, device=points_xy.device)
        points, dense = sam.prompt_encoder((points_xy[:, None], labels), None, None)
        positions = sam.prompt_encoder.get_dense_pe()
    outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat((outputs.expand(len(points), -1, -1), points), dim=1)  # (m, 5 + 2, c)
    queries, keys = decoder.transformer(embedding + dense[:1], positions, tokens)
    guesses = decoder.iou_prediction_head(queries[:, 0])[:, 1:].float()  # (m, 3)
    passes = guesses > (pred_iou_thresh if pred_iou_thresh > 0 else -torch.inf)
    used = passes.any(dim=1).nonzero()[:, 0]
    # for all points: a product of few rows is rounded otherwise
    mlps = decoder.output_hypernetworks_mlps
    weights = torch.stack([mlp(queries[:, 1 + i]) for i, mlp in enumerate(mlps)], dim=1)
    if not len(used):
        height, width = embedding.shape[-2:]
        return guesses.new_zeros((0, 4 * height, 4 * width)), guesses.new_zeros(0)
    # never one alone of several: its channels would lie otherwise and be summed otherwise
    pair = used.repeat(2) if len(used) == 1 < len(points) else used
    image = keys[pair].transpose(1, 2).unflatten(2, embedding.shape[-2:])
    image = decoder.output_upscaling(image)[: len(used)]
    logits = (weights[used] @ image.flatten(2)).unflatten(2, image.shape[-2:])[:, 1:]
    return logits[passes[used]].float(), guesses[used][passes[used]]


def stable_masks(
    sam: Sam, logits: Tensor, guesses: Tensor, input_hw: tuple[int, int], size_hw: tuple[int, ...],
    config: SamConfig,
) -> Found:  # fmt: skip
    """The masks over 0 at the picture's size, those whose stability passes.

    Stability is the number of pixels over `stability_score_offset` to that over minus it, 0 / 0
    is NaN and never passes a threshold above 0. Source: segment_anything/utils/amg.py. input_hw: px
    of the picture in the network's input; the rest as of `decode_points`.
    """
    masks = [torch.zeros((0, *size_hw), dtype=torch.bool, device=logits.device)]
    stability = [guesses[:0]]
    budget = _CPU_PX if logits.device.type == "cpu" else _GPU_PX
    offset, bar = config.stability_score_offset, config.stability_score_thresh
    at_a_time = max(1, budget // (size_hw[0] * size_hw[1]))
    for part in logits.split(at_a_time) if len(logits) else ():
        soft = sam.postprocess_masks(part[None], input_hw, size_hw)[0]
        ratio = _counts(soft > offset) / _counts(soft > -offset)
        masks.append(soft[ratio >= bar] > 0 if bar > 0 else soft > 0)
        stability.append(ratio)
    ratios, found = torch.cat(stability), torch.cat(masks)
    if bar > 0:
        guesses, ratios = guesses[ratios >= bar], ratios[ratios >= bar]
    held = found if found.numel() <= _HELD_PX else None
    return Found(runs_of(found.cpu().numpy()), guesses.cpu(), ratios.cpu(), held)


def _counts(flags: Tensor) -> Tensor:  # of True in each of (n, H, W)
    if flags.device.type == "cpu":  # several times as fast as the sum
        return torch.tensor([np.count_nonzero(mask) for mask in flags.numpy()], dtype=torch.int32)
    return flags.sum(dim=(1, 2), dtype=torch.int32)


def _box_nms(boxes_xyxy: NDArray[np.float32], scores: Tensor, iou_thresh: float) -> Any:
    boxes = torch.from_numpy(boxes_xyxy.copy())
    boxes[:, 2:] = (boxes[:, 2:] - 1).clamp(min=0)  # segment-anything's end on the last pixel
    return batched_nms(boxes, scores, torch.zeros(len(boxes)), iou_thresh).numpy()


def _tidy(found: Proposals, min_area_px: int, box_nms_thresh: float) -> Proposals:
    """Without small holes and islands, scores as before; masks that had none win the second NMS."""
    pixels = found.masks()
    changed = torch.zeros(len(pixels), dtype=torch.bool)
    for index, mask in enumerate(pixels):
        mask, filled = amg.remove_small_regions(mask, min_area_px, "holes")
        pixels[index], cut = amg.remove_small_regions(mask, min_area_px, "islands")
        changed[index] = filled or cut
    held = found.device_masks
    held = None if held is None else torch.from_numpy(pixels).to(held.device)
    tidied = Proposals.from_runs(runs_of(pixels), found.predicted_iou, found.stability, held)
    thresh = max(box_nms_thresh, _CROP_NMS_THRESH)
    return tidied.take(_box_nms(tidied.boxes_xyxy, (~changed).float(), thresh))


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Unit(channels, channels), _Unit(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _HybridEncoder(nn.Module):
    """Convolutions down to stride 16, attention blocks there, then merged at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.img_size = _SIDE_PX
        self.stride4 = nn.Sequential(_Unit(3, 16, 3, 2), _Unit(16, 32, 3, 2), _Residual(32))
        self.stride8 = nn.Sequential(_Unit(32, 64, 3, 2), _Residual(64), _Residual(64))
        self.stride16 = nn.Sequential(_Unit(64, 128, 3, 2), _Residual(128))
        self.patch_embed = nn.Conv2d(128, _WIDTH, 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, _SIDE_PX // 16, _SIDE_PX // 16, _WIDTH))
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(Block(_WIDTH, 6, norm_layer=norm) for _ in range(3))
        self.from4 = _Unit(32, _PROMPT, 3, 2)
        self.from8 = _Unit(64, _PROMPT, 1)
        self.from16 = _Unit(_WIDTH, _PROMPT, 1)
        self.neck = nn.Sequential(_Residual(_PROMPT), nn.Conv2d(_PROMPT, _PROMPT, 1))

    def forward(self, x: Tensor) -> Tensor:
        # (b, 3, s, s), normalised by Sam.preprocess, to (b, c, s / 8, s / 8)
        fine = self.stride4(x)
        middle = self.stride8(fine)
        tokens = self.patch_embed(self.stride16(middle)).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        coarse = self.from16(tokens.permute(0, 3, 1, 2))
        coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return self.neck(coarse + self.from8(middle) + self.from4(fine))


def _tiny() -> Sam:
    encoder = _HybridEncoder()
    prompts = PromptEncoder(_PROMPT, (_SIDE_PX // 8,) * 2, (_SIDE_PX, _SIDE_PX), mask_in_chans=16)
    decoder = MaskDecoder(
        num_multimask_outputs=3, activation=nn.ReLU, iou_head_depth=3, iou_head_hidden_dim=64,
        transformer=TwoWayTransformer(depth=2, embedding_dim=_PROMPT, mlp_dim=256, num_heads=4),
        transformer_dim=_PROMPT,
    )  # fmt: skip
    return Sam(encoder, prompts, decoder)  # its own statistics are those of the published sizes


SIZES = {"tiny": _tiny} | {k: sam_model_registry[k] for k in ("vit_b", "vit_l", "vit_h")}


def build_sam(size: str, checkpoint: str | Path | None = None) -> Sam:
    """SAM of one of `SIZES`, in evaluation mode on the CPU; random weights without a checkpoint.

    checkpoint: a .safetensors or .pth file in the published layout, absolute or relative to
    data/weights; half precision is widened. TasError if it is missing, damaged or does not fit.
    """
    sam = SIZES[size]()
    if checkpoint is not None:
        load_strict(sam, read_state_dict(weights_path(checkpoint)), str(checkpoint))
    return sam.eval()
