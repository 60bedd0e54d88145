"""SAM's automatic masks, then the overlap filter."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils import amg
from segment_anything.utils.transforms import ResizeLongestSide
from torchvision.ops import batched_nms

from tasutils.compute import Batches, autocast, tune
from tasutils.config import PLAIN, ComputeConfig, OverlapConfig
from tasutils.masks import Runs, decode_rle, runs_of
from tasutils.paths import weights_path
from tasutils.proposals import filtered
from tasutils.proposals.sam_net import build_sam
from tasutils.scene import Proposals

if TYPE_CHECKING:
    from tasutils.proposals.settings import SamConfig

# pixels at a time: on a CPU what its cache holds, else what a small GPU has room for
_CPU_PX, _GPU_PX = 1 << 20, 1 << 26
_CROP_NMS_THRESH = 0.7  # the generator's default
_HELD_PX = 1 << 30  # more pixels of masks than this are not kept beside their runs


class SamProposer:
    """The masks of segment-anything's `SamAutomaticMaskGenerator`, made in less time.

    Its modules and its rules, but a mask that its predicted IoU rules out is never enlarged, and
    masks stay on the device. In float32 on a CPU, masks, order and scores are the generator's bit
    for bit, unless its last batch has under four points: products of few rows are rounded
    otherwise. Layers of crops are left to the generator itself.

    Random weights without a checkpoint; TasError when it is missing or damaged.
    """

    def __init__(
        self,
        config: SamConfig,
        overlap: OverlapConfig,
        device: str = "cpu",
        compute: ComputeConfig = PLAIN,
    ) -> None:
        self.config, self.overlap, self.device = config, overlap, device
        self.precision = compute.precision
        self.point_batches = Batches("SAM", config.points_per_batch, device)
        path = None if config.checkpoint is None else weights_path(config.checkpoint)
        self.model = build_sam(config.size, path).eval().to(device)
        tune(self.model.image_encoder, compute)
        self._resize = ResizeLongestSide(self.model.image_encoder.img_size)

    @cached_property
    def generator(self) -> Any:
        """segment-anything's generator over `model`, with the same settings."""
        from segment_anything import SamAutomaticMaskGenerator

        rules = self.config.model_dump(exclude={"kind", "size", "checkpoint"})
        return SamAutomaticMaskGenerator(self.model, **rules, output_mode="coco_rle")

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; none for a picture too thin for the network's input."""
        size_hw, config = image.shape[:2], self.config
        if self._too_thin(size_hw):
            return Proposals.from_masks(np.zeros((0, *size_hw), dtype=bool))
        if config.crop_n_layers:
            return filtered(self._of_generator(image), self.overlap)
        found = Found.joined(self._stable(image))
        found = found.take(_box_nms(found.runs, found.guesses, config.box_nms_thresh))
        if config.min_mask_region_area:
            found = _tidy(found, config.min_mask_region_area, config.box_nms_thresh)
        guesses, stability = found.guesses.numpy(), np.nan_to_num(found.stability.numpy())
        proposals = Proposals.from_runs(found.runs, guesses, stability, found.masks)
        return filtered(proposals, self.overlap)

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

        def of_points(points: torch.Tensor) -> Found:
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

    def _too_thin(self, size_hw: tuple[int, ...]) -> bool:
        """True if the short side vanishes when the long one is scaled to the network's input."""
        short, long = sorted(size_hw)
        return short < 2 or int(short * self.model.image_encoder.img_size / long + 0.5) < 1


class Found(NamedTuple):
    """Masks of one picture, n of them."""

    runs: Runs
    guesses: torch.Tensor  # float32 (n,), the network's of quality
    stability: torch.Tensor  # float32 (n,)
    masks: torch.Tensor | None  # bool (n, H, W) on its device; None if too many to keep

    @classmethod
    def joined(cls, parts: list[Found]) -> Found:
        """The masks of several batches, at least one."""
        held = [part.masks for part in parts if part.masks is not None]
        return cls(
            Runs.joined([part.runs for part in parts]),
            torch.cat([part.guesses for part in parts]),
            torch.cat([part.stability for part in parts]),
            torch.cat(held) if len(held) == len(parts) else None,
        )

    def take(self, indices: NDArray[np.int64]) -> Found:
        """The masks of those indices, in their order."""
        masks = None if self.masks is None else self.masks[indices]
        return Found(self.runs.take(indices), self.guesses[indices], self.stability[indices], masks)


def decode_points(
    sam: Sam, embedding: torch.Tensor, points_xy: torch.Tensor, pred_iou_thresh: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Small masks of points and the network's guesses of their quality, those of promise only.

    segment-anything's own modules. The picture enters the transformer once, not once a point, and
    branches where a point first changes it; only points with a promising mask are upscaled. On a
    CPU the result equals the library's bit for bit (see tests/test_sam.py).

    embedding: float (1, c, h, w); points_xy: float64 (m, 2), px of the network's input;
    pred_iou_thresh: a mask needs a higher guess; 0 or less lets every mask pass. Returns float32
    logits (k, 4 h, 4 w) and guesses (k,), by point and, for each, in the order of its three masks.
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
    sam: Sam,
    logits: torch.Tensor,
    guesses: torch.Tensor,
    input_hw: tuple[int, int],
    size_hw: tuple[int, ...],
    config: SamConfig,
) -> Found:
    """The masks over 0 at the picture's size, those whose stability passes.

    Stability is the number of pixels over `stability_score_offset` to that over minus it, 0 / 0
    is NaN and never passes a threshold above 0. Source: segment_anything/utils/amg.py.

    logits: float32 (n, h, w) and guesses: float32 (n,) of `decode_points`; input_hw: px of the
    picture in the network's input.
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


def _counts(flags: torch.Tensor) -> torch.Tensor:
    """Number of True in each of (n, H, W), int32 (n,)."""
    if flags.device.type == "cpu":  # several times as fast as the sum
        return torch.tensor([np.count_nonzero(mask) for mask in flags.numpy()], dtype=torch.int32)
    return flags.sum(dim=(1, 2), dtype=torch.int32)


def _box_nms(runs: Runs, scores: torch.Tensor, iou_thresh: float) -> NDArray[np.int64]:
    """Indices of the masks whose boxes stay, the best first, equal ones as in the library."""
    boxes = torch.from_numpy(runs.boxes_xyxy())
    boxes[:, 2:] = (boxes[:, 2:] - 1).clamp(min=0)  # segment-anything's end on the last pixel
    kept: NDArray[np.int64] = batched_nms(boxes, scores, torch.zeros(runs.n), iou_thresh).numpy()
    return kept


def _tidy(found: Found, min_area_px: int, box_nms_thresh: float) -> Found:
    """Masks without small holes and islands; those that did not need it win the second NMS.

    Scores are those of before. Source: segment_anything/automatic_mask_generator.py.
    """
    pixels = decode_rle(found.runs.rles(), found.runs.size_hw)
    changed = torch.zeros(len(pixels), dtype=torch.bool)
    for index, mask in enumerate(pixels):
        mask, filled = amg.remove_small_regions(mask, min_area_px, "holes")
        pixels[index], cut = amg.remove_small_regions(mask, min_area_px, "islands")
        changed[index] = filled or cut
    runs, held = runs_of(pixels), found.masks
    if held is not None:
        held = torch.from_numpy(pixels).to(held.device)
    kept = _box_nms(runs, (~changed).float(), max(box_nms_thresh, _CROP_NMS_THRESH))
    return Found(runs, found.guesses, found.stability, held).take(kept)
