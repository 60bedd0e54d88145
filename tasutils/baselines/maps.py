"""Methods that draw a map of where the sentence is: Score Map, Grad-CAM, CLIP-Surgery."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tasutils.baselines import base
from tasutils.baselines.base import Image, Map, Scores
from tasutils.config import Part
from tasutils.encoders import dense
from tasutils.errors import TasError
from tasutils.refer import Expression
from tasutils.scene import Scene

_EPSILON = 1e-7  # of the package grad-cam, utils/image.py
_SCENE_TEMPLATES = (
    "there is a {} in the scene.", "there is the {} in the scene.", "this is a {} in the scene.",
    "this is the {} in the scene.", "this is one {} in the scene.",
)  # fmt: skip


class Activation(base.Peer):
    """A method that draws a map of where the sentence is; the highest mean inside a mask wins."""

    @abstractmethod
    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Float32 (H, W) in 0..1 over uint8 (H, W, 3) RGB, 1 where the sentence is likeliest."""

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """The map's mean inside each mask, float64 (n,) in 0..1; 0 for an empty mask."""
        heat = self.heatmap(image, expression).ravel().astype(np.float64)
        return np.array([heat[w].mean() if len(w) else 0.0 for w in self._wheres(image, scene)])

    @cached_property
    def _wheres(self) -> base.Latest:  # of the pixels of each mask
        return base.Latest(lambda _, scene: [np.flatnonzero(m) for m in scene.proposals.masks()])


def over_picture(grid: Tensor, size_hw: tuple[int, ...]) -> Tensor:
    """A map (h, w) over the square, brought to the picture bilinearly: float32 (H, W), CPU."""
    return F.interpolate(grid[None, None], size_hw[:2], mode="bilinear")[0, 0].float().cpu()


def min_max(values: Tensor) -> Tensor:
    """Values stretched to 0..1; zeros where they do not differ."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values * 0


class ScoreMapConfig(Part):
    """bias_seed: None: the biases of attnpool's projections are the model's own. A number: they are
    drawn at random by this seed, as torch draws those of a new layer; the code of Global-Local
    copies the weights alone. Only with a ResNet.
    """

    square: base.SquareConfig = base.SquareConfig()
    bias_seed: int | None = None


class ScoreMap(Activation):
    """The cosine of every place with the sentence; an encoder with `encode_dense` is needed.

    With CLIP's ResNet: layer4 through attnpool's v_proj and c_proj as 1 x 1 convolutions, L2 over
    the channels, dot the normalised text, bilinear to (H, W), min-max. Of other encoders the dense
    features are theirs. Source: Zhou et al. (arXiv 2112.01071), as a baseline in Yu, Seo, Son
    (CVPR 2023). Raises TasError for an encoder without dense features.
    """

    Config, prefers, name = ScoreMapConfig, "resnet", "score_map"

    def _setup(self) -> None:
        dense(self.encoder)
        if self.config.bias_seed is not None:
            base.require_tower(self.encoder, "resnet", f"{self.name} with bias_seed")
        self._places = base.Latest(self._features)

    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Cosines of the places with the sentence, float32 (H, W) stretched to 0..1."""
        (text,) = self.texts(expression)
        cosines = self._places(image) @ torch.from_numpy(text)  # (h, w)
        return min_max(over_picture(cosines, image.shape)).numpy()

    def _features(self, image: Image) -> Tensor:
        """Unit features of the places, float32 (h, w, d) on the CPU."""
        crops = base.square_picture(image, self.encoder, self.config.square)
        if self.config.bias_seed is None:
            return torch.from_numpy(self.encoder.encode_dense(crops)[0])
        generator = torch.Generator().manual_seed(self.config.bias_seed)
        visual = self.encoder.model.visual
        with torch.inference_mode():
            x = base.resnet_map(visual, self.encoder.pixel_values(crops))[0].permute(1, 2, 0)
            for layer in (visual.attnpool.v_proj, visual.attnpool.c_proj):
                draws = torch.rand(layer.out_features, generator=generator)
                bias = ((2 * draws - 1) * layer.in_features**-0.5).to(x)
                x = F.linear(x, layer.weight, bias)
            return F.normalize(x, dim=-1).cpu().clone()


