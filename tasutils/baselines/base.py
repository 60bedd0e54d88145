"""What the peers share: the picture as a square, maps on its grid, towers, and what is kept.

A picture of any aspect is stretched to the square, never cut, so the grid of its features lies
over all of it, and a map is brought back by resampling it to (H, W).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional as F

from tasutils.baselines import Image, Map, Scored, Scores
from tasutils.config import Part
from tasutils.encoders import ImageTextEncoder
from tasutils.errors import TasError
from tasutils.refer import Expression
from tasutils.scene import Scene

if TYPE_CHECKING:
    from tasutils.tas import TAS

T = TypeVar("T")
Kind = Literal["vit", "resnet"]
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's, RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)  # the same
_WANTED = {
    "vit": "a CLIP with a ViT and a class token (tiny-ViT, ViT-B-32-quickgelu, ViT-B-16, ...)",
    "resnet": "a CLIP with a ResNet (tiny-RN, RN50-quickgelu, RN101-quickgelu, ...)",
}


class SquareConfig(Part):
    """How a picture is resampled and normalised; CLIP's own way is the default.

    antialias: torchvision's resizing of tensors had none before its version 0.17 (2024).
    statistics: the encoder's, or ImageNet's, which the code of Global-Local uses even for CLIP.
    """

    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = True
    statistics: Literal["encoder", "imagenet"] = "encoder"


class Peer(Scored, ABC):
    """A method with an image-text encoder: its switches, its sentences embedded once."""

    Config: ClassVar[type[Part]]
    prefers: ClassVar[Kind]  # the image tower that a name without `_rn` and `_vit` takes
    name: str
    config: Any

    def __init__(
        self, encoder: ImageTextEncoder, config: Part | None = None, name: str | None = None
    ) -> None:
        self.name = name or self.name
        self.encoder: Any = encoder
        self.config = config or self.Config()
        self.template = getattr(getattr(encoder, "config", None), "template", "{}")
        self.texts = Texts(self._embed, self._written)
        self._setup()

    def _setup(self) -> None:
        """What a method does once with its encoder; TasError for one that it cannot use."""

    @classmethod
    def make(cls, name: str, tas: TAS, dataset: str | None = None, **switches: Any) -> Self:
        """The method over the encoder of `tas` that suits it, see `baselines.make_method`."""
        try:
            config = cls.Config.model_validate(switches)
        except ValidationError as error:
            first = error.errors()[0]
            what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise TasError(f"method {name}: {what}; correct this switch") from error
        kinds: dict[str, Kind] = {"rn": "resnet", "vit": "vit"}
        named = kinds.get(name.rsplit("_", 1)[-1])
        encoder = pick_encoder(tas, named or cls.prefers)
        if named:
            require_tower(encoder, named, name)
        return cls(encoder, config, name)

    @property
    def settings(self) -> dict[str, Any]:
        """Every switch and the encoder's name, for the record of a run."""
        return {"encoder": encoder_name(self.encoder)} | self.config.model_dump(mode="json")

    def prepare(self, expressions: Iterable[Expression]) -> None:
        """Embed several sentences in one batch; without it each is embedded when it comes."""
        self.texts.prepare(expressions)

    def _written(self, expression: Expression | str) -> str:
        return str(self.template.format(getattr(expression, "text", expression)))

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Texts -> float32 (n, d)."""
        return np.asarray(self.encoder.encode_text(texts))


class Activation(Peer):
    """A method that draws a map of where the sentence is; the highest mean inside a mask wins."""

    @abstractmethod
    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Float32 (H, W) in 0..1 over uint8 (H, W, 3) RGB, 1 where the sentence is likeliest."""

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """The map's mean inside each mask, float64 (n,) in 0..1; 0 for an empty mask.

        Each mask is summed alone, so the others change no bit of its mean.
        """
        check_picture(scene, image)
        if len(scene.proposals) == 0:
            return np.zeros(0)
        pixels, areas_px = self._insides(image, scene)
        heatmap = self.heatmap(image, expression).ravel().astype(np.float64)
        return np.asarray(pixels @ heatmap / areas_px)

    @cached_property
    def _insides(self) -> Latest[tuple[csr_array, NDArray[np.int64]]]:
        """The pixels of each mask as a sparse (n, H * W), and how many they are, at least 1."""

        def inside(image: Image, scene: Scene) -> tuple[csr_array, NDArray[np.int64]]:
            flat = scene.proposals.masks().reshape(len(scene.proposals), -1)
            return csr_array(flat.astype(np.float64)), np.maximum(flat.sum(axis=1), 1)

        return Latest(inside)


class Latest(Generic[T]):
    """What was computed of the last picture, or of the last scene with its picture."""

    def __init__(self, compute: Callable[..., T]) -> None:
        self._compute = compute
        self._image: Image = np.zeros(0, np.uint8)
        self._scene: Scene | None = None
        self._value: T

    def __call__(self, image: Image, scene: Scene | None = None) -> T:
        """compute(image), or compute(image, scene), made anew only for other ones."""
        if scene is not self._scene or not np.array_equal(image, self._image):
            self._value = self._compute(image) if scene is None else self._compute(image, scene)
            self._image, self._scene = image.copy(), scene  # a caller may draw on its array
        return self._value


