"""The peers that TAS is compared with, all choosing among the same proposals.

| name | what chooses | image tower |
|---|---|---|
| `tas` | TAS itself | the preset's |
| `clip_only` | V alone | the preset's |
| `text_only` | P alone | the preset's, of which only the text tower is used |
| `global_local`, `global_local_rn` | global and local features (Yu 2023) | ViT, ResNet |
| `region_token` | a class token for each mask (Yu 2023) | ViT |
| `hybridgl` | two views of each mask, relations, a map (HybridGL 2025) | ViT |
| `clip_surgery`, `clip_surgery_rn` | activation map (Li 2023) | ViT, ResNet |
| `score_map`, `score_map_vit` | activation map (Zhou 2022) | ResNet, ViT |
| `grad_cam`, `grad_cam_vit` | activation map (Selvaraju 2017) | ResNet, ViT |
| `tseg` | activation map learned without masks (Strudel 2022) | ResNet, none but tiny-RN |
| `sam3`, `florence2` | a mask of its own: SAM 3 (2025), Florence-2 (2024) | its own |
| `grounded` | a mask of its own: Grounding DINO (2024) with SAM 2 | its own |
| `sam3_chooses`, ... | the proposal that this mask fits best: proposals are equal | its own |
| `clip_only+d+z`, ... | its scores and graded terms (`tasutils.graded`) | as it has |

The image tower is the preset's `encoder` if it is of that kind, else its `peer_encoder`. A name
that ends in neither `_rn` nor `_vit` takes another tower where there is none of that kind: Score
Map and Grad-CAM also ALIGN's and ALBEF's. An encoder that lacks what a method needs is refused in
one line. A method sees the scene, the sentence and the picture, never the ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasutils.config import lookup
from tasutils.errors import TasError
from tasutils.refer import Answer, Expression
from tasutils.scene import Scene

if TYPE_CHECKING:
    from tasutils.baselines.base import Image
    from tasutils.tas import TAS

#: Name -> "module:Class" of a class with `make(name, tas, dataset, **switches)`, or a method.
METHODS: dict[str, Any] = {
    "tas": "tasutils.baselines.base:Tas",
    "clip_only": "tasutils.baselines.base:Alone",
    "text_only": "tasutils.baselines.base:Alone",
    "global_local": "tasutils.baselines.global_local:GlobalLocal",
    "global_local_rn": "tasutils.baselines.global_local:GlobalLocal",
    "region_token": "tasutils.baselines.global_local:RegionToken",
    "hybridgl": "tasutils.baselines.hybridgl:HybridGL",
    "clip_surgery": "tasutils.baselines.maps:ClipSurgery",
    "clip_surgery_rn": "tasutils.baselines.maps:ClipSurgery",
    "score_map": "tasutils.baselines.maps:ScoreMap",
    "score_map_vit": "tasutils.baselines.maps:ScoreMap",
    "grad_cam": "tasutils.baselines.maps:GradCam",
    "grad_cam_vit": "tasutils.baselines.maps:GradCam",
    "tseg": "tasutils.baselines.tseg:Tseg",
    "sam3": "tasutils.baselines.sam3:Sam3",
    "sam3_chooses": "tasutils.baselines.carried:Chooser",
    "grounded": "tasutils.baselines.grounded:Grounded",
    "grounded_chooses": "tasutils.baselines.carried:Chooser",
    "florence2": "tasutils.baselines.florence2:Florence2",
    "florence2_chooses": "tasutils.baselines.carried:Chooser",
}


class Method(Protocol):
    """What answers a sentence; it may also have `prepare(expressions)` and `settings`.

    One that gives each mask a number has `score(scene, expression, image)` in place of `answer`,
    float64 (n,), the first highest being its answer; one that draws, `heatmap(image, expression)`.
    """

    name: str

    def answer(self, scene: Scene, expressions: Sequence[Expression], image: Image) -> list[Answer]:
        """One answer a sentence about the described picture, uint8 (H, W, 3) RGB."""


def lacking(name: str) -> str:
    """Which weights of a method are not here, with what to do; empty if none."""
    name = name.partition("+")[0].removesuffix("_chooses")
    told = getattr(lookup("tasutils.baselines:METHODS", name), "lacking", str)
    return str(told())


def make_method(name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Any:
    """A method by its name in `METHODS`, or one's own by "module:Name", over the encoders of `tas`.

    dataset picks the weights of `tas`, and v of Global-Local, as they are published; for switches
    see the configuration beside each method. "NAME+d+z" adds graded terms to the numbers of a
    method that scores, see `carried.Graded`. Raises TasError for an unknown name or switch, for an
    encoder that lacks what is needed, and for weights that are not here.
    """
    if "+" in name:
        from tasutils.baselines.carried import Graded

        return Graded.make(name, tas, dataset, **switches)
    entry = lookup("tasutils.baselines:METHODS", name)
    if hasattr(entry, "make"):
        return entry.make(name, tas, dataset, **switches)
    return entry() if isinstance(entry, type) else entry


def answers_of(
    method: Any, scene: Scene, expressions: Sequence[Expression], image: Image
) -> list[Answer]:
    """What a method says of several sentences about one picture, one answer each, checked.

    The numbers of one with `score` are the only term, `score`. Raises TasError for a picture that
    has not the scene's size, and for a method that says something else.
    """
    check_picture(scene, image)
    name = getattr(method, "name", type(method).__name__)
    if hasattr(method, "prepare"):
        method.prepare(expressions)
    if hasattr(method, "answer"):
        answers = list(method.answer(scene, expressions, image))
    elif hasattr(method, "score"):
        answers = [_by_score(method, name, scene, one, image) for one in expressions]
    else:
        raise TasError(f"method {name} has neither answer() nor score(); give it one of them")
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


def check_picture(scene: Scene, image: NDArray[Any]) -> None:
    """Raise TasError when a picture has not the size of the scene."""
    if tuple(image.shape) != (*scene.size_hw, 3):
        raise TasError(
            f"the picture is {tuple(image.shape)}, the scene {scene.size_hw} (H, W); "
            "give the uint8 (H, W, 3) picture that was described"
        )


def _by_score(method: Any, name: str, scene: Scene, asked: Expression, image: Image) -> Answer:
    total = np.asarray(method.score(scene, asked, image), dtype=np.float64)
    if total.shape != (len(scene.proposals),) or not np.isfinite(total).all():
        raise TasError(
            f"method {name} must give one finite score for each of the {len(scene.proposals)} "
            f"masks, not {total.shape} with {np.count_nonzero(~np.isfinite(total))} not finite"
        )
    chosen = (int(total.argmax()),) if len(total) else ()
    return Answer(asked, scene, chosen, {"score": total}, {"score": 1.0}, total)
