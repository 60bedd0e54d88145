"""From SAM's small masks to those that stay: size, stability, runs, NMS; where the masks lie."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torchvision.ops import batched_nms

from tasutils.mask_runs import Runs, changes_of, runs_of
from tasutils.masks import decode_rle
from tasutils.proposals.sam_regions import tidy_masks
from tasutils.proposals.settings import SamConfig

# pixels at a time: on a CPU what its cache holds, else what a small GPU has room for
_CPU_PX, _GPU_PX = 1 << 20, 1 << 26
_CROP_NMS_THRESH = 0.7  # the generator's default
_HELD_PX = 1 << 30  # more pixels of masks than this are not kept beside their runs


class Found(NamedTuple):
    """Masks of one picture, n of them.

    Attributes:
        runs: their runs.
        guesses: float32 (n,), the network's guess of quality; stability: float32 (n,).
        masks: bool tensor (n, H, W) on the network's device; None if they are too many to keep.
    """

    runs: Runs
    guesses: torch.Tensor
    stability: torch.Tensor
    masks: torch.Tensor | None

    @classmethod
    def joined(cls, parts: "list[Found]") -> "Found":
        """The masks of several batches, at least one."""
        held = [part.masks for part in parts if part.masks is not None]
        return cls(
            Runs.joined([part.runs for part in parts]),
            torch.cat([part.guesses for part in parts]),
            torch.cat([part.stability for part in parts]),
            torch.cat(held) if len(held) == len(parts) else None,
        )

    def take(self, indices: NDArray[np.int64]) -> "Found":
        """The masks of those indices, in their order."""
        masks = None if self.masks is None else self.masks[indices]
        return Found(self.runs.take(indices), self.guesses[indices], self.stability[indices], masks)


def stable_masks(
    logits: torch.Tensor,
    guesses: torch.Tensor,
    input_hw: tuple[int, int],
    size_hw: tuple[int, int],
    image_size: int,
    config: SamConfig,
) -> Found:
    """The masks over 0 at the picture's size, those whose stability passes.

    Stability is the number of pixels over `stability_score_offset` to that over minus it, 0 / 0
    is NaN and never passes a threshold above 0. Source: segment_anything/utils/amg.py.

    Args:
        logits: float32 (n, h, w); guesses: float32 (n,), both of `sam_decoder.decode_points`.
        input_hw, size_hw: of the picture in the network's input, and of the picture itself, px.
        image_size: side of the network's input in px.
    """
    masks = [torch.zeros((0, *size_hw), dtype=torch.bool, device=logits.device)]
    stability = [guesses[:0]]
    budget = _CPU_PX if logits.device.type == "cpu" else _GPU_PX
    offset, bar = config.stability_score_offset, config.stability_score_thresh
    at_a_time = max(1, budget // (size_hw[0] * size_hw[1]))
    for part in logits.split(at_a_time) if len(logits) else ():
        soft = enlarged_logits(part, input_hw, size_hw, image_size)
        ratio = _counts(soft > offset) / _counts(soft > -offset)
        if bar > 0:
            soft = soft[ratio >= bar]
        masks.append(soft > 0)
        stability.append(ratio)
    ratios, found = torch.cat(stability), torch.cat(masks)
    if bar > 0:
        guesses, ratios = guesses[ratios >= bar], ratios[ratios >= bar]
    runs = Runs.from_changes(tensor_changes(found), len(found), size_hw)
    held = found if found.numel() <= _HELD_PX else None
    return Found(runs, guesses.cpu(), ratios.cpu(), held)


def enlarged_logits(
    logits: torch.Tensor, input_hw: tuple[int, int], size_hw: tuple[int, int], image_size: int
) -> torch.Tensor:
    """Float (n, h, w) of the whole input as (n, H, W) of the picture, bilinear in two steps.

    As `Sam.postprocess_masks`, which enlarges the padding too before it cuts it off. The first
    factor is a power of two, so that every remaining number is the same.
    """
    factor = image_size // logits.shape[-1]
    rows, columns = (min(-(-side // factor) + 1, logits.shape[-1]) for side in input_hw)
    inner = logits[None, :, :rows, :columns]
    large = F.interpolate(inner, (rows * factor, columns * factor), mode="bilinear")
    large = large[..., : input_hw[0], : input_hw[1]]
    return F.interpolate(large, size_hw, mode="bilinear")[0]


def box_nms(runs: Runs, scores: torch.Tensor, iou_thresh: float) -> NDArray[np.int64]:
    """Indices of the masks whose boxes stay, the best first, with segment-anything's boxes.

    Those end on the last pixel of a mask, not after it. Called as the library does, for the same
    order of equal scores.
    """
    boxes = torch.from_numpy(runs.boxes_xyxy())
    boxes[:, 2:] = (boxes[:, 2:] - 1).clamp(min=0)
    kept: NDArray[np.int64] = batched_nms(boxes, scores, torch.zeros(runs.n), iou_thresh).numpy()
    return kept


def tidy(found: Found, min_area_px: int, box_nms_thresh: float) -> Found:
    """Masks without small holes and islands; those that did not need it win the second NMS.

    Scores are those of before. Source: segment_anything/automatic_mask_generator.py.
    """
    size_hw = found.runs.size_hw
    held = found.masks
    pixels = decode_rle(found.runs.rles(), size_hw) if held is None else held.cpu().numpy()
    pixels, changed = tidy_masks(pixels, found.runs, min_area_px)
    runs = runs_of(pixels)
    if held is not None:
        held = torch.from_numpy(pixels).to(held.device)
    scores = torch.from_numpy(~changed).float()
    kept = box_nms(runs, scores, max(box_nms_thresh, _CROP_NMS_THRESH))
    return Found(runs, found.guesses, found.stability, held).take(kept)


def tensor_changes(masks: torch.Tensor) -> NDArray[np.int64]:
    """`mask_runs.changes_of` of a bool tensor (n, H, W), found on its device."""
    if masks.device.type == "cpu":
        return changes_of(masks.numpy())
    return changes_on_device(masks).cpu().numpy()


def changes_on_device(masks: torch.Tensor) -> torch.Tensor:
    """The same as a tensor: the masks stay where they are, only the changes need to travel."""
    _, height, width = masks.shape
    stride = height * width + 1
    columns = masks.transpose(1, 2).flatten(1)  # pixels in the order of the runs
    before = F.pad(columns, (1, 0))
    after = F.pad(columns, (0, 1))
    owner, place = (before != after).nonzero(as_tuple=True)
    return owner * stride + place


def _counts(flags: torch.Tensor) -> torch.Tensor:
    """Number of True in each of (n, H, W), int32 (n,)."""
    if flags.device.type == "cpu":  # several times as fast as the sum
        counts = [np.count_nonzero(mask) for mask in flags.numpy()]
        return torch.tensor(counts, dtype=torch.int32)
    return flags.sum(dim=(1, 2), dtype=torch.int32)
