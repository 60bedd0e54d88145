"""FreeSOLO's losses (Wang et al. 2022, section 3.3): projections, colour affinity, focal loss."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from making.solo_targets import SoloBatch
from tasutils.proposals.freesolo_net import FreeSoloOutput

MOST_CELLS = 48  # of a picture whose masks are learned in one step; memory and time only
PAIR_WEIGHT, DICE_WEIGHT = 0.3, 2.0
MEAN_WEIGHT = 0.1  # of the projections' means, as published
_ALIKE = 0.3  # least exp(-0.5 colour distance) of two pixels that should agree (BoxInst)
_PAIRS = ((0, 2), (2, 0), (2, 2), (2, -2))  # rows and columns to the other pixel


def solo_loss(
    output: FreeSoloOutput, batch: SoloBatch, rng: np.random.Generator, pair_weight: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of a batch; its parts, and the mean IoU of masks and pseudo masks (``agree``).

    Args:
        rng: chooses `MOST_CELLS` where more answer for a mask.
        pair_weight: of the colour affinity, which the publication raises from 0 at first.

    The publication has the projections, weight 1 for the affinity and no dice loss between whole
    masks, since its free masks are coarse. In this world that alone lets masks shrink to where
    colours are plain: after ten minutes of training fewer things of val were found than after five.
    """
    found: list[dict[str, torch.Tensor]] = []
    for index in range(len(batch.pixels)):
        levels, places, chosen = _answering(batch, index, rng)
        if not len(chosen):
            continue
        cells = zip(levels, places, strict=True)
        kernels = [output.kernels[level][index].flatten(1)[:, place] for level, place in cells]
        features = output.masks[index].float()
        logits = torch.stack(kernels).float() @ features.flatten(1)  # (n, h * w)
        logits = logits.unflatten(1, features.shape[1:])
        found.append(_mask_parts(logits, batch.masks[index][chosen].float(), batch.lab[index]))
    focal = class_loss(output.classes, batch)
    nothing = {name: torch.zeros(1) for name in ("max", "mean", "pair", "dice", "agree")}
    found = found or [nothing]
    means = {name: torch.cat([part[name] for part in found]).mean() for name in nothing}
    masks = means["max"] + MEAN_WEIGHT * means["mean"]
    masks = masks + pair_weight * means["pair"] + DICE_WEIGHT * means["dice"]
    told = {name: float(value.detach()) for name, value in {**means, "focal": focal}.items()}
    return focal + masks, told


def _mask_parts(
    logits: torch.Tensor, target: torch.Tensor, lab: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Losses (n,) of masks (n, h, w) against 0 or 1 (n, h, w), and their IoU, of one picture."""
    chance = logits.sigmoid()
    parts = {"dice": dice_loss(chance.flatten(1), target.flatten(1))}
    across = dice_loss(chance.amax(1), target.amax(1))
    parts["max"] = across + dice_loss(chance.amax(2), target.amax(2))
    across = dice_loss(chance.mean(1), target.mean(1))
    parts["mean"] = across + dice_loss(chance.mean(2), target.mean(2))
    parts["pair"] = affinity_loss(logits, target, alike(lab))
    hard, goal = logits.detach() > 0, target > 0
    either = (hard | goal).sum((1, 2)).clamp(min=1)
    parts["agree"] = (hard & goal).sum((1, 2)) / either
    return parts


def dice_loss(chance: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - 2 p.t / (p.p + t.t) of each row (n, d), values 0..1: float (n,), 0 where they are equal.

    >>> dice_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])).item() < 1e-3
    True
    """
    both = (chance * target).sum(1)
    return 1 - 2 * both / (chance.square().sum(1) + target.square().sum(1) + 1e-3)


def alike(lab: torch.Tensor) -> torch.Tensor:
    """Which pairs of pixels two apart have about one colour: bool (4, h, w) of Lab (3, h, w).

    Pairs as in `_PAIRS`, at their first pixel; False where the other is outside.
    """
    found = []
    for down, right in _PAIRS:
        distance = (lab - _shifted(lab, down, right)).square().sum(0).sqrt()
        inside = _shifted(torch.ones_like(lab[:1]), down, right)[0] > 0
        found.append((torch.exp(-0.5 * distance) >= _ALIKE) & inside)
    return torch.stack(found)


def affinity_loss(logits: torch.Tensor, target: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """-log of the chance that alike neighbours get one label, mean over pairs in each box: (n,).

    Args:
        logits: (n, h, w); ``target``: (n, h, w), 0 or 1, whose box counts.
        pairs: bool (4, h, w) of `alike`.

    Source: BoxInst (Tian et al. 2021), equation 6, which FreeSOLO takes over.
    """
    box = (target.amax(1, keepdim=True) * target.amax(2, keepdim=True)) > 0  # (n, h, w)
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    total, count = logits.new_zeros(len(logits)), logits.new_zeros(len(logits))
    for (down, right), same in zip(_PAIRS, pairs, strict=True):
        agree = torch.logaddexp(yes + _shifted(yes, down, right), no + _shifted(no, down, right))
        weight = (box & same).float()
        total = total - (agree * weight).sum((1, 2))
        count = count + weight.sum((1, 2))
    return total / count.clamp(min=1)


def class_loss(classes: list[torch.Tensor], batch: SoloBatch) -> torch.Tensor:
    """Focal loss (alpha 0.25, gamma 2) of every cell; class 0 is an object, class 1 stays unused.

    Summed, then divided by the number of answering cells plus one.
    """
    total, answering = torch.zeros(()), 1
    for level, logits in enumerate(classes):
        here = np.stack([cells[level] >= 0 for cells in batch.cells])
        goal = torch.zeros_like(logits, dtype=torch.float32)
        goal[:, 0] = torch.from_numpy(here)
        entropy = F.binary_cross_entropy_with_logits(logits.float(), goal, reduction="none")
        chance = logits.float().sigmoid()
        agree = chance * goal + (1 - chance) * (1 - goal)
        weight = 0.25 * goal + 0.75 * (1 - goal)
        total = total + (weight * (1 - agree) ** 2 * entropy).sum()
        answering += int(here.sum())
    return total / answering


def _shifted(x: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """x[..., i + down, j + right] at (i, j), 0 outside; ``down`` is not negative."""
    height, width = x.shape[-2:]
    result = torch.zeros_like(x)
    rows = slice(0, height - down), slice(down, height)
    columns = slice(max(-right, 0), width - max(right, 0))
    others = slice(max(right, 0), width + min(right, 0))
    result[..., rows[0], columns] = x[..., rows[1], others]
    return result


def _answering(
    batch: SoloBatch, index: int, rng: np.random.Generator
) -> tuple[list[int], list[int], torch.Tensor]:
    """Level, place in the flat grid and mask of the cells of one picture that answer for one."""
    found = [
        (level, int(place), int(cells.flat[place]))
        for level, cells in enumerate(batch.cells[index])
        for place in np.flatnonzero(cells >= 0)
    ]
    if len(found) > MOST_CELLS:
        found = [found[i] for i in rng.choice(len(found), MOST_CELLS, replace=False)]
    levels, places, masks = ([entry[part] for entry in found] for part in range(3))
    return levels, places, torch.tensor(masks, dtype=torch.long)
