"""Pseudo masks as a SOLOv2 learns from them: batches of scenes, and the cells of the grids."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.masks import decode_rle
from tasutils.proposals.freesolo import network_input
from tasutils.proposals.freesolo_net import SIZES

IMAGE_HW = (240, 320)
QUARTER_HW = (64, 80)  # of the padded input
# side of a mask's box in px of the input, for p2-p6; the published ones, at 240 instead of 800 px
SCALE_RANGES = ((0, 29), (14, 58), (29, 115), (58, 230), (115, 10_000))
_CENTER = 0.2  # share of the box around the centre of mass whose cells are responsible


@dataclass(frozen=True, eq=False)
class PseudoScene:
    """A picture uint8 (240, 320, 3) with pseudo masks bool (n, 240, 320), the best first."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SoloBatch:
    """Pictures and what to learn from them.

    Attributes:
        pixels: float32 (b, 3, 256, 320), normalised and padded.
        lab: float32 (b, 3, 64, 80), CIELAB at a quarter of the input, 0 in the padding.
        masks: uint8 (n, 64, 80) of each picture.
        cells: for each picture and level int64 (g, g), the index of the mask that the cell is
            responsible for, or -1.
    """

    pixels: torch.Tensor
    lab: torch.Tensor
    masks: list[torch.Tensor]
    cells: list[list[NDArray[np.int64]]]


class PseudoPool:
    """Training scenes that have pseudo masks; labels of the pool are never opened.

    Args:
        pool: folder of the pictures' shards; ``masks``: of shards of the same names, see
            `free_masks.write_shard`, which may still be growing.

    Raises TasError when there are none yet.
    """

    def __init__(self, pool: Path, masks: Path) -> None:
        self.pool, self.masks = pool, masks
        self._names: list[str] = []
        self._shards: list[tuple[Any, list[dict[str, Any]]]] = []
        self.refresh()
        if not self._shards:
            command = "python -m making.free_masks"
            raise TasError(f"no pseudo masks in {masks}; make them with: {command}")

    def refresh(self) -> None:
        """Notice shards that were finished since."""
        for path in sorted(self.masks.glob("*.json")):
            if path.stem not in self._names:
                pictures = np.load(self.pool / f"{path.stem}.images.npy", mmap_mode="r")
                self._shards.append((pictures, json.loads(path.read_text(encoding="utf-8"))))
                self._names.append(path.stem)

    def __len__(self) -> int:
        return sum(len(entries) for _, entries in self._shards)

    def draw(self, rng: np.random.Generator, mirror: float = 0.5) -> PseudoScene:
        """A random scene, mirrored with that probability."""
        pictures, entries = self._shards[int(rng.integers(len(self._shards)))]
        index = int(rng.integers(len(entries)))
        codes = [{"size": list(IMAGE_HW), "counts": code} for code in entries[index]["rles"]]
        image, masks = np.array(pictures[index]), decode_rle(codes, IMAGE_HW)
        if rng.uniform() < mirror:
            image, masks = image[:, ::-1], masks[:, :, ::-1]
        return PseudoScene(np.ascontiguousarray(image), np.ascontiguousarray(masks))


def solo_batch(scenes: list[PseudoScene]) -> SoloBatch:
    """Scenes as the network and its losses take them."""
    size = SIZES["tiny"]
    pixels, lab, masks, cells = [], [], [], []
    for scene in scenes:
        pixels.append(network_input(scene.image, size.short_px, size.long_px)[0])
        lab.append(_quarter_lab(scene.image))
        small = quarter_masks(scene.masks)
        masks.append(torch.from_numpy(small))
        cells.append(responsible_cells(small, size.grids))
    return SoloBatch(torch.cat(pixels), torch.stack(lab), masks, cells)


def quarter_masks(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Bool (n, 240, 320) to uint8 (n, 64, 80): cells more than half inside; padding is 0."""
    small = np.zeros((len(masks), *QUARTER_HW), np.uint8)
    height, width = IMAGE_HW[0] // 4, IMAGE_HW[1] // 4
    for index, mask in enumerate(masks):
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        small[index, :height, :width] = share > 0.5
    return small


def responsible_cells(masks: NDArray[np.uint8], grids: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """For each level which cell answers for which mask: int64 (g, g), -1 for none.

    A mask belongs to the levels whose `SCALE_RANGES` hold the root of its box's area; the cells
    around its centre of mass, in a fifth of its box and at most three a side, answer for it. Of
    two masks the one that comes first in ``masks`` (n, 64, 80) has the cell.
    Source: SOLOv2 (Wang et al. 2020), section 3, and its released settings.
    """
    levels = [np.full((grid, grid), -1, np.int64) for grid in grids]
    for index in reversed(range(len(masks))):
        rows, columns = np.nonzero(masks[index])
        if not len(rows):
            continue
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        side = 4 * float(np.sqrt(height * width))
        center = (rows.mean() + 0.5) / QUARTER_HW[0], (columns.mean() + 0.5) / QUARTER_HW[1]
        half = 0.5 * _CENTER * height / QUARTER_HW[0], 0.5 * _CENTER * width / QUARTER_HW[1]
        for level, (low, high) in zip(levels, SCALE_RANGES, strict=True):
            if low <= side <= high:
                rows_here = _around(center[0], half[0], len(level))
                level[rows_here, _around(center[1], half[1], len(level))] = index
    return levels


def _around(center: float, half: float, grid: int) -> slice:
    """Cells of one axis from center - half to center + half (shares), at most one either side."""
    middle = min(int(center * grid), grid - 1)
    first = max(int((center - half) * grid), middle - 1, 0)
    last = min(int((center + half) * grid), middle + 1, grid - 1)
    return slice(first, last + 1)


def _quarter_lab(image: NDArray[np.uint8]) -> torch.Tensor:
    height, width = IMAGE_HW[0] // 4, IMAGE_HW[1] // 4
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    lab = np.zeros((*QUARTER_HW, 3), np.float32)
    lab[:height, :width] = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return torch.from_numpy(lab).permute(2, 0, 1)
