"""SAM's automatic masks, then the overlap filter."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasutils.masks import decode_rle
from tasutils.parts import OverlapConfig, SamConfig
from tasutils.paths import weights_path
from tasutils.proposals import passing
from tasutils.scene import Proposals


class SamProposer:
    """segment-anything's own, unmodified `SamAutomaticMaskGenerator` behind `Proposer`.

    Args:
        config: the generator's settings; `config.checkpoint` None gives random weights.
        overlap: the filter of what the generator returns.
        device: "cpu", "cuda", ...

    Raises TasError when the checkpoint is missing or damaged.
    """

    def __init__(self, config: SamConfig, overlap: OverlapConfig, device: str = "cpu") -> None:
        from tasutils.proposals.sam_builder import build_sam

        self.config = config
        self.overlap = overlap
        self.device = device
        path = None if config.checkpoint is None else weights_path(config.checkpoint)
        self.model = build_sam(config.size, path).eval().to(device)

    @cached_property
    def generator(self) -> Any:
        """The mask generator over `model`."""
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

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Masks of uint8 (H, W, 3) RGB; none for a picture too thin for the network's input."""
        size_hw = (int(image.shape[0]), int(image.shape[1]))
        if self._too_thin(size_hw):
            return Proposals.from_masks(np.zeros((0, *size_hw), dtype=bool))
        records = self._records(image)
        masks = decode_rle([record["segmentation"] for record in records], size_hw)
        kept = passing(masks, self.overlap)
        scores = [(record["predicted_iou"], record["stability_score"]) for record in records]
        table = np.nan_to_num(np.array(scores, np.float32).reshape(-1, 2))  # (n, 2); 0 / 0 is 0
        return Proposals.from_masks(masks[kept], table[kept, 0], table[kept, 1])

    def _records(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        try:
            return self.generator.generate(image)
        except IndexError:  # segment-anything: layers of crops, and no mask in any of them
            if self.config.crop_n_layers == 0:
                raise
            return []

    def _too_thin(self, size_hw: tuple[int, int]) -> bool:
        """True if the short side vanishes when the long one is scaled to the network's input."""
        short, long = sorted(size_hw)
        return short < 2 or int(short * self.model.image_encoder.img_size / long + 0.5) < 1
