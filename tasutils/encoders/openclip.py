"""CLIP through open_clip: the published models and our tiny ones, by the same code."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.errors import TasError
from tasutils.parts import EncoderConfig
from tasutils.paths import weights_path

if TYPE_CHECKING:
    import torch

_CONFIGS = Path(__file__).parent / "configs"


class OpenClipEncoder:
    """An open_clip model as `ImageTextEncoder`; float32, nothing is ever downloaded.

    Args:
        config: model name, checkpoint, tokenizer; `config.checkpoint` None gives random weights.
        device: "cpu", "cuda", ...
        batch_size: images or texts at a time; memory only, changes no result beyond 1e-5.

    Raises TasError for an unknown model and for a missing, damaged or unfit checkpoint.
    """

    def __init__(self, config: EncoderConfig, device: str = "cpu", batch_size: int = 64) -> None:
        import torch

        self.config = config
        self.device = device
        self.batch_size = batch_size
        model = build_clip(config.model)
        if config.checkpoint is not None:
            load_strict(model, read_state_dict(weights_path(config.checkpoint)), config.checkpoint)
        self.model = model.eval().to(device)
        self.tokenize = _tokenizer(config)
        side = model.visual.image_size
        self.context_length = int(model.context_length)
        self.image_size = int(side[0] if isinstance(side, tuple | list) else side)
        mean, std = model.visual.image_mean, model.visual.image_std
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)
        self.dim = int(self._embed_text([""]).shape[1])

    def encode_images(self, crops: "torch.Tensor") -> NDArray[np.float32]:
        """Float32 (n, 3, image_size, image_size) RGB in 0..1 -> float32 (n, dim), L2-normalised."""
        return self._in_batches(crops, self._embed_images)

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised; cut at the model's context."""
        return self._in_batches(texts, self._embed_text)

    def _embed_images(self, crops: "torch.Tensor") -> "torch.Tensor":
        pixels = crops.to(self.device, dtype=self._mean.dtype)
        return self.model.encode_image((pixels - self._mean) / self._std)

    def _embed_text(self, texts: list[str]) -> "torch.Tensor":
        return self.model.encode_text(self.tokenize(texts).to(self.device))

    def _in_batches(self, items: Any, embed: Callable[[Any], "torch.Tensor"]) -> NDArray[Any]:
        import torch

        rows = [np.zeros((0, self.dim), dtype=np.float32)]
        with torch.inference_mode():
            for start in range(0, len(items), self.batch_size):
                features = embed(items[start : start + self.batch_size])
                rows.append(torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy())
        return np.concatenate(rows)


def build_clip(name: str) -> Any:
    """An open_clip model with random weights, ours (`configs/*.json`) or open_clip's, on the CPU.

    Raises TasError for an unknown name and for models whose parts live on the Hugging Face hub.
    """
    import open_clip

    _register_configs()
    config = None if ":" in name else open_clip.get_model_config(name)
    if config is None:
        raise TasError(f"unknown CLIP model {name!r}; see open_clip.list_models()")
    if any(key.startswith("hf_") for key in config["text_cfg"]):
        raise TasError(f"CLIP model {name!r} needs files from the hub; choose one with CLIP's text")
    with _no_warnings():
        return open_clip.create_model(name, pretrained=None, load_weights=False)


@cache
def _register_configs() -> None:
    import open_clip

    open_clip.add_model_config(_CONFIGS)


def _tokenizer(config: EncoderConfig) -> Callable[[list[str]], "torch.Tensor"]:
    if config.tokenizer is None:
        import open_clip

        return open_clip.get_tokenizer(config.model)
    from tasutils.encoders.tokenizer import tiny_tokenizer

    return tiny_tokenizer(weights_path(config.tokenizer))


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence open_clip's warning that the weights are random: ours are loaded afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
