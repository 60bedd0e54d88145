"""Section crops: all masks of a picture at once against one crop after another by Pillow."""

from __future__ import annotations

import numpy as np

from tasutils.bench.equal import near
from tasutils.bench.plan import Plan, noise_and_blobs
from tasutils.bench.released_crops import background, crop_one
from tasutils.bench.rows import Row, Target
from tasutils.bench.timing import alternate
from tasutils.config import CropConfig
from tasutils.crops import masked_crops
from tasutils.masks import boxes_xyxy

SIDE_PX = 224  # what CLIP and BLIP-2 see
TOLERANCE = 4e-3  # one step of 255: Pillow's fill colours are whole numbers
FASTER = {"cpu": 3.0, "cuda": 20.0}


def rows(plan: Plan, n_masks: int = 32) -> list[Row]:
    """One row for each fill: black, blur and mean."""
    import torch

    image, masks = noise_and_blobs(n_masks)
    boxes = boxes_xyxy(masks)
    found = []
    for fill in ("black", "blur", "mean"):
        config = plan.preset.crop.model_copy(
            update={"fill": fill, "geometry": "exact", "resize": "float"}
        )

        def ours(config: CropConfig = config) -> torch.Tensor:
            return masked_crops(image, masks, boxes, SIDE_PX, config, plan.device)

        def plain(config: CropConfig = config) -> torch.Tensor:
            outside = background(image, config)
            return torch.cat(
                [crop_one(image, m, SIDE_PX, config, outside).to(plan.device) for m in masks]
            )

        def same(a: torch.Tensor, b: torch.Tensor) -> str:
            return near(a.cpu().numpy(), b.cpu().numpy(), TOLERANCE, "pixels in 0..1")

        timed = alternate(ours, plain, same, plan.repeats, settle=plan.settle)
        kind = plan.device.partition(":")[0]
        found.append(
            Row(
                section="crops",
                what=f"{fill}, {n_masks} masks, {image.shape[1]} x {image.shape[0]}",
                target=Target(number="ratio", at_least=FASTER.get(kind, FASTER["cpu"])),
                measures={"covered_share": float(np.mean(masks.mean(axis=(1, 2))))},
                **timed.fields(),
            )
        )
    return found
