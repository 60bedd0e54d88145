"""What a bench is asked to do, and the pictures and sentences that it does it with."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.config import Preset, load_preset
from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.tas import TAS

DATASET = "refscenes"
THREADS_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Case:
    """A picture, uint8 (H, W, 3), and the sentences of each of its references."""

    image: NDArray[np.uint8]
    references: tuple[tuple[str, ...], ...]

    @property
    def sentences(self) -> list[str]:
        """All of them in their order."""
        return [text for texts in self.references for text in texts]


@dataclass
class Plan:
    """The settings of a bench.

    Attributes:
        given: the preset to measure; None: tiny, and in section gpu paper.
        device: where it runs.
        images: pictures (in section store: scenes) of each section; None: its own number.
        threads: of torch and of child processes.
        repeats: timings of each side.
    """

    given: Preset | None = None
    device: str = "cpu"
    images: int | None = None
    threads: int = 1
    repeats: int = 5

    @cached_property
    def preset(self) -> Preset:
        """What all sections but gpu measure."""
        return self.given or load_preset("tiny")

    @cached_property
    def tas(self) -> TAS:
        """The preset at work, loaded once for all sections."""
        from tasutils.tas import load

        return load(self.preset, device=self.device)

    def count(self, default: int) -> int:
        """How many images a section takes that would take `default` by itself."""
        return default if self.images is None else self.images

    @property
    def settle(self) -> Callable[[], object] | None:
        """Waits for the device; None for one that does nothing by itself."""
        if not self.device.startswith("cuda"):
            return None
        import torch

        return torch.cuda.synchronize

    def environment(self, threads: int | None = None) -> dict[str, str]:
        """The environment of a child process with so many threads."""
        count = str(self.threads if threads is None else threads)
        return os.environ | dict.fromkeys(THREADS_VARIABLES, count)


def drawn_cases(count: int, references: int = 3, sentences: int = 3) -> list[Case]:
    """The first pictures of RefScenes val that have so many references and sentences of each.

    Raises TasError when there are not so many.
    """
    import tasutils
    from tasutils.datasets import load_dataset

    dataset = load_dataset(DATASET, "val")
    cases: list[Case] = []
    for image_id, samples in dataset.by_image().items():
        texts: dict[str, list[str]] = {}
        for sample in samples:
            texts.setdefault(sample.ref_id, []).append(sample.text)
        whole = [tuple(t[:sentences]) for t in texts.values() if len(t) >= sentences][:references]
        if len(whole) == references:
            cases.append(Case(tasutils.read_image(dataset.image_path(image_id)), tuple(whole)))
        if len(cases) == count:
            return cases
    raise TasError(
        f"--images {count} is more than the {len(cases)} pictures of {DATASET} val with "
        f"{references} x {sentences} sentences; choose fewer"
    )


def drawn_images(count: int) -> list[NDArray[np.uint8]]:
    """The first pictures of RefScenes val, from the start again where more are asked for."""
    import tasutils
    from tasutils.datasets import load_dataset

    dataset = load_dataset(DATASET, "val")
    paths = [dataset.image_path(image_id) for image_id in dataset.image_ids]
    return [tasutils.read_image(paths[index % len(paths)]) for index in range(count)]


def noise_and_blobs(
    n_masks: int, size_hw: tuple[int, int] = (480, 640), seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A picture uint8 (H, W, 3) of soft noise and n ragged ellipses as masks, bool (n, H, W).

    The sides of their boxes are spread from an eighth to three quarters of the picture's height,
    about what SAM gives on photographs.
    """
    import cv2

    rng = np.random.default_rng(seed)
    height, width = size_hw
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    noise = np.asarray(cv2.resize(coarse, (width, height)), np.uint8)  # (H, W, 3)
    ragged = 0.4 * (noise[:, :, 0] / 255.0 - 0.5)
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((n_masks, height, width), bool)
    for mask in masks:
        half_y, half_x = rng.uniform(height / 16, height * 3 / 8, 2)
        at_y, at_x = rng.uniform(half_y, height - half_y), rng.uniform(half_x, width - half_x)
        mask[:] = ((y - at_y) / half_y) ** 2 + ((x - at_x) / half_x) ** 2 + ragged < 1
    return noise, masks
