"""ALIGN through transformers, from a local folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.checkpoints import Pixels, load_model, load_tokenizer, local_folder
from tasutils.compute import FEWEST, Batches, tune, unit_rows
from tasutils.config import PLAIN, ComputeConfig

if TYPE_CHECKING:
    import torch

    from tasutils.encoders.settings import AlignConfig

_TEXT_TOKENS = 64  # AlignProcessor's, transformers models/align/processing_align.py


class AlignEncoder:
    """transformers' `AlignModel` as `DenseEncoder` (Jia et al., arXiv 2102.05918).

    Crops come at the size that the folder's processor resizes to (346 px in kakaobrain/align-base)
    and are cut to its centre (289 px) as the processor does, so the rim of a crop is not seen.

    Raises TasError when the folder is missing, damaged or of another model.
    """

    def __init__(
        self, config: AlignConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> None:
        import torch
        from transformers import AlignModel

        self.config, self.device = config, device
        self.crop_batches = Batches("ALIGN", compute.crop_batch, device, compute.precision)
        self.text_batches = Batches("ALIGN", compute.text_batch, device, compute.precision)
        folder = local_folder(config.checkpoint, "ALIGN")
        self.model = load_model(AlignModel, folder, "ALIGN", {"align"}, torch.float32).to(device)
        tune(self.model.vision_model, compute)
        self.tokenizer = load_tokenizer(folder, "ALIGN")
        self._pixels = Pixels(folder, "ALIGN")
        self.image_size = self._pixels.image_size
        self.dim = int(self.model.config.projection_dim)

    def encode_images(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """Float32 (n, 3, image_size, image_size) RGB in 0..1 -> float32 (n, dim), L2-normalised."""
        return unit_rows(crops, self._embed_images, self.crop_batches, self.dim, FEWEST)

    def encode_dense(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """As encode_images, but (n, h, w, dim): the last feature map before it is averaged.

        The map is of the whole crop, its rim included, since a grid has to lie over all of it.
        """
        if len(crops) == 0:
            return self.encode_dense(crops.new_zeros((1, *crops.shape[1:])))[:0]
        return unit_rows(crops, self._embed_places, self.crop_batches, self.dim)

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised; cut at 64 tokens."""
        return unit_rows(texts, self._embed_text, self.text_batches, self.dim)

    def pixel_values(self, crops: torch.Tensor, whole: bool = False) -> torch.Tensor:
        """What the network sees of crops; with `whole` the rim too."""
        changes = {"do_center_crop": False} if whole else {}
        return self._pixels(crops.to(self.device), **changes)

    def _embed_images(self, crops: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(self.pixel_values(crops)).pooler_output

    def _embed_places(self, crops: torch.Tensor) -> torch.Tensor:
        pixels = self.pixel_values(crops, whole=True)
        return self.model.vision_model(pixels).last_hidden_state.permute(0, 2, 3, 1)

    def _embed_text(self, texts: list[str]) -> torch.Tensor:
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=_TEXT_TOKENS, return_tensors="pt"
        )
        return self.model.get_text_features(**tokens.to(self.device)).pooler_output
