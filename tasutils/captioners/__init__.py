"""Pictures into words: the door `CAPTIONERS`, transformers' captioners, what is cleaned off."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from tasutils.checkpoints import (
    Pixels,
    load_model,
    load_tokenizer,
    local_folder,
    quiet_transformers,
)
from tasutils.compute import Batches, tune
from tasutils.config import PLAIN, CaptionerSettings, ComputeConfig
from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

_BARE = re.compile(r"(an? )?(photo|picture|image)( of( an?| the)?)?[ .]*", re.IGNORECASE)
# of BLIP-2 and BLIP; of an encoder-decoder; of GIT
_IMAGE_TOWERS = {"vision_model", "encoder", "git.image_encoder"}


class Captioner(Protocol):
    """Anything that says in words what a picture shows.

    One that has other words for a whole picture than for a crop also has `caption_image`, from
    float32 (1, 3, image_size, image_size) to one string; describe() then asks it.
    """

    image_size: int

    def caption(self, crops: torch.Tensor) -> list[str]:
        """Raw captions of float32 (n, 3, image_size, image_size) RGB in 0..1; n strings."""


def check_captioner(captioner: Any) -> None:
    """Raise TasError, naming what a captioner of one's own lacks."""
    if missing := [name for name in ("image_size", "caption") if not hasattr(captioner, name)]:
        lacking = f"captioner {type(captioner).__name__} has no {', '.join(missing)}"
        raise TasError(f"{lacking}; give it image_size (px), caption(crops) -> a text for each")


def captions(found: Any, n: int) -> list[str]:
    """What a captioner returned for n pictures; raises TasError unless it is n texts."""
    texts = list(found) if isinstance(found, list | tuple) else [found]
    if len(texts) != n or not all(isinstance(text, str) for text in texts):
        kinds = sorted({type(text).__name__ for text in texts})
        given = f"{len(texts)} of {', '.join(kinds) or 'nothing'} for {n} pictures"
        raise TasError(f"the captioner gave {given}; give a list with a text for each")
    return texts


def clean_caption(raw: str) -> str:
    """A caption without stutter: white space joined, repeats collapsed, a bare opening dropped.

    A phrase that follows itself, and a word three times in a row, are kept once, without a cut-off
    repeat at the end (LAVIS #472); "a photo of" alone becomes "" (LAVIS #697).

    >>> clean_caption(" a man with ray ban ray ban ray ")
    'a man with ray ban'
    >>> clean_caption("a photo of")
    ''
    """
    words: list[str] = raw.split()
    before: list[str] | None = None
    while words != before:
        before = words
        for length in range(1, len(before) // 2 + 1):
            words = _collapse(words, length, times=2 if length > 1 else 3)
    text = " ".join(words)
    return "" if _BARE.fullmatch(text) else text


def _collapse(words: list[str], length: int, times: int) -> list[str]:
    """Keep one of every `times` or more adjacent runs of `length` equal words."""
    kept: list[str] = []
    start = 0
    while start < len(words):
        phrase, end = words[start : start + length], start + length
        while len(phrase) == length and words[end : end + length] == phrase:
            end += length
        if end - start < times * length:
            phrase, end = words[start : start + 1], start + 1
        elif words[end:] == phrase[: len(words) - end]:
            end = len(words)
        kept, start = [*kept, *phrase], end
    return kept


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
            sizes = f"its processor makes pictures of {self.image_size} px, its model takes {seen}"
            raise TasError(f"captioner {folder}: {sizes}; mend preprocessor_config.json")

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


# --- settings ---


class CaptionerConfig(CaptionerSettings):
    """An image-to-text model from a local folder; `crop` is how its input is cut (the P-score)."""

    maker = "tasutils.captioners:ImageToTextCaptioner"
    kind: Literal["image_to_text"] = "image_to_text"
    checkpoint: str
    num_beams: int = Field(default=5, ge=1)
    max_new_tokens: int = Field(default=30, ge=1)
    min_length: int = Field(default=1, ge=0)


class ComposedConfig(CaptionerSettings):
    """Captions composed from the classifier's answer and from colours; no language model.

    A thing is called by its class when that is likelier than `least_class`, else by the narrowest
    everyday word that is likelier than `least_word`; a colour is named from `least_color` of the
    pixels on. In a whole picture what is named must be likelier than `least_seen`.
    """

    maker = "tasutils.captioners.composed:ComposedCaptioner"
    kind: Literal["composed"] = "composed"
    checkpoint: str
    least_class: float = Field(default=0.3, ge=0, le=1)
    least_word: float = Field(default=0.4, ge=0, le=1)
    least_color: float = Field(default=0.5, gt=0, le=1)
    least_seen: float = Field(default=0.4, ge=0, le=1)


CAPTIONERS: dict[str, Any] = {  # kind: its settings, which make it; see `config.lookup`
    "image_to_text": CaptionerConfig,
    "composed": ComposedConfig,
}
