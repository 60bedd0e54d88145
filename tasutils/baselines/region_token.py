"""Region Token: a class token for each mask, which sees the patches of its mask alone."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils import scores
from tasutils.baselines.activation import Peer
from tasutils.baselines.memory import Latest, check_picture
from tasutils.baselines.square import SquareConfig, lit_patches, masks_on_grid, square_picture
from tasutils.baselines.towers import heads, joined, require_tower, vit_tokens
from tasutils.encoders import ImageTextEncoder
from tasutils.parts import Part

if TYPE_CHECKING:
    import torch

    from tasutils.expression import Expression
    from tasutils.scene import Scene


class RegionTokenConfig(Part):
    """Switches of Region Token.

    outside_bias: what is added to the attention logits of patches outside the mask.
    """

    square: SquareConfig = SquareConfig()
    outside_bias: float = -100.0


class RegionToken(Peer):
    """N copies of the class token run beside the image tokens through every block of CLIP's ViT.

    Each attends to the patches inside its mask (nearest, on the grid of patches) and to itself;
    the image tokens run unmasked, and are computed once for all masks. Then ln_post, projection and
    the cosine with the sentence. A mask over the whole picture gives the picture's own embedding;
    a mask without a patch sees nothing but the token itself, so all such masks score the same.
    Source: baseline of Yu, Seo, Son (CVPR 2023; model/backbone.py, CLIPMaskedSpatialViT), after
    MaskCLIP and Adapting CLIP (Li et al., arXiv 2204.03647).

    Raises TasError for an encoder that is no CLIP with a ViT and a class token.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        config: RegionTokenConfig | None = None,
        name: str = "region_token",
    ) -> None:
        self.config = config or RegionTokenConfig()
        super().__init__(name, encoder, self.config)
        self._visual = require_tower(encoder, "vit", name)
        self._regions = Latest(self._embed_masks)

    def score(
        self, scene: "Scene", expression: "Expression", image: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """Cosine of each mask's token with the sentence, float64 (n,) in -1..1."""
        check_picture(scene, image)
        return scores.v_score(self._regions(image, scene), self._texts(expression))

    def views(self, image: NDArray[np.uint8], scene: "Scene") -> NDArray[np.uint8]:
        """The picture with the patches that each mask's token sees lit up, uint8 (n, s, s, 3)."""
        picture = square_picture(image, self.encoder, self.config.square)
        masks, grid_hw = scene.proposals.masks(), self._visual.grid_size
        return lit_patches(picture, masks_on_grid(masks, grid_hw, self.encoder.device, "nearest"))

    def _embed_masks(self, image: NDArray[np.uint8], scene: "Scene") -> NDArray[np.float32]:
        return self.embed_masks(image, scene.proposals.masks())

    def embed_masks(
        self, image: NDArray[np.uint8], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """The tokens of masks (n, H, W) in the joint space, float32 (n, d), not normalised."""
        import torch

        if len(masks) == 0:
            return np.zeros((0, self.encoder.dim), np.float32)
        visual, device = self._visual, self.encoder.device
        with torch.inference_mode():
            crops = square_picture(image, self.encoder, self.config.square)
            x = vit_tokens(visual, self.encoder.pixel_values(crops))[0]  # type: ignore[attr-defined]
            grid = masks_on_grid(masks, visual.grid_size, device, "nearest").flatten(1)  # (n, p)
            bias = torch.where(grid > 0, 0.0, self.config.outside_bias)
            regions = x[:1].expand(len(masks), -1)  # (n, width)
            for block in visual.transformer.resblocks:
                x, regions = _side_by_side(block, x, regions, bias)
            return (visual.ln_post(regions) @ visual.proj).float().cpu().numpy()


def _side_by_side(
    block: Any, x: "torch.Tensor", regions: "torch.Tensor", bias: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """One block over the image tokens (1 + p, width) and the region tokens (n, width).

    bias: (n, p), added to what the region tokens ask of the patches.
    """
    import torch
    from torch.nn import functional

    attn, n_image = block.attn, len(x)
    both = torch.cat([x, regions])  # (1 + p + n, width)
    projected = functional.linear(block.ln_1(both), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (heads(part, attn.num_heads) for part in projected.chunk(3, dim=-1))  # (h, t, c)
    seen = functional.scaled_dot_product_attention(q[:, :n_image], k[:, :n_image], v[:, :n_image])
    asked = q[:, n_image:] * q.shape[-1] ** -0.5  # (h, n, c)
    patches = asked @ k[:, 1:n_image].mT + bias  # (h, n, p)
    own = (asked * k[:, n_image:]).sum(dim=-1, keepdim=True)  # (h, n, 1)
    weights = torch.cat([patches, own], dim=-1).softmax(dim=-1)
    found = weights[..., :-1] @ v[:, 1:n_image] + weights[..., -1:] * v[:, n_image:]
    both = both + block.ls_1(attn.out_proj(joined(torch.cat([seen, found], dim=1))))
    both = both + block.ls_2(block.mlp(block.ln_2(both)))
    return both[:n_image], both[n_image:]
