"""The similarities that TAS is made of, each alone, and TAS itself as one method among others."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils import scores
from tasutils.baselines.memory import Texts
from tasutils.baselines.square import drawable
from tasutils.baselines.towers import encoder_name
from tasutils.crops import masked_crops
from tasutils.refer import cosine_scale

if TYPE_CHECKING:
    from tasutils.expression import Expression
    from tasutils.loading import TAS
    from tasutils.scene import Scene


class _Alone:
    """One column of `Answer.table()`; the scene's embeddings and the encoder that made them."""

    def __init__(self, tas: "TAS", name: str) -> None:
        self.name = name
        self._tas = tas
        template = tas.preset.encoder.template
        self._texts = Texts(tas.encoder.encode_text, lambda e: template.format(e.text))

    @property
    def settings(self) -> dict[str, object]:
        """The encoder's name, for the record of a run."""
        return {"encoder": encoder_name(self._tas.encoder)}

    def prepare(self, expressions: "Iterable[Expression]") -> None:
        """Embed several sentences in one batch."""
        self._texts.prepare(expressions)

    def views(self, image: NDArray[np.uint8], scene: "Scene") -> NDArray[np.uint8]:
        """The masked crop of each mask, as the encoder is shown it: uint8 (n, s, s, 3)."""
        return _crops(self._tas, image, scene)

    def _scale(self) -> float:
        return cosine_scale(self._tas.encoder, self._tas.preset)


class TextOnly(_Alone):
    """S = P: the caption of each crop against the sentence (article, section 4)."""

    def score(
        self, scene: "Scene", expression: "Expression", image: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """The column p of TAS's table, float64 (n,)."""
        return self._scale() * scores.p_score(scene.caption_embeddings, self._texts(expression))


class ClipOnly(_Alone):
    """S = V: each masked crop against the sentence (article, section 4)."""

    def score(
        self, scene: "Scene", expression: "Expression", image: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """The column v of TAS's table, float64 (n,)."""
        return self._scale() * scores.v_score(scene.crop_embeddings, self._texts(expression))


class Tas:
    """TAS by its ranks: 0 for its answer, -1 for the next, and so on.

    The rectifier puts masks in an order that no sum of V, P and N tells; the sums themselves are
    in `Answer.table()`.

    dataset: picks lambda from the preset, as in `TAS.refer`.
    """

    def __init__(self, tas: "TAS", name: str = "tas", dataset: str | None = None) -> None:
        self.name = name
        self._tas, self._dataset = tas, dataset

    @property
    def settings(self) -> dict[str, object]:
        """The encoder's name and both weights, for the record of a run."""
        rules = self._tas.preset.scores
        return {
            "encoder": encoder_name(self._tas.encoder),
            "alpha": rules.alpha,
            "lambda": rules.lambda_for(self._dataset),
        }

    def views(self, image: NDArray[np.uint8], scene: "Scene") -> NDArray[np.uint8]:
        """The masked crop of each mask, as the encoder is shown it: uint8 (n, s, s, 3)."""
        return _crops(self._tas, image, scene)

    def score(
        self, scene: "Scene", expression: "Expression", image: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """1 - rank of each mask, float64 (n,)."""
        answer = self._tas.refer(scene, expression.text, dataset=self._dataset)
        return 1.0 - answer.rank.astype(np.float64)


def _crops(tas: "TAS", image: NDArray[np.uint8], scene: "Scene") -> NDArray[np.uint8]:
    masks, boxes = scene.proposals.masks(), scene.proposals.boxes_xyxy
    size, device = tas.encoder.image_size, tas.encoder.device
    return drawable(masked_crops(image, masks, boxes, size, tas.preset.crop, device))
