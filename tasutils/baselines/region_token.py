"""Region Token: a class token for each mask, which sees the patches of its mask alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tasutils import terms
from tasutils.baselines import Image, Scores, base
from tasutils.config import Part
from tasutils.errors import TasError
from tasutils.refer import Expression
from tasutils.scene import Scene


class RegionTokenConfig(Part):
    """Switches of Region Token.

    outside_bias: what is added to the attention logits of patches outside the mask.
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
    the image tokens run unmasked, and are computed once for all masks. Then ln_post, projection and
    the cosine with the sentence. A mask over the whole picture gives the picture's own embedding;
    a mask without a patch sees nothing but the token itself, so all such masks score the same.
    Source: baseline of Yu, Seo, Son (CVPR 2023; model/backbone.py, CLIPMaskedSpatialViT), after
    MaskCLIP and Adapting CLIP (Li et al., arXiv 2204.03647).

    Raises TasError for an encoder that is no CLIP with a ViT and a class token.
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
        base.check_picture(scene, image)
        return terms.v_score(self._regions(image, scene), self.texts(expression))

    def embed_masks(self, image: Image, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The tokens of masks (n, H, W) in the joint space, float32 (n, d), not normalised."""
        if len(masks) == 0:
            return np.zeros((0, self.encoder.dim), np.float32)
        visual, device, config = self._visual, self.encoder.device, self.config
        with torch.inference_mode():
            crops = base.square_picture(image, self.encoder, config.square)
            pixels = F.pad(self.encoder.pixel_values(crops), [config.padding_px] * 4)
            x = base.vit_tokens(visual, pixels)[0]
            grid = base.masks_on_grid(masks, visual.grid_size, device, "nearest")
            bias = torch.where(grid.flatten(1) > 0, 0.0, config.outside_bias)  # (n, p)
            regions = x[:1].expand(len(masks), -1)  # (n, width)
            for block in visual.transformer.resblocks:
                x, regions = _side_by_side(block, x, regions, bias)
            return (visual.ln_post(regions) @ visual.proj).float().cpu().numpy()


def _side_by_side(block: Any, x: Tensor, regions: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One block over the image tokens (1 + p, width) and the region tokens (n, width).

    bias: (n, p), added to what the region tokens ask of the patches.
    """
    attn, n_image = block.attn, len(x)
    both = torch.cat([x, regions])  # (1 + p + n, width)
    projected = F.linear(block.ln_1(both), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (base.heads(part, attn.num_heads) for part in projected.chunk(3, dim=-1))  # (h, t, c)
    seen = F.scaled_dot_product_attention(q[:, :n_image], k[:, :n_image], v[:, :n_image])
    asked = q[:, n_image:] * q.shape[-1] ** -0.5  # (h, n, c)
    patches = asked @ k[:, 1:n_image].mT + bias  # (h, n, p)
    own = (asked * k[:, n_image:]).sum(dim=-1, keepdim=True)  # (h, n, 1)
    weights = torch.cat([patches, own], dim=-1).softmax(dim=-1)
    found = weights[..., :-1] @ v[:, 1:n_image] + weights[..., -1:] * v[:, n_image:]
    both = both + block.ls_1(attn.out_proj(base.joined(torch.cat([seen, found], dim=1))))
    both = both + block.ls_2(block.mlp(block.ln_2(both)))
    return both[:n_image], both[n_image:]
