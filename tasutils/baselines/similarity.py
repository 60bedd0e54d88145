"""The similarities that TAS is made of, each alone, and TAS itself as one method among others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tasutils import terms
from tasutils.baselines import Image, Scored, Scores
from tasutils.baselines.base import Texts, encoder_name
from tasutils.errors import TasError
from tasutils.refer import Expression, cosine_scale
from tasutils.scene import Scene

if TYPE_CHECKING:
    from tasutils.tas import TAS


class Alone(Scored):
    """One term of TAS, of the scene's embeddings and the encoder that made them."""

    def __init__(self, tas: TAS, name: str) -> None:
        self.name, self._tas = name, tas
        self._scale = cosine_scale(tas.encoder, tas.preset)
        template = tas.preset.encoder.template
        self._texts = Texts(tas.encoder.encode_text, lambda e: template.format(e.text))

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Self:
        """See `baselines.make_method`."""
        if switches:
            raise TasError(f"method {name} has no switch {min(switches)!r}; its preset has them")
        return cls(tas, name)

    @property
    def settings(self) -> dict[str, object]:
        """The encoder's name, for the record of a run."""
        return {"encoder": encoder_name(self._tas.encoder)}

    def prepare(self, expressions: Iterable[Expression]) -> None:
        """Embed several sentences in one batch."""
        self._texts.prepare(expressions)


class TextOnly(Alone):
    """S = P: the caption of each crop against the sentence (article, section 4)."""

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """The column p of TAS's table, float64 (n,)."""
        return self._scale * terms.p_score(scene.caption_embeddings, self._texts(expression))


class ClipOnly(Alone):
    """S = V: each masked crop against the sentence (article, section 4)."""

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """The column v of TAS's table, float64 (n,)."""
        return self._scale * terms.v_score(scene.crop_embeddings, self._texts(expression))


class Tas(Alone):
    """TAS by its ranks (the rectifier's order is that of no sum): 0 for its answer, then -1, ..."""

    dataset: str | None  # picks lambda from the preset, as in `TAS.refer`

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Self:
        """See `baselines.make_method`."""
        method = super().make(name, tas, **switches)
        method.dataset = dataset
        return method

    @property
    def settings(self) -> dict[str, object]:
        """The encoder's name and both weights, for the record of a run."""
        return super().settings | {"weights": self._tas.preset.weights(self.dataset)}

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """1 - rank of each mask, float64 (n,)."""
        (answer,) = self.answer(scene, [expression], image)
        return 1.0 - answer.rank.astype(np.float64)

    def answer(self, scene: Scene, expressions: Sequence[Expression], image: Image) -> list[Any]:
        """TAS's own answers."""
        return [self._tas.refer(scene, e.text, dataset=self.dataset) for e in expressions]
