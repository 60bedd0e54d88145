"""SAM's networks: the published sizes from segment-anything's registry, and a tiny one.

``tiny`` puts SAM's prompt encoder and mask decoder on a small encoder of 256 px pictures,
convolutional below and SAM's attention blocks above, the way of MobileSAM (Zhang et al. 2023).
"""

from functools import partial
from pathlib import Path

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.image_encoder import Block
from torch import nn
from torch.nn import functional as F

from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.errors import TasError

_SIDE_PX, _WIDTH, _PROMPT = 256, 192, 64  # input; channels of attention and of the embedding


class ConvUnit(nn.Sequential):
    """3 x 3 (or 1 x 1) convolution without bias, batch norm, ReLU (cheaper on a CPU than GELU)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvUnit(channels, channels), ConvUnit(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) to the same."""
        return x + self.body(x)


class HybridEncoder(nn.Module):
    """Convolutions down to stride 16, attention blocks there, then merged at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.img_size = _SIDE_PX
        self.stride4 = nn.Sequential(ConvUnit(3, 16, 2), ConvUnit(16, 32, 2), Residual(32))
        self.stride8 = nn.Sequential(ConvUnit(32, 64, 2), Residual(64), Residual(64))
        self.stride16 = nn.Sequential(ConvUnit(64, 128, 2), Residual(128))
        self.patch_embed = nn.Conv2d(128, _WIDTH, 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, _SIDE_PX // 16, _SIDE_PX // 16, _WIDTH))
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(Block(_WIDTH, 6, norm_layer=norm) for _ in range(3))
        self.from4 = ConvUnit(32, _PROMPT, 2)
        self.from8 = ConvUnit(64, _PROMPT, 1, kernel=1)
        self.from16 = ConvUnit(_WIDTH, _PROMPT, 1, kernel=1)
        self.neck = nn.Sequential(Residual(_PROMPT), nn.Conv2d(_PROMPT, _PROMPT, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (b, 3, s, s) as normalised by ``Sam.preprocess`` to (b, c, s / 8, s / 8)."""
        fine = self.stride4(x)
        middle = self.stride8(fine)
        tokens = self.patch_embed(self.stride16(middle)).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        coarse = self.from16(tokens.permute(0, 3, 1, 2))
        coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return self.neck(coarse + self.from8(middle) + self.from4(fine))


def _tiny() -> Sam:
    encoder = HybridEncoder()
    prompts = PromptEncoder(_PROMPT, (_SIDE_PX // 8,) * 2, (_SIDE_PX, _SIDE_PX), mask_in_chans=16)
    decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(depth=2, embedding_dim=_PROMPT, mlp_dim=256, num_heads=4),
        transformer_dim=_PROMPT,
        activation=nn.ReLU,
        iou_head_depth=3,
        iou_head_hidden_dim=64,
    )
    return Sam(encoder, prompts, decoder)  # its own statistics are those of the published sizes


SIZES = {"tiny": _tiny} | {k: sam_model_registry[k] for k in ("vit_b", "vit_l", "vit_h")}


def build_sam(size: str, checkpoint: str | Path | None = None) -> Sam:
    """SAM of one size, in evaluation mode on the CPU; random weights without a checkpoint.

    size: "tiny", "vit_b", "vit_l" or "vit_h"; checkpoint: a .safetensors or .pth file in the
    published layout; half precision is widened. Raises TasError for an unknown size, and for a
    checkpoint that is missing, damaged or does not fit.
    """
    if size not in SIZES:
        raise TasError(f"unknown SAM size {size!r}; choose one of {', '.join(SIZES)}")
    sam = SIZES[size]()
    if checkpoint is not None:
        load_strict(sam, read_state_dict(Path(checkpoint)), Path(checkpoint).name)
    return sam.eval()
