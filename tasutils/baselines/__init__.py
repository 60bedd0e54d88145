"""The peers that TAS is compared with, all choosing among the same proposals.

| name | what chooses | image tower |
|---|---|---|
| `tas` | TAS itself, by rank | the preset's |
| `clip_only` | V alone | the preset's |
| `text_only` | P alone | the preset's, of which only the text tower is used |
| `global_local`, `global_local_rn` | global and local features (Yu 2023) | ViT, ResNet |
| `region_token` | a class token for each mask (Yu 2023) | ViT |
| `clip_surgery`, `clip_surgery_rn` | activation map (Li 2023) | ViT, ResNet |
| `score_map`, `score_map_vit` | activation map (Zhou 2022) | ResNet, ViT |
| `grad_cam`, `grad_cam_vit` | activation map (Selvaraju 2017) | ResNet, ViT |
| `tseg` | activation map learned without masks (Strudel 2022) | ResNet, none but tiny-RN |

The image tower is the preset's `encoder` if it is of that kind, else its `peer_encoder`. A name
that ends in neither `_rn` nor `_vit` takes another tower where there is none of that kind: Score
Map and Grad-CAM also ALIGN's and ALBEF's. An encoder that lacks what a method needs is refused in
one line. A method sees the scene, the sentence and the picture, never the ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tasutils.config import lookup
from tasutils.errors import TasError
from tasutils.refer import Answer, Expression
from tasutils.scene import Scene

if TYPE_CHECKING:
    from tasutils.tas import TAS

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Scores = NDArray[np.float64]  # (n,), one a mask
Map = NDArray[np.float32]  # (H, W) in 0..1

#: Name -> "module:Class" of a class with `make(name, tas, dataset, **switches)`, or a method.
METHODS: dict[str, Any] = {
    "tas": "tasutils.baselines.similarity:Tas",
    "clip_only": "tasutils.baselines.similarity:ClipOnly",
    "text_only": "tasutils.baselines.similarity:TextOnly",
    "global_local": "tasutils.baselines.global_local:GlobalLocal",
    "global_local_rn": "tasutils.baselines.global_local:GlobalLocal",
    "region_token": "tasutils.baselines.region_token:RegionToken",
    "clip_surgery": "tasutils.baselines.clip_surgery:ClipSurgery",
    "clip_surgery_rn": "tasutils.baselines.clip_surgery:ClipSurgery",
    "score_map": "tasutils.baselines.score_map:ScoreMap",
    "score_map_vit": "tasutils.baselines.score_map:ScoreMap",
    "grad_cam": "tasutils.baselines.grad_cam:GradCam",
    "grad_cam_vit": "tasutils.baselines.grad_cam:GradCam",
    "tseg": "tasutils.baselines.tseg:Tseg",
}


@runtime_checkable
class Method(Protocol):
    """What answers a sentence. It may also have `prepare(expressions)` and `settings`.

    One that only gives each mask a number has `score` in place of `answer`, see `Scored`.
    """

    name: str

    def answer(self, scene: Scene, expressions: Sequence[Expression], image: Image) -> list[Answer]:
        """One answer a sentence about the described picture, uint8 (H, W, 3) RGB."""


class Scored:
    """A method that gives each of the n masks a number; the first highest is its answer."""

    name: str

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """A number for each mask, float64 (n,)."""
        raise NotImplementedError

    def answer(self, scene: Scene, expressions: Sequence[Expression], image: Image) -> list[Answer]:
        """See `Method.answer`; the numbers are the one term, `score`."""
        answers = []
        for expression in expressions:
            total = scores_of(self, scene, expression, image)
            chosen = (int(total.argmax()),) if len(total) else ()
            answers.append(
                Answer(expression, scene, chosen, {"score": total}, {"score": 1.0}, total)
            )
        return answers


@runtime_checkable
class ActivationMethod(Method, Protocol):
    """A method whose scores are the means of a map inside the masks."""

    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Where the sentence is, float32 (H, W) in 0..1."""


def make_method(name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Any:
    """A method by its name in `METHODS`, or one's own by "module:Name", over the encoders of `tas`.

    dataset picks the weights of `tas`, and v of Global-Local, as they are published; for switches
    see the configuration beside each method. Raises TasError for an unknown name or switch, and
    for an encoder that lacks what is needed.
    """
    entry = lookup("tasutils.baselines:METHODS", name)
    if hasattr(entry, "make"):
        return entry.make(name, tas, dataset, **switches)
    return entry() if isinstance(entry, type) else entry


def answers_of(
    method: Any, scene: Scene, expressions: Sequence[Expression], image: Image
) -> list[Answer]:
    """What a method says of several sentences about one picture, one answer each, checked.

    Raises TasError in one line when it says something else.
    """
    if hasattr(method, "prepare"):
        method.prepare(expressions)
    if not hasattr(method, "answer") and hasattr(method, "score"):
        return Scored.answer(method, scene, expressions, image)
    name = getattr(method, "name", type(method).__name__)
    if not hasattr(method, "answer"):
        raise TasError(f"method {name} has neither answer() nor score(); give it one of them")
    answers = list(method.answer(scene, expressions, image))
    if len(answers) != len(expressions) or not all(isinstance(one, Answer) for one in answers):
        raise TasError(
            f"method {name} must give one Answer for each of {len(expressions)} sentences"
        )
    for one in answers:
        size_hw = tuple(one.own_mask["size"]) if one.own_mask else scene.size_hw
        if not set(one.chosen) <= set(range(len(scene.proposals))) or size_hw != scene.size_hw:
            raise TasError(
                f"method {name} chose masks {one.chosen} of {len(scene.proposals)}, with an own "
                f"mask of {size_hw} for a picture of {scene.size_hw} (H, W); correct its answer"
            )
    return answers


def scores_of(method: Any, scene: Scene, expression: Expression, image: Image) -> Scores:
    """What a method says of each mask, float64 (n,), checked; the first highest is its answer.

    Raises TasError when it has not one finite number for each mask.
    """
    values = np.asarray(method.score(scene, expression, image), dtype=np.float64)
    name = getattr(method, "name", type(method).__name__)
    if values.shape != (len(scene.proposals),) or not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise TasError(
            f"method {name} must give one finite score for each of the {len(scene.proposals)} "
            f"masks, not {values.shape} with {bad} not finite"
        )
    return values
