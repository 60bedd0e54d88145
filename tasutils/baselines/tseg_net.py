"""The network of TSEG: patch tokens and text tokens in one space, and who belongs to whom.

Strudel, Laptev, Schmid, "Weakly-supervised segmentation of referring expressions" (arXiv
2205.04725). No code was ever published; what the abstract leaves open is ours and said so here.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasutils.errors import TasError

SHORT_SIDE_PX, MULTIPLE_PX = 480, 32
SizeName = Literal["tiny", "published"]


@dataclass(frozen=True)
class TsegSize:
    """How large a TSEG is.

    Attributes:
        coarse, fine: channels of the image tower's two maps, fine at twice the resolution; 0: the
            tower has none.
        text: length of what the text tower gives; ``width``: of a token of the joint space.
        blocks, heads: own transformer blocks over the coarse map.
        joint: the towers share a space already, so that only corrections are learned.
    """

    coarse: int
    fine: int
    text: int
    width: int
    blocks: int
    heads: int
    joint: bool


#: `tiny` rides on the frozen tiny-RN; `published` has a ViT-S/16 and BERT of its own. The abstract
#: names neither width nor depth of what joins them: one linear map a side is assumed.
SIZES: dict[str, TsegSize] = {
    "tiny": TsegSize(128, 256, 128, 128, 1, 4, joint=True),
    "published": TsegSize(384, 0, 768, 384, 0, 0, joint=False),
}


class TsegNet(nn.Module):
    """What is TSEG's own on top of two towers: both maps into one space, and a token for "none".

    Patch tokens of a tower with a fine map are those of the fine one's grid.
    """

    def __init__(self, size: TsegSize) -> None:
        super().__init__()
        width = size.width
        self.size = size
        self.text_map = nn.Linear(size.text, width)
        self.none = nn.Parameter(torch.zeros(width))
        self.none_score = nn.Parameter(torch.tensor(0.3))  # between cosines that fit and do not
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        if not size.joint:
            self.patch_map = nn.Linear(size.coarse, width)
            return
        self.coarse_in = nn.Linear(size.coarse, width)
        self.blocks = nn.Sequential(*(Block(width, size.heads) for _ in range(size.blocks)))
        self.fine_norm = nn.LayerNorm(size.fine)
        self.fine_in = nn.Linear(size.fine, width)
        self.around = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.out = nn.Linear(width, width)
        for layer in (self.text_map, self.out):  # starts as the towers are
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def patches(self, coarse: Tensor, fine: Tensor | None = None) -> Tensor:
        """Patch tokens, float32 (n, h, w, width), L2-normalised.

        Args:
            coarse: float32 (n, h', w', channels); ``fine``: (n, h, w, channels) where there is one.
        """
        if not self.size.joint or fine is None:
            return F.normalize(self.patch_map(coarse), dim=-1)
        tokens = self.coarse_in(F.normalize(coarse, dim=-1) * self.size.coarse**0.5)
        tokens = self.blocks(tokens.flatten(1, 2)).view_as(tokens)
        both = torch.cat([F.normalize(coarse, dim=-1), tokens], dim=-1).permute(0, 3, 1, 2)
        both = F.interpolate(both, fine.shape[1:3], mode="bilinear", align_corners=False)
        start, context = both.split([self.size.coarse, self.size.width], dim=1)
        mixed = F.gelu(context + self.fine_in(self.fine_norm(fine)).permute(0, 3, 1, 2))
        mixed = mixed + self.around(mixed)
        change = self.out(F.gelu(mixed).permute(0, 2, 3, 1))
        return F.normalize(start.permute(0, 2, 3, 1) + change, dim=-1)

    def texts(self, features: Tensor) -> Tensor:
        """Text tokens of k texts, float32 (k, width), L2-normalised; features: (k, text)."""
        start = features if self.size.joint else torch.zeros_like(features[:, :1])
        return F.normalize(start + self.text_map(features), dim=-1)

    def margins(self, patches: Tensor, texts: Tensor) -> Tensor:
        """How much better each text fits each patch than no text does: float32 (n, h, w, k).

        The scaled cosine less the learned score of "no expression", which differs by patch.
        """
        none = patches @ self.none + self.none_score
        return self.log_scale.exp() * (patches @ texts.T - none[..., None])


class Block(nn.Module):
    """A transformer block with its norms first; tokens (n, t, width), no position is told."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens to tokens."""
        n, t, width = tokens.shape
        parts = self.qkv(self.norm_1(tokens)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(n, t, width)
        tokens = tokens + self.project(mixed)
        changed: Tensor = tokens + self.mlp(self.norm_2(tokens))
        return changed


def assign(margins: Tensor) -> Tensor:
    """Multi-label patch assignment: share (0..1) of each patch that belongs to each expression.

    A softmax over two choices, this expression or none, for every expression on its own: a patch
    may belong to several expressions, and to none. Scores do not depend on other expressions.
    """
    return margins.sigmoid()


def pool(margins: Tensor, least: float = 1e-4) -> Tensor:
    """Image-level logits (n, k) of patch margins (n, h, w, k): their mean over assigned patches.

    Where nothing is assigned the weights become those of a softmax, and the best patch counts.
    """
    weight = assign(margins)
    return (margins * weight).sum((1, 2)) / (weight.sum((1, 2)) + least)


def build_tseg(size: SizeName = "tiny") -> TsegNet:
    """TSEG's own parts with random weights.

    Raises:
        TasError: for an unknown size.
    """
    if size not in SIZES:
        raise TasError(f"no TSEG of size {size!r}; there are {', '.join(SIZES)}")
    return TsegNet(SIZES[size])


def published_towers() -> tuple[Any, Any]:
    """The towers of the published size with random weights: timm's ViT-S/16 and BERT base."""
    import timm
    from transformers import BertConfig, BertModel

    image = timm.create_model("vit_small_patch16_384", pretrained=False, num_classes=0)
    return image, BertModel(BertConfig())


def tiny_maps(model: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The two maps of the frozen tiny-RN, float32 (n, h, w, 128) and (n, 2h, 2w, 256).

    The first is layer4 in the joint space, each place by itself (see `encoders.places`); the
    second is layer3. The picture is enlarged to 480 px on its short side, so that things are about
    as large as in the crops that the tower knows.

    Args:
        model: an open_clip model, tiny-RN.
        pictures: uint8 (n, H, W, 3), RGB.
    """
    visual = model.visual
    x = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (visual.image_mean, visual.image_std))
    x = ((x - mean.to(x.device)) / std.to(x.device)).contiguous(memory_format=torch.channels_last)
    x = F.interpolate(x, _enlarged((x.shape[-2], x.shape[-1])), mode="bicubic", align_corners=False)
    x = visual.layer2(visual.layer1(visual.stem(x)))
    fine = visual.layer3(x)
    coarse = visual.layer4(fine).permute(0, 2, 3, 1)
    coarse = visual.attnpool.c_proj(visual.attnpool.v_proj(coarse))
    return coarse.float(), fine.permute(0, 2, 3, 1).float()


def _enlarged(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width to look at: the short side 480 px, both multiples of 32."""
    scale = SHORT_SIDE_PX / min(size_hw)
    height, width = (max(1, round(side * scale / MULTIPLE_PX)) * MULTIPLE_PX for side in size_hw)
    return height, width