class GradCamConfig(Part):
    """block: of a ViT, the block whose first norm gives the map, -1 the last; its patch tokens are
    laid out as a grid. Of the last block's own output only the class token has a gradient.
    """

    square: base.SquareConfig = base.SquareConfig()
    block: int = -1


class GradCam(Activation):
    """Channels weighted by the mean gradient of the cosine, summed, ReLU, min-max, bilinear.

    The map is layer4 of CLIP's ResNet, a late block of a ViT (CLIP, ALBEF) or the last map of
    ALIGN. Source: Selvaraju et al. (ICCV 2017); equal to the package grad-cam 1.5.7, from which
    the epsilon of min-max and its repetition after resampling are taken. Zero-shot-RIS has a form
    of its own, which chooses other masks: it differentiates minus the similarity and normalises
    over the channels. TasError for an encoder without such a map, or a ViT without that block.
    """

    Config, prefers, name = GradCamConfig, "resnet", "grad_cam"

    def _setup(self) -> None:
        self._module, self._unit, self._side = self._target()
        self._graph = base.Latest(self._forward)

    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Grad-CAM of the cosine of picture and sentence, float32 (H, W) in 0..1."""
        with torch.inference_mode(False), torch.enable_grad():
            activation, unit = self._graph(image)
            text = torch.from_numpy(self.texts(expression)[0]).to(unit)
            (gradient,) = torch.autograd.grad(unit[0] @ text, activation, retain_graph=True)
        channels, slopes = self._grid(activation.detach()), self._grid(gradient)
        cam = (slopes.mean(dim=(1, 2), keepdim=True) * channels).sum(dim=0).relu()  # (h, w)
        return _stretched(over_picture(_stretched(cam), image.shape)).numpy()

    def _forward(self, image: Image) -> tuple[Tensor, Tensor]:
        """The map and the unit embedding, with the graph between the two."""
        seen: list[Tensor] = []

        def cut(module: Any, inputs: Any, output: Tensor) -> Tensor:
            seen.append(output.detach().requires_grad_(True))
            return seen[0]

        crops = base.square_picture(image, self.encoder, self.config.square)
        with self._module.register_forward_hook(cut):
            unit = F.normalize(self._unit(crops), dim=-1)
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
        try:
            return blocks[self.config.block]
        except IndexError:
            index, most = self.config.block, len(blocks) - 1
            raise TasError(f"{self.name}: there is no block {index}; the last is {most}") from None


def _stretched(values: Tensor) -> Tensor:
    raised = values - values.min()
    return raised / (_EPSILON + raised.max())


class ClipSurgeryConfig(Part):
    """image_size: side of the input, px, a multiple of the tower's stride; None: the encoder's own.
    blocks: how many of a ViT's last blocks have the second path.
    ensemble: whether a text is the mean over 85 templates, else it is put in the encoder's own.
    others: texts that the sentence is set against, as the demo's class names are; none: the empty.
    """

    square: base.SquareConfig = base.SquareConfig()
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

    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Similarity after surgery, float32 (H, W) in 0..1."""
        tokens, asked = self._features(image), (expression, *self.config.others)
        texts = torch.from_numpy(np.stack([self.texts(one)[0] for one in asked]))  # (m, d)
        redundant = None if self.config.others else torch.from_numpy(self.texts("")[0])
        similarity = feature_surgery(tokens, texts, redundant)[1:, 0]
        side = round(len(similarity) ** 0.5)
        return over_picture(min_max(similarity).view(side, side), image.shape).numpy()

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

    def _written(self, expression: Expression | str) -> tuple[str, ...]:
        return (str(getattr(expression, "text", expression)),)  # `_embed` brings the templates

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

    def values(attn: Any, inner: Tensor) -> Tensor:
        weight, bias = attn.in_proj_weight.chunk(3)[2], attn.in_proj_bias.chunk(3)[2]
        return consistent(F.linear(inner, weight, bias), attn.num_heads)

    x, second = base.second_path(visual, base.vit_tokens(visual, pixels), blocks, values)
    tokens = torch.cat([x[:, :1], second[:, 1:]], dim=1)
    return visual.ln_post(tokens) @ visual.proj


