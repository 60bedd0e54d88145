"""One builder for every size of SAM, from segment-anything's own modules.

For ``vit_b``, ``vit_l`` and ``vit_h`` the keys and shapes equal those of segment-anything's
``sam_model_registry``; ``tiny`` puts SAM's prompt encoder and mask decoder on a small encoder of
256 px pictures, convolutional below and SAM's attention blocks above, the way of MobileSAM
(Zhang et al. 2023).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.modeling.image_encoder import Block
from torch import nn
from torch.nn import functional as F

from tasutils.errors import TasError

PIXEL_MEAN = [123.675, 116.28, 103.53]  # segment_anything/build_sam.py
PIXEL_STD = [58.395, 57.12, 57.375]


@dataclass(frozen=True)
class SamSize:
    """What distinguishes one size of SAM from another.

    stem: channels of the convolutional stages at strides 2, 4, 8 and 16; empty for a plain ViT;
    stride: input pixels per cell of the image embedding, one axis.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: tuple[int, ...]
    image_size: int = 1024
    stride: int = 16
    prompt_dim: int = 256
    decoder_mlp_dim: int = 2048
    decoder_heads: int = 8
    iou_head_hidden_dim: int = 256
    stem: tuple[int, ...] = ()


SIZES = {
    "tiny": SamSize(192, 3, 6, (0, 1, 2), 256, 8, 64, 256, 4, 64, stem=(16, 32, 64, 128)),
    "vit_b": SamSize(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": SamSize(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": SamSize(1280, 32, 16, (7, 15, 23, 31)),
}


class ConvUnit(nn.Sequential):
    """3 x 3 (or 1 x 1) convolution without bias, batch norm, ReLU (cheaper on a CPU than GELU)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvUnit(channels, channels), ConvUnit(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) to the same."""
        return x + self.body(x)


class HybridEncoder(nn.Module):
    """Convolutions down to stride 16, attention blocks there, then merged at stride 8.

    Takes float (b, 3, s, s) as normalised by ``Sam.preprocess``; gives (b, c, s / 8, s / 8).
    """

    def __init__(self, size: SamSize) -> None:
        super().__init__()
        self.img_size = size.image_size
        first, second, third, fourth = size.stem
        self.stride4 = nn.Sequential(
            ConvUnit(3, first, 2), ConvUnit(first, second, 2), Residual(second)
        )
        self.stride8 = nn.Sequential(ConvUnit(second, third, 2), Residual(third), Residual(third))
        self.stride16 = nn.Sequential(ConvUnit(third, fourth, 2), Residual(fourth))
        self.patch_embed = nn.Conv2d(fourth, size.embed_dim, 1)
        grid = size.image_size // 16
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, size.embed_dim))
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(
            Block(size.embed_dim, size.num_heads, norm_layer=norm) for _ in range(size.depth)
        )
        self.from4 = ConvUnit(second, size.prompt_dim, 2)
        self.from8 = ConvUnit(third, size.prompt_dim, 1, kernel=1)
        self.from16 = ConvUnit(size.embed_dim, size.prompt_dim, 1, kernel=1)
        self.neck = nn.Sequential(
            Residual(size.prompt_dim), nn.Conv2d(size.prompt_dim, size.prompt_dim, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Image embedding, see the class."""
        fine = self.stride4(x)
        middle = self.stride8(fine)
        tokens = self.patch_embed(self.stride16(middle)).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        coarse = self.from16(tokens.permute(0, 3, 1, 2))
        coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return self.neck(coarse + self.from8(middle) + self.from4(fine))


def build_sam(size: str, checkpoint: str | Path | None = None) -> Sam:
    """SAM of one size, in evaluation mode on the CPU; random weights without a checkpoint.

    size: "tiny", "vit_b", "vit_l" or "vit_h"; checkpoint: a .safetensors or .pth file in the
    published layout; half precision is widened. Raises TasError for an unknown size, and for a
    checkpoint that is missing, damaged or does not fit.
    """
    if size not in SIZES:
        raise TasError(f"unknown SAM size {size!r}; choose one of {', '.join(SIZES)}")
    shape = SIZES[size]
    cells = shape.image_size // shape.stride
    sam = Sam(
        image_encoder=HybridEncoder(shape) if shape.stem else _vit(shape),
        prompt_encoder=PromptEncoder(
            embed_dim=shape.prompt_dim,
            image_embedding_size=(cells, cells),
            input_image_size=(shape.image_size, shape.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2,
                embedding_dim=shape.prompt_dim,
                mlp_dim=shape.decoder_mlp_dim,
                num_heads=shape.decoder_heads,
            ),
            transformer_dim=shape.prompt_dim,
            activation=nn.ReLU if shape.stem else nn.GELU,
            iou_head_depth=3,
            iou_head_hidden_dim=shape.iou_head_hidden_dim,
        ),
        pixel_mean=PIXEL_MEAN,
        pixel_std=PIXEL_STD,
    )
    if checkpoint is not None:
        from tasutils.checkpoints import load_strict, read_state_dict

        path = Path(checkpoint)
        load_strict(sam, read_state_dict(path), path.name)
    return sam.eval()


def _vit(shape: SamSize) -> ImageEncoderViT:
    """The published encoder, as segment_anything/build_sam.py makes it."""
    return ImageEncoderViT(
        depth=shape.depth,
        embed_dim=shape.embed_dim,
        img_size=shape.image_size,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=shape.num_heads,
        patch_size=shape.stride,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=shape.global_attn_indexes,
        window_size=14,
        out_chans=shape.prompt_dim,
    )
