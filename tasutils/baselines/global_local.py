"""Global-Local: the picture around a mask and the mask's crop, the sentence and its head phrase."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasutils import scores
from tasutils.baselines.activation import Peer
from tasutils.baselines.memory import Latest, Texts, check_picture
from tasutils.baselines.square import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SquareConfig,
    drawable,
    encoder_statistics,
    lit_patches,
    masks_on_grid,
    planes,
    resampled,
    restandardised,
    square_picture,
)
from tasutils.baselines.towers import require_tower, resnet_map, tower_kind, vit_tokens
from tasutils.encoders import ImageTextEncoder
from tasutils.masks import boxes_xyxy
from tasutils.parts import Part

if TYPE_CHECKING:
    import torch

    from tasutils.expression import Expression
    from tasutils.scene import Scene


def share_for(dataset: str | None) -> float:
    """The weight v of the global image feature for a data set (released code)."""
    return 0.85 if dataset == "refcocog" else 0.95


class GlobalLocalConfig(Part):
    """Switches of Global-Local; the defaults are the released code's but for the statistics.

    square: the released code has torchvision's bilinear without antialiasing, also for the soft
        masks, and ImageNet's statistics.
    v: weight of the global image feature; `text_share`: of the whole sentence.
    masked_blocks: before how many of a ViT's last blocks the patches are masked (9, 10 and 11).
    fill: colour outside the mask in a crop, laid in after normalising if `fill_normalised`.
    norms: `article`: only the mixtures are normalised; `released`: so for a ViT, but for a ResNet
        the two texts are before they are mixed, and the image mixture is not at all.
    field: what of a data set's sentence is to be read, see `LanguageConfig`; an evaluation's part.
    lowercase: whether sentence and phrase are lower-cased.
    """

    square: SquareConfig = SquareConfig(interpolation="bilinear", antialias=False)
    v: float = Field(default=0.95, ge=0, le=1)
    text_share: float = Field(default=0.5, ge=0, le=1)
    masked_blocks: int = Field(default=3, ge=0)
    fill: tuple[float, float, float] = IMAGENET_MEAN
    fill_normalised: bool = True
    norms: Literal["article", "released"] = "article"
    field: Literal["sent", "raw"] = "raw"
    lowercase: bool = True


class GlobalLocal(Peer):
    """v * global + (1 - v) * local against half sentence, half head noun phrase; the cosine.

    Global, ViT: the class token, the patches having been multiplied by the soft mask before each
    of the last blocks. Global, ResNet: layer4 normalised over its channels, times the soft mask,
    through attnpool. Local: the crop of the mask's box, stretched, its outside filled; for a
    ResNet it is normalised before it is mixed. Texts go in without a template; the head phrase is
    the preset's (released code: the root's noun chunk, `language.head_rule: root`). Source: Yu,
    Seo, Son (CVPR 2023), github.com/Seonghoon-Yu/Zero-shot-RIS.

    Raises TasError for an encoder that is no CLIP of open_clip with a ResNet or a plain ViT.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        config: GlobalLocalConfig | None = None,
        name: str = "global_local",
    ) -> None:
        self.config = config or GlobalLocalConfig()
        super().__init__(name, encoder, self.config)
        self._is_resnet = tower_kind(encoder) == "resnet"
        self._visual = require_tower(encoder, "resnet" if self._is_resnet else "vit", name)
        self._encoder: Any = encoder
        self._phrases = Texts(self._embed, lambda expression: self._cased(expression.phrase))
        self._visuals = Latest(self._embed_masks)

    @property
    def field(self) -> str:
        """Which form of a data set's sentence an evaluation is to parse, `sent` or `raw`."""
        return self.config.field

    def prepare(self, expressions: "Iterable[Expression]") -> None:
        """Embed several sentences, and their phrases, in one batch each."""
        expressions = list(expressions)
        self._texts.prepare(expressions)
        self._phrases.prepare(expressions)

    def score(
        self, scene: "Scene", expression: "Expression", image: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """Cosine of the two mixtures, float64 (n,); with `released` and a ResNet a dot product."""
        check_picture(scene, image)
        visual = self._visuals(image, scene)  # (n, d)
        share = self.config.text_share
        text = share * self._texts(expression) + (1 - share) * self._phrases(expression)  # (d,)
        if self._released_resnet:
            return visual.astype(np.float64) @ text.astype(np.float64)
        return scores.v_score(visual, text)

    def views(self, image: NDArray[np.uint8], scene: "Scene") -> NDArray[np.uint8]:
        """The masked features' places beside the filled crop of each mask: uint8 (n, s, 2 s, 3)."""
        picture, masks = square_picture(image, self.encoder, self.config.square), scene.proposals
        side = self.encoder.image_size // 32
        grid_hw = (side, side) if self._is_resnet else self._visual.grid_size
        lit = lit_patches(picture, self._soft(masks.masks(), grid_hw))
        return np.concatenate([lit, drawable(self._crops(image, masks.masks()))], axis=2)

    @property
    def _released_resnet(self) -> bool:
        return self._is_resnet and self.config.norms == "released"

    def _written(self, expression: "Expression") -> str:
        return self._cased(expression.text)

    def _cased(self, text: str) -> str:
        return text.lower() if self.config.lowercase else text

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Texts as the tower gives them, float32 (n, d); normalised if so released."""
        import torch

        with torch.inference_mode():
            tokens = self._encoder.tokenize(texts).to(self.encoder.device)
            rows = self._encoder.model.encode_text(tokens).float()
            if self._released_resnet:
                rows = torch.nn.functional.normalize(rows, dim=-1)
            return rows.cpu().numpy()

    def _embed_masks(self, image: NDArray[np.uint8], scene: "Scene") -> NDArray[np.float32]:
        masks = scene.proposals.masks()
        v = np.float32(self.config.v)
        return v * self.global_features(image, masks) + (1 - v) * self.local_features(image, masks)

    def global_features(
        self, image: NDArray[np.uint8], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """The picture with each of the masks (n, H, W) laid over its features, float32 (n, d)."""
        import torch

        if len(masks) == 0:
            return np.zeros((0, self.encoder.dim), np.float32)
        config = self.config.square
        with torch.inference_mode():
            pixels = self._encoder.pixel_values(square_picture(image, self.encoder, config))
            embed = self._resnet_global if self._is_resnet else self._vit_global
            return embed(pixels, masks).float().cpu().numpy()

    def local_features(
        self, image: NDArray[np.uint8], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """The filled crop of each of the masks (n, H, W), float32 (n, d)."""
        import torch

        if len(masks) == 0:
            return np.zeros((0, self.encoder.dim), np.float32)

        def embed(crops: torch.Tensor) -> torch.Tensor:
            return self._encoder.model.encode_image(self._encoder.pixel_values(crops)).float()

        with torch.inference_mode():
            features = torch.cat(self._encoder.crop_batches(self._crops(image, masks), embed))
            if self._is_resnet:
                features = torch.nn.functional.normalize(features, dim=-1)
            return features.cpu().numpy()

    def _vit_global(self, pixels: "torch.Tensor", masks: NDArray[np.bool_]) -> "torch.Tensor":
        import torch

        visual = self._visual
        soft = self._soft(masks, visual.grid_size).flatten(1)[..., None]  # (n, p, 1)
        stencil = torch.cat([torch.ones_like(soft[:, :1]), soft], dim=1)  # (n, 1 + p, 1)
        blocks = visual.transformer.resblocks
        x = vit_tokens(visual, pixels)  # (1, 1 + p, width)
        for index, block in enumerate(blocks):
            if index >= len(blocks) - self.config.masked_blocks:
                x = x * stencil
            x = block(x)
        x = x.expand(len(masks), -1, -1)  # without masked blocks there is but one picture
        return visual.ln_post(x[:, 0]) @ visual.proj

    def _resnet_global(self, pixels: "torch.Tensor", masks: NDArray[np.bool_]) -> "torch.Tensor":
        from torch.nn.functional import normalize

        places = normalize(resnet_map(self._visual, pixels), dim=1)  # (1, width, h, w)
        soft = self._soft(masks, (places.shape[2], places.shape[3]))
        return self._visual.attnpool(places * soft[:, None])

    def _soft(self, masks: NDArray[np.bool_], grid_hw: tuple[int, int]) -> "torch.Tensor":
        antialias = self.config.square.antialias
        return masks_on_grid(masks, grid_hw, self.encoder.device, "bilinear", antialias)

    def _crops(self, image: NDArray[np.uint8], masks: NDArray[np.bool_]) -> "torch.Tensor":
        """Float32 (n, 3, s, s), ready for `encoder.pixel_values`."""
        import torch

        size, config, device = self.encoder.image_size, self.config.square, self.encoder.device
        picture = planes(image, device)
        colour = self._fill(picture)
        crops = []
        for mask, (x0, y0, x1, y1) in zip(masks, boxes_xyxy(masks).astype(int), strict=True):
            window = (slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1)))
            inside = torch.from_numpy(mask[window]).to(device)
            crop = torch.where(inside, picture[:, *window], colour)
            crops.append(resampled(crop, size, config))
        return restandardised(torch.stack(crops), self.encoder, config)

    def _fill(self, picture: "torch.Tensor") -> "torch.Tensor":
        """The fill in the space of pixels in 0..1, float32 (3, 1, 1)."""
        colour = picture.new_tensor(self.config.fill)
        if self.config.fill_normalised:
            if self.config.square.statistics == "encoder":
                mean, std = encoder_statistics(self.encoder)
            else:
                mean, std = picture.new_tensor(IMAGENET_MEAN), picture.new_tensor(IMAGENET_STD)
            colour = mean + std * colour
        return colour.view(3, 1, 1)
