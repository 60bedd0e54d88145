"""CLIP-Surgery: consistent attention, and what every text shares taken away."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tasutils.baselines import Image, Map, base
from tasutils.config import Part
from tasutils.errors import TasError
from tasutils.refer import Expression

_SCENE_TEMPLATES = (
    *("there is a {} in the scene.", "there is the {} in the scene."),
    *("this is a {} in the scene.", "this is the {} in the scene."),
    "this is one {} in the scene.",
)


class ClipSurgeryConfig(Part):
    """Switches of CLIP-Surgery.

    image_size: side of the input in px, a multiple of the tower's stride; None: the encoder's own.
    blocks: how many of a ViT's last blocks have the second path.
    ensemble: whether a text is the mean over 85 templates, else it is put in the encoder's own.
    others: texts that the sentence is set against, as the demo's class names are; none: the empty.
    """

    square: base.SquareConfig = base.SquareConfig()
    image_size: int | None = Field(default=None, ge=1)
    blocks: int = Field(default=6, ge=1)
    ensemble: bool = True
    others: tuple[str, ...] = ()


class ClipSurgery(base.Activation):
    """Similarities of places whose attention compares values with values.

    ViT: beside the last blocks runs a second path that adds their v-v attention of the original
    path and has no FFN; the class token is the original's, the patches are the second path's.
    ResNet: attnpool over v, v, v. Then `feature_surgery`, min-max and bilinear to (H, W). Source:
    Li et al. (arXiv 2304.05653) and its code; image features are normalised over the channels, as
    the authors meant (issue 35: the demo normalises over the tokens by mistake).

    Raises TasError for an encoder that is no CLIP of open_clip with a ResNet or a plain ViT.
    """

    Config, prefers, name = ClipSurgeryConfig, "vit", "clip_surgery"

    def _setup(self) -> None:
        self._visual = base.require_tower(self.encoder, "vit", self.name, "resnet")
        self._is_resnet = base.tower_kind(self.encoder) == "resnet"
        stride = 32 if self._is_resnet else self._visual.patch_size[0]
        self._size = self.config.image_size or self.encoder.image_size
        if self._size % stride:
            raise TasError(f"{self.name}: image_size {self._size} is no multiple of {stride} px")
        self._features = base.Latest(self._embed_places)

    @cached_property
    def _against(self) -> Tensor:
        return torch.from_numpy(self._embed(list(self.config.others) or [""]))

    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Similarity after surgery, float32 (H, W) in 0..1."""
        tokens, text = self._features(image), torch.from_numpy(self.texts(expression))[None]
        if self.config.others:
            similarity = feature_surgery(tokens, torch.cat([text, self._against]))[:, 0]
        else:
            similarity = feature_surgery(tokens, text, redundant=self._against)[:, 0]
        side = round((len(tokens) - 1) ** 0.5)
        return base.over_picture(base.min_max(similarity[1:]).view(side, side), image.shape)

    def _embed_places(self, image: Image) -> Tensor:
        """Unit features of the class token and the places, float32 (1 + h * w, d) on the CPU."""
        with torch.inference_mode():
            crops = base.square_picture(image, self.encoder, self.config.square, self._size)
            pixels = self.encoder.pixel_values(crops)
            if self._is_resnet:
                tokens = resnet_surgery(self._visual, pixels)
            else:
                tokens = vit_surgery(self._visual, pixels, self.config.blocks)
            return F.normalize(tokens[0].float(), dim=-1).cpu()

    def _written(self, expression: Expression | str) -> str:  # `_embed` brings the templates
        return str(getattr(expression, "text", expression))

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        """The mean over the templates of each text, float32 (n, d), L2-normalised."""
        templates = prompt_templates() if self.config.ensemble else (self.template,)
        written = [template.format(text) for text in texts for template in templates]
        rows = self.encoder.encode_text(written).reshape(len(texts), len(templates), -1)
        means = rows.mean(axis=1)  # (n, d)
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def prompt_templates() -> tuple[str, ...]:
    """The 85 templates: CLIP's 80 of ImageNet and five that speak of a scene."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return (*(template("{}") for template in OPENAI_IMAGENET_TEMPLATES), *_SCENE_TEMPLATES)


def vit_surgery(visual: Any, pixels: Tensor, blocks: int) -> Tensor:
    """Class token of the original path, patches of the second one, projected: (n, 1 + h * w, d)."""
    x = base.vit_tokens(visual, pixels)
    resblocks = visual.transformer.resblocks
    first = max(len(resblocks) - blocks, 0)
    second = x
    for index, block in enumerate(resblocks):
        if index == first:
            second = x
        if index >= first:
            attn = block.attn
            weight, bias = attn.in_proj_weight.chunk(3)[2], attn.in_proj_bias.chunk(3)[2]
            v = base.heads(F.linear(block.ln_1(x), weight, bias), attn.num_heads)
            found = F.scaled_dot_product_attention(v, v, v)
            second = second + block.ls_1(attn.out_proj(base.joined(found)))
        x = block(x)
    tokens = torch.cat([x[:, :1], second[:, 1:]], dim=1)
    return visual.ln_post(tokens) @ visual.proj


def resnet_surgery(visual: Any, pixels: Tensor) -> Tensor:
    """Attnpool over v, v, v, the mean of the places first: (n, 1 + h * w, d)."""
    pool, places = visual.attnpool, base.resnet_map(visual, pixels)  # (n, width, h, w)
    positions = base.resampled_positions(pool.positional_embedding, tuple(places.shape[2:]))
    x = places.flatten(2).mT  # (n, h * w, width)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + positions
    v = base.heads(pool.v_proj(x), pool.num_heads)
    return pool.c_proj(base.joined(F.scaled_dot_product_attention(v, v, v)))


def feature_surgery(tokens: Tensor, texts: Tensor, redundant: Tensor | None = None) -> Tensor:
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
