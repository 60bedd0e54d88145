"""Images and texts into one space: the door `ENCODERS`, and what an encoder of one's own has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tasutils.compute import FEWEST, Batches, unit_rows
from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

    from tasutils.config import ComputeConfig


ENCODERS: dict[str, Any] = {  # kind: its settings, which make it; see `config.lookup`
    "openclip": "tasutils.encoders.settings:EncoderConfig",
    "align": "tasutils.encoders.settings:AlignConfig",
    "albef": "tasutils.encoders.settings:AlbefConfig",
    "conse": "tasutils.encoders.settings:ConseConfig",
}


class ImageTextEncoder(Protocol):
    """An image tower and a text tower with a common embedding of `dim` numbers.

    One that also has `context_length` and `n_tokens(text)` tells when a sentence is cut.
    """

    dim: int
    image_size: int
    device: str

    def encode_images(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """Float32 (n, 3, image_size, image_size) RGB in 0..1 -> float32 (n, dim), L2-normalised."""

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised; no text gives (0, dim)."""


@runtime_checkable
class DenseEncoder(ImageTextEncoder, Protocol):
    """An encoder that also embeds the places of a picture; `dense` tells which ones do.

    `model` is the network, so that gradients and hooks are within reach.
    """

    model: Any

    def pixel_values(self, crops: torch.Tensor) -> torch.Tensor:
        """What the network sees of crops: float32 (n, 3, s, s), normalised, on its device."""

    def encode_dense(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """As encode_images, but (n, h, w, dim): a grid over the whole crop, rows from the top."""


class TowerEncoder:
    """Base of the encoders here: two towers, asked for some items at a time; see `DenseEncoder`."""

    dim: int
    image_size: int

    def __init__(self, name: str, device: str, compute: ComputeConfig) -> None:
        self.device = device
        self.crop_batches = Batches(name, compute.crop_batch, device, compute.precision)
        self.text_batches = Batches(name, compute.text_batch, device, compute.precision)

    def encode_images(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """Float32 (n, 3, image_size, image_size) RGB in 0..1 -> float32 (n, dim), L2-normalised."""
        return unit_rows(crops, self._embed_images, self.crop_batches, self.dim, FEWEST)

    def encode_dense(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """As encode_images, but (n, h, w, dim): a grid over the whole crop."""
        if len(crops) == 0:
            return self.encode_dense(crops.new_zeros((1, *crops.shape[1:])))[:0]
        return unit_rows(crops, self._embed_places, self.crop_batches, self.dim)

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised."""
        return unit_rows(texts, self._embed_texts, self.text_batches, self.dim)

    def _embed_images(self, crops: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError  # (n, dim), any length

    def _embed_places(self, crops: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError  # (n, h, w, dim), any length

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        raise NotImplementedError  # (n, dim), any length


def dense(encoder: Any) -> DenseEncoder:
    """`encoder` itself when it has dense features; raises TasError when it has none."""
    if not isinstance(encoder, DenseEncoder):
        name = getattr(getattr(encoder, "config", None), "kind", type(encoder).__name__)
        raise TasError(
            f"encoder {name} has no dense features; choose one of openclip, align, albef"
        )
    return encoder


def check_encoder(encoder: Any) -> None:
    """Raise TasError, naming what an encoder of one's own lacks; without a `device` it is "cpu"."""
    names = ("dim", "image_size", "encode_images", "encode_text")
    if missing := [name for name in names if not hasattr(encoder, name)]:
        raise TasError(
            f"encoder {type(encoder).__name__} has no {', '.join(missing)}; give it dim, "
            "image_size (px), encode_images(crops) and encode_text(texts)"
        )


def embeddings(found: Any, n: int, what: str) -> NDArray[np.float32]:
    """What an encoder returned for n crops or texts (`what`), as float32 (n, dim).

    A tensor will do. Raises TasError for another number of rows, and for numbers not finite.
    """
    if hasattr(found, "detach"):
        found = found.detach().cpu().float()
    try:
        rows = np.asarray(found, dtype=np.float32)
    except (TypeError, ValueError):
        rows = np.zeros(0, np.float32)
    if rows.ndim != 2 or len(rows) != n or not np.isfinite(rows).all():
        raise TasError(
            f"the encoder gave {type(found).__name__} {rows.shape} for {n} {what}; "
            f"give finite numbers, float32 ({n}, dim)"
        )
    return rows
