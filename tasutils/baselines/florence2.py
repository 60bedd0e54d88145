"""Florence-2 writes the outline of what a sentence names, as words for places (Xiao et al. 2024).

arXiv 2311.06242. The surest of its beams that draws anything is the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pictures
from PIL import ImageDraw
from pydantic import Field

from tasutils.baselines.drawing import Drawing, Drawn
from tasutils.checkpoints import load_model, load_processor
from tasutils.config import Part

_TASK = "<REFERRING_EXPRESSION_SEGMENTATION>"


class Florence2Config(Part):
    """num_beams, max_new_tokens: of the generation, as its card has them."""

    checkpoint: str = "paper/Florence-2-large"
    num_beams: int = Field(default=3, ge=2)
    max_new_tokens: int = Field(default=1024, ge=1)


class Florence2(Drawing):
    """Florence-2 of transformers; its confidence is the mean probability of a word."""

    Config, name, least_million = Florence2Config, "florence2", 200

    def _load(self, folder: Path) -> None:  # type: ignore[override]
        from transformers import Florence2ForConditionalGeneration, Florence2Processor

        what, kind = "Florence-2", Florence2ForConditionalGeneration
        self.model = load_model(kind, folder, what, {"florence2"}, torch.float32).to(self.device)
        self.processor = load_processor(Florence2Processor, folder, what)
        self.tokenizer = self.processor.tokenizer
        most = self.model.config.text_config.max_position_embeddings
        self.room = most - len(self.tokenizer(self._prompt("")).input_ids)

    def _prompt(self, text: str) -> str:
        words, tokens = self.processor.task_prompts_with_input[_TASK], self.tokenizer
        image = self.processor.image_token * self.processor.num_image_tokens
        return f"{image}{tokens.bos_token}{words.format(input=text)}{tokens.eos_token}"

    def _look(self, pictures: list[Pictures.Image]) -> Any:
        pixels = self.processor.image_processor(images=pictures, return_tensors="pt")
        return self.model.get_image_features(pixel_values=pixels["pixel_values"].to(self.device))

    def _draw(self, seen: Any, size_hw: tuple[int, int], texts: list[str]) -> list[Drawn]:
        n, beams = len(texts), self.config.num_beams
        tokens = self.tokenizer(
            [self._prompt(text) for text in texts], add_special_tokens=False, padding=True,
            return_tensors="pt",
        ).to(self.device)  # fmt: skip
        many = type(seen)(pooler_output=seen.pooler_output.expand(n, -1, -1))
        out = self.model.generate(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"],
            mm_encoder_outputs={"image": many}, num_beams=beams, num_return_sequences=beams,
            do_sample=False, max_new_tokens=self.config.max_new_tokens, output_scores=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        written = self.processor.batch_decode(out.sequences, skip_special_tokens=False)
        sure = out.sequences_scores.exp().tolist()
        masks = [self._filled(text, size_hw) for text in written]
        found = []
        for first in range(0, n * beams, beams):
            drawing = [k for k in range(first, first + beams) if masks[k].any()]
            k = drawing[0] if drawing else first
            found.append(Drawn(masks[k], sure[k], ("the best beam drew nothing",) * (k > first)))
        return found

    def _filled(self, written: str, size_hw: tuple[int, int]) -> Any:
        """The outlines in a text, filled: bool (H, W)."""
        height, width = size_hw
        told = self.processor.post_process_generation(
            text=written, task=_TASK, image_size=(width, height)
        )
        picture = Pictures.new("1", (width, height))
        for ring in (ring for thing in told[_TASK]["polygons"] for ring in thing):
            if len(ring) >= 6:
                ImageDraw.Draw(picture).polygon(list(map(float, ring)), fill=1)
        return np.asarray(picture)
