"""Training of the tiny FreeSOLO on free masks, without any mask label.

``python -m making.free_masks --scenes 1000`` first, then
``python -m making.freesolo --minutes 45``; both go on where they were broken off.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from making.free_masks import FREE_MASKS
from making.loop import Training
from making.pools import POOL
from making.scores import mask_oracle
from making.solo_loss import PAIR_WEIGHT, solo_loss
from making.solo_targets import PseudoPool, solo_batch
from tasutils.config import OverlapConfig
from tasutils.paths import RESULTS
from tasutils.proposals.freesolo import FreeSoloProposer
from tasutils.proposals.freesolo_net import FreeSolo, build_freesolo
from tasutils.proposals.settings import FreeSoloConfig

PEAK_RATE = 1e-3
WARM_IMAGES = 4000  # until the colour affinity counts in full
SCORE_IMAGES = 40
FOLDER = RESULTS / "training" / "freesolo"


def train_freesolo(
    minutes: float,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = True,
    images: int = 4,
    threads: int = 1,
    scenes: Path = POOL,
    masks: Path = FREE_MASKS,
) -> dict[str, Any]:
    """Train the tiny FreeSOLO on pseudo masks for some minutes, counted over all sessions.

    Args:
        minutes: total training time.
        folder: checkpoint folder, taken up again when ``resume``.
        images: pictures a step.
        scenes: folder of the training pictures; ``masks``: of their pseudo masks.

    Returns:
        the record: minutes, images seen, curve of losses and of the scores on val.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = trainable(build_freesolo("tiny")).train()
    rates = {"": PEAK_RATE}
    training = Training(
        "freesolo", model, folder, minutes, rates, 0.03, seed=seed, resume=resume, flat=0.4
    )
    rng, pool = training.rng, PseudoPool(scenes, masks)

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        pool.refresh()
        batch = solo_batch([pool.draw(rng) for _ in range(images)])
        with torch.autocast("cpu", torch.bfloat16):
            output = model(batch.pixels)
        training.record["scenes"] = len(pool)
        warm = min(1.0, training.record["images"] / WARM_IMAGES)
        return solo_loss(output, batch, rng, warm * PAIR_WEIGHT)

    return training.run(step, images, val_scores)


def trainable(model: FreeSolo) -> FreeSolo:
    """The network with batch norms that learn in place of the frozen ones, from SOLO's start.

    The towers and predictions start from a normal distribution of 0.01, and every cell from the
    chance 0.01 of an object. Source: SOLOv2's released settings.
    """
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
    bias = model.ins_head.cate_pred.bias
    if bias is not None:
        nn.init.constant_(bias, -math.log(99))
    return model


def published_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of a `trainable` network with the keys of the published layout."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def val_scores(state: dict[str, torch.Tensor]) -> dict[str, float]:
    """Oracle mIoU, recall at 0.5 and masks an image on the first `SCORE_IMAGES` of val."""
    proposer = FreeSoloProposer(FreeSoloConfig(size="tiny"), OverlapConfig(min_area_px=60))
    proposer.model.load_state_dict(published_state(state))
    found = mask_oracle(proposer, "val", SCORE_IMAGES)
    return {key: found[key] for key in ("oracle_miou", "recall_50", "masks_per_image")}
