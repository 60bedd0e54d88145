"""SAM 3: a concept in words, one mask for each thing that it fits (Carion et al. 2025).

Its card names referring expressions as out of scope; it is asked for one all the same, because
users do. The one answer is its surest query.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image as Pictures
from pydantic import Field

from tasutils.baselines.drawing import Drawing, Drawn
from tasutils.checkpoints import load_model, load_processor
from tasutils.config import Part

_TOKENS = 32  # of its text tower, begin and end included


class Sam3Config(Part):
    """least_score: below it nothing is found and the best query is drawn all the same (0.3 in
    transformers, 0.5 in Meta's own code); mask_threshold: of a pixel's probability."""

    checkpoint: str = "paper/sam3"
    least_score: float = Field(default=0.3, ge=0, le=1)
    mask_threshold: float = Field(default=0.5, gt=0, lt=1)


class Sam3(Drawing):
    """SAM 3 of transformers."""

    Config, name, least_million = Sam3Config, "sam3", 500

    def _load(self, folder: Path) -> None:  # type: ignore[override]
        from transformers import Sam3Model, Sam3Processor

        kinds = {"sam3", "sam3_video"}  # the published folder holds its tracker, too
        self.model = load_model(Sam3Model, folder, "SAM 3", kinds, torch.float32).to(self.device)
        self.processor = load_processor(Sam3Processor, folder, "SAM 3")
        self.tokenizer, self.room = self.processor.tokenizer, _TOKENS - 2

    def _look(self, pictures: list[Pictures.Image]) -> Any:
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        return self.model.get_vision_features(pixel_values=pixels.to(self.device))

    def _draw(self, seen: Any, size_hw: tuple[int, int], texts: list[str]) -> list[Drawn]:
        # the processor would pass over `truncation`; without the mask padding counts
        tokens = self.tokenizer(
            texts, padding="max_length", max_length=_TOKENS, truncation=True, return_tensors="pt"
        ).to(self.device)
        levels, n = ("fpn_hidden_states", "fpn_position_encoding"), len(texts)
        many = {name: tuple(x.expand(n, -1, -1, -1) for x in seen[name]) for name in levels}
        out = self.model(vision_embeds=type(seen)(**many), **tokens)
        scores = out.pred_logits.sigmoid() * out.presence_logits.sigmoid()  # (n, queries)
        sure, best = scores.max(dim=1)
        logits = out.pred_masks[torch.arange(n), best][:, None].float()  # (n, 1, h, w)
        shares = torch.nn.functional.interpolate(logits.sigmoid(), size_hw, mode="bilinear")
        masks = (shares[:, 0] > self.config.mask_threshold).cpu().numpy()  # (n, H, W)
        return [Drawn(*one) for one in zip(masks, sure.tolist(), strict=True)]
