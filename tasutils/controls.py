"""Answers that read no sentence: what every method has to beat, from the samples of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

from tasutils.metrics import Interval, metric, paired_difference
from tasutils.score_table import no_target

if TYPE_CHECKING:
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
    columns = {who: [f"{who}_intersection_px", f"{who}_union_px"] for who in MASKS}
    pixels = {
        MASKS[who]: tuple(known[names].to_numpy(float).T)
        for who, names in columns.items()
        if {*names} <= {*known}  # older runs have none
    }
    area = known["gt_area_px"].to_numpy(float)
    pixels[EMPTY] = np.zeros_like(area), area
    own = tuple(known[["intersection_px", "union_px"]].to_numpy(float).T)
    empty = no_target(known)
    values = {name: metric(*pair, "miou", no_target=empty) for name, pair in pixels.items()}
    best = max(values, key=lambda name: values[name])
    images = known["image_id"].to_numpy(str)
    found = paired_difference(own, pixels[best], images, ("miou",), no_target=empty)
    return Controls(values, best, found["miou"])