def gem_places(encoder: Any, image: Image, blocks: int) -> Tensor:
    """GEM's unit features of twice the size a ViT was made for: float32 (h, w, d) on the CPU.

    In a path beside the last blocks queries, keys and values each attend to their own kind, once
    among themselves and once for the values; the mean of the three is added, no FFN. Source:
    Bousselham et al. (arXiv 2312.00878) and their package.
    """
    visual = encoder.model.visual
    with torch.inference_mode():
        crops = base.square_picture(image, encoder, base.SquareConfig(), 2 * encoder.image_size)
        pixels = encoder.pixel_values(crops)
        x = base.vit_tokens(visual, pixels, mode="bicubic", antialias=True)
        _, second = base.second_path(visual, x, blocks, _self_self)
        places = F.normalize(visual.ln_post(second[0, 1:]) @ visual.proj, dim=-1)
        return places.float().cpu().unflatten(0, (2 * visual.grid_size[0], -1))


def _self_self(attn: Any, inner: Tensor) -> Tensor:
    mixed = F.linear(inner, attn.in_proj_weight, attn.in_proj_bias)
    parts = mixed.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    q, k, v = parts  # (n, heads, t, c) each
    scale = inner.norm(dim=-1).mean(dim=-1).view(-1, 1, 1, 1) * v.shape[-1] ** -0.5
    found = torch.zeros_like(v)
    for part in (q, k, v):
        for values in (F.normalize(part, dim=-1), v):
            unit = F.normalize(part, dim=-1)
            part = (scale * unit @ unit.mT).softmax(dim=-1) @ values
        found = found + part / 3
    return found.transpose(1, 2).flatten(2)


def resnet_surgery(visual: Any, pixels: Tensor) -> Tensor:
    """Attnpool over v, v, v, the mean of the places first: (n, 1 + h * w, d)."""
    pool, places = visual.attnpool, base.resnet_map(visual, pixels)  # (n, width, h, w)
    positions = base.resampled_positions(pool.positional_embedding, tuple(places.shape[2:]))
    x = places.flatten(2).mT  # (n, h * w, width)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + positions
    return pool.c_proj(consistent(pool.v_proj(x), pool.num_heads))


def consistent(v: Tensor, n_heads: int) -> Tensor:
    """Values (n, t, width) that attend to values, head by head."""
    v = v.unflatten(-1, (n_heads, -1)).transpose(1, 2)  # (n, heads, t, c)
    return F.scaled_dot_product_attention(v, v, v).transpose(1, 2).flatten(2)


def feature_surgery(tokens: Tensor, texts: Tensor, redundant: Tensor | None = None) -> Tensor:
    """Similarities (t, m) of unit tokens (t, d), class token first, with unit texts (m, d).

    redundant: (d,), what is taken from each text. None: what the texts have in common is, each
    weighted by softmax(2 * class token . text) over its mean; of one text nothing would be left.
    """
    if redundant is not None:
        return tokens @ (texts - redundant).mT
    shares = (2 * tokens[:1] @ texts.mT).softmax(dim=-1)  # (1, m)
    weights = (shares / shares.mean(dim=-1, keepdim=True))[..., None]  # (1, m, 1)
    parts = tokens[:, None] * texts * weights  # (t, m, d)
    return (parts - parts.mean(dim=1, keepdim=True)).sum(dim=-1)
