"""Grounding DINO finds the box that a sentence names, SAM 2 the mask in it ("Grounded SAM 2").

Liu et al., arXiv 2303.05499; Ravi et al., arXiv 2408.00714. The one answer is the surest box.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Pictures
from pydantic import Field

from tasutils.baselines.drawing import Drawing, Drawn
from tasutils.checkpoints import load_model, load_processor
from tasutils.config import Part


class GroundedConfig(Part):
    """least_score: below it nothing is found, and the best box is taken all the same.

    checkpoint: Grounding DINO, or MM-Grounding DINO; sam_checkpoint: SAM 2.
    """

    checkpoint: str = "paper/grounding-dino-tiny"
    sam_checkpoint: str = "paper/sam2.1-hiera-large"
    least_score: float = Field(default=0.25, ge=0, le=1)


class Grounded(Drawing):
    """Grounding DINO and SAM 2 of transformers."""

    Config, name, least_million = GroundedConfig, "grounded", 100

    def _load(self, dino: Path, sam: Path) -> None:  # type: ignore[override]
        from transformers import AutoModelForZeroShotObjectDetection as AnyDetector
        from transformers import GroundingDinoProcessor, Sam2Model, Sam2Processor

        what, kinds = "Grounding DINO", {"grounding-dino", "mm-grounding-dino"}
        self.model = load_model(AnyDetector, dino, what, kinds, torch.float32).to(self.device)
        self._backbone = self.model.model.backbone.forward  # `_draw` puts what it gave in its place
        self.processor = load_processor(GroundingDinoProcessor, dino, what)
        segmenter = load_model(Sam2Model, sam, "SAM 2", {"sam2", "sam2_video"}, torch.float32)
        self.sam = segmenter.to(self.device)
        self.sam_processor = load_processor(Sam2Processor, sam, "SAM 2")
        self.tokenizer, self.room = self.processor.tokenizer, self.model.config.max_text_len - 3

    def _look(self, pictures: list[Pictures.Image]) -> Any:
        pixels = self.processor.image_processor(images=pictures, return_tensors="pt")
        pixels = pixels.to(self.device)
        features = self._backbone(pixels["pixel_values"], pixels["pixel_mask"])
        square = self.sam_processor(images=pictures, return_tensors="pt")["pixel_values"]
        return pixels, features, self.sam.get_image_embeddings(square.to(self.device))

    def _draw(self, seen: Any, size_hw: tuple[int, int], texts: list[str]) -> list[Drawn]:
        pixels, (maps, places), embeddings = seen
        # a dot or question mark ends a phrase, and phrases do not see each other
        phrases = [f"{re.sub('[.?]+', ' ', text).strip().lower()}." for text in texts]
        tokens = self.tokenizer(
            phrases, padding=True, truncation=True, max_length=self.room + 3, return_tensors="pt"
        ).to(self.device)

        def many(values: torch.Tensor) -> torch.Tensor:
            return values.expand(len(texts), *values.shape[1:])

        given = [(many(values), many(mask)) for values, mask in maps], list(map(many, places))
        self.model.model.backbone.forward = lambda *_: given
        out = self.model(**tokens, **{name: many(value) for name, value in pixels.items()})
        sure, best = out.logits.sigmoid().amax(dim=2).max(dim=1)  # (n,)
        x, y, w, h = out.pred_boxes[torch.arange(len(texts)), best].float().unbind(1)  # 0..1
        height, width = size_hw
        corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1).clamp(0, 1)
        boxes = corners.cpu() * torch.tensor([width, height, width, height])  # (n, 4) px
        masks = self._masks(embeddings, boxes, size_hw)
        return [Drawn(*one) for one in zip(masks, sure.tolist(), strict=True)]

    def _masks(self, embeddings: Any, boxes: torch.Tensor, size_hw: tuple[int, int]) -> Any:
        """SAM 2's mask of each box, bool (n, H, W)."""
        asked = self.sam_processor(
            input_boxes=[boxes.tolist()], original_sizes=[list(size_hw)], return_tensors="pt"
        ).to(self.device)
        out = self.sam(
            image_embeddings=embeddings, input_boxes=asked["input_boxes"], multimask_output=False
        )
        (masks,) = self.sam_processor.post_process_masks(out.pred_masks, [list(size_hw)])
        return masks[:, 0].cpu().numpy()
