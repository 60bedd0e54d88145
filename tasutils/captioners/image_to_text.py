"""BLIP-2, BLIP, GIT, a vision encoder-decoder: transformers' captioners, from a local folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasutils.captioners import CaptionerConfig
from tasutils.checkpoints import (
    Pixels,
    load_model,
    load_tokenizer,
    local_folder,
    quiet_transformers,
)
from tasutils.compute import Batches, tune
from tasutils.config import PLAIN, ComputeConfig
from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

# of BLIP-2 and BLIP; of an encoder-decoder; of GIT
_IMAGE_TOWERS = {"vision_model", "encoder", "git.image_encoder"}


class ImageToTextCaptioner:
    """A model of transformers that says what a picture shows, as `Captioner`; no prompt.

    Beam search without sampling; the precision is here that of the weights too. The folder: see
    `checkpoints.local_folder`.
    """

    def __init__(
        self, config: CaptionerConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> None:
        import torch
        from transformers import AutoModelForImageTextToText as AnyModel
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
        )

        self.config, self.device = config, device
        folder = local_folder(config.checkpoint, "captioner")
        self.batches = Batches("the captioner", compute.caption_batch, device)
        dtype = getattr(torch, compute.precision)
        self.model = load_model(AnyModel, folder, "captioner", KNOWN, dtype).to(device)
        for name in _IMAGE_TOWERS & dict(self.model.named_modules()).keys():
            tune(self.model.get_submodule(name), compute)
        self.tokenizer = load_tokenizer(folder, "captioner")
        self.pixel_values = Pixels(folder, "captioner")
        self.image_size = self.pixel_values.image_size
        config = self.model.config
        vision = getattr(config, "vision_config", None) or getattr(config, "encoder", None)
        seen = getattr(vision, "image_size", None)  # not every config tells
        if isinstance(seen, int) and seen != self.image_size:
            raise TasError(
                f"captioner {folder}: its processor makes pictures of {self.image_size} px, its "
                f"model takes {seen}; correct the size in preprocessor_config.json"
            )

    def caption(self, crops: torch.Tensor) -> list[str]:
        """Raw captions of float32 (n, 3, image_size, image_size) RGB in 0..1; n strings."""
        with quiet_transformers():
            return [text for texts in self.batches(crops, self._caption_batch) for text in texts]

    def _caption_batch(self, crops: torch.Tensor) -> list[str]:
        tokens = self.model.generate(
            pixel_values=self.pixel_values(crops.to(self.device)).to(self.model.dtype),
            do_sample=False, num_beams=self.config.num_beams,
            max_new_tokens=self.config.max_new_tokens, min_new_tokens=self.config.min_length,
        )  # fmt: skip
        # BLIP-2 gives its image tokens back, which not every tokenizer knows to be special
        image = getattr(self.model.config, "image_token_id", None)
        rows = tokens if image is None else [row[row != image] for row in tokens]
        return [text.strip() for text in self.tokenizer.batch_decode(rows, True)]
