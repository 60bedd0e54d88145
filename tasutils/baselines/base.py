"""What the peers share: encoders' towers, the picture as a square, maps on its grid; TAS's terms.

A picture of any aspect is stretched to the square, never cut, so the grid of its features lies
over all of it, and a map is brought back by resampling it to (H, W).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from timm.layers import resample_abs_pos_embed
from torch import Tensor
from torch.nn import functional as F

from tasutils import terms
from tasutils.config import Part
from tasutils.encoders import ImageTextEncoder
from tasutils.errors import TasError
from tasutils.refer import Answer, Expression, cosine_scale
from tasutils.scene import Scene

if TYPE_CHECKING:
    from tasutils.tas import TAS

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Scores = NDArray[np.float64]  # (n,), one a mask
Map = NDArray[np.float32]  # (H, W) in 0..1
Kind = Literal["vit", "resnet"]
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's, RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)  # the same
_WANTED = {
    "vit": "a CLIP with a ViT and a class token (tiny-ViT, ViT-B-32-quickgelu, ViT-B-16, ...)",
    "resnet": "a CLIP with a ResNet (tiny-RN, RN50-quickgelu, RN101-quickgelu, ...)",
}


class Peer(ABC):
    """A method that scores masks with an image-text encoder: its switches, its texts embedded once.

    `Config`: its switches; `prefers`: the image tower that a name without `_rn` and `_vit` takes.
    """

    Config: ClassVar[type[Part]] = Part
    prefers: ClassVar[Kind | None] = None
    name: str

    def __init__(
        self, encoder: ImageTextEncoder, config: Part | None = None, name: str | None = None
    ) -> None:
        self.name = name or self.name
        self.encoder: Any = encoder
        self.config: Any = config or self.Config()
        self.template: str = getattr(getattr(encoder, "config", None), "template", "{}")
        self._known: dict[str, NDArray[np.float32]] = {}
        self._setup()

    def _setup(self) -> None:  # noqa: B027
        """What a method does once with its encoder; TasError for one that it cannot use."""

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Self:
        """The method over the encoder of `tas` that suits it, see `baselines.make_method`."""
        config = checked(cls.Config, name, switches)
        named: Any = {"rn": "resnet", "vit": "vit"}.get(name.rsplit("_", 1)[-1])
        kind, encoder = named or cls.prefers, tas.encoder
        if kind not in (None, tower_kind(encoder)) and tas.preset.peer_encoder is not None:
            encoder = tas.peer_encoder if tower_kind(tas.peer_encoder) == kind else encoder
        if named:
            require_tower(encoder, named, name)
        return cls(encoder, config, name)

    @property
    def settings(self) -> dict[str, Any]:
        """Every switch and the encoder's name, for the record of a run."""
        return {"encoder": encoder_name(self.encoder)} | self.config.model_dump(mode="json")

    @abstractmethod
    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """A number for each mask, float64 (n,)."""

    def prepare(self, expressions: Iterable[Expression | str]) -> None:
        """Embed several sentences in one batch; without it each is embedded when it comes."""
        texts = {text for expression in expressions for text in self._written(expression)}
        new = sorted(texts - self._known.keys())
        if new:
            self._known.update(zip(new, self._embed(new), strict=True))

    def texts(self, expression: Expression | str) -> list[NDArray[np.float32]]:
        """The embeddings of what a method reads of an expression, float32 (d,) each."""
        self.prepare([expression])
        return [self._known[text] for text in self._written(expression)]

    def _written(self, expression: Expression | str) -> tuple[str, ...]:
        return (self.template.format(getattr(expression, "text", expression)),)

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:  # (n, d)
        return np.asarray(self.encoder.encode_text(texts))


def checked(kind: type[Part], name: str, switches: dict[str, Any]) -> Part:
    """The switches of a method as its settings; TasError for a wrong one."""
    try:
        return kind.model_validate(switches)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise TasError(f"method {name}: {what}; correct this switch") from error


class Alone(Peer):
    """V (`clip_only`) or P (`text_only`) of TAS and nothing else (article, section 4)."""

    _scale = 1.0

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Self:
        """See `baselines.make_method`."""
        method = super().make(name, tas, **switches)
        method.template = tas.preset.encoder.template
        method._scale = cosine_scale(tas.encoder, tas.preset)
        return method

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """The column v or p of TAS's table, float64 (n,)."""
        (text,) = self.texts(expression)
        if self.name == "text_only":
            return self._scale * terms.p_score(scene.caption_embeddings, text)
        return self._scale * terms.v_score(scene.crop_embeddings, text)


