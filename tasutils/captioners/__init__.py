"""Pictures into words: the door `CAPTIONERS`, and what is cleaned off a caption."""

from __future__ import annotations

import re
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import Field

from tasutils.config import PLAIN, CaptionerSettings, ComputeConfig
from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

_BARE = re.compile(r"(an? )?(photo|picture|image)( of( an?| the)?)?[ .]*", re.IGNORECASE)


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
        raise TasError(
            f"captioner {type(captioner).__name__} has no {', '.join(missing)}; "
            "give it image_size (px) and caption(crops), which returns a text for each"
        )


def captions(found: Any, n: int) -> list[str]:
    """What a captioner returned for n pictures; raises TasError unless it is n texts."""
    texts = list(found) if isinstance(found, list | tuple) else [found]
    if len(texts) != n or not all(isinstance(text, str) for text in texts):
        kinds = sorted({type(text).__name__ for text in texts})
        raise TasError(
            f"the captioner gave {len(texts)} of {', '.join(kinds) or 'nothing'} for {n} pictures; "
            "give a list with a text for each"
        )
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


# --- settings ---


class _Settings(CaptionerSettings):
    maker: ClassVar[str]

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> Captioner:
        """The captioner, by the class that `maker` names."""
        return resolve_name(self.maker)(self, device, compute)  # type: ignore[no-any-return]


class CaptionerConfig(_Settings):
    """An image-to-text model from a local folder; `crop` is how its input is cut (the P-score)."""

    maker = "tasutils.captioners.image_to_text:ImageToTextCaptioner"
    kind: Literal["image_to_text"] = "image_to_text"
    checkpoint: str
    num_beams: int = Field(default=5, ge=1)
    max_new_tokens: int = Field(default=30, ge=1)
    min_length: int = Field(default=1, ge=0)


class ComposedConfig(_Settings):
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
