"""The two methods of Yu, Seo, Son (CVPR 2023) for masks: Global-Local, and Region Token."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tasutils import terms
from tasutils.baselines import base
from tasutils.baselines.base import Image, Scores
from tasutils.config import Part
from tasutils.errors import TasError
from tasutils.masks import boxes_xyxy
from tasutils.refer import Expression
from tasutils.scene import Scene


class GlobalLocalConfig(Part):
    """Switches of Global-Local; the defaults are the released code's but for the statistics, and
    its loader first brings each picture to a short side of 800 px; here it stays.

    square: as released, bilinear without antialiasing, also for soft masks; ImageNet's statistics.
    v: weight of the global image feature (released code: 0.85 on RefCOCOg, else 0.95); text_share:
        of the whole sentence.
    masked_blocks: before how many of a ViT's last blocks the patches are masked (9, 10 and 11).
    fill: colour outside the mask in a crop, laid in after normalising if `fill_normalised`.
    norms: `released`: for a ViT only the mixtures are normalised; for a ResNet the two texts are
        before they are mixed, and the image mixture is not at all. `article`: for both as for the
        ViT.
    field: what of a data set's sentence is to be read, see `LanguageConfig`; an evaluation's part.
    lowercase: whether sentence and phrase are lower-cased.
    """

    square: base.SquareConfig = base.SquareConfig(interpolation="bilinear", antialias=False)
    v: float = Field(default=0.95, ge=0, le=1)
    text_share: float = Field(default=0.5, ge=0, le=1)
    masked_blocks: int = Field(default=3, ge=0)
    fill: tuple[float, float, float] = base.IMAGENET_MEAN
    fill_normalised: bool = True
    norms: Literal["article", "released"] = "released"
    field: Literal["sent", "raw"] = "raw"
    lowercase: bool = True


class GlobalLocal(base.Peer):
    """v * global + (1 - v) * local against half sentence, half head noun phrase; the cosine.

    Global, ViT: the class token, the patches having been multiplied by the soft mask before each
    of the last blocks. Global, ResNet: layer4 normalised over its channels, times the soft mask,
    through attnpool. Local: the crop of the mask's box, stretched, its outside filled; for a
    ResNet it is normalised before it is mixed. Texts go in without a template; the head phrase is
    the preset's (released code: the root's noun chunk, `language.head_rule: root`). Source: Yu,
    Seo, Son (CVPR 2023), github.com/Seonghoon-Yu/Zero-shot-RIS. TasError without such a CLIP.
    """

    Config, prefers, name = GlobalLocalConfig, "vit", "global_local"

    def _setup(self) -> None:
        self._visual = base.require_tower(self.encoder, "vit", self.name, "resnet")
        self._is_resnet = base.tower_kind(self.encoder) == "resnet"
        self._released_resnet = self._is_resnet and self.config.norms == "released"
        self._visuals = base.Latest(self._embed_masks)

    @classmethod
    def make(cls, name: str, tas: Any, dataset: str | None = None, **switches: Any) -> Self:
        """As `Peer.make`; without a `v` it is the published one of the data set."""
        published = 0.85 if dataset == "refcocog" else 0.95
        return super().make(name, tas, dataset, **{"v": published} | switches)

    @property
    def field(self) -> str:
        """Which form of a data set's sentence an evaluation is to parse, `sent` or `raw`."""
        return str(self.config.field)

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """Cosine of the two mixtures, float64 (n,); with `released` and a ResNet a dot product."""
        visual, share = self._visuals(image, scene), self.config.text_share  # (n, d)
        sentence, phrase = self.texts(expression)
        text = share * sentence + (1 - share) * phrase  # (d,)
        if self._released_resnet:
            return visual.astype(np.float64) @ text.astype(np.float64)
        return terms.v_score(visual, text)

    def _written(self, expression: Any) -> tuple[str, ...]:
        texts = (expression.text, expression.phrase)
        return tuple(text.lower() for text in texts) if self.config.lowercase else texts

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Texts as the tower gives them, float32 (n, d); normalised if so released."""
        rows = base.text_features(self.encoder, texts)
        return (F.normalize(rows, dim=-1) if self._released_resnet else rows).numpy()

    def _embed_masks(self, image: Image, scene: Scene) -> NDArray[np.float32]:
        """v * global + (1 - v) * local of each mask, float32 (n, d)."""
        masks = scene.proposals.masks()
        if len(masks) == 0:
            return np.zeros((0, self.encoder.dim), np.float32)
        v = np.float32(self.config.v)
        with torch.inference_mode():
            pixels = base.square_picture(image, self.encoder, self.config.square)
            embed = self._resnet_global if self._is_resnet else self._vit_global
            around = embed(self.encoder.pixel_values(pixels), masks).float()
            tower, seen = self.encoder.model.encode_image, self.encoder.pixel_values
            crops = self._crops(image, masks)
            local = torch.cat(self.encoder.crop_batches(crops, lambda c: tower(seen(c)).float()))
            if self._is_resnet:
                local = F.normalize(local, dim=-1)
            return np.asarray(v * around.cpu().numpy() + (1 - v) * local.cpu().numpy())

    def _vit_global(self, pixels: Tensor, masks: NDArray[np.bool_]) -> Tensor:
        visual = self._visual
        soft = self._soft(masks, visual.grid_size).flatten(1)[..., None]  # (n, p, 1)
        stencil = torch.cat([torch.ones_like(soft[:, :1]), soft], dim=1)  # (n, 1 + p, 1)
        blocks = visual.transformer.resblocks
        x = base.vit_tokens(visual, pixels)  # (1, 1 + p, width)
        for index, block in enumerate(blocks):
            if index >= len(blocks) - self.config.masked_blocks:
                x = x * stencil
            x = block(x)
        x = x.expand(len(masks), -1, -1)  # without masked blocks there is but one picture
        return visual.ln_post(x[:, 0]) @ visual.proj

    def _resnet_global(self, pixels: Tensor, masks: NDArray[np.bool_]) -> Tensor:
        places = F.normalize(base.resnet_map(self._visual, pixels), dim=1)  # (1, width, h, w)
        soft = self._soft(masks, tuple(places.shape[2:]))
        return self._visual.attnpool(places * soft[:, None])

    def _soft(self, masks: NDArray[np.bool_], grid_hw: tuple[int, ...]) -> Tensor:
        how = {"mode": "bilinear", "antialias": self.config.square.antialias}
        return base.masks_on_grid(masks, grid_hw, self.encoder.device, **how)

    def _crops(self, image: Image, masks: NDArray[np.bool_]) -> Tensor:
        """Float32 (n, 3, s, s), ready for `encoder.pixel_values`."""
        size, config, device = self.encoder.image_size, self.config.square, self.encoder.device
        picture = base.planes(image, device)
        filled = self.config.fill, self.config.fill_normalised
        colour = base.colour_outside(*filled, self.encoder, config)
        crops = []
        for mask, (x0, y0, x1, y1) in zip(masks, boxes_xyxy(masks).astype(int), strict=True):
            window = (slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1)))
            inside = torch.from_numpy(mask[window]).to(device)
            crop = torch.where(inside, picture[:, *window], colour)
            crops.append(base.resampled(crop, size, config))
        return base.restandardised(torch.stack(crops), self.encoder, config)


class RegionTokenConfig(Part):
    """outside_bias: what is added to the attention logits of patches outside the mask.
    padding_px: zeros around the normalised picture. The cited class sets the patch convolution's
        padding to (patch - 1) // 2, 15 for a patch of 32, so its patches lie half a patch up and
        left of the masks' grid; 0 lays them where the masks are.
    """

    square: base.SquareConfig = base.SquareConfig()
    outside_bias: float = -100.0
    padding_px: int = Field(default=0, ge=0)


class RegionToken(base.Peer):
    """N copies of the class token run beside the image tokens through every block of CLIP's ViT.

    Each attends to the patches inside its mask (nearest, on the grid of patches) and to itself;
    then ln_post, projection and the cosine with the sentence. A mask over the whole picture gives
    the picture's own embedding; all masks without a patch score the same. Source: baseline of Yu,
    Seo, Son (CVPR 2023; model/backbone.py, CLIPMaskedSpatialViT), after MaskCLIP and Adapting CLIP
    (Li et al., arXiv 2204.03647). TasError for an encoder that is no CLIP with such a ViT.
    """

    Config, prefers, name = RegionTokenConfig, "vit", "region_token"

    def _setup(self) -> None:
        self._visual = base.require_tower(self.encoder, "vit", self.name)
        patch_px = self._visual.patch_size[0]
        if 2 * self.config.padding_px >= patch_px:
            raise TasError(
                f"{self.name}: padding_px {self.config.padding_px} adds patches to the grid; "
                f"choose less than half of {patch_px} px"
            )
        self._regions = base.Latest(
            lambda image, scene: self.embed_masks(image, scene.proposals.masks())
        )

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """Cosine of each mask's token with the sentence, float64 (n,) in -1..1."""
        return terms.v_score(self._regions(image, scene), self.texts(expression)[0])

    def embed_masks(self, image: Image, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The tokens of masks (n, H, W) in the joint space, float32 (n, d), not normalised."""
        if len(masks) == 0:
            return np.zeros((0, self.encoder.dim), np.float32)
        visual, device, config = self._visual, self.encoder.device, self.config
        with torch.inference_mode():
            crops = base.square_picture(image, self.encoder, config.square)
            pixels = F.pad(self.encoder.pixel_values(crops), [config.padding_px] * 4)
            x = base.vit_tokens(visual, pixels)[0]  # (1 + p, width)
            grid = base.masks_on_grid(masks, visual.grid_size, device).flatten(1)  # (n, p)
            p, n = grid.shape[1], len(masks)
            sees = x.new_full((1 + p + n, 1 + p + n), -torch.inf)  # rows ask, columns are asked
            sees[: 1 + p, : 1 + p] = 0
            sees[1 + p :, 1 : 1 + p] = torch.where(grid > 0, 0.0, config.outside_bias)
            sees[1 + p :, 1 + p :].fill_diagonal_(0)
            x = torch.cat([x, x[:1].expand(n, -1)])[None]
            for block in visual.transformer.resblocks:
                x = block(x, attn_mask=sees)
            return (visual.ln_post(x[0, 1 + p :]) @ visual.proj).float().cpu().numpy()
