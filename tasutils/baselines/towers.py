"""What the peers need of an image tower: the blocks of CLIP's ViT, the last map of its ResNet."""

from typing import TYPE_CHECKING, Any, Literal

from tasutils.encoders import ImageTextEncoder
from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

    from tasutils.loading import TAS

Kind = Literal["vit", "resnet"]
_WANTED = {
    "vit": "a CLIP with a ViT and a class token (tiny-ViT, ViT-B-32-quickgelu, ViT-B-16, ...)",
    "resnet": "a CLIP with a ResNet (tiny-RN, RN50-quickgelu, RN101-quickgelu, ...)",
}


def tower_kind(encoder: ImageTextEncoder) -> Kind | None:
    """Whether an encoder is open_clip's with a ViT that has a class token, with a ResNet, or else.

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


def require_tower(encoder: ImageTextEncoder, kind: Kind, method: str) -> Any:
    """The image tower `visual` of an encoder; raises TasError when it is not of that kind."""
    if tower_kind(encoder) != kind:
        raise TasError(
            f"{method} cannot use encoder {encoder_name(encoder)}; give it {_WANTED[kind]} "
            "as encoder or peer_encoder of the preset"
        )
    return encoder.model.visual  # type: ignore[attr-defined]


def encoder_name(encoder: ImageTextEncoder) -> str:
    """The model's name as the preset has it, else its kind."""
    config = getattr(encoder, "config", None)
    return str(getattr(config, "model", getattr(config, "kind", type(encoder).__name__)))


def pick_encoder(tas: "TAS", kind: Kind | None) -> ImageTextEncoder:
    """The preset's encoder if its tower is of `kind`, else the peers' if it is, else the first.

    kind: None takes the preset's. What does not fit is refused by the method itself.
    """
    if kind is None or tower_kind(tas.encoder) == kind or tas.preset.peer_encoder is None:
        return tas.encoder
    return tas.peer_encoder if tower_kind(tas.peer_encoder) == kind else tas.encoder


def vit_tokens(visual: Any, pixels: "torch.Tensor") -> "torch.Tensor":
    """The tokens that enter a ViT's first block, class token first: (n, 1 + h * w, width).

    pixels: float32 (n, 3, s, s), normalised; s any multiple of the patch. The table of positions
    is resampled where s is not the tower's own (CLIP-Surgery, clip_surgery_model.py).
    """
    import torch

    x = visual.conv1(pixels)
    grid = tuple(x.shape[2:])
    x = x.flatten(2).mT  # (n, h * w, width)
    first = visual.class_embedding.expand(len(x), 1, -1)
    positions = resampled_positions(visual.positional_embedding, grid)
    return visual.ln_pre(torch.cat([first, x], dim=1) + positions)


def resnet_map(visual: Any, pixels: "torch.Tensor") -> "torch.Tensor":
    """The map of a ResNet's layer4: (n, width, h, w)."""
    x = visual.stem(pixels)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    return x


def resampled_positions(table: "torch.Tensor", grid_hw: tuple[int, ...]) -> "torch.Tensor":
    """A square table of positions (1 + g * g, width) for another grid: (1 + h * w, width)."""
    import torch
    from torch.nn.functional import interpolate

    side = int((len(table) - 1) ** 0.5)
    if grid_hw == (side, side):
        return table
    places = table[1:].unflatten(0, (side, side)).permute(2, 0, 1)[None]
    places = interpolate(places, grid_hw, mode="bilinear", align_corners=False)[0]
    return torch.cat([table[:1], places.flatten(1).mT])


def heads(x: "torch.Tensor", n_heads: int) -> "torch.Tensor":
    """(..., t, width) -> (..., n_heads, t, width / n_heads)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(-3, -2)


def joined(x: "torch.Tensor") -> "torch.Tensor":
    """The inverse of `heads`."""
    return x.transpose(-3, -2).flatten(-2)