class Tas:
    """TAS itself; the data set picks its weights from the preset, as in `TAS.refer`."""

    name = "tas"

    def __init__(self, tas: TAS, dataset: str | None) -> None:
        self._tas, self._dataset = tas, dataset
        weights = tas.preset.weights(dataset)
        self.settings = {"encoder": encoder_name(tas.encoder), "weights": weights}

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Self:
        """See `baselines.make_method`; its switches are its preset's."""
        checked(Part, name, switches)
        return cls(tas, dataset)

    def answer(self, scene: Scene, expressions: Sequence[Expression], image: Image) -> list[Answer]:
        """TAS's own answers."""
        return [self._tas.refer(scene, e.text, dataset=self._dataset) for e in expressions]


class Latest:
    """What was computed of the last picture, or of the last scene with its picture."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        self._compute = compute
        self._image: Image = np.zeros(0, np.uint8)
        self._scene: Scene | None = None

    def __call__(self, image: Image, scene: Scene | None = None) -> Any:
        """compute(image), or compute(image, scene), made anew only for other ones."""
        if scene is not self._scene or not np.array_equal(image, self._image):
            self._value = self._compute(image) if scene is None else self._compute(image, scene)
            self._image, self._scene = image.copy(), scene  # a caller may draw on its array
        return self._value


# the picture as a square


class SquareConfig(Part):
    """How a picture is resampled and normalised; CLIP's own way is the default.

    antialias: torchvision's resizing of tensors had none before its version 0.17 (2024).
    statistics: the encoder's, or ImageNet's, which the code of Global-Local uses even for CLIP.
    """

    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = True
    statistics: Literal["encoder", "imagenet"] = "encoder"


def square_picture(
    image: Image, encoder: Any, config: SquareConfig, size: int | None = None
) -> Tensor:
    """Uint8 (H, W, 3) stretched to `size` px, or the encoder's own: float32 (1, 3, size, size)
    RGB, ready for `encoder.pixel_values`."""
    square = resampled(planes(image, encoder.device), size or encoder.image_size, config)[None]
    return restandardised(square, encoder, config)


def planes(image: Image, device: str) -> Tensor:
    """Uint8 (H, W, 3) -> float32 (3, H, W) in 0..1 on `device`."""
    return torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1).float() / 255


def resampled(picture: Tensor, size: int, config: SquareConfig) -> Tensor:
    """Float32 (3, h, w) -> (3, size, size), clipped to 0..1."""
    mode, antialias = config.interpolation, config.antialias
    return F.interpolate(picture[None], (size, size), mode=mode, antialias=antialias)[0].clamp(0, 1)


def restandardised(crops: Tensor, encoder: Any, config: SquareConfig) -> Tensor:
    """Crops float32 (n, 3, s, s) RGB in 0..1, such that `encoder.pixel_values` of them is what the
    config's statistics make of them."""
    if config.statistics == "encoder":
        return crops
    mean, std = encoder_statistics(encoder)
    other_mean, other_std = (crops.new_tensor(v) for v in (IMAGENET_MEAN, IMAGENET_STD))
    scale = std / other_std
    return crops * scale.view(3, 1, 1) + (mean - scale * other_mean).view(3, 1, 1)


def colour_outside(
    colour: Sequence[float], normalised: bool, encoder: Any, config: SquareConfig
) -> Tensor:
    """A colour (3,), that of pixels in 0..1 or, if `normalised`, of what the config's statistics
    make of them: float32 (3, 1, 1) of pixels in 0..1."""
    filling = torch.tensor(colour, device=encoder.device)
    if normalised:
        mean, std = map(filling.new_tensor, (IMAGENET_MEAN, IMAGENET_STD))
        if config.statistics == "encoder":
            mean, std = encoder_statistics(encoder)
        filling = mean + std * filling
    return filling.view(3, 1, 1)


def encoder_statistics(encoder: Any) -> tuple[Tensor, Tensor]:
    """Mean and deviation, float32 (3,) each, by which an encoder normalises pixels."""
    size = encoder.image_size
    shades = torch.stack([torch.zeros(3, size, size), torch.ones(3, size, size)])
    black, white = encoder.pixel_values(shades.to(encoder.device))[:, :, 0, 0]
    std = 1 / (white - black)
    return -black * std, std


