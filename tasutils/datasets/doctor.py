"""Looking at data sets on disk: how much there is, and whether each picture and mask is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasutils.datasets import photos7
from tasutils.datasets.refscenes import FAMILIES, PHOTO_SPLITS, SPLITS
from tasutils.errors import TasError

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


def differences(fresh: Path, stored: Path) -> list[str]:
    """Name the files of a freshly built folder whose bytes are not those of the stored one.

    A file that is stored in one of the fresh sub-folders but was not built counts as well.
    """
    built = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(stored)
        for folder in fresh.iterdir()
        for path in (stored / folder.name).rglob("*")
        if path.is_file()
    }
    different = built ^ (kept | {name for name in built if (stored / name).is_file()})
    same = built - different
    different |= {n for n in same if (fresh / n).read_bytes() != (stored / n).read_bytes()}
    return sorted(name.as_posix() for name in different)
