"""One clock, one average and one folder for every training.

``minutes`` is the only knob of a training: the learning rate follows the share of the minutes
that is spent, a resumed training goes on where the clock stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn


@dataclass
class Clock:
    """Training time in seconds, counted over all sessions."""

    minutes: float
    spent_s: float = 0.0
    _last: float = field(default_factory=time.monotonic)

    def tick(self) -> None:
        """Count the time since the last tick."""
        now = time.monotonic()
        self.spent_s += now - self._last
        self._last = now

    @property
    def share(self) -> float:
        """Share of the minutes that is spent, 0..1."""
        return min(1.0, self.spent_s / max(1e-9, 60 * self.minutes))

    def learning_rate(self, peak: float, warm: float = 0.02, flat: float = 0.45) -> float:
        """Rises over ``warm``, stays until ``flat``, then falls as a half cosine to 1 %."""
        share = self.share
        if share < warm:
            return peak * (0.05 + 0.95 * share / warm)
        if share < flat:
            return peak
        fall = (share - flat) / (1 - flat)
        return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


class Average:
    """Exponential moving average of a model's floating-point state (weights and statistics)."""

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model; faster in the first steps."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value.detach(), 1 - decay)
            else:
                self.state[key].copy_(value)


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    record: dict[str, Any],
) -> None:
    """Write model, average, optimiser state and a JSON record; each file is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "model.safetensors", lambda path: save_file(_plain(model.state_dict()), path))
    _replace(folder / "average.safetensors", lambda path: save_file(_plain(average.state), path))
    _replace(folder / "optimizer.pt", lambda path: torch.save(optimizer.state_dict(), path))
    record = {**record, "average_steps": average.steps}
    text = json.dumps(record, indent=1)
    _replace(folder / "record.json", lambda path: path.write_text(text, encoding="utf-8"))


def load_checkpoint(
    folder: Path, model: nn.Module, average: Average, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Restore what `save_checkpoint` wrote and return its record; None when there is none."""
    if not (folder / "record.json").is_file():
        return None
    record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    average.state = load_file(folder / "average.safetensors")
    average.steps = int(record["average_steps"])
    optimizer.load_state_dict(torch.load(folder / "optimizer.pt", weights_only=True))
    return record


def parameter_groups(
    model: nn.Module, rates: dict[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Two groups a part: matrices and kernels decay; biases, norms and other vectors do not.

    Args:
        rates: peak learning rate by the start of the parameters' names, the first that fits
            counts; "" fits all.
    """
    groups: list[dict[str, Any]] = [
        {"params": [], "lr": rate, "peak": rate, "weight_decay": decay}
        for rate in rates.values()
        for decay in (weight_decay, 0.0)
    ]
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    for name, parameter in trained:
        part = next(i for i, prefix in enumerate(rates) if name.startswith(prefix))
        groups[2 * part + (parameter.ndim < 2)]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def _plain(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.detach().contiguous().clone() for key, value in state.items()}


def _replace(path: Path, write: Any) -> None:
    part = path.with_name(path.name + ".tmp")
    write(part)
    os.replace(part, path)
