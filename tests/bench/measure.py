"""Rows of a bench, how two sides are compared and timed, and what they are given."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch

import tasutils
from tasutils import paths
from tasutils.datasets import load_dataset
from tasutils.runs import cores, git_state, library_versions

DATASET = "refscenes"
THREADS_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Row:
    """One comparison.

    Attributes:
        per: what the seconds are for, such as an image.
        ours_s, plain_s: timings of ours and of the plain loop, in the order they were taken.
        ratio: the loop's seconds over ours, pair by pair.
        measures: further numbers, the unit in the name.
        target: (number, "at_least" or "at_most", value), of the median.
        checked: what was found equal before the timing.
        skipped: why there is no number.
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
        found = self.measures.get(name)
        found = float(np.median(getattr(self, name))) if found is None else found
        return found >= value if side == "at_least" else found <= value

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
    plain_per: int | None = None,
) -> Row:
    """Check that both sides give the same, then time them in turn, every other time ours last.

    Args:
        same: raises AssertionError where the outputs differ; the check is the sides' warm-up.
        per: what ours' seconds are divided by, such as a number of images; plain_per: the loop's.
    """
    same(ours(), plain())
    sides = [(row.plain_s, plain, plain_per or per), (row.ours_s, ours, per)]
    for _ in range(repeats or plan.repeats):
        sides.reverse()
        for times, side, count in sides:
            times.append(seconds(side, plan.settle) / count)
    row.ratio = [b / a for a, b in zip(row.ours_s, row.plain_s, strict=True)]
    return row


def near(ours: Any, plain: Any, tolerance: float) -> None:
    """Numbers of any shape, each within `tolerance` of the other; NaN is near nothing."""
    np.testing.assert_allclose(ours, plain, rtol=0, atol=tolerance, equal_nan=False)


def same_choices(
    ours: Sequence[int | None], plain: Sequence[int | None], totals: Sequence[Any], slack: float
) -> None:
    """The chosen masks of several sentences.

    Where another one is chosen its sum, of the loop's totals, has to be within `slack` of the
    best: a tie, which rounding decides.
    """
    for a, b, sums in zip(ours, plain, totals, strict=True):
        assert a == b or (a is not None and b is not None and abs(sums[a] - sums[b]) <= slack), (
            f"masks {a} and {b} are chosen"
        )


def in_child(task: Callable[..., dict[str, Any]], threads: int, **arguments: Any) -> dict[str, Any]:
    """What a task returned in a process of its own, with `peak_mib`, the most memory it had."""
    with (
        mock.patch.dict(os.environ, dict.fromkeys(THREADS_VARIABLES, str(threads))),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        return pool.submit(_with_peak, task, arguments).result()


def _with_peak(task: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    return task(**arguments) | {"peak_mib": peak_mib()}


def peak_mib() -> float:
    """Highest memory use of this process; ru_maxrss starts from that of the parent, VmHWM not."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    if found := [line.split()[1] for line in lines if line.startswith("VmHWM:")]:
        return int(found[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if platform.system() == "Darwin" else 1 << 10)


def device_name(device: str) -> str:
    """The name of a GPU, or of the processor."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if (info := Path("/proc/cpuinfo")).is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def conditions(plan: Plan) -> dict[str, Any]:
    """Machine, libraries, preset, commit and load (mean running processes in the last minute)."""
    commit, dirty = git_state(paths.ROOT)
    preset = tasutils.load_preset(plan.preset)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "preset": preset.name,
        "preset_digest": preset.digest(),
        "device": plan.device,
        "device_name": device_name(plan.device),
        "cores": cores(),
        "threads": plan.threads,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": library_versions(),
        "commit": commit,
        "dirty": dirty,
        "load_before": os.getloadavg()[0],
    }


@dataclass(frozen=True)
class Case:
    """A picture, uint8 (H, W, 3), and the sentences of each of its references."""

    image: Any
    references: tuple[tuple[str, ...], ...]

    @property
    def sentences(self) -> list[str]:
        """All of them in their order."""
        return [text for texts in self.references for text in texts]


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

    The sides of their boxes are spread from an eighth to three quarters of the picture's height,
    about what SAM gives on photographs.
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
