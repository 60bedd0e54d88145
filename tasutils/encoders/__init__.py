"""Images and texts into one space: the door `ENCODERS`, and what an encoder of one's own has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasutils.checkpoints import Pixels, load_model, load_tokenizer, local_folder
from tasutils.compute import FEWEST, Batches, tune, unit_rows
from tasutils.config import PLAIN, ComputeConfig, EncoderSettings, Template
from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

_ALIGN_TOKENS = 64  # AlignProcessor's, transformers models/align/processing_align.py


class ImageTextEncoder(Protocol):
    """An image and a text tower; with `context_length`, `n_tokens(text)` too, cuts are told."""

    dim: int
    image_size: int
    device: str

    def encode_images(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """Float32 (n, 3, image_size, image_size) RGB in 0..1 -> float32 (n, dim), L2-normalised."""

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised; no text gives (0, dim)."""


class TowerEncoder:
    """Base of the encoders here that also embed the places of a picture; `model`: the network.

    pixel_values: what the network sees of crops, float32 (n, 3, s, s), normalised, on its device.
    """

    dim: int
    image_size: int
    model: Any
    tokenizer: Any
    pixel_values: Callable[..., torch.Tensor]
    _embed_images: Callable[[torch.Tensor], torch.Tensor]  # (n, dim), any length
    _embed_places: Callable[[torch.Tensor], torch.Tensor]  # (n, h, w, dim), any length
    _embed_texts: Callable[[Any], torch.Tensor]  # (n, dim), any length

    def __init__(self, name: str, device: str, compute: ComputeConfig) -> None:
        self.device = device
        self.crop_batches = Batches(name, compute.crop_batch, device, compute.precision)
        self.text_batches = Batches(name, compute.text_batch, device, compute.precision)

    def encode_images(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """Float32 (n, 3, image_size, image_size) RGB in 0..1 -> float32 (n, dim), L2-normalised."""
        return unit_rows(crops, self._embed_images, self.crop_batches, self.dim, FEWEST)

    def encode_dense(self, crops: torch.Tensor) -> NDArray[np.float32]:
        """As encode_images, but (n, h, w, dim): a grid over the whole crop, rows from the top."""
        if len(crops) == 0:
            return self.encode_dense(crops.new_zeros((1, *crops.shape[1:])))[:0]
        return unit_rows(crops, self._embed_places, self.crop_batches, self.dim)

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts as they stand -> float32 (n, dim), L2-normalised."""
        return unit_rows(texts, self._embed_texts, self.text_batches, self.dim)

    def n_tokens(self, text: str) -> int:
        """How many tokens the whole text has, begin and end included."""
        return len(self.tokenizer(text).input_ids)


def normaliser(mean_rgb: Any, std_rgb: Any, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Moves crops (n, 3, s, s) in 0..1 to the device, less the mean, by the standard deviation."""
    import torch

    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mean_rgb, std_rgb))
    return lambda crops: (crops.to(device, mean.dtype) - mean) / std


