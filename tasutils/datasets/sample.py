"""The form in which every data set reaches the evaluation, and how its truth is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from pydantic import BaseModel

from tasutils.datasets.files import AGAIN, record
from tasutils.errors import TasError
from tasutils.images import MAX_PIXELS

Flag = bool | str | float
Mask = NDArray[np.bool_]
Raster = Literal["coco", "exclusive", "outline"]
_MAX_OUTLINE_PX = 4_000_000  # pycocotools allocates some 40 bytes for each


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

    `gt_mask` gives a sample's truth, bool (H, W), or raises TasError where it is damaged.
    `refer_truth` gives it by REFER's rule (`segmentation_mask`, `exclusive`), None where that is
    the same mask; it is no function where it is the same in the whole split.
    """

    name: str  # such as `refscenes+` or `phrasecut`
    split: str
    samples: tuple[Sample, ...]  # in the order of the files
    images: dict[str, ImageEntry]  # by image id, those that have samples
    index_digest: str  # SHA-256 hex of the annotation files
    gt_mask: Callable[[Sample], Mask] = field(repr=False)
    split_by: str = ""  # whose splits, such as `unc`, where a data set has several
    without_mask: frozenset[str] = frozenset()  # ids of samples that no metric counts
    refer_truth: Callable[[Sample], Mask | None] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()  # for whoever reads a number of this split, a line each

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Ids of the images that have samples, in the order of their first sample."""
        return tuple(self.by_image())

    def image_path(self, image_id: str) -> Path:
        """The file of an image."""
        return self.images[image_id].path

    def size_hw(self, image_id: str) -> tuple[int, int]:
        """The (H, W) of an image in px, as the annotations state it."""
        return self.images[image_id].size_hw

    def by_image(self) -> dict[str, list[Sample]]:
        """The samples of each image, images in the order of `image_ids`."""
        groups: dict[str, list[Sample]] = {}
        for sample in self.samples:
            groups.setdefault(sample.image_id, []).append(sample)
        return groups


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
        """The preset that fits a split: `tiny` for drawn pictures, `photo` for photographs."""
        return "tiny" if split in self.drawn else "photo"


# ---- annotations


class _Picture(BaseModel):
    height: int
    width: int
    file_name: str = ""


def image_entry(folder: Path, picture: Any, source: Path, name: str | None = None) -> ImageEntry:
    """The entry of an annotation file's record; TasError for an absurd size or a path outside."""
    found = record(_Picture, picture, source)
    sides = f"{found.width} x {found.height} px"
    place = PurePosixPath((name or found.file_name).replace("\\", "/"))
    if min(found.height, found.width) < 1 or found.height * found.width > MAX_PIXELS:
        raise TasError(f"{source}: image {place} has {sides}; {AGAIN}")
    if place.is_absolute() or ".." in place.parts or ":" in "".join(place.parts[:1] or ":"):
        raise TasError(f"{source}: image path {str(place)!r} leaves the image folder; {AGAIN}")
    return ImageEntry(folder / place, (found.height, found.width))


def numbers(ids: Any) -> tuple[int, ...] | None:
    """The ids of annotations as numbers, None where they are none."""
    try:
        return tuple(int(name) for name in ids)
    except (TypeError, ValueError):
        return None


def annotated(
    name: str, split: str, rows: Iterable[tuple[Sample, list[Any] | None]],
    images: dict[str, ImageEntry], digest: str, source: str, raster: Raster = "coco",
    notes: Iterable[str] = (), refer: bool = False,
) -> RefDataset:  # fmt: skip
    """A split of samples, each with the segmentations whose union is its truth (None: no mask).

    They are drawn when asked for. `source` is what messages name before a reference's id; `raster`
    as in `segmentation_mask`; `refer`: whether REFER's rule is told apart. The second and later of
    equal sample ids are marked (7#2); these, and targets without a pixel, are added to the notes.
    """
    samples, shapes, seen = dict[str, Sample](), dict[str, list[Any] | None](), Counter[str]()
    for sample, drawn in rows:
        key = sample.sample_id
        seen[key] += 1
        key += f"#{seen[key]}" if seen[key] > 1 else ""
        samples[key], shapes[key] = replace(sample, sample_id=key), drawn
    least = 4 if raster == "outline" else 6  # coordinates of what has a pixel

    def empty(shape: Any) -> bool:
        parts = shape if isinstance(shape, list) else [None]
        return all(isinstance(part, list) and len(part) < least for part in parts)

    def truth(sample: Sample, rule: Raster = raster) -> Mask:
        size_hw, where = images[sample.image_id].size_hw, f"{source} {sample.ref_id}"
        mask = np.zeros(size_hw, np.bool_)
        for shape in shapes[sample.sample_id] or ():
            mask |= segmentation_mask(shape, size_hw, where, rule)
        return mask

    several = {
        key for key, drawn in shapes.items() for shape in drawn or ()
        if refer and isinstance(shape, list) and len(shape) > 1
    }  # fmt: skip
    told = {
        "twice in the file, and counted twice": [key for key in samples if "#" in key],
        "a target without a pixel, on which every method scores 0": [
            key for key, drawn in shapes.items()
            if drawn is not None and samples[key].ann_ids != () and all(map(empty, drawn))
        ],
    }  # fmt: skip
    found = (f"{name} {split}: {what}: {shown(ids)}" for what, ids in told.items() if ids)
    return RefDataset(
        name, split, tuple(samples.values()), images, digest, truth, notes=(*notes, *found),
        without_mask=frozenset(key for key, drawn in shapes.items() if drawn is None),
        refer_truth=(lambda s: truth(s, "exclusive") if s.sample_id in several else None)
        if several else None,
    )  # fmt: skip


