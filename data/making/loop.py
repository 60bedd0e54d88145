"""The loop that every training shares: steps until the minutes are spent, saving as it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from making.checkpoint import (
    Average,
    Clock,
    load_checkpoint,
    parameter_groups,
    save_checkpoint,
)

SAVE_EVERY_S, SCORE_EVERY_S = 150.0, 300.0
Step = Callable[[], tuple[torch.Tensor, dict[str, float]]]
Score = Callable[[dict[str, torch.Tensor]], dict[str, float]]


@dataclass
class Training:
    """A model under training, its average, its clock and its folder.

    Args:
        minutes: total training time over all sessions; the one knob.
        rates: peak learning rate of each part, by the start of its parameters' names; "" is the
            rest.
        resume: go on from the folder's checkpoint when there is one.
    """

    name: str
    model: nn.Module
    folder: Path
    minutes: float
    rates: dict[str, float]
    weight_decay: float = 0.05
    seed: int = 0
    resume: bool = True
    flat: float = 0.45
    record: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.average = Average(self.model)
        groups = parameter_groups(self.model, self.rates, self.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self.record = {"model": self.name, "seed": self.seed, "images": 0, "spent_s": 0.0}
        self.record |= {"minutes": self.minutes, "curve": []}
        if self.resume:
            found = load_checkpoint(self.folder, self.model, self.average, self.optimizer)
            self.record |= found or {}
        for group, fresh in zip(self.optimizer.param_groups, groups, strict=True):
            group["peak"] = fresh["peak"]
        self.record["minutes"] = self.minutes
        self.clock = Clock(self.minutes, self.record["spent_s"])

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
        saved = scored = self.clock.spent_s
        told: list[dict[str, float]] = []
        while self.clock.share < 1:
            loss, numbers = step()
            self._descend(loss)
            told.append({"loss": float(loss.detach()), **numbers})
            self.record["images"] += images_per_step
            self.clock.tick()
            now = self.record["spent_s"] = self.clock.spent_s
            if now - saved < SAVE_EVERY_S and self.clock.share < 1:
                continue
            saved = now
            point = {"minutes": round(now / 60, 2), "images": self.record["images"]}
            recent = told[-100:]
            point |= {key: round(float(np.mean([t[key] for t in recent])), 4) for key in recent[-1]}
            if score is not None and (now - scored > SCORE_EVERY_S or self.clock.share >= 1):
                scored = now
                point |= score(self.average.state)
            self.record["curve"].append(point)
            print(json.dumps(point), flush=True)
            save_checkpoint(self.folder, self.model, self.average, self.optimizer, self.record)
        return self.record

    def _descend(self, loss: torch.Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.clock.learning_rate(group["peak"], flat=self.flat)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.model)
