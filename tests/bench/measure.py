"""Rows of a bench, how two sides are compared and timed, and what they are given."""

from __future__ import annotations

import os
import platform
import re
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from unittest import mock

import cv2
import numpy as np
import torch

import tasutils
from tasutils import paths
from tasutils.datasets import load_dataset
from tasutils.runs import cores, git_state, library_versions

DATASET = "refscenes"


@dataclass
class Row:
    """One comparison: seconds of ours and of the plain loop, per image or so, as they were taken.

    Attributes:
        ratio: the loop's seconds over ours, pair by pair.
        measures: further numbers, the unit in the name.
        target: (number, "at_least" or "at_most", value), of the median.
        checked: what was found equal before the timing; ``skipped``: why there is no number.
    """

    section: str
    what: str
    per: str = "image"
    ours_s: list[float] = field(default_factory=list)
    plain_s: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    target: tuple[str, str, float] | None = None
    checked: str = ""
    note: str = ""
    skipped: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without target or number."""
        if self.target is None or self.skipped:
            return None
        name, side, value = self.target
        found = self.measures[name] if name in self.measures else np.median(getattr(self, name))
        return bool(found >= value if side == "at_least" else found <= value)

    def values(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"met": self.met}


@dataclass
class Plan:
    """What is measured: preset, device, pictures a section (None: its own), threads, repeats."""

    preset: str = "tiny"
    device: str = "cpu"
    images: int | None = None
    threads: int = 1
    repeats: int = 5

    @cached_property
    def tas(self) -> Any:
        """The preset at work, loaded once for all sections."""
        return tasutils.load(self.preset, device=self.device)

    def settle(self) -> None:
        """Wait for a GPU."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def seconds(side: Callable[[], Any], settle: Callable[[], None] = lambda: None) -> float:
    """Of one call."""
    settle()
    start = perf_counter()
    side()
    settle()
    return perf_counter() - start


def compare(
    plan: Plan,
    row: Row,
    ours: Callable[[], Any],
    plain: Callable[[], Any],
    same: Callable[[Any, Any], None],
    per: int = 1,
    repeats: int | None = None,
) -> Row:
    """Check that both sides give the same, then time them in turn, every other time ours last.

    Args:
        same: raises AssertionError where the outputs differ; the check is the sides' warm-up.
        per: what seconds are divided by, such as a number of images.
    """
    same(ours(), plain())
    sides = [(row.plain_s, plain), (row.ours_s, ours)]
    for _ in range(repeats or plan.repeats):
        sides.reverse()
        for times, side in sides:
            times.append(seconds(side, plan.settle) / per)
    row.ratio = [b / a for a, b in zip(row.ours_s, row.plain_s, strict=True)]
    return row


def near(ours: Any, plain: Any, tolerance: float) -> None:
    """Numbers of any shape, each within `tolerance` of the other; NaN is near nothing."""
    np.testing.assert_allclose(ours, plain, rtol=0, atol=tolerance, equal_nan=False)


def same_choices(
    ours: Sequence[int | None], plain: Sequence[int | None], totals: Sequence[Any], slack: float
) -> None:
    """The chosen masks of several sentences, or one whose sum is within `slack` of the best."""
    for a, b, sums in zip(ours, plain, totals, strict=True):
        tie = a is not None and b is not None and abs(sums[a] - sums[b]) <= slack
        assert a == b or tie, f"masks {a} and {b} are chosen"


def in_child(task: Callable[..., dict[str, Any]], threads: int, **arguments: Any) -> dict[str, Any]:
    """What a task returned in a process of its own, with `peak_mib`, the most memory it had."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    processes = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with mock.patch.dict(os.environ, dict.fromkeys(names, str(threads))), processes as pool:
        return pool.submit(_with_peak, task, arguments).result()


def _with_peak(task: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    return task(**arguments) | {"peak_mib": peak_mib()}


def peak_mib() -> float:
    """Highest memory use of this process; ru_maxrss starts from that of the parent, VmHWM not."""
    if found := told_by_linux("/proc/self/status", r"VmHWM:\s*(\d+)"):
        return int(found) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if platform.system() == "Darwin" else 1 << 10)


def device_name(device: str) -> str:
    """The name of a GPU, or of the processor."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    named = told_by_linux("/proc/cpuinfo", r"model name\s*:\s*(.*)")
    return named or platform.processor() or platform.machine()


def told_by_linux(file: str, pattern: str) -> str:
    """What a pattern finds in a file of /proc; empty where there is none."""
    text = Path(file).read_text(errors="replace") if Path(file).is_file() else ""
    return found[1].strip() if (found := re.search(pattern, text)) else ""


def conditions(plan: Plan) -> dict[str, Any]:
    """Machine, libraries, preset, commit and load (mean running processes in the last minute)."""
    commit, dirty = git_state(paths.ROOT)
    preset = tasutils.load_preset(plan.preset)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit,
        "dirty": dirty, "preset": preset.name, "preset_digest": preset.digest(),
        "device": plan.device, "device_name": device_name(plan.device), "cores": cores(),
        "threads": plan.threads, "system": f"{platform.system()} {platform.machine()}",
        "versions": library_versions(), "load_before": os.getloadavg()[0],
    }  # fmt: skip


class Case(NamedTuple):
    """A picture, uint8 (H, W, 3), and the sentences of each of its references."""

    image: Any
    references: tuple[tuple[str, ...], ...]


def drawn_cases(count: int, references: int = 3, sentences: int = 3) -> list[Case]:
    """The first pictures of RefScenes val that have so many references and sentences of each."""
    dataset, cases = load_dataset(DATASET, "val"), list[Case]()
    for image_id, samples in dataset.by_image().items():
        texts: dict[str, list[str]] = {}
        for sample in samples:
            texts.setdefault(sample.ref_id, []).append(sample.text)
        whole = [tuple(t[:sentences]) for t in texts.values() if len(t) >= sentences][:references]
        if len(whole) == references and len(cases) < count:
            cases.append(Case(tasutils.read_image(dataset.image_path(image_id)), tuple(whole)))
    return cases


def noise_and_blobs(n_masks: int, seed: int = 0) -> tuple[Any, Any]:
    """A picture uint8 (480, 640, 3) of soft noise and n ragged ellipses as masks (n, 480, 640).

    They are about as large as what SAM gives on photographs.
    """
    rng, height, width = np.random.default_rng(seed), 480, 640
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    noise = cv2.resize(coarse, (width, height))
    ragged = 0.4 * (noise[:, :, 0] / 255.0 - 0.5)
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((n_masks, height, width), bool)
    for mask in masks:
        half_y, half_x = rng.uniform(height / 16, height * 3 / 8, 2)
        at_y, at_x = rng.uniform(half_y, height - half_y), rng.uniform(half_x, width - half_x)
        mask[:] = ((y - at_y) / half_y) ** 2 + ((x - at_x) / half_x) ** 2 + ragged < 1
    return noise, masks
