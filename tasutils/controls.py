"""Answers that read no sentence: what every method has to beat, from the samples of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

from tasutils.metrics import Floats, Interval, metric, paired_difference
from tasutils.score_table import no_target

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.runs import Run
    from tasutils.scene import Scene

#: prefix of the columns of samples -> what it is
MASKS = {"random": "a random mask", "largest": "the largest", "central": "the most central"}
EMPTY = "always empty"


def picks(scene: Scene, sample_id: str) -> dict[str, int]:
    """The proposal of each of `MASKS`, -1 where there is none; by chance, but always the same."""
    proposals = scene.proposals
    if not len(proposals):
        return dict.fromkeys(MASKS, -1)
    height, width = scene.size_hw
    off_px = np.hypot(*(proposals.centers_xy - [(width - 1) / 2, (height - 1) / 2]).T)
    return {
        "random": crc32(sample_id.encode()) % len(proposals),
        "largest": int(proposals.areas_px.argmax()),
        "central": int(off_px.argmin()),
    }


class Controls(NamedTuple):
    """mIoU of each control; the best one, and the run's mIoU minus its, paired over images."""

    miou: dict[str, float]
    best: str
    gain: Interval

    @property
    def told_apart(self) -> bool:
        """Is the run above the best control for sure?"""
        return self.gain.low > 0

    def __str__(self) -> str:
        told = ", ".join(f"{name} {100 * value:.1f}" for name, value in self.miou.items())
        return f"mIoU without reading the sentence: {told}"


def controls(run: Run) -> Controls:
    """The controls over the sentences of a run that have a ground truth; at least one has."""
    known = run.samples[run.samples["gt_area_px"].notna()]
    area, empty = known["gt_area_px"].to_numpy(float), no_target(known)
    pixels = {
        name: _pixels(known, f"{who}_")
        for who, name in MASKS.items()
        if f"{who}_union_px" in known  # older runs have none
    }
    pixels[EMPTY] = np.zeros_like(area), area
    values = {
        name: metric(inter, union, "miou", no_target=empty)
        for name, (inter, union) in pixels.items()
    }
    best = max(values, key=lambda name: values[name])
    images = known["image_id"].to_numpy(str)
    found = paired_difference(_pixels(known), pixels[best], images, ("miou",), no_target=empty)
    return Controls(values, best, found["miou"])


def _pixels(table: pd.DataFrame, who: str = "") -> tuple[Floats, Floats]:
    inter, union = (table[f"{who}{name}_px"].to_numpy(float) for name in ("intersection", "union"))
    return inter, union
