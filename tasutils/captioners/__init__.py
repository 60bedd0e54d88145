"""Pictures into words: the door `CAPTIONERS`, and what is cleaned off a caption."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

_BARE = re.compile(r"(an? )?(photo|picture|image)( of( an?| the)?)?[ .]*", re.IGNORECASE)


CAPTIONERS: dict[str, Any] = {  # kind: its settings, which make it; see `config.lookup`
    "image_to_text": "tasutils.captioners.settings:CaptionerConfig",
    "composed": "tasutils.captioners.settings:ComposedConfig",
}


class Captioner(Protocol):
    """Anything that says in words what a picture shows.

    One that has other words for a whole picture than for a crop also has `caption_image`, which
    takes float32 (1, 3, image_size, image_size) and returns one string; describe() then asks it.
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
            kept.append(words[start])
            start += 1
            continue
        kept += phrase
        rest = words[end:]
        start = len(words) if rest == phrase[: len(rest)] else end
    return kept
