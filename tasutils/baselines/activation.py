"""What all activation methods share: the mask with the highest mean activation inside it wins."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.baselines.memory import Insides, Latest, Texts, check_picture
from tasutils.baselines.towers import encoder_name
from tasutils.encoders import ImageTextEncoder
from tasutils.parts import Part

if TYPE_CHECKING:
    from tasutils.expression import Expression
    from tasutils.scene import Scene


class Peer(ABC):
    """A method with an image-text encoder: its name, its settings, its sentences embedded once.

    Args:
        name: as in `method_names`.
        encoder: see each method for what it needs.
        config: the method's switches.
    """

    def __init__(self, name: str, encoder: ImageTextEncoder, config: Part) -> None:
        self.name = name
        self.encoder = encoder
        self._template = getattr(getattr(encoder, "config", None), "template", "{}")
        self._texts = Texts(self._embed, self._written)
        self._switches = config

    @property
    def settings(self) -> dict[str, Any]:
        """Every switch and the encoder's name, for the record of a run."""
        return {"encoder": encoder_name(self.encoder)} | self._switches.model_dump(mode="json")

    def prepare(self, expressions: "Iterable[Expression]") -> None:
        """Embed several sentences in one batch; without it each is embedded when it comes."""
        self._texts.prepare(expressions)

    @abstractmethod
    def score(
        self, scene: "Scene", expression: "Expression", image: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """The score of each mask, float64 (n,)."""

    def _written(self, expression: "Expression") -> str:
        """The text that `_embed` gets of an expression."""
        return str(self._template.format(expression.text))

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        return self.encoder.encode_text(texts)


class Activation(Peer):
    """A method that draws a map of where the sentence is; a subclass has `heatmap` alone."""

    def __init__(self, name: str, encoder: ImageTextEncoder, config: Part) -> None:
        super().__init__(name, encoder, config)
        self._insides = Latest(lambda image, scene: Insides(scene))

    @abstractmethod
    def heatmap(self, image: NDArray[np.uint8], expression: "Expression") -> NDArray[np.float32]:
        """Float32 (H, W) in 0..1 over uint8 (H, W, 3) RGB, 1 where the sentence is likeliest."""

    def score(
        self, scene: "Scene", expression: "Expression", image: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """The map's mean inside each mask, float64 (n,) in 0..1; 0 for an empty mask."""
        check_picture(scene, image)
        if len(scene.proposals) == 0:
            return np.zeros(0)
        return self._insides(image, scene).means(self.heatmap(image, expression))