def rows_by_length(
    n_tokens: NDArray[np.integer], embed: Callable[[int, Any], torch.Tensor], batches: Batches,
    dim: int,
) -> NDArray[np.float32]:  # fmt: skip
    """Embeddings float32 (n, dim) of n texts, so that no text's rounding hangs on the others.

    Texts go together that are equally long in eights of tokens; embed: the tokens that they are
    filled up to, and their numbers (m,) -> (m, dim).
    """
    rows = np.zeros((len(n_tokens), dim), dtype=np.float32)
    eights = -(-n_tokens // 8)
    for n in np.unique(eights).tolist():
        here = np.flatnonzero(eights == n)
        rows[here] = unit_rows(here, partial(embed, 8 * n), batches, dim)
    return rows


def dense(encoder: Any) -> TowerEncoder:
    """`encoder` itself when it has dense features; raises TasError when it has none."""
    if not all(hasattr(encoder, name) for name in ("encode_dense", "pixel_values", "model")):
        name = getattr(getattr(encoder, "config", None), "kind", type(encoder).__name__)
        raise TasError(f"encoder {name} has no dense features; choose openclip, align or albef")
    return encoder  # type: ignore[no-any-return]


def check_encoder(encoder: Any) -> None:
    """Raise TasError, naming what an encoder of one's own lacks; without a `device` it is "cpu"."""
    names = ("dim", "image_size", "encode_images", "encode_text")
    if missing := [name for name in names if not hasattr(encoder, name)]:
        remedy = "give it dim, image_size (px), encode_images(crops) and encode_text(texts)"
        lacking = ", ".join(missing)
        raise TasError(f"encoder {type(encoder).__name__} has no {lacking}; {remedy}")


def embeddings(found: Any, n: int, what: str) -> NDArray[np.float32]:
    """What an encoder returned for n crops or texts (`what`), as finite float32 (n, dim)."""
    if hasattr(found, "detach"):
        found = found.detach().cpu().float()
    try:
        rows = np.asarray(found, dtype=np.float32)
    except (TypeError, ValueError):
        rows = np.zeros(0, np.float32)
    if rows.ndim != 2 or len(rows) != n or not np.isfinite(rows).all():
        given = f"{type(found).__name__} {rows.shape} for {n} {what}"
        raise TasError(f"the encoder gave {given}; give finite numbers, float32 ({n}, dim)")
    return rows


class AlignEncoder(TowerEncoder):
    """transformers' `AlignModel` (Jia et al., arXiv 2102.05918).

    As the folder's processor does, crops (346 px in kakaobrain/align-base) are cut to 289 px.
    """

    def __init__(
        self, config: AlignConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> None:
        import torch
        from transformers import AlignModel

        super().__init__("ALIGN", device, compute)
        self.config, self.context_length = config, _ALIGN_TOKENS
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
            texts, padding=True, truncation=True, max_length=_ALIGN_TOKENS, return_tensors="pt"
        )
        return self.model.get_text_features(**tokens.to(self.device)).pooler_output


# --- settings ---


class EncoderConfig(EncoderSettings):
    """A model of open_clip; refer() puts the sentence in `template`, nothing is added.

    tokenizer: a vocabulary of our own or, for one from the Hugging Face hub (SigLIP), the folder of
    its files, under data/weights. None: the model's own.
    """

    maker = "tasutils.encoders.openclip:OpenClipEncoder"
    kind: Literal["openclip"] = "openclip"
    model: str
    checkpoint: str | None = None
    tokenizer: str | None = None


class AlignConfig(EncoderSettings):
    """ALIGN; `checkpoint` is a folder as written by save_pretrained."""

    maker = "tasutils.encoders:AlignEncoder"
    kind: Literal["align"] = "align"
    checkpoint: str


class AlbefConfig(EncoderSettings):
    """ALBEF; images are seen at `image_size` px, a multiple of the patch.

    checkpoint: ALBEF.pth (trained at 256 px), mscoco.pth or flickr30k.pth (384 px); tokenizer: a
    folder with bert-base-uncased's.
    """

    maker = "tasutils.encoders.albef:AlbefEncoder"
    kind: Literal["albef"] = "albef"
    checkpoint: str
    tokenizer: str
    image_size: int = Field(default=384, ge=16, multiple_of=16)


class ConseConfig(EncoderSettings):
    """An ImageNet classifier (file `checkpoint`) and a sentence encoder (folder `text_model`).

    top_k: likeliest classes that are averaged; kinds: how many hypernyms follow a class's name in
    `name_template`; color_weight: of the colour words read from the pixels, 0 leaves them out.
    """

    maker = "tasutils.encoders.conse:ConseEncoder"
    kind: Literal["conse"] = "conse"
    checkpoint: str
    text_model: str
    top_k: int = Field(default=50, ge=1, le=1000)
    kinds: int = Field(default=2, ge=0)
    color_weight: float = Field(default=0.3, ge=0)
    name_template: Template = "a photo of a {}"


ENCODERS: dict[str, Any] = {  # kind: its settings, which make it; see `config.lookup`
    "openclip": EncoderConfig,
    "align": AlignConfig,
    "albef": AlbefConfig,
    "conse": ConseConfig,
}
