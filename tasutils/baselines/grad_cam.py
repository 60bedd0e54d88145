"""Grad-CAM: which places raise the picture's similarity with the sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.baselines.activation import Activation
from tasutils.baselines.memory import Latest
from tasutils.baselines.square import SquareConfig, over_picture, square_picture
from tasutils.baselines.towers import encoder_name, tower_kind
from tasutils.encoders import ImageTextEncoder
from tasutils.errors import TasError
from tasutils.parts import Part

if TYPE_CHECKING:
    import torch

    from tasutils.expression import Expression

_EPSILON = 1e-7  # of the package grad-cam, utils/image.py


class GradCamConfig(Part):
    """Switches of Grad-CAM.

    block: of a ViT, the block whose first norm gives the map, -1 the last; its patch tokens are
        laid out as a grid. Of the last block's own output only the class token has a gradient.
    """

    square: SquareConfig = SquareConfig()
    block: int = -1


@dataclass(frozen=True)
class Target:
    """What is differentiated: the module that makes the map, and the embedding behind it.

    embed: crops -> (1, d) with gradients; grid: the module's output -> (channels, h, w).
    """

    module: "torch.nn.Module"
    embed: Callable[["torch.Tensor"], "torch.Tensor"]
    grid: Callable[["torch.Tensor"], "torch.Tensor"]


class GradCam(Activation):
    """Channels weighted by the mean gradient of the cosine, summed, ReLU, min-max, bilinear.

    The map is layer4 of CLIP's ResNet, a late block of a ViT (CLIP, ALBEF) or the last map of
    ALIGN. Source: Selvaraju et al. (ICCV 2017); equal to the package grad-cam 1.5.7, from which
    the epsilon of min-max and its repetition after resampling are taken.

    Raises TasError for an encoder without such a map, and for a block that a ViT does not have.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        config: GradCamConfig | None = None,
        name: str = "grad_cam",
    ) -> None:
        self.config = config or GradCamConfig()
        super().__init__(name, encoder, self.config)
        self._target = _target(encoder, self.config.block, name)
        self._graph = Latest(self._forward)

    def heatmap(self, image: NDArray[np.uint8], expression: "Expression") -> NDArray[np.float32]:
        """Grad-CAM of the cosine of picture and sentence, float32 (H, W) in 0..1."""
        import torch

        with torch.inference_mode(False), torch.enable_grad():
            activation, unit = self._graph(image)
            text = torch.from_numpy(self._texts(expression)).to(unit)
            (gradient,) = torch.autograd.grad(unit[0] @ text, activation, retain_graph=True)
        channels, slopes = self._target.grid(activation.detach()), self._target.grid(gradient)
        weights = slopes.mean(dim=(1, 2))  # (channels,)
        cam = (weights[:, None, None] * channels).sum(dim=0).relu()  # (h, w)
        large = over_picture(_stretched(cam), (image.shape[0], image.shape[1]))
        return _stretched(torch.from_numpy(large)).numpy()

    def _forward(self, image: NDArray[np.uint8]) -> "tuple[torch.Tensor, torch.Tensor]":
        """The map and the unit embedding, with the graph between the two."""
        import torch

        seen: list[torch.Tensor] = []

        def cut(module: Any, inputs: Any, output: "torch.Tensor") -> "torch.Tensor":
            seen.append(output.detach().requires_grad_(True))
            return seen[0]

        crops = square_picture(image, self.encoder, self.config.square)
        handle = self._target.module.register_forward_hook(cut)
        try:
            unit = torch.nn.functional.normalize(self._target.embed(crops), dim=-1)
        finally:
            handle.remove()
        return seen[0], unit


def _stretched(values: "torch.Tensor") -> "torch.Tensor":
    raised = values - values.min()
    return raised / (_EPSILON + raised.max())


def _target(encoder: ImageTextEncoder, block: int, name: str) -> Target:
    """Where Grad-CAM looks in an encoder."""
    model: Any = getattr(encoder, "model", None)
    pixels: Any = getattr(encoder, "pixel_values", None)
    kind = tower_kind(encoder) or getattr(getattr(encoder, "config", None), "kind", None)
    if kind == "resnet":
        return Target(model.visual.layer4, lambda c: model.encode_image(pixels(c)), _only)
    if kind == "vit":
        visual = model.visual
        chosen = _block(visual.transformer.resblocks, block, name)
        side = visual.grid_size[1]
        return Target(chosen.ln_1, lambda c: model.encode_image(pixels(c)), _patches(side))
    if kind == "align":
        tower = model.vision_model
        return Target(
            tower.encoder.blocks[-1], lambda c: tower(pixels(c, whole=True)).pooler_output, _only
        )
    if kind == "albef":
        tower, project = model["visual_encoder"], model["vision_proj"]
        chosen = _block(tower.blocks, block, name)
        side = tower.patch_embed.grid_size[1]
        return Target(
            chosen.norm1, lambda c: project(tower.forward_features(pixels(c))[:, 0]), _patches(side)
        )
    raise TasError(
        f"{name} cannot use encoder {encoder_name(encoder)}: it has no map with gradients; choose "
        "a CLIP with a ResNet or with a ViT and a class token, align or albef"
    )


def _only(output: "torch.Tensor") -> "torch.Tensor":
    return output[0]


def _patches(side: int) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """Tokens (1, 1 + h * w, width) -> (width, h, w), the class token left out."""
    return lambda tokens: tokens[0, 1:].unflatten(0, (-1, side)).permute(2, 0, 1)


def _block(blocks: Any, index: int, name: str) -> Any:
    if not -len(blocks) <= index < len(blocks):
        raise TasError(f"{name}: the ViT has {len(blocks)} blocks, so there is no block {index}")
    return blocks[index]
