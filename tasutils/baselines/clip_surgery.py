"""CLIP-Surgery: consistent attention, and what every text shares taken away."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasutils.baselines.activation import Activation
from tasutils.baselines.memory import Latest
from tasutils.baselines.square import SquareConfig, min_max, over_picture, square_picture
from tasutils.baselines.towers import (
    heads,
    joined,
    require_tower,
    resampled_positions,
    resnet_map,
    tower_kind,
    vit_tokens,
)
from tasutils.encoders import ImageTextEncoder
from tasutils.errors import TasError
from tasutils.parts import Part

if TYPE_CHECKING:
    import torch

    from tasutils.expression import Expression

_SCENE_TEMPLATES = (
    *("there is a {} in the scene.", "there is the {} in the scene."),
    *("this is a {} in the scene.", "this is the {} in the scene."),
    "this is one {} in the scene.",
)


class ClipSurgeryConfig(Part):
    """Switches of CLIP-Surgery.

    image_size: side of the input in px, a multiple of the tower's stride; None: the encoder's own.
        The demo has 224 and 512.
    blocks: how many of a ViT's last blocks have the second path.
    ensemble: whether a text is the mean over 85 templates, else it is put in the encoder's own.
    others: texts that the sentence is set against, as the demo's class names are; without any it
        is set against the empty text.
    """

    square: SquareConfig = SquareConfig()
    image_size: int | None = Field(default=None, ge=1)
    blocks: int = Field(default=6, ge=1)
    ensemble: bool = True
    others: tuple[str, ...] = ()


class ClipSurgery(Activation):
    """Similarities of places whose attention compares values with values.

    ViT: beside the last blocks runs a second path that adds their v-v attention of the original
    path and has no FFN; the class token is the original's, the patches are the second path's.
    ResNet: attnpool over v, v, v. Then `feature_surgery`, min-max and bilinear to (H, W). Source:
    Li et al. (arXiv 2304.05653) and its code; image features are normalised over the channels, as
    the authors meant (issue 35: the demo normalises over the tokens by mistake).

    Raises TasError for an encoder that is no CLIP of open_clip with a ResNet or a plain ViT.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        config: ClipSurgeryConfig | None = None,
        name: str = "clip_surgery",
    ) -> None:
        self.config = config or ClipSurgeryConfig()
        super().__init__(name, encoder, self.config)
        kind = "resnet" if tower_kind(encoder) == "resnet" else "vit"
        self._visual = require_tower(encoder, kind, name)  # type: ignore[arg-type]
        stride = 32 if kind == "resnet" else self._visual.patch_size[0]
        self._size = self.config.image_size or encoder.image_size
        if self._size % stride:
            raise TasError(f"{name}: image_size {self._size} is no multiple of {stride} px")
        if kind == "resnet":
            self._tokens = lambda pixels: resnet_surgery(self._visual, pixels)
        else:
            self._tokens = lambda pixels: vit_surgery(self._visual, pixels, self.config.blocks)
        self._features = Latest(self._embed_places)
        self._against: torch.Tensor | None = None

    def heatmap(self, image: NDArray[np.uint8], expression: "Expression") -> NDArray[np.float32]:
        """Similarity after surgery, float32 (H, W) in 0..1."""
        import torch

        if self._against is None:
            others = self._embed(list(self.config.others) or [""])
            self._against = torch.from_numpy(others)
        tokens, text = self._features(image), torch.from_numpy(self._texts(expression))[None]
        if self.config.others:
            texts = torch.cat([text, self._against])
            similarity = feature_surgery(tokens, texts)[:, 0]
        else:
            similarity = feature_surgery(tokens, text, redundant=self._against)[:, 0]
        side = int(round((len(tokens) - 1) ** 0.5))
        grid = min_max(similarity[1:]).view(side, side)
        return over_picture(grid, (image.shape[0], image.shape[1]))

    def _embed_places(self, image: NDArray[np.uint8]) -> "torch.Tensor":
        """Unit features of the class token and the places, float32 (1 + h * w, d) on the CPU."""
        import torch

        with torch.inference_mode():
            crops = square_picture(image, self.encoder, self.config.square, self._size)
            tokens = self._tokens(self.encoder.pixel_values(crops))[0]  # type: ignore[attr-defined]
            return torch.nn.functional.normalize(tokens.float(), dim=-1).cpu()

    def _written(self, expression: "Expression") -> str:
        return expression.text

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        templates = prompt_templates() if self.config.ensemble else (self._template,)
        written = [template.format(text) for text in texts for template in templates]
        rows = self.encoder.encode_text(written).reshape(len(texts), len(templates), -1)
        means = rows.mean(axis=1)  # (n, d)
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def prompt_templates() -> tuple[str, ...]:
    """The 85 templates: CLIP's 80 of ImageNet and five that speak of a scene."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return (*(template("{}") for template in OPENAI_IMAGENET_TEMPLATES), *_SCENE_TEMPLATES)


def vit_surgery(visual: Any, pixels: "torch.Tensor", blocks: int) -> "torch.Tensor":
    """Class token of the original path, patches of the second one, projected: (n, 1 + h * w, d)."""
    import torch
    from torch.nn import functional

    x = vit_tokens(visual, pixels)
    resblocks = visual.transformer.resblocks
    first = max(len(resblocks) - blocks, 0)
    second = x
    for index, block in enumerate(resblocks):
        if index == first:
            second = x
        if index >= first:
            attn = block.attn
            weight, bias = attn.in_proj_weight.chunk(3)[2], attn.in_proj_bias.chunk(3)[2]
            v = heads(functional.linear(block.ln_1(x), weight, bias), attn.num_heads)
            found = functional.scaled_dot_product_attention(v, v, v)
            second = second + block.ls_1(attn.out_proj(joined(found)))
        x = block(x)
    tokens = torch.cat([x[:, :1], second[:, 1:]], dim=1)
    return visual.ln_post(tokens) @ visual.proj


def resnet_surgery(visual: Any, pixels: "torch.Tensor") -> "torch.Tensor":
    """Attnpool over v, v, v, the mean of the places first: (n, 1 + h * w, d)."""
    import torch
    from torch.nn import functional

    pool, places = visual.attnpool, resnet_map(visual, pixels)  # (n, width, h, w)
    positions = resampled_positions(pool.positional_embedding, tuple(places.shape[2:]))
    x = places.flatten(2).mT  # (n, h * w, width)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + positions
    v = heads(pool.v_proj(x), pool.num_heads)
    return pool.c_proj(joined(functional.scaled_dot_product_attention(v, v, v)))


def feature_surgery(
    tokens: "torch.Tensor", texts: "torch.Tensor", redundant: "torch.Tensor | None" = None
) -> "torch.Tensor":
    """Similarities (t, m) of unit tokens (t, d), class token first, with unit texts (m, d).

    redundant: (1, d), what is taken from each text. None: what the texts have in common is, each
    weighted by softmax(2 * class token . text) over its mean; of one text nothing would be left.
    """
    if redundant is not None:
        return tokens @ (texts - redundant).mT
    shares = (2 * tokens[:1] @ texts.mT).softmax(dim=-1)  # (1, m)
    weights = (shares / shares.mean(dim=-1, keepdim=True))[..., None]  # (1, m, 1)
    parts = tokens[:, None] * texts * weights  # (t, m, d)
    return (parts - parts.mean(dim=1, keepdim=True)).sum(dim=-1)
