"""Features of the places of a picture in the joint space, from the towers of open_clip."""

from typing import TYPE_CHECKING, Any

from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch


def place_features(visual: Any, pixels: "torch.Tensor") -> "torch.Tensor":
    """The last feature map of an image tower, each place projected alone: (n, h, w, dim).

    ViT (CLIP): the last block's patch tokens through ln_post and the projection.
    ResNet (CLIP): layer4 through attnpool's v_proj and c_proj as 1 x 1 convolutions with their
        biases, which is attention from each place to itself alone (Score Map; MaskCLIP, Zhou et
        al., arXiv 2112.01071).
    ViT with attention pooling (SigLIP): the same idea, the pool sees one token at a time.

    Args:
        visual: `visual` of an open_clip model.
        pixels: float32 (n, 3, s, s), normalised as the model wants it.

    Raises TasError for towers that pool in another way.
    """
    project = _projection(visual)
    found = visual.forward_intermediates(
        pixels, indices=1, normalize_intermediates=True, intermediates_only=True
    )
    places = found["image_intermediates"][-1].permute(0, 2, 3, 1)  # (n, h, w, width)
    return project(places)


def _projection(visual: Any) -> Any:
    """What takes (n, h, w, width) into the joint space."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, ModifiedResNet):
        return lambda places: visual.attnpool.c_proj(visual.attnpool.v_proj(places))
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        return lambda places: places @ visual.proj
    pool = getattr(visual.trunk, "attn_pool", None) if isinstance(visual, TimmModel) else None
    if pool is not None and pool.pos_embed is None:
        return lambda places: (
            visual.head(visual.trunk.forward_head(places.flatten(0, 2)[:, None]))
            .unflatten(0, places.shape[:3])
        )  # fmt: skip
    raise TasError(
        f"the image tower {type(visual).__name__} of this CLIP model has no dense features here; "
        "choose a ViT or a ResNet of CLIP, or SigLIP"
    )
