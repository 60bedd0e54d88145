"""FreeSOLO's network (Wang et al. 2022), a SOLOv2: ResNet, FPN, instance head, mask head.

For ``r101`` the keys and shapes are those of the published FreeSOLO_R101_30k_pl.pth (591 keys);
``tiny`` is the same network with small widths, for pictures of 320 x 240.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.errors import TasError

N_CLASSES = 2
STRIDES = (8, 8, 16, 32, 32)  # px per cell of what the instance head sees of p2-p6
_TOWER_CONVS = 4
_EXPANSION = 4  # channels that a block gives for each inner one


@dataclass(frozen=True)
class FreeSoloSize:
    """What distinguishes one size from another; numbers of channels but for the last four."""

    stem: int  # after the 7 x 7 convolution
    widths: tuple[int, int, int, int]  # inner ones of the blocks of res2-res5
    blocks: tuple[int, int, int, int]  # how many
    fpn: int
    tower: int
    embedding: int
    mask: int
    kernels: int  # of the mask features, and so weights of a mask's 1 x 1 kernel
    groups: int  # of every group norm
    grids: tuple[int, int, int, int, int]  # cells along a side of the picture, for p2-p6
    short_px: int  # the input's short side
    long_px: int  # the most its long side may have


SIZES = {
    "tiny": FreeSoloSize(
        stem=16, widths=(16, 32, 48, 64), blocks=(2, 2, 2, 1), fpn=48, tower=48, embedding=16,
        mask=48, kernels=32, groups=8, grids=(24, 20, 16, 10, 8), short_px=240, long_px=400,
    ),
    "r101": FreeSoloSize(
        stem=64, widths=(64, 128, 256, 512), blocks=(3, 4, 23, 3), fpn=256, tower=512,
        embedding=128, mask=128, kernels=256, groups=32, grids=(40, 36, 24, 16, 12),
        short_px=800, long_px=1333,
    ),
}  # fmt: skip


class NormedConv(nn.Conv2d):
    """Convolution without bias, then frozen batch norm, whose four tensors are buffers."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = FrozenBatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        return self.norm(super().forward(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolution beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs, same = width * _EXPANSION, inputs == width * _EXPANSION
        self.shortcut = nn.Identity() if same else NormedConv(inputs, outputs, 1, stride)
        self.conv1 = NormedConv(inputs, width, 1)
        self.conv2 = NormedConv(width, width, 3, stride)
        self.conv3 = NormedConv(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
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

    def forward(self, x: Tensor) -> list[Tensor]:
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

    def forward(self, x: Tensor) -> list[Tensor]:
        """Float (b, 3, H, W), sides divisible by 32, to p2-p6: (b, fpn, H / s, W / s)."""
        maps = self.bottom_up(x)
        top = self.get_submodule("fpn_lateral5")(maps[3])
        pyramid = [self.get_submodule("fpn_output5")(top)]
        for level in (4, 3, 2):
            lateral = self.get_submodule(f"fpn_lateral{level}")(maps[level - 2])
            top = lateral + F.interpolate(top, scale_factor=2.0, mode="nearest")
            pyramid.insert(0, self.get_submodule(f"fpn_output{level}")(top))
        return [*pyramid, F.max_pool2d(pyramid[-1], 1, 2)]


class FreeSoloOutput(NamedTuple):
    """What the network says of b pictures; the lists run over p2-p6, g is `FreeSoloSize.grids`."""

    classes: list[Tensor]  # logits, float (b, 2, g, g)
    kernels: list[Tensor]  # float (b, kernels, g, g)
    embeddings: list[Tensor]  # float (b, embedding, g, g); no mask depends on them
    masks: Tensor  # features, float (b, kernels, H / 4, W / 4)


class InstanceHead(nn.Module):
    """For each cell of a grid: is an object here, and which kernel cuts out its mask?"""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.grids = size.grids
        self.cate_tower = _tower(size.fpn, size)
        self.kernel_tower = _tower(size.fpn + 2, size)
        self.cate_pred = nn.Conv2d(size.tower, N_CLASSES, 3, padding=1)
        self.kernel_pred = nn.Conv2d(size.tower, size.kernels, 3, padding=1)
        self.emb_pred = nn.Conv2d(size.tower, size.embedding, 3, padding=1)

    def forward(self, pyramid: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Classes, kernels and embeddings of p2-p6, see `FreeSoloOutput`."""
        fine, *middle, top = pyramid
        fine = F.interpolate(fine, scale_factor=0.5, mode="bilinear")
        top = F.interpolate(top, middle[-1].shape[-2:], mode="bilinear")
        classes, kernels, embeddings = [], [], []
        for level, grid in zip((fine, *middle, top), self.grids, strict=True):
            cells = F.interpolate(with_coordinates(level), (grid, grid), mode="bilinear")
            seen = self.cate_tower(cells[:, :-2])
            classes.append(self.cate_pred(seen))
            embeddings.append(self.emb_pred(seen))
            kernels.append(self.kernel_pred(self.kernel_tower(cells)))
        return classes, kernels, embeddings


class MaskHead(nn.Module):
    """Mask features at a quarter of the input: p2-p5, each brought there step by step, summed."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.convs_all_levels = nn.ModuleList()
        for level in range(4):
            steps = nn.Sequential()
            for step in range(max(level, 1)):
                inputs = size.mask if step else size.fpn + 2 * (level == 3)
                steps.add_module(f"conv{step}", _grouped(inputs, size.mask, 3, size.groups))
                if level:
                    larger = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
                    steps.add_module(f"upsample{step}", larger)
            self.convs_all_levels.append(steps)
        self.conv_pred = _grouped(size.mask, size.kernels, 1, size.groups)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """p2-p5 to float (b, kernels, H / 4, W / 4)."""
        maps = [*pyramid[:3], with_coordinates(pyramid[3])]
        parts = [steps(x) for steps, x in zip(self.convs_all_levels, maps, strict=True)]
        return self.conv_pred(parts[0] + parts[1] + parts[2] + parts[3])


class FreeSolo(nn.Module):
    """The whole network; float (b, 3, H, W), normalised, sides divisible by 32."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.size = size
        self.backbone = FeaturePyramid(size)
        self.ins_head = InstanceHead(size)
        self.mask_head = MaskHead(size)
        self.register_buffer("_iter", torch.zeros(1))  # the published training's counter

    def forward(self, x: Tensor) -> FreeSoloOutput:
        """See `FreeSoloOutput`."""
        pyramid = self.backbone(x)
        classes, kernels, embeddings = self.ins_head(pyramid)
        return FreeSoloOutput(classes, kernels, embeddings, self.mask_head(pyramid[:4]))


def with_coordinates(x: Tensor) -> Tensor:
    """(b, c, h, w) with two channels more: x and y of each cell, -1 in the first to 1 in the last.

    >>> with_coordinates(torch.zeros(1, 0, 1, 3))[0, 0].tolist()
    [[-1.0, 0.0, 1.0]]
    """
    across = torch.linspace(-1, 1, x.shape[-1], device=x.device, dtype=x.dtype)
    down = torch.linspace(-1, 1, x.shape[-2], device=x.device, dtype=x.dtype)
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"))
    return torch.cat([x, places.expand(len(x), -1, -1, -1)], dim=1)


def build_freesolo(size: str, checkpoint: str | Path | None = None) -> FreeSolo:
    """FreeSOLO of one size, in evaluation mode on the CPU; random weights without a checkpoint.

    size: "tiny" or "r101"; checkpoint: a .safetensors or .pth file in the published layout; half
    precision is widened. Raises TasError for an unknown size, and for a checkpoint that is
    missing, damaged or does not fit.
    """
    if size not in SIZES:
        raise TasError(f"unknown FreeSOLO size {size!r}; choose one of {', '.join(SIZES)}")
    model = FreeSolo(SIZES[size])
    if checkpoint is not None:
        load_strict(model, read_state_dict(Path(checkpoint)), Path(checkpoint).name)
    return model.eval()


def _grouped(inputs: int, outputs: int, kernel: int, groups: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(groups, outputs), nn.ReLU())


def _tower(inputs: int, size: FreeSoloSize) -> nn.Sequential:
    widths = [inputs, *[size.tower] * (_TOWER_CONVS - 1)]
    steps = [_grouped(width, size.tower, 3, size.groups) for width in widths]
    return nn.Sequential(*(layer for step in steps for layer in step))
