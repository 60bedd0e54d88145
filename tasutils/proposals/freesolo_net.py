"""FreeSOLO's network (Wang et al. 2022), a SOLOv2: backbone, instance head, mask head.

For ``r101`` the keys and shapes are those of the published FreeSOLO_R101_30k_pl.pth (591 keys);
``tiny`` is the same network with small widths, for pictures of 320 x 240.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from tasutils.errors import TasError
from tasutils.proposals.freesolo_backbone import FeaturePyramid, FreeSoloSize

N_CLASSES = 2
STRIDES = (8, 8, 16, 32, 32)  # px per cell of what the instance head sees of p2-p6
_TOWER_CONVS = 4

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


class FreeSoloOutput(NamedTuple):
    """What the network says of b pictures; the lists run over p2-p6, g is `FreeSoloSize.grids`.

    Attributes:
        classes: logits float (b, 2, g, g).
        kernels: float (b, kernels, g, g).
        embeddings: float (b, embedding, g, g); no mask depends on them.
        masks: mask features float (b, kernels, H / 4, W / 4).
    """

    classes: list[torch.Tensor]
    kernels: list[torch.Tensor]
    embeddings: list[torch.Tensor]
    masks: torch.Tensor


class InstanceHead(nn.Module):
    """For each cell of a grid: is an object here, and which kernel cuts out its mask?"""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.grids = size.grids
        self.cate_tower = self._tower(size.fpn, size)
        self.kernel_tower = self._tower(size.fpn + 2, size)
        self.cate_pred = nn.Conv2d(size.tower, N_CLASSES, 3, padding=1)
        self.kernel_pred = nn.Conv2d(size.tower, size.kernels, 3, padding=1)
        self.emb_pred = nn.Conv2d(size.tower, size.embedding, 3, padding=1)

    @staticmethod
    def _tower(inputs: int, size: FreeSoloSize) -> nn.Sequential:
        tower = nn.Sequential()
        for _ in range(_TOWER_CONVS):
            tower.extend(_grouped(inputs, size.tower, 3, size.groups))
            inputs = size.tower
        return tower

    def forward(
        self, pyramid: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
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

    def forward(self, pyramid: list[torch.Tensor]) -> torch.Tensor:
        """p2-p5 to float (b, kernels, H / 4, W / 4)."""
        maps = [*pyramid[:3], with_coordinates(pyramid[3])]
        total = self.convs_all_levels[0](maps[0])
        for steps, x in zip(self.convs_all_levels[1:], maps[1:], strict=True):
            total = total + steps(x)
        return self.conv_pred(total)


class FreeSolo(nn.Module):
    """The whole network; float (b, 3, H, W), normalised, sides divisible by 32."""

    def __init__(self, size: FreeSoloSize) -> None:
        super().__init__()
        self.size = size
        self.backbone = FeaturePyramid(size)
        self.ins_head = InstanceHead(size)
        self.mask_head = MaskHead(size)
        self.register_buffer("_iter", torch.zeros(1))  # the published training's counter

    def forward(self, x: torch.Tensor) -> FreeSoloOutput:
        """See `FreeSoloOutput`."""
        pyramid = self.backbone(x)
        classes, kernels, embeddings = self.ins_head(pyramid)
        return FreeSoloOutput(classes, kernels, embeddings, self.mask_head(pyramid[:4]))


def with_coordinates(x: torch.Tensor) -> torch.Tensor:
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

    Args:
        size: "tiny" or "r101".
        checkpoint: a .safetensors or .pth file in the published layout; half precision is widened.

    Raises:
        TasError: for an unknown size, and for a checkpoint that is missing, damaged or does not
            fit: the message tells how many keys are missing, unexpected or of another shape.
    """
    if size not in SIZES:
        raise TasError(f"unknown FreeSOLO size {size!r}; choose one of {', '.join(SIZES)}")
    model = FreeSolo(SIZES[size])
    if checkpoint is not None:
        from tasutils.checkpoints import load_strict, read_state_dict

        path = Path(checkpoint)
        load_strict(model, read_state_dict(path), path.name)
    return model.eval()


def _grouped(inputs: int, outputs: int, kernel: int, groups: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(groups, outputs), nn.ReLU())
