"""FreeSOLO's backbone, ResNet with FPN, in the published names; and the sizes of the network."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

_EXPANSION = 4  # channels that a block gives for each inner one


@dataclass(frozen=True)
class FreeSoloSize:
    """What distinguishes one size from another.

    Attributes:
        stem: channels after the 7 x 7 convolution.
        widths: inner channels of the blocks of res2-res5; they give four times as many.
        blocks: how many of them.
        grids: cells along a side of the picture, for p2-p6.
        kernels: channels of the mask features, and so weights of a mask's 1 x 1 kernel.
        groups: of every group norm.
        short_px, long_px: the input's short side, and the most its long side may have.
    """

    stem: int
    widths: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    fpn: int
    tower: int
    embedding: int
    mask: int
    kernels: int
    groups: int
    grids: tuple[int, int, int, int, int]
    short_px: int
    long_px: int


class NormedConv(nn.Conv2d):
    """Convolution without bias, then frozen batch norm, whose four tensors are buffers."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = FrozenBatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        return self.norm(super().forward(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolution beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        if inputs != outputs:
            self.shortcut: nn.Module = NormedConv(inputs, outputs, 1, stride)
        else:
            self.shortcut = nn.Identity()
        self.conv1 = NormedConv(inputs, width, 1)
        self.conv2 = NormedConv(width, width, 3, stride)
        self.conv3 = NormedConv(width, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, inputs, h, w) to (b, 4 width, h / stride, w / stride)."""
        inner = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.conv3(inner) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem and res2-res5; gives their outputs at strides 4, 8, 16 and 32."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"conv1": NormedConv(3, size.stem, 7, 2)})
        inputs = size.stem
        for level, (width, blocks) in enumerate(zip(size.widths, size.blocks, strict=True)):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(Bottleneck(inputs, width, 2 if level and not index else 1))
                inputs = width * _EXPANSION
            setattr(self, f"res{level + 2}", stage)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Float (b, 3, H, W) to four maps (b, c, H / s, W / s)."""
        maps = [F.max_pool2d(F.relu(self.stem["conv1"](x)), 3, 2, 1)]
        for level in (2, 3, 4, 5):
            maps.append(self.get_submodule(f"res{level}")(maps[-1]))
        return maps[1:]


class FeaturePyramid(nn.Module):
    """FPN (Lin et al. 2017) without norm: p2-p5, and p6, which is every second cell of p5."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        for level, width in enumerate(size.widths, 2):
            setattr(self, f"fpn_lateral{level}", nn.Conv2d(width * _EXPANSION, size.fpn, 1))
            setattr(self, f"fpn_output{level}", nn.Conv2d(size.fpn, size.fpn, 3, padding=1))
        self.bottom_up = ResNet(size)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Float (b, 3, H, W), sides divisible by 32, to p2-p6: (b, fpn, H / s, W / s)."""
        maps = self.bottom_up(x)
        top: torch.Tensor | None = None
        pyramid: list[torch.Tensor] = []
        for level in (5, 4, 3, 2):
            lateral = self.get_submodule(f"fpn_lateral{level}")(maps[level - 2])
            if top is not None:
                lateral = lateral + F.interpolate(top, scale_factor=2.0, mode="nearest")
            top = lateral
            pyramid.insert(0, self.get_submodule(f"fpn_output{level}")(top))
        return [*pyramid, F.max_pool2d(pyramid[-1], 1, 2)]
