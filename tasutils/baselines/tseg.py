"""TSEG: patches assigned to expressions by a network that learned from pictures and sentences.

Strudel, Laptev, Schmid, "Weakly-supervised segmentation of referring expressions" (arXiv
2205.04725). No code was ever published; what the abstract leaves open is ours and said so here.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from tasutils.baselines import base
from tasutils.baselines.base import Image, Map
from tasutils.baselines.maps import Activation, over_picture
from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.config import Part
from tasutils.errors import TasError
from tasutils.paths import weights_path
from tasutils.refer import Expression

SHORT_SIDE_PX, MULTIPLE_PX = 480, 32
COARSE, FINE, WIDTH, HEADS = 128, 256, 128, 4  # channels of tiny-RN's two maps; of a token


class TsegConfig(Part):
    """checkpoint: TSEG's own parts, relative to data/weights; None gives random weights."""

    checkpoint: str | None = "tiny/tseg.safetensors"


class Tseg(Activation):
    """Which share of each patch belongs to the sentence and not to "none", learned without masks.

    The map is absolute: where the sentence names nothing of the picture it is low everywhere, so it
    is not stretched. It knows what is there, not where: see the card of the weights for what an
    image-level sentence cannot teach. encoder: tiny-RN, whose frozen towers the weights ride on.
    Raises TasError for another encoder and for missing, damaged or unfit weights.
    """

    Config, prefers, name = TsegConfig, "resnet", "tseg"

    def _setup(self) -> None:
        widths = None
        if base.tower_kind(self.encoder) == "resnet":
            visual = self.encoder.model.visual
            widths = visual.attnpool.c_proj.out_features, visual.layer4[0].conv1.in_channels
        if widths != (COARSE, FINE):
            raise TasError(
                f"{self.name} cannot use encoder {base.encoder_name(self.encoder)}; its weights "
                "ride on tiny-RN; give it that as encoder or peer_encoder of the preset"
            )
        self.net = TsegNet()
        if (file := self.config.checkpoint) is not None:
            load_strict(self.net, read_state_dict(weights_path(file)), file)
        self.net.eval().to(self.encoder.device)
        self._patches = base.Latest(self._tokens)

    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Share of each pixel that belongs to the sentence, float32 (H, W) in 0..1."""
        with torch.inference_mode():
            text = torch.from_numpy(self.texts(expression)[0]).to(self.encoder.device)
            margins = self.net.margins(self._patches(image), self.net.texts(text[None]))
            # each sentence on its own: a softmax over the two choices, it or none
            large = over_picture(margins.sigmoid()[0, ..., 0], image.shape)
        return large.clip(0, 1).numpy()  # bilinear weights may sum to a little more than one

    def _tokens(self, image: Image) -> Tensor:
        with torch.inference_mode():
            pictures = torch.from_numpy(image[None].copy()).to(self.encoder.device)
            return self.net.patches(*tiny_maps(self.encoder.model, pictures))


class TsegNet(nn.Module):
    """What is TSEG's own on top of tiny-RN: both maps into one space, and a token for "none".

    Untrained it is the score map of its towers; what it learns are corrections.
    """

    def __init__(self) -> None:
        super().__init__()
        self.text_map = nn.Linear(COARSE, WIDTH)
        self.none = nn.Parameter(torch.zeros(WIDTH))
        self.none_score = nn.Parameter(torch.tensor(0.3))  # between cosines that fit and do not
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.coarse_in = nn.Linear(COARSE, WIDTH)
        block = Block(WIDTH, HEADS, mlp_ratio=2, qkv_bias=True, norm_layer=nn.LayerNorm)
        self.blocks = nn.Sequential(block)
        self.fine_norm = nn.LayerNorm(FINE)
        self.fine_in = nn.Linear(FINE, WIDTH)
        self.around = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        for layer in (self.text_map, self.out):  # starts as the towers are
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def patches(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Patch tokens on the fine map's grid, float32 (n, h, w, width), L2-normalised.

        coarse: float32 (n, h', w', 128); fine: (n, h, w, 256); see `tiny_maps`.
        """
        tokens = self.coarse_in(F.normalize(coarse, dim=-1) * COARSE**0.5)
        tokens = self.blocks(tokens.flatten(1, 2)).view_as(tokens)
        both = torch.cat([F.normalize(coarse, dim=-1), tokens], dim=-1).permute(0, 3, 1, 2)
        both = F.interpolate(both, fine.shape[1:3], mode="bilinear", align_corners=False)
        start, context = both.split([COARSE, WIDTH], dim=1)
        mixed = F.gelu(context + self.fine_in(self.fine_norm(fine)).permute(0, 3, 1, 2))
        mixed = mixed + self.around(mixed)
        change = self.out(F.gelu(mixed).permute(0, 2, 3, 1))
        return F.normalize(start.permute(0, 2, 3, 1) + change, dim=-1)

    def texts(self, features: Tensor) -> Tensor:
        """Text tokens of k texts, float32 (k, width), L2-normalised; features: (k, 128)."""
        return F.normalize(features + self.text_map(features), dim=-1)

    def margins(self, patches: Tensor, texts: Tensor) -> Tensor:
        """How much better each text fits each patch than "none" does: float32 (n, h, w, k)."""
        none = patches @ self.none + self.none_score
        return self.log_scale.exp() * (patches @ texts.T - none[..., None])


def tiny_maps(model: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The two maps of the frozen tiny-RN, float32 (n, h, w, 128) and (n, 2h, 2w, 256).

    The first is layer4 in the joint space, each place by itself; the second is layer3. The picture
    is enlarged to 480 px on its short side, so that things are about as large as in the crops that
    the tower knows. pictures: uint8 (n, H, W, 3), RGB.
    """
    visual = model.visual
    x = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (visual.image_mean, visual.image_std))
    x = ((x - mean) / std).contiguous(memory_format=torch.channels_last)
    scale = SHORT_SIDE_PX / min(x.shape[-2:])
    size_hw = [max(1, round(side * scale / MULTIPLE_PX)) * MULTIPLE_PX for side in x.shape[-2:]]
    x = F.interpolate(x, size_hw, mode="bicubic", align_corners=False)
    fine = visual.layer3(visual.layer2(visual.layer1(visual.stem(x))))
    coarse = visual.layer4(fine).permute(0, 2, 3, 1)
    coarse = visual.attnpool.c_proj(visual.attnpool.v_proj(coarse))
    return coarse.float(), fine.permute(0, 2, 3, 1).float()
