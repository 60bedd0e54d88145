"""Training of the tiny SAM on point prompts: scenes of the embedded world, and photographs.

``python -m tasutils.world.training.sam --minutes 75``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasutils.paths import RESULTS
from tasutils.proposals.sam_builder import build_sam
from tasutils.world.training.loop import Training
from tasutils.world.training.pools import PHOTO_POOL, POOL, PoolMix, ScenePool, photo_pool
from tasutils.world.training.prompts import DenseHead, draw_prompts, encode, prompt, sam_loss

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


def main() -> None:
    """Command line: see the module's description."""
    parser = argparse.ArgumentParser(description="Train the tiny SAM.")
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--folder", type=Path, default=RESULTS / "training" / "sam")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train_sam(options.minutes, options.folder, seed=options.seed, threads=options.threads)


if __name__ == "__main__":
    main()
