"""Training of the tiny SAM on point prompts: scenes of the embedded world, and photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from making.loop import Training
from making.pools import PHOTO_POOL, POOL, PoolMix, ScenePool, photo_pool
from making.prompts import DenseHead, draw_prompts, encode, prompt, sam_loss
from tasutils.proposals.sam_net import build_sam

PEAK_RATE = 8e-4
PADDED_FROM = 0.7


def train_sam(
    minutes: float,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = True,
    images: int = 4,
    points: int = 8,
    threads: int = 1,
    scenes: Path = POOL,
    photographs: Path = PHOTO_POOL,
) -> dict[str, Any]:
    """Train the tiny SAM for some minutes, counted over all sessions.

    Args:
        minutes: total training time; the one knob.
        folder: checkpoint folder, taken up again when ``resume``.
        scenes: folder of the training scenes; ``photographs``: of those made of cut-outs, which
            are half of what is drawn.
        images: pictures a step; ``points``: prompts a picture, one of them on the background.

    Returns:
        the record: minutes, images seen, curve of losses and IoU on the training scenes.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    sam = build_sam("tiny")
    helper = DenseHead(sam.prompt_encoder.embed_dim)
    model = nn.ModuleDict({"sam": sam, "helper": helper})
    model = model.to(memory_format=torch.channels_last).train()
    rates = {"": PEAK_RATE}
    training = Training(
        "sam", model, folder, minutes, rates, 0.03, seed=seed, resume=resume, flat=0.4
    )
    rng, pool = training.rng, PoolMix((ScenePool(scenes), photo_pool(photographs)))

    def step() -> tuple[torch.Tensor, dict[str, float]]:
        batch = draw_prompts(rng, pool, images, points)
        with torch.autocast("cpu", torch.bfloat16):
            features = encode(sam, batch.images)
            dense = helper(features, batch.labels)
            padded = training.clock.share > PADDED_FROM
            logits, iou = prompt(sam, features, batch.points_xy, padded)
        loss, numbers = sam_loss(logits, iou, torch.from_numpy(batch.targets).flatten(0, 1))
        return loss + dense, {**numbers, "dense": float(dense.detach())}

    return training.run(step, images)
