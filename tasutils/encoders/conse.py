"""ConSE: an image-text encoder of an ImageNet classifier and a sentence encoder, none trained here.

An image is embedded as the mean of the names of its likeliest classes, weighted by their
probabilities (Norouzi et al., arXiv 1312.5650); a text as the sentence encoder has it. Beyond the
article a name carries its nearest hypernyms, and the colours of the pixels are added as words.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.checkpoints import load_model, load_tokenizer
from tasutils.classifier import (
    COLORS,
    IMAGE_SIZE,
    crop_color_shares,
    load_classifier,
    probabilities,
)
from tasutils.compute import Batches
from tasutils.config import PLAIN, ComputeConfig
from tasutils.encoders import ConseConfig, rows_by_length
from tasutils.errors import TasError
from tasutils.language.imagenet import image_classes
from tasutils.paths import RESULTS, content_digest, weights_path, whole_file

if TYPE_CHECKING:
    import torch

_COLOR_TEMPLATE = "a photo of a {} thing"
_MAX_TOKENS = 256  # max_seq_length of all-MiniLM-L6-v2's sentence_bert_config.json


class ConseEncoder:
    """ConSE over EfficientNet-Lite2 and MiniLM, zero-shot.

    A text is the mean over the tokens of MiniLM, L2-normalised; it is cut at 256 tokens.
    """

    def __init__(
        self, config: ConseConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> None:
        self.config, self.device, self.image_size = config, device, IMAGE_SIZE
        self.crop_batches = Batches("EfficientNet", compute.crop_batch, device, compute.precision)
        self.text_batches = Batches("MiniLM", compute.text_batch, device, compute.precision)
        self.classifier = load_classifier(config.checkpoint, device)
        self.sentences, self.tokenizer = _load_sentences(weights_path(config.text_model), device)
        self.dim, self.context_length = int(self.sentences.config.hidden_size), _MAX_TOKENS
        self._names = self._class_names()
        colors = self.encode_text([_COLOR_TEMPLATE.format(color) for color in COLORS])
        self._colors = colors - colors.mean(axis=0)  # (11, dim): what sets each colour apart

    def encode_images(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """Float32 (n, 3, 260, 260) RGB in 0..1, black outside the mask -> (n, dim), L2-normal."""
        if len(crops) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        likely = probabilities(self.classifier, crops, self.crop_batches).numpy()  # (n, 1000)
        images = conse(likely, self._names, self.config.top_k)  # (n, dim)
        if self.config.color_weight:
            shares = np.stack([crop_color_shares(crop) for crop in crops.cpu().numpy()])  # (n, 11)
            images = _unit(images + self.config.color_weight * shares @ self._colors)
        return images.astype(np.float32)

    def encode_text(self, texts: list[str], batches: Batches | None = None) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        ids = self.tokenizer(texts, truncation=True, max_length=_MAX_TOKENS)["input_ids"]
        return rows_by_length(
            np.array([len(row) for row in ids]),
            lambda length, some: self._embed([texts[i] for i in some], length),
            batches or self.text_batches, self.dim,
        )  # fmt: skip

    def _embed(self, texts: list[str], n_tokens: int) -> torch.Tensor:
        tokens = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=n_tokens, return_tensors="pt"
        ).to(self.device)
        states = self.sentences(**tokens).last_hidden_state  # (n, t, dim)
        real = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)  # (n, t, 1)
        return (states * real).sum(1) / real.sum(1)

    def n_tokens(self, text: str) -> int:
        """How many tokens the whole text has, begin and end included."""
        return len(self.tokenizer(text)["input_ids"])

    def _class_names(self) -> NDArray[np.float32]:
        """Embeddings (1000, dim) of ImageNet's class names, float32, kept in results/cache."""
        template, kinds = self.config.name_template, self.config.kinds
        texts = [template.format(c.with_kinds(kinds)) for c in image_classes()]
        told = "\n".join([content_digest(weights_path(self.config.text_model)), *texts])
        path = RESULTS / "cache" / f"class_names_{sha256(told.encode()).hexdigest()[:16]}.npy"
        with suppress(OSError, ValueError, EOFError):
            stored = np.load(path, allow_pickle=False)
            if stored.shape == (len(texts), self.dim) and stored.dtype == np.float32:
                return stored
        names = self.encode_text(texts, Batches("MiniLM", self.text_batches.size, self.device))
        with suppress(OSError):  # a folder that cannot be written costs time only
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as unfinished, unfinished.open("wb") as file:
                np.save(file, names)
        return names


@lru_cache(maxsize=4)
def _load_sentences(folder: Path, device: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModel

    if not folder.is_dir():
        raise TasError(f"no sentence encoder at {folder}; put its folder there")
    model = load_model(AutoModel, folder, "sentence encoder", {"bert"}, torch.float32)
    return model.requires_grad_(False).to(device), load_tokenizer(folder, "sentence encoder")


def conse(
    likely: NDArray[np.float32], names: NDArray[np.float32], top_k: int
) -> NDArray[np.float32]:
    """Sum over the `top_k` likeliest classes of p times name, L2-normalised (ConSE, equation 3).

    likely: (n, c), 0..1; names: (c, d), L2-normalised. Returns (n, d).
    """
    best = np.argpartition(-likely, top_k - 1, axis=1)[:, :top_k]  # (n, top_k)
    weights = np.zeros_like(likely)
    np.put_along_axis(weights, best, np.take_along_axis(likely, best, axis=1), axis=1)
    return _unit(weights @ names)


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
