"""The files of ALBEF: every key that they hold, and which of them an encoder needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasutils.checkpoints import read_state_dict, require_fit

if TYPE_CHECKING:
    import torch

Layout = Literal["retrieval", "pretraining"]
Sizes = dict[str, tuple[int, ...]]
_POSITIONS = "visual_encoder.pos_embed"


@dataclass(frozen=True)
class AlbefShape:
    """Sizes of ALBEF's parts; the published ones (github.com/salesforce/ALBEF, configs)."""

    width: int = 768
    heads: int = 12
    patch_px: int = 16
    image_layers: int = 12
    text_layers: int = 12
    fusion_layer: int = 6  # the first text layer that also looks at the image
    vocabulary: int = 30522
    positions: int = 512
    dim: int = 256
    queue: int = 65536


PUBLISHED = AlbefShape()


def build_image_tower(shape: AlbefShape, image_size: int) -> Any:
    """timm's ViT (eps 1e-6, with a CLS token) for pictures of `image_size` px, random weights."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=image_size,
        patch_size=shape.patch_px,
        embed_dim=shape.width,
        depth=shape.image_layers,
        num_heads=shape.heads,
        num_classes=0,
    )


def build_text_tower(shape: AlbefShape, layers: int, fusion: bool = False) -> Any:
    """transformers' BERT of the first `layers` layers, with cross-attention if `fusion`."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=shape.positions,
        is_decoder=fusion,
        add_cross_attention=fusion,
    )
    return BertModel(config, add_pooling_layer=False)


def published_sizes(layout: Layout, image_size: int, shape: AlbefShape = PUBLISHED) -> Sizes:
    """Key -> shape of every tensor of a published file.

    Args:
        layout: "retrieval" (mscoco.pth, flickr30k.pth: 831 keys) or "pretraining" (ALBEF.pth: 844).
        image_size: px that the file was trained at, 384 or 256.
        shape: sizes of the parts.
    """
    import torch

    with torch.device("meta"):
        image = build_image_tower(shape, image_size)
        text = build_text_tower(shape, shape.text_layers, fusion=True)
    before = [f"encoder.layer.{n}.crossattention." for n in range(shape.fusion_layer)]
    words: Sizes = {
        key: tuple(tensor.shape)
        for key, tensor in text.state_dict().items()
        if not key.startswith(tuple(before))
    }
    words["embeddings.position_ids"] = (1, shape.positions)
    if layout == "pretraining":
        words = {f"bert.{key}": size for key, size in words.items()} | _word_head(shape)
    towers = {f"visual_encoder.{k}": tuple(v.shape) for k, v in image.state_dict().items()}
    towers |= {f"text_encoder.{key}": size for key, size in words.items()}
    for name in ("vision_proj", "text_proj"):
        towers |= {f"{name}.weight": (shape.dim, shape.width), f"{name}.bias": (shape.dim,)}
    momentum = {_renamed(key): size for key, size in towers.items()}
    rest: Sizes = {
        "temp": (),
        "itm_head.weight": (2, shape.width),
        "itm_head.bias": (2,),
        "image_queue": (shape.dim, shape.queue),
        "text_queue": (shape.dim, shape.queue),
        "queue_ptr": (1,),
    }
    if layout == "retrieval":
        rest["idx_queue"] = (1, shape.queue)
    return towers | momentum | rest


def read_albef(
    path: Path, image_size: int, shape: AlbefShape = PUBLISHED
) -> dict[str, "torch.Tensor"]:
    """What the encoder needs of a published file, by the retrieval file's names.

    Every key of the file is compared with the published list, so that half a file or another model
    is found out; the queues, the momentum copies, the fusion layers and the heads are then left.

    Args:
        path: the file, {"model": {key: tensor}}.
        image_size: px that pictures are to be seen at; positions are resized to it bicubically.
        shape: sizes of the parts.

    Raises TasError when the file is missing, damaged or of another model, telling what differs.
    """
    state = read_state_dict(path)
    positions, trained_at = state.get(_POSITIONS), image_size
    if positions is not None and positions.ndim == 3:
        trained_at = round((positions.shape[1] - 1) ** 0.5) * shape.patch_px
    layout: Layout = "retrieval"
    if any(key.startswith("text_encoder.bert.") for key in state):
        layout = "pretraining"
    require_fit(published_sizes(layout, trained_at, shape), state, str(path))
    needed = {k.replace("text_encoder.bert.", "text_encoder."): v for k, v in state.items()}
    needed = {k: v for k, v in needed.items() if _is_needed(k, shape)}
    side = image_size // shape.patch_px
    return needed | {_POSITIONS: resize_positions(needed[_POSITIONS], side)}


def resize_positions(positions: "torch.Tensor", side: int) -> "torch.Tensor":
    """Position embeddings (1, 1 + k * k, d) of a k x k grid, bicubically for side x side.

    The first, of the CLS token, stays; neither corners aligned nor antialiased, as in ALBEF.
    """
    import torch
    from torch.nn.functional import interpolate

    first, grid = positions[:, :1], positions[:, 1:]
    k, width = round(grid.shape[1] ** 0.5), grid.shape[2]
    if k == side:
        return positions
    grid = grid.reshape(1, k, k, width).permute(0, 3, 1, 2)  # (1, d, k, k)
    grid = interpolate(grid.float(), (side, side), mode="bicubic", align_corners=False)
    grid = grid.flatten(2).transpose(1, 2).to(first.dtype)  # (1, side * side, d)
    return torch.cat([first, grid], dim=1)


def _word_head(shape: AlbefShape) -> Sizes:
    """The head of masked language modelling, which only the pre-training file has."""
    width, transform = shape.width, "cls.predictions.transform"
    return {
        "cls.predictions.bias": (shape.vocabulary,),
        "cls.predictions.decoder.weight": (shape.vocabulary, width),
        "cls.predictions.decoder.bias": (shape.vocabulary,),
        f"{transform}.dense.weight": (width, width),
        f"{transform}.dense.bias": (width,),
        f"{transform}.LayerNorm.weight": (width,),
        f"{transform}.LayerNorm.bias": (width,),
    }


def _renamed(key: str) -> str:
    """A key of the momentum copy: its part's name with "_m"."""
    part, _, rest = key.partition(".")
    return f"{part}_m.{rest}"


def _is_needed(key: str, shape: AlbefShape) -> bool:
    part, _, rest = key.partition(".")
    if part == "text_encoder" and rest.startswith("encoder.layer."):
        return int(rest.split(".")[2]) < shape.fusion_layer
    if part == "text_encoder":
        return rest.startswith("embeddings.") and rest != "embeddings.position_ids"
    return part in {"visual_encoder", "vision_proj", "text_proj"}
