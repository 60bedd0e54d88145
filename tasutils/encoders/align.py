"""ALIGN through transformers, from a local folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasutils.checkpoints import Pixels, load_model, load_tokenizer, local_folder
from tasutils.compute import tune
from tasutils.config import PLAIN, ComputeConfig
from tasutils.encoders import AlignConfig, TowerEncoder

if TYPE_CHECKING:
    import torch

_TEXT_TOKENS = 64  # AlignProcessor's, transformers models/align/processing_align.py


class AlignEncoder(TowerEncoder):
    """transformers' `AlignModel` (Jia et al., arXiv 2102.05918).

    Crops come at the size that the folder's processor resizes to (346 px in kakaobrain/align-base)
    and are cut to its centre (289 px) as the processor does, so the rim of a crop is not seen.
    """

    def __init__(
        self, config: AlignConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> None:
        import torch
        from transformers import AlignModel

        super().__init__("ALIGN", device, compute)
        self.config, self.context_length = config, _TEXT_TOKENS
        folder = local_folder(config.checkpoint, "ALIGN")
        self.model = load_model(AlignModel, folder, "ALIGN", {"align"}, torch.float32).to(device)
        tune(self.model.vision_model, compute)
        self.tokenizer = load_tokenizer(folder, "ALIGN")
        self._pixels = Pixels(folder, "ALIGN")
        self.image_size = self._pixels.image_size
        self.dim = int(self.model.config.projection_dim)

    def pixel_values(self, crops: torch.Tensor, whole: bool = False) -> torch.Tensor:
        """What the network sees of crops; with `whole` the rim too."""
        return self._pixels(crops.to(self.device), **({"do_center_crop": False} if whole else {}))

    def _embed_images(self, crops: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(self.pixel_values(crops)).pooler_output

    def _embed_places(self, crops: torch.Tensor) -> torch.Tensor:
        """The last map before it is averaged, of the whole crop, its rim included."""
        pixels = self.pixel_values(crops, whole=True)
        return self.model.vision_model(pixels).last_hidden_state.permute(0, 2, 3, 1)

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=_TEXT_TOKENS, return_tensors="pt"
        )
        return self.model.get_text_features(**tokens.to(self.device)).pooler_output
