"""What the networks share that draw a mask for each sentence instead of choosing one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from tasutils.baselines.base import Image, Latest, checked
from tasutils.checkpoints import local_folder
from tasutils.compute import Batches
from tasutils.config import Part
from tasutils.errors import TasError
from tasutils.masks import encode_rle
from tasutils.models import remedy
from tasutils.paths import weights_path
from tasutils.refer import Answer, Expression
from tasutils.scene import Scene

if TYPE_CHECKING:
    from tasutils.tas import TAS

_SENTENCES = 8  # at a time; less where memory does not suffice


class Drawn(NamedTuple):
    """A mask, bool (H, W), how sure the network is, 0..1, and what was amiss."""

    mask: NDArray[np.bool_]
    confidence: float
    notes: tuple[str, ...] = ()


class Drawing(ABC):
    """A network that draws one mask for a sentence; whatever was amiss stands in the answer.

    Config: its switches, of which those named `...checkpoint` are folders, absolute, below
    data/weights or in the hub's cache; least_million: parameters that all published ones have;
    tokenizer, room: of the texts, and the tokens that a sentence may have.
    """

    Config: ClassVar[type[Part]]
    name: ClassVar[str]
    least_million: ClassVar[float]
    model: Any
    tokenizer: Any
    room: int

    def __init__(self, config: Any, device: str = "cpu", precision: Any = "float32") -> None:
        self.config, self.device = config, device
        self.settings = config.model_dump(mode="json")
        self._batches = Batches(self.name, _SENTENCES, device, precision)
        looked = lambda image: self._batches([Pictures.fromarray(image)], self._look)  # noqa: E731
        self._seen = Latest(lambda image: (*looked(image), {}))
        self._load(*(local_folder(folder, self.name) for folder in _folders(config)))
        million = sum(p.numel() for p in self.model.parameters()) / 1e6
        told = f"these are no published weights: {million:.1f} million numbers"
        self._unpublished = (told,) * (million < self.least_million)

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Drawing:
        """See `baselines.make_method`; TasError where weights are not here."""
        config = checked(cls.Config, name, switches)
        if lacking := cls.lacking(config):
            raise TasError(f"method {name}: {lacking}")
        places = tuple(local_folder(folder, cls.name) for folder in _folders(config))
        return _shared(cls, config, places, str(tas.device), tas.preset.compute.precision)

    @classmethod
    def lacking(cls, config: Part | None = None) -> str:
        """Which folder of weights is not here, with what to do; empty if none."""
        for folder in _folders(config or cls.Config()):
            try:
                local_folder(folder, cls.name)
            except TasError:
                return f"no weights at {weights_path(folder)}; {remedy(weights_path(folder))}"
        return ""

    def answer(self, scene: Scene, expressions: Sequence[Expression], image: Image) -> list[Answer]:
        """The masks as they are drawn, whatever the scene's are."""
        drawn = zip(expressions, self.draw(image, [e.text for e in expressions]), strict=True)
        return [
            Answer(e, scene, (), own_mask=encode_rle(mask[None])[0], confidence=sure, notes=notes)
            for e, (mask, sure, notes) in drawn
        ]

    def draw(self, image: Image, sentences: Sequence[str]) -> list[Drawn]:
        """What is drawn for each sentence; the picture, uint8 (H, W, 3) RGB, is looked at once."""
        seen, known = self._seen(image)
        cut = {s: shortened(s, self.tokenizer, self.room) for s in sentences if s not in known}
        texts, size_hw = list(cut.values()), image.shape[:2]
        batches = self._batches(texts, lambda some: self._draw(seen, size_hw, some))
        least = getattr(self.config, "least_score", -1)
        for sentence, drawn in zip(cut, (one for batch in batches for one in batch), strict=True):
            said = {
                "the sentence was cut off": cut[sentence] != sentence,
                f"nothing above {least:g}": drawn.confidence <= least,
                "the mask is empty": not drawn.mask.any(),
            }
            amiss = tuple(note for note, so in said.items() if so)
            known[sentence] = drawn._replace(notes=drawn.notes + amiss + self._unpublished)
        return [known[sentence] for sentence in sentences]

    @abstractmethod
    def _load(self, *places: Any) -> None:
        """Read the networks from their folders."""

    @abstractmethod
    def _look(self, pictures: list[Pictures.Image]) -> Any:
        """All that needs the one picture alone."""

    @abstractmethod
    def _draw(self, seen: Any, size_hw: tuple[int, int], texts: list[str]) -> list[Drawn]:
        """The mask that each text fits best, however badly."""


@cache
def _shared(kind: Any, config: Part, places: Any, device: str, precision: str) -> Any:
    """One network for all that use it, until its folders lie in other places."""
    return kind(config, device, precision)


def _folders(config: Any) -> list[str]:
    return [value for name, value in config if name.endswith("checkpoint")]


def shortened(text: str, tokenizer: Any, most: int) -> str:
    """The text, or the whole words of it that are at most so many tokens."""
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    if len(spans) <= most:
        return text
    kept = text[: spans[most][0]]
    return kept.rpartition(" ")[0] or kept
