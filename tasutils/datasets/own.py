"""Own pictures with sentences: a CSV or JSON-lines file, one row a sentence, is enough.

    image,expression,mask
    desk.jpg,the blue cup,masks/cup.png
    desk.jpg,the pen on the left,

`image` and `expression` must be there. `mask` may be left out, or empty in a row: the sentence is
answered all the same, and no metric counts it. A mask is the path of a PNG as large as the picture
(whatever is not 0 is the target, or, with the column `value`, whatever has that value: one PNG of
labels serves many rows), the path of a .json file, or JSON in the cell: COCO run lengths
{"size": [H, W], "counts": ...} or polygons [[x0, y0, x1, y1, ...], ...]. Paths are relative to the
file that names them. `category` names the target's category; other columns are kept as flags.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasutils.datasets.files import digest_of
from tasutils.datasets.own_masks import MaskSource, own_path, read_mask
from tasutils.datasets.own_rows import Row, read_rows
from tasutils.datasets.sample import ImageEntry, RefDataset, Sample
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.masks import decode_rle, encode_rle
from tasutils.paths import name_part

NAME = "own"
SHOWN = 5


@dataclass
class OwnData:
    """What a file of own data holds: sound rows as samples, and one line for each bad row."""

    path: Path
    samples: list[Sample] = field(default_factory=list)
    images: dict[str, ImageEntry] = field(default_factory=dict)
    rles: dict[str, dict[str, Any]] = field(default_factory=dict)
    mask_files: set[Path] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


def load_own(path: Path | str, images: Path | str | None = None) -> RefDataset:
    """Read own pictures, sentences and masks; every picture and mask is opened.

    Args:
        path: the file, .csv or .jsonl, see the module.
        images: the folder that picture names are relative to; that of the file when None.

    Returns:
        The data set `own`; a sample's id is the number of its line in the file, its split the
        file's name.

    Raises:
        TasError: a file that is none of these, or bad rows: names the first ones with their lines
            and the command that lists all.
    """
    data = read_own(path, images)
    if data.faults:
        n = len(data.faults)
        more = f"; all {n}: tas data check {data.path}" if n > SHOWN else ""
        rows = f"{n} bad row{'s' if n > 1 else ''}"
        raise TasError(f"{data.path}: {rows}: {'; '.join(data.faults[:SHOWN])}{more}")
    rles, sizes = data.rles, {key: entry.size_hw for key, entry in data.images.items()}

    def ground_truth(sample: Sample) -> NDArray[np.bool_]:
        if sample.sample_id not in rles:
            return np.zeros(sizes[sample.image_id], np.bool_)
        return decode_rle([rles[sample.sample_id]])[0]

    split = name_part(re.sub(r"[^\w.+-]+", "-", data.path.stem))
    return RefDataset(
        name=NAME,
        split=split,
        samples=tuple(data.samples),
        images=data.images,
        index_digest=digest_of([data.path, *sorted(data.mask_files)]),
        ground_truth=ground_truth,
        without_mask=frozenset(s.sample_id for s in data.samples if s.sample_id not in rles),
    )


def read_own(path: Path | str, images: Path | str | None = None) -> OwnData:
    """Read a file of own data as far as it is sound; arguments as in `load_own`.

    Raises:
        TasError: the file cannot be read, has no row, or lacks a column.
    """
    path = Path(path).expanduser()
    folder = path.parent if images is None else Path(images).expanduser()
    data, seen = OwnData(path), dict[Path, tuple[int, int] | str]()
    for row in read_rows(path):
        try:
            _add(data, row, folder, seen)
        except TasError as error:
            data.faults.append(f"line {row.line}: {error}")
    return data


def _add(data: OwnData, row: Row, folder: Path, seen: dict[Path, tuple[int, int] | str]) -> None:
    """Check one row and add it."""
    if row.fault:
        raise TasError(row.fault)
    if not row.image:
        raise TasError("no picture in column image")
    if not any(c.isprintable() and not c.isspace() for c in row.expression):
        raise TasError("no words in column expression")
    picture = folder / own_path(row.image)
    size_hw = _size(picture, seen)
    image_id = os.path.normpath(row.image).replace("\\", "/")
    sample_id = str(row.line)
    if row.mask:
        source = MaskSource(row.mask, row.value, data.path.parent)
        mask, file = read_mask(source, size_hw)
        data.rles[sample_id] = encode_rle(mask[None])[0]
        data.mask_files |= {file} if file else set()
    elif row.value:
        raise TasError(f"a value {row.value!r} but no mask")
    data.images.setdefault(image_id, ImageEntry(picture, size_hw))
    data.samples.append(
        Sample(
            sample_id=sample_id,
            image_id=image_id,
            ref_id=sample_id,
            sent_id="0",
            text=row.expression,
            raw=row.expression,
            category=row.category,
            split=data.path.stem,
            flags=dict(row.flags),
        )
    )


def _size(picture: Path, seen: dict[Path, tuple[int, int] | str]) -> tuple[int, int]:
    """The (H, W) of a picture, each opened once; raises TasError, for each row that names it."""
    if picture not in seen:
        try:
            pixels = read_image(picture)
            seen[picture] = (pixels.shape[0], pixels.shape[1])
        except TasError as error:
            seen[picture] = str(error)
    found = seen[picture]
    if isinstance(found, str):
        raise TasError(found)
    return found
