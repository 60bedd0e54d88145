"""The form in which every data set reaches the evaluation: `Sample`, `RefDataset`, `DataSet`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.images import MAX_PIXELS

Flag = bool | str | float
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sample:
    """One (reference, sentence) pair, the unit of every metric."""

    sample_id: str  # unique within the data set and split
    image_id: str  # key into `RefDataset.images`
    ref_id: str  # the reference (RefCOCO) or task (PhraseCut) the sentence belongs to
    sent_id: str
    text: str  # as methods read it (RefCOCO's `sent`, lower-cased by its authors)
    raw: str  # as it was written
    category: str  # name of the target's
    split: str
    #: properties by which tables are split, such as `has_direction` or `multi`
    flags: dict[str, Flag] = field(default_factory=dict)
    #: their union is the truth; () where the sentence means nothing there, None where not known
    ann_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """Where an image of a data set lies, and the (H, W) that its annotations assume."""

    path: Path
    size_hw: tuple[int, int]


@dataclass(frozen=True, eq=False)
class RefDataset:
    """One split of a data set of referring expressions.

    `refer_truth` is the ground truth by REFER's rule for pixels under two polygons (see
    `shapes.segmentation_mask`, `exclusive`), None where that is the same mask; no function where it
    is the same in the whole split.
    """

    name: str  # such as `refscenes+` or `phrasecut`
    split: str
    samples: tuple[Sample, ...]  # in the order of the files
    images: dict[str, ImageEntry]  # by image id, those that have samples
    index_digest: str  # SHA-256 hex of the annotation files
    ground_truth: Callable[[Sample], Mask] = field(repr=False)
    split_by: str = ""  # whose splits, such as `unc`, where a data set has several
    without_mask: frozenset[str] = frozenset()  # ids of samples that no metric counts
    refer_truth: Callable[[Sample], Mask | None] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()  # for whoever reads a number of this split, a line each

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Ids of the images that have samples, in the order of their first sample."""
        return tuple(dict.fromkeys(sample.image_id for sample in self.samples))

    def image_path(self, image_id: str) -> Path:
        """The file of an image."""
        return self._entry(image_id).path

    def size_hw(self, image_id: str) -> tuple[int, int]:
        """The (H, W) of an image in px, as the annotations state it."""
        return self._entry(image_id).size_hw

    def gt_mask(self, sample: Sample) -> Mask:
        """The ground truth, bool (H, W) at the image's own size; TasError where it is damaged."""
        return self.ground_truth(sample)

    def by_image(self) -> dict[str, list[Sample]]:
        """The samples of each image, images in the order of `image_ids`."""
        groups: dict[str, list[Sample]] = {}
        for sample in self.samples:
            groups.setdefault(sample.image_id, []).append(sample)
        return groups

    def _entry(self, image_id: str) -> ImageEntry:
        if image_id not in self.images:
            lacking = f"{self.name} {self.split} has no image {image_id!r}"
            raise TasError(f"{lacking}; its image_ids lists those it has")
        return self.images[image_id]


class DataSet:
    """A data set by name, an entry of `DATASETS`; derive from it and overwrite what differs."""

    splits: tuple[str, ...] = ()  # in the order in which reports take them
    drawn: tuple[str, ...] = ()  # those of drawn pictures; the others show photographs
    takes: tuple[str, ...] = ()  # which of `split_by`, `root` and `images` its `load` takes
    group: str = ""  # stands for several data sets together, such as the families of a world

    def load(self, split: str, **options: Any) -> RefDataset:
        """Open one split; `options` are those that it `takes`, as in `load_dataset`."""
        raise NotImplementedError

    def here(self, root: Path | str | None = None) -> bool:
        """Whether there is anything of it to open."""
        return True

    def preset(self, split: str, images: Path | str | None = None) -> str:
        """The preset that fits a split."""
        return "tiny" if split in self.drawn else "photo"


def image_entry(folder: Path, file_name: str, height: int, width: int, source: str) -> ImageEntry:
    """An `ImageEntry` of an annotation file.

    Raises TasError for a size that no picture read here has, and a path that leaves the folder.
    """
    name = PurePosixPath(file_name.replace("\\", "/"))
    wrong = ""
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        wrong = f"image {file_name!r} has {width} x {height} px"
    elif name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0]:
        wrong = f"image path {file_name!r} leaves the image folder"
    if wrong:
        raise TasError(f"{source}: {wrong}; get the annotations again")
    return ImageEntry(folder / name, (height, width))


def numbers(ids: Any) -> tuple[int, ...] | None:
    """The ids of annotations as numbers, None where they are none."""
    try:
        return tuple(int(name) for name in ids)
    except (TypeError, ValueError):
        return None


def usual_notes(place: str, what: str, ids: Iterable[str], empty: Sequence[str]) -> Iterator[str]:
    """Lines about samples that stand twice in a file, and about those that mean no pixel.

    >>> list(usual_notes("x val", "task", ["7", "7#2"], []))
    ['x val: twice in the file, and counted twice: 1 task (7#2)']
    """
    again = [sample_id for sample_id in ids if "#" in sample_id]
    for found, fault in (
        (again, "twice in the file, and counted twice"),
        (empty, "a target without a pixel, on which every method scores 0"),
    ):
        if found:
            shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
            yield f"{place}: {fault}: {len(found)} {what}{'s' * (len(found) > 1)} ({shown})"


def unique_ids(ids: list[str]) -> list[str]:
    """The ids, the second and later of equal ones marked.

    >>> unique_ids(["7-1", "7-1", "7-2"])
    ['7-1', '7-1#2', '7-2']
    """
    seen: dict[str, int] = {}
    result = []
    for name in ids:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return result