def shown(ids: list[str]) -> str:
    """The number of sentences, and the first ids of them."""
    names = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
    return f"{len(ids)} sentence{'s' * (len(ids) > 1)} ({names})"


# ---- shapes


def segmentation_mask(
    segmentation: Any, size_hw: tuple[int, int], source: str, raster: Raster = "coco"
) -> Mask:
    """Draw the `segmentation` of a COCO annotation as bool (H, W).

    It is polygons [[x0, y0, x1, y1, ...], ...] in px, or a run-length dictionary with `size` (H, W)
    and `counts`, a list or COCO's compressed text. Polygons are filled as by pycocotools, and
    pixels under two of them are foreground (`coco`) or background (`exclusive`: REFER sums the
    layers, and Global-Local keeps those equal to 1); or, as by PhraseCut's evaluator (`outline`),
    points are truncated to int, outline and fill drawn. Raises TasError, naming `source`.
    """
    if isinstance(segmentation, dict):
        return _run_length_mask(segmentation, size_hw, source)
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        raise TasError(f"{source}: neither polygons nor run lengths; {AGAIN}")
    polygons = [_points(polygon, size_hw, source) for polygon in segmentation]
    if raster == "outline":
        picture = Image.new("1", size_hw[::-1])
        for points in polygons:
            corners = [(int(x), int(y)) for x, y in points.reshape(-1, 2)]
            if len(corners) > 1:
                ImageDraw.Draw(picture).polygon(corners, fill=1, outline=1)
        return np.array(picture.convert("L")) > 0  # of mode 1 the bytes of True would be 255
    filled = [points.tolist() for points in polygons if len(points) >= 6]
    if not filled:
        return np.zeros(size_hw, np.bool_)
    layers = coco.frPyObjects(filled, *size_hw)
    if raster == "exclusive":
        return sum(coco.decode(layer).astype(np.int64) for layer in layers) == 1
    return coco.decode(coco.merge(layers)).astype(np.bool_)


def _points(polygon: list[Any], size_hw: tuple[int, int], source: str) -> NDArray[np.float64]:
    """The coordinates of a polygon, float64 (2 n,) px, within the picture or not far from it."""
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.full(2, np.nan)
    if points.ndim != 1 or len(points) % 2 or not (np.abs(points) <= 10 * max(*size_hw, 100)).all():
        raise TasError(f"{source}: a polygon is no list of x, y pairs in the picture; {AGAIN}")
    corners = points.reshape(-1, 2)
    length_px = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1, initial=0).sum()
    if length_px + len(corners) > _MAX_OUTLINE_PX:
        raise TasError(f"{source}: a polygon's outline is {length_px:.0f} px long; {AGAIN}")
    return points


def _run_length_mask(rle: dict[str, Any], size_hw: tuple[int, int], source: str) -> Mask:
    height, width = size_hw
    # pycocotools leaves memory as it was where the runs are too short for the picture
    try:
        counts = rle["counts"]
        runs = np.array(_decompressed(counts) if isinstance(counts, str | bytes) else counts)
        lengths = runs.astype(np.int64)
        fits = tuple(rle["size"]) == size_hw and lengths.ndim == 1 and (lengths >= 0).all()
        fits &= lengths.max() <= height * width == lengths.sum()
    except (KeyError, TypeError, ValueError, OverflowError, IndexError):
        fits = False
    if not fits:
        swapped = rle.get("size") == [width, height] != [height, width]
        wrong = f"run lengths do not fill the picture of {width} x {height} px"
        wrong += ", width and height swapped" if swapped else ""
        raise TasError(f"{source}: {wrong}; {AGAIN}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T.copy()


def _decompressed(counts: str | bytes) -> list[int]:
    """COCO's text form of run lengths (maskApi.c, rleFrString): 5 bits a character, low first."""
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii") if isinstance(counts, str) else counts:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32 and shift < 64:
            continue
        if bits & 16:
            value -= 1 << shift
        # from the fourth on, the difference to the run before last
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
