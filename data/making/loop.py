"""The loop that every training shares: steps until the minutes are spent, saving as it goes.

``minutes`` is the only knob of a training: the learning rate follows the share of the minutes
that is spent, a resumed training goes on where the clock stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

SAVE_EVERY_S, SCORE_EVERY_S = 150.0, 300.0
CHECKPOINT, PARTS = "checkpoint.pt", ("model", "average", "optimizer")
State = dict[str, torch.Tensor]
Step = Callable[[], tuple[torch.Tensor, dict[str, float]]]
Score = Callable[[State], dict[str, float]]


def learning_rate(share: float, peak: float, warm: float = 0.02, flat: float = 0.45) -> float:
    """Rises over ``warm`` of the share 0..1, stays until ``flat``, falls by a cosine to 1 %."""
    if share < warm:
        return peak * (0.05 + 0.95 * share / warm)
    if share < flat:
        return peak
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - flat) / (1 - flat))))


def averaged(model: nn.Module, decay: float = 0.998) -> AveragedModel:
    """Exponential moving average of weights and statistics; faster in the first steps."""

    def move(mean: torch.Tensor, now: torch.Tensor, steps: Any) -> torch.Tensor:
        if not mean.is_floating_point():
            return now
        return mean.lerp(now, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

    return AveragedModel(model, avg_fn=move, use_buffers=True)


def parameter_groups(
    model: nn.Module, rates: dict[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Two groups a part: matrices and kernels decay; biases, norms and other vectors do not."""
    groups: list[dict[str, Any]] = [
        {"params": [], "lr": rate, "peak": rate, "weight_decay": decay}
        for rate in rates.values()
        for decay in (weight_decay, 0.0)
    ]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = next(i for i, prefix in enumerate(rates) if name.startswith(prefix))
            groups[2 * part + (parameter.ndim < 2)]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Model, average, optimizer and record (seed, images, spent_s, curve); empty without one."""
    path = folder / CHECKPOINT
    return dict(torch.load(path, weights_only=True)) if path.is_file() else {}


@dataclass
class Training:
    """A model under training, its average, its clock and its folder.

    Args, of which the `train_` functions hand seed and threads on:
        start: makes the model, from the seed.
        minutes: total training time over all sessions; the one knob.
        rates: peak learning rate by the start of the parameters' names, the first that fits.
        folder: of the checkpoint, from which it goes on; ``threads``: of torch.
    """

    name: str
    start: Callable[[], Any]
    folder: Path
    minutes: float
    rates: dict[str, float]
    weight_decay: float = 0.05
    flat: float = 0.45
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        self.model = self.start()
        self.average = averaged(self.model)
        groups = parameter_groups(self.model, self.rates, self.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        start = {"model": self.name, "seed": self.seed, "images": 0, "spent_s": 0.0, "curve": []}
        self.record: dict[str, Any] = start
        if found := read_checkpoint(self.folder):
            for part in PARTS:
                getattr(self, part).load_state_dict(found[part])
            self.record |= found["record"]
        self.record["minutes"] = self.minutes

    @property
    def share(self) -> float:
        """Share of the minutes that is spent, 0..1."""
        return min(1.0, self.record["spent_s"] / max(1e-9, 60 * self.minutes))

    @property
    def rng(self) -> np.random.Generator:
        """A generator that goes on elsewhere after a resume."""
        return np.random.default_rng([self.seed, self.record["images"]])

    def run(self, step: Step, images_per_step: int, score: Score | None = None) -> dict[str, Any]:
        """Take steps until the minutes are spent; returns the record with its curve.

        Args:
            step: gives the loss of a new batch and numbers for the curve.
            score: gives scores of the averaged state, every five minutes and at the end.
        """
        record, told = self.record, list[dict[str, float]]()
        saved = scored = record["spent_s"]
        started = time.monotonic() - saved
        while self.share < 1:
            loss, numbers = step()
            self._descend(loss)
            told.append({"loss": float(loss.detach()), **numbers})
            record["images"] += images_per_step
            now = record["spent_s"] = time.monotonic() - started
            if now - saved < SAVE_EVERY_S and self.share < 1:
                continue
            saved, recent = now, told[-100:]
            point = {"minutes": round(now / 60, 2), "images": record["images"]}
            point |= {key: round(float(np.mean([t[key] for t in recent])), 4) for key in recent[-1]}
            if score is not None and (now - scored > SCORE_EVERY_S or self.share >= 1):
                scored = now
                point |= score(self.average.module.state_dict())
            record["curve"].append(point)
            print(json.dumps(point), flush=True)
            self._save()
        return record

    def _descend(self, loss: torch.Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.share, group["peak"], flat=self.flat)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)

    def _save(self) -> None:
        states = {part: getattr(self, part).state_dict() for part in PARTS}
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{CHECKPOINT}.tmp"
        torch.save({**states, "record": self.record}, part)
        os.replace(part, self.folder / CHECKPOINT)