def masks_on_grid(
    masks: NDArray[np.bool_], grid_hw: tuple[int, ...], device: str, **how: Any
) -> Tensor:
    """Bool (n, H, W) -> float32 (n, h, w) in 0..1: the share of a mask at each place of a grid.

    how: of torch's `interpolate`; without, the one pixel at the top left of each place counts.
    """
    stencils = torch.from_numpy(np.ascontiguousarray(masks).view(np.uint8)).to(device)[:, None]
    if not how:
        return F.interpolate(stencils, grid_hw)[:, 0].float()
    # one by one: as floats all of them would not fit the processor's cache
    return torch.cat([F.interpolate(s[None].float(), grid_hw, **how) for s in stencils])[:, 0]


# the towers


def tower_kind(encoder: ImageTextEncoder) -> Kind | None:
    """Whether an encoder is open_clip's with a ResNet, or with a ViT that has a class token.

    Towers with another attention than torch's own (EVA, CoCa, SigLIP) are neither.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    visual = getattr(getattr(encoder, "model", None), "visual", None)
    if isinstance(visual, ModifiedResNet):
        return "resnet"
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        plain = all(isinstance(b, ResidualAttentionBlock) for b in visual.transformer.resblocks)
        if plain and visual.pool_type == "tok" and not visual.final_ln_after_pool:
            return "vit"
    return None


def require_tower(encoder: Any, kind: Kind, method: str, other: Kind | None = None) -> Any:
    """The image tower `visual` of an encoder; TasError when it is not of `kind`, nor of `other`."""
    if tower_kind(encoder) not in (kind, other or kind):
        raise TasError(
            f"{method} cannot use encoder {encoder_name(encoder)}; give it {_WANTED[kind]} "
            "as encoder or peer_encoder of the preset"
        )
    return encoder.model.visual


def encoder_name(encoder: ImageTextEncoder) -> str:
    """The model's name as the preset has it, else its kind."""
    config = getattr(encoder, "config", None)
    return str(getattr(config, "model", getattr(config, "kind", type(encoder).__name__)))


def text_features(encoder: Any, texts: list[str]) -> Tensor:
    """n texts as CLIP's tower gives them, not normalised: float32 (n, d) on the CPU."""
    with torch.inference_mode():
        tokens = encoder.tokenize(texts).to(encoder.device)
        return encoder.model.encode_text(tokens).float().cpu()


def vit_tokens(visual: Any, pixels: Tensor, **how: Any) -> Tensor:
    """The tokens that enter a ViT's first block, class token first: (n, 1 + h * w, width); of
    normalised pixels (n, 3, s, s), s any multiple of the patch; how: see `resampled_positions`."""
    x = visual.conv1(pixels)
    positions = resampled_positions(visual.positional_embedding, tuple(x.shape[2:]), **how)
    x = x.flatten(2).mT  # (n, h * w, width)
    first = visual.class_embedding.expand(len(x), 1, -1)
    return visual.ln_pre(torch.cat([first, x], dim=1) + positions)


def resnet_map(visual: Any, pixels: Tensor) -> Tensor:
    """The map of a ResNet's layer4: (n, width, h, w)."""
    return visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))


def second_path(
    visual: Any, x: Tensor, blocks: int, attend: Callable[[Any, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Tokens (n, 1 + p, width) after a ViT's blocks, and those of a path beside the last `blocks`.

    That path has no FFN; it adds up what `attend` finds for the original's tokens: the attention
    and tokens after the first norm -> (n, 1 + p, width), before the output projection.
    """
    resblocks = visual.transformer.resblocks
    second = x
    for left, block in zip(range(len(resblocks), 0, -1), resblocks, strict=True):
        if left > blocks:
            second = x = block(x)
        else:
            found = attend(block.attn, block.ln_1(x))
            second, x = second + block.ls_1(block.attn.out_proj(found)), block(x)
    return x, second


def resampled_positions(
    table: Tensor, grid_hw: tuple[int, ...], mode: str = "bilinear", antialias: bool = False
) -> Tensor:
    """A square table of positions (1 + g * g, width) for another grid: (1 + h * w, width)."""
    how: Any = {"interpolation": mode, "antialias": antialias}
    return resample_abs_pos_embed(table[None], list(grid_hw), **how)[0]