class Texts:
    """Embeddings of expressions, each text embedded once; write: an expression's text."""

    def __init__(
        self, embed: Callable[[list[str]], NDArray[np.float32]], write: Callable[[Any], str]
    ) -> None:
        self._embed, self._write = embed, write
        self._known: dict[str, NDArray[np.float32]] = {}

    def prepare(self, expressions: Iterable[Expression | str]) -> None:
        """Embed the texts of several expressions in one batch."""
        new = sorted({self._write(expression) for expression in expressions} - self._known.keys())
        if new:
            self._known.update(zip(new, self._embed(new), strict=True))

    def __call__(self, expression: Expression | str) -> NDArray[np.float32]:
        """The embedding of one expression, float32 (d,)."""
        self.prepare([expression])
        return self._known[self._write(expression)]


def check_picture(scene: Scene, image: NDArray[Any]) -> None:
    """Raise TasError when a picture has not the size of the scene."""
    if tuple(image.shape) != (*scene.size_hw, 3):
        raise TasError(
            f"the picture is {tuple(image.shape)}, the scene {scene.size_hw} (H, W); "
            "give the uint8 (H, W, 3) picture that was described"
        )


def square_picture(
    image: Image, encoder: Any, config: SquareConfig, size: int | None = None
) -> Tensor:
    """Uint8 (H, W, 3) stretched: float32 (1, 3, size, size) RGB, ready for `encoder.pixel_values`.

    size: in px; None: the encoder's own.
    """
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


def encoder_statistics(encoder: Any) -> tuple[Tensor, Tensor]:
    """Mean and deviation, float32 (3,) each, by which an encoder normalises pixels."""
    size = encoder.image_size
    shades = torch.stack([torch.zeros(3, size, size), torch.ones(3, size, size)])
    black, white = encoder.pixel_values(shades.to(encoder.device))[:, :, 0, 0]
    std = 1 / (white - black)
    return -black * std, std


def over_picture(grid: Tensor, size_hw: tuple[int, ...]) -> NDArray[np.float32]:
    """A map (h, w) over the square, brought to the picture bilinearly: float32 (H, W)."""
    return F.interpolate(grid[None, None], size_hw[:2], mode="bilinear")[0, 0].float().cpu().numpy()


def min_max(values: Tensor) -> Tensor:
    """Values stretched to 0..1; zeros where they do not differ."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values * 0


def masks_on_grid(
    masks: NDArray[np.bool_],
    grid_hw: tuple[int, int],
    device: str,
    mode: Literal["nearest", "bilinear"],
    antialias: bool = False,
) -> Tensor:
    """Bool (n, H, W) -> float32 (n, h, w) in 0..1: the share of a mask at each place of a grid.

    `nearest` takes the one pixel at the top left of each place: a small mask may have no place.
    """
    stencils = torch.from_numpy(np.ascontiguousarray(masks)).to(device).float()[:, None]
    return F.interpolate(stencils, grid_hw, mode=mode, antialias=antialias)[:, 0]


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


def pick_encoder(tas: TAS, kind: Kind) -> ImageTextEncoder:
    """The preset's encoder if its tower is of `kind`, else the peers' if it is, else the first."""
    if tower_kind(tas.encoder) == kind or tas.preset.peer_encoder is None:
        return tas.encoder
    return tas.peer_encoder if tower_kind(tas.peer_encoder) == kind else tas.encoder


def vit_tokens(visual: Any, pixels: Tensor) -> Tensor:
    """The tokens that enter a ViT's first block, class token first: (n, 1 + h * w, width).

    pixels: float32 (n, 3, s, s), normalised; s any multiple of the patch.
    """
    x = visual.conv1(pixels)
    positions = resampled_positions(visual.positional_embedding, tuple(x.shape[2:]))
    x = x.flatten(2).mT  # (n, h * w, width)
    first = visual.class_embedding.expand(len(x), 1, -1)
    return visual.ln_pre(torch.cat([first, x], dim=1) + positions)


def resnet_map(visual: Any, pixels: Tensor) -> Tensor:
    """The map of a ResNet's layer4: (n, width, h, w)."""
    x = visual.layer2(visual.layer1(visual.stem(pixels)))
    return visual.layer4(visual.layer3(x))


def resampled_positions(table: Tensor, grid_hw: tuple[int, ...]) -> Tensor:
    """A square table of positions (1 + g * g, width) for another grid: (1 + h * w, width)."""
    side = int((len(table) - 1) ** 0.5)
    if grid_hw == (side, side):
        return table
    places = table[1:].unflatten(0, (side, side)).permute(2, 0, 1)[None]
    return torch.cat([table[:1], F.interpolate(places, grid_hw, mode="bilinear")[0].flatten(1).mT])


def heads(x: Tensor, n_heads: int) -> Tensor:
    """(..., t, width) -> (..., n_heads, t, width / n_heads)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(-3, -2)


def joined(x: Tensor) -> Tensor:
    """The inverse of `heads`."""
    return x.transpose(-3, -2).flatten(-2)
