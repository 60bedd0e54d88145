"""SAM's automatic masks, then the overlap filter."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils.amg import build_point_grid
from segment_anything.utils.transforms import ResizeLongestSide

from tasutils.compute import Batches, autocast, tune
from tasutils.config import PLAIN, ComputeConfig, OverlapConfig
from tasutils.masks import decode_rle
from tasutils.paths import weights_path
from tasutils.proposals import filtered
from tasutils.proposals.sam_builder import build_sam
from tasutils.proposals.sam_decoder import decode_points
from tasutils.proposals.sam_post import Found, box_nms, stable_masks, tidy
from tasutils.proposals.settings import SamConfig
from tasutils.scene import Proposals

Picture = NDArray[np.uint8]


class SamProposer:
    """The masks of segment-anything's `SamAutomaticMaskGenerator`, made in less time.

    Its modules and its rules, but a mask that its predicted IoU rules out is never enlarged, and
    masks stay on the device. In float32 on a CPU, masks, order and scores are the generator's bit
    for bit, unless its last batch has under four points: products of few rows are rounded
    otherwise. Layers of crops are left to the generator itself.

    Args:
        config: the generator's settings; `config.checkpoint` None gives random weights.
        overlap: the filter of what the generator returns.
        device: "cpu", "cuda", ...
        compute: precision, and layout and compilation of the image encoder.

    Raises TasError when the checkpoint is missing or damaged.
    """

    def __init__(
        self,
        config: SamConfig,
        overlap: OverlapConfig,
        device: str = "cpu",
        compute: ComputeConfig = PLAIN,
    ) -> None:
        self.config = config
        self.overlap = overlap
        self.device = device
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

        return SamAutomaticMaskGenerator(
            self.model,
            points_per_side=self.config.points_per_side,
            points_per_batch=self.config.points_per_batch,
            pred_iou_thresh=self.config.pred_iou_thresh,
            stability_score_thresh=self.config.stability_score_thresh,
            stability_score_offset=self.config.stability_score_offset,
            box_nms_thresh=self.config.box_nms_thresh,
            crop_n_layers=self.config.crop_n_layers,
            min_mask_region_area=self.config.min_mask_region_area,
            output_mode="coco_rle",
        )

    @torch.no_grad()
    def __call__(self, image: Picture) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; none for a picture too thin for the network's input."""
        size_hw = _size_hw(image)
        if self._too_thin(size_hw):
            return Proposals.from_masks(np.zeros((0, *size_hw), dtype=bool))
        if self.config.crop_n_layers:
            return filtered(self._of_generator(image), self.overlap)
        found = Found.joined(self._stable(image))
        found = found.take(box_nms(found.runs, found.guesses, self.config.box_nms_thresh))
        if self.config.min_mask_region_area:
            found = tidy(found, self.config.min_mask_region_area, self.config.box_nms_thresh)
        guesses, stability = found.guesses.numpy(), np.nan_to_num(found.stability.numpy())
        proposals = Proposals.from_runs(found.runs, guesses, stability, found.masks)
        return filtered(proposals, self.overlap)

    def _stable(self, image: Picture) -> list[Found]:
        """The stable masks of the points, some points at a time."""
        size_hw = _size_hw(image)
        resized = torch.from_numpy(self._resize.apply_image(image)).to(self.device)
        pixels = resized.permute(2, 0, 1).contiguous()[None]  # (1, 3, h, w)
        input_hw = (int(pixels.shape[2]), int(pixels.shape[3]))
        with autocast(self.device, self.precision):
            embedding = self.model.image_encoder(self.model.preprocess(pixels))
        grid = build_point_grid(self.config.points_per_side) * np.array(size_hw[::-1])
        points_xy = torch.from_numpy(self._resize.apply_coords(grid, size_hw)).to(self.device)

        def of_points(points: torch.Tensor) -> Found:
            with autocast(self.device, self.precision):
                logits, guesses = decode_points(
                    self.model, embedding, points, self.config.pred_iou_thresh
                )
            side = self.model.image_encoder.img_size
            return stable_masks(logits, guesses, input_hw, size_hw, side, self.config)

        return self.point_batches(points_xy, of_points)

    def _of_generator(self, image: Picture) -> Proposals:
        try:
            records = self.generator.generate(image)
        except IndexError:  # segment-anything: layers of crops, and no mask in any of them
            records = []
        masks = decode_rle([record["segmentation"] for record in records], _size_hw(image))
        scores = [(record["predicted_iou"], record["stability_score"]) for record in records]
        table = np.nan_to_num(np.array(scores, np.float32).reshape(-1, 2))  # (n, 2); 0 / 0 is 0
        return Proposals.from_masks(masks, table[:, 0], table[:, 1])

    def _too_thin(self, size_hw: tuple[int, int]) -> bool:
        """True if the short side vanishes when the long one is scaled to the network's input."""
        short, long = sorted(size_hw)
        return short < 2 or int(short * self.model.image_encoder.img_size / long + 0.5) < 1


def _size_hw(image: Picture) -> tuple[int, int]:
    return int(image.shape[0]), int(image.shape[1])
