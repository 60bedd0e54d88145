"""Looking at data sets on disk: how much there is, and whether each picture and mask is sound.

Faults go to stderr, one a line; counts and what to do to stdout.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tasutils.datasets import photos7
from tasutils.datasets.refscenes import FAMILIES, PHOTO_SPLITS, SPLITS
from tasutils.errors import TasError
from tasutils.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tasutils.datasets.sample import RefDataset


def all_splits() -> Iterator[RefDataset]:
    """Open every split of every family of RefScenes, the photographic ones last, then photos7."""
    from tasutils.datasets import load_dataset

    for splits in (SPLITS, PHOTO_SPLITS):
        for name in FAMILIES:
            for split in splits:
                yield load_dataset(name, split)
    if photos7.installed():
        yield photos7.load_photos7()


def faults(data: RefDataset) -> list[str]:
    """Open every picture and mask of a split and return one line for each that is not sound.

    A mask is sound when it has a pixel and the size of its picture.
    """
    from tasutils.images import read_image

    found = []
    for image_id, samples in data.by_image().items():
        place = f"{data.name} {data.split}"
        try:
            size_hw = read_image(data.image_path(image_id)).shape[:2]
            for sample in samples:
                mask = data.gt_mask(sample)
                if mask.shape != size_hw or not mask.any():
                    found.append(f"{place}: sentence {sample.sample_id}: its mask does not fit")
        except TasError as error:
            found.append(f"{place}: {error}")
    return found


def check_shipped() -> int:
    """Examine what ships with the project, print what is found, return the number of faults."""
    n = n_faults = 0
    for data in all_splits():
        found = faults(data)
        n, n_faults = n + len(data), n_faults + len(found)
        _complain(found)
    print(f"{n} sentences checked, {n_faults} faults")
    return n_faults


def check_published(
    name: str | None, split_by: str | None, root: Path | None, images: Path | None
) -> int:
    """Examine published data sets, see `overview.examine`; print, return the number of faults."""
    from tasutils.datasets.overview import check_lines, examine

    n_faults = 0
    for findings in examine(name, split_by, root, images):
        for line in check_lines(findings):
            print(one_line(line))
        _complain(list(findings.fault_lines()))
        for line in findings.remedies():
            print(f"  {line}")
        if not findings.n_faults:
            print("  sound")
        n_faults += findings.n_faults
    return n_faults


def check_own(path: Path, images: Path | None) -> int:
    """Examine a file of own data, print what is found, return the number of bad rows."""
    from tasutils.datasets.own import read_own

    data = read_own(path, images)
    _complain([f"{path}: {fault}" for fault in data.faults])
    counts = f"{len(data.samples)} sentences on {len(data.images)} images"
    print(f"{counts}, {len(data.rles)} with a mask; {len(data.faults)} bad rows")
    return len(data.faults)


def _complain(lines: list[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        print(one_line(line), file=sys.stderr)
    sys.stderr.flush()
