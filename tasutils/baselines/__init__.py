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
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.expression import Expression
    from tasutils.loading import TAS
    from tasutils.scene import Scene

__all__ = ["ActivationMethod", "Method", "make_method", "method_names", "scores_of"]


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


_PEERS: dict[str, tuple[str, str, Literal["vit", "resnet"]]] = {  # name: module, class, tower
    "global_local": ("global_local", "GlobalLocal", "vit"),
    "global_local_rn": ("global_local", "GlobalLocal", "resnet"),
    "region_token": ("region_token", "RegionToken", "vit"),
    "clip_surgery": ("clip_surgery", "ClipSurgery", "vit"),
    "clip_surgery_rn": ("clip_surgery", "ClipSurgery", "resnet"),
    "score_map": ("score_map", "ScoreMap", "resnet"),
    "score_map_vit": ("score_map", "ScoreMap", "vit"),
    "grad_cam": ("grad_cam", "GradCam", "resnet"),
    "grad_cam_vit": ("grad_cam", "GradCam", "vit"),
    "tseg": ("tseg", "Tseg", "resnet"),
}
_ALONE = {"tas": "Tas", "clip_only": "ClipOnly", "text_only": "TextOnly"}


def method_names() -> tuple[str, ...]:
    """Names that `make_method` knows, in the order of the table above."""
    return (*_ALONE, *_PEERS)


def make_method(name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Method:
    """A method by its name.

    Args:
        name: one of `method_names`.
        tas: its encoders are used, and by `tas`, `clip_only` and `text_only` the preset.
        dataset: picks lambda for `tas`, and the weight v of Global-Local, as they are published.
        switches: settings other than the defaults, see the configuration beside each method.

    Raises TasError for an unknown name or switch, and for an encoder that lacks what is needed.
    """
    if name in _ALONE:
        from tasutils.baselines import similarity

        if switches:
            raise TasError(f"method {name} has no switch {min(switches)!r}; its preset has them")
        if name == "tas":
            return similarity.Tas(tas, name, dataset)
        return (
            similarity.ClipOnly(tas, name)
            if name == "clip_only"
            else similarity.TextOnly(tas, name)
        )
    if name not in _PEERS:
        raise TasError(f"no method {name!r}; there are {', '.join(method_names())}")
    return _make_peer(name, tas, dataset, switches)


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


def _make_peer(name: str, tas: TAS, dataset: str | None, switches: dict[str, Any]) -> Method:
    from tasutils.baselines.towers import pick_encoder, require_tower

    file, class_name, kind = _PEERS[name]
    module = import_module(f"tasutils.baselines.{file}")
    if class_name == "GlobalLocal":
        switches = {"v": module.share_for(dataset)} | switches
    try:
        config = getattr(module, f"{class_name}Config").model_validate(switches)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TasError(f"method {name}: {where}: {first['msg']}; correct this switch") from error
    encoder = pick_encoder(tas, kind)
    if name.endswith(("_rn", "_vit")):
        require_tower(encoder, kind, name)
    method: Method = getattr(module, class_name)(encoder, config, name)
    return method
