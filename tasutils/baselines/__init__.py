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

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.refer import Expression
    from tasutils.scene import Scene
    from tasutils.tas import TAS

__all__ = ["METHODS", "ActivationMethod", "Method", "make_method", "scores_of"]


@runtime_checkable
class Method(Protocol):
    """What chooses a mask. A method may also have `prepare(expressions)` and `settings`."""

    name: str

    def score(
        self, scene: Scene, expression: Expression, image: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """A number for each of the scene's n masks, the highest is the answer: float64 (n,).

        scene: the described picture; expression: the sentence, read; image: uint8 (H, W, 3) RGB.
        """


@runtime_checkable
class ActivationMethod(Method, Protocol):
    """A method whose scores are the means of a map inside the masks."""

    def heatmap(self, image: NDArray[np.uint8], expression: Expression) -> NDArray[np.float32]:
        """Where the sentence is, float32 (H, W) in 0..1."""


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


def method_names() -> tuple[str, ...]:
    """Names that `make_method` knows, in the order of the table above."""
    return tuple(METHODS)


def make_method(name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Method:
    """A method by its name.

    Args:
        name: one of `METHODS`.
        tas: its encoders are used, and by `tas`, `clip_only` and `text_only` the preset.
        dataset: picks lambda for `tas`, and the weight v of Global-Local, as they are published.
        switches: settings other than the defaults, see the configuration beside each method.

    Raises TasError for an unknown name or switch, and for an encoder that lacks what is needed.
    """
    if name not in METHODS:
        raise TasError(f"no method {name!r}; there are {', '.join(METHODS)}")
    entry = METHODS[name]
    if isinstance(entry, str):
        module, _, cls = entry.partition(":")
        entry = getattr(import_module(module), cls)
    made: Method = entry.make(name, tas, dataset, **switches) if hasattr(entry, "make") else entry
    return made


def scores_of(
    method: Method, scene: Scene, expression: Expression, image: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """What a method says of each mask, float64 (n,), checked; the first highest is its answer.

    Raises TasError when it has not one finite number for each mask.
    """
    values = np.asarray(method.score(scene, expression, image), dtype=np.float64)
    if values.shape != (len(scene.proposals),) or not np.isfinite(values).all():
        raise TasError(
            f"method {method.name} must give one finite score for each of the "
            f"{len(scene.proposals)} masks, not {values.shape} with "
            f"{np.count_nonzero(~np.isfinite(values))} not finite"
        )
    return values
