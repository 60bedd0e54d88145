"""Grad-CAM: which places raise the picture's similarity with the sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tasutils.baselines import Image, Map, base
from tasutils.config import Part
from tasutils.errors import TasError
from tasutils.refer import Expression

_EPSILON = 1e-7  # of the package grad-cam, utils/image.py


class GradCamConfig(Part):
    """Switches of Grad-CAM.

    block: of a ViT, the block whose first norm gives the map, -1 the last; its patch tokens are
        laid out as a grid. Of the last block's own output only the class token has a gradient.
    """

    square: base.SquareConfig = base.SquareConfig()
    block: int = -1


class GradCam(base.Activation):
    """Channels weighted by the mean gradient of the cosine, summed, ReLU, min-max, bilinear.

    The map is layer4 of CLIP's ResNet, a late block of a ViT (CLIP, ALBEF) or the last map of
    ALIGN. Source: Selvaraju et al. (ICCV 2017); equal to the package grad-cam 1.5.7, from which
    the epsilon of min-max and its repetition after resampling are taken. Zero-shot-RIS has a form
    of its own, which chooses other masks: it differentiates minus the similarity and normalises
    over the channels.

    Raises TasError for an encoder without such a map, and for a block that a ViT does not have.
    """

    Config, prefers, name = GradCamConfig, "resnet", "grad_cam"

    def _setup(self) -> None:
        self._module, self._unit, self._side = self._target()
        self._graph = base.Latest(self._forward)

    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Grad-CAM of the cosine of picture and sentence, float32 (H, W) in 0..1."""
        with torch.inference_mode(False), torch.enable_grad():
            activation, unit = self._graph(image)
            text = torch.from_numpy(self.texts(expression)).to(unit)
            (gradient,) = torch.autograd.grad(unit[0] @ text, activation, retain_graph=True)
        channels, slopes = self._grid(activation.detach()), self._grid(gradient)
        cam = (slopes.mean(dim=(1, 2), keepdim=True) * channels).sum(dim=0).relu()  # (h, w)
        return _stretched(torch.from_numpy(base.over_picture(_stretched(cam), image.shape))).numpy()

    def _forward(self, image: Image) -> tuple[Tensor, Tensor]:
        """The map and the unit embedding, with the graph between the two."""
        seen: list[Tensor] = []

        def cut(module: Any, inputs: Any, output: Tensor) -> Tensor:
            seen.append(output.detach().requires_grad_(True))
            return seen[0]

        crops = base.square_picture(image, self.encoder, self.config.square)
        with self._module.register_forward_hook(cut):
            unit = torch.nn.functional.normalize(self._unit(crops), dim=-1)
        return seen[0], unit

    def _grid(self, output: Tensor) -> Tensor:
        """The module's output as (channels, h, w); of tokens (1, 1 + h * w, c) the patches."""
        if self._side is None:
            return output[0]
        return output[0, 1:].unflatten(0, (-1, self._side)).permute(2, 0, 1)

    def _target(self) -> tuple[Any, Callable[[Tensor], Tensor], int | None]:
        """What makes the map, crops -> embedding (1, d), and the width of a grid of tokens."""
        model: Any = getattr(self.encoder, "model", None)
        pixels: Any = getattr(self.encoder, "pixel_values", None)
        config = getattr(self.encoder, "config", None)
        kind = base.tower_kind(self.encoder) or getattr(config, "kind", None)
        if kind == "resnet":
            return model.visual.layer4, lambda c: model.encode_image(pixels(c)), None
        if kind == "vit":
            module = self._block(model.visual.transformer.resblocks).ln_1
            return module, lambda c: model.encode_image(pixels(c)), model.visual.grid_size[1]
        if kind == "align":
            vision = model.vision_model
            module = vision.encoder.blocks[-1]
            return module, lambda c: vision(pixels(c, whole=True)).pooler_output, None
        if kind == "albef":
            vit, project = model["visual_encoder"], model["vision_proj"]
            module, side = self._block(vit.blocks).norm1, vit.patch_embed.grid_size[1]
            return module, lambda c: project(vit.forward_features(pixels(c))[:, 0]), side
        raise TasError(
            f"{self.name} cannot use encoder {base.encoder_name(self.encoder)}: it has no map with "
            "gradients; choose a CLIP with a ResNet or with a ViT and a class token, align or albef"
        )

    def _block(self, blocks: Any) -> Any:
        index = self.config.block
        if not -len(blocks) <= index < len(blocks):
            raise TasError(
                f"{self.name}: the ViT has {len(blocks)} blocks, so there is no block {index}"
            )
        return blocks[index]


def _stretched(values: Tensor) -> Tensor:
    raised = values - values.min()
    return raised / (_EPSILON + raised.max())
