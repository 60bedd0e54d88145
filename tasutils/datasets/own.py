"""Own pictures with sentences: a CSV, JSON or JSON-lines file, one row a sentence, is enough.

    image,expression,mask
    desk.jpg,the blue cup,masks/cup.png
    desk.jpg,the pen on the left,

`image` and `expression` must be there. `mask` may be left out, or empty in a row: the sentence is
answered all the same, and no metric counts it. A mask is the path of a PNG as large as the picture
(whatever is not 0 is the target, or, with the column `value`, whatever has that value: one PNG of
labels serves many rows), the path of a .json file, or JSON in the cell: COCO run lengths
{"size": [H, W], "counts": ...}, polygons [[x0, y0, x1, y1, ...], ...] or [[[x0, y0], ...]], or what
labelme, VIA, Label Studio and CVAT write of one shape, or of several with their label in `value`.
Paths are relative to the file that names them. `category` names the target's category, `ref_id` the
reference that several sentences share (rows of one mask share one without it); other columns are
kept as flags.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasutils.datasets.files import digest_of
from tasutils.datasets.own_masks import find_file, read_mask
from tasutils.datasets.sample import DataSet, ImageEntry, RefDataset, Sample
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.masks import decode_rle, encode_rle
from tasutils.paths import name_part

SHOWN = 5
REQUIRED = ("image", "expression")
OPTIONAL = ("mask", "value", "category", "ref_id")
#: columns of samples.parquet that a flag must not overwrite
TAKEN = {
    "sample_id", "image_id", "sent_id", "text", "raw", "split", "chosen", "n_proposals",
    "intersection_px", "union_px", "iou", "gt_area_px", "oracle_intersection_px", "oracle_union_px",
    "oracle_iou", "rectified", "reason", "image_digest", "ann_ids", "no_target", "own_mask",
}  # fmt: skip
Row = dict[str, Any]


class Own(DataSet):
    """Own data; its split is the path of a file."""

    takes = ("images",)

    def load(self, split: str, *, images: Path | str | None = None, **_: Any) -> RefDataset:
        """Read a file, see `load_own`."""
        return load_own(split, images)

    def preset(self, split: str, images: Path | str | None = None) -> str:
        """`tiny` where all pictures have the size of RefScenes, else `photo`."""
        sizes = {entry.size_hw for entry in load_own(split, images).images.values()}
        return "tiny" if sizes == {(240, 320)} else "photo"


@dataclass
class OwnData:
    """What a file of own data holds: sound rows as samples, and one line for each bad row."""

    path: Path
    samples: list[Sample] = field(default_factory=list)
    images: dict[str, ImageEntry] = field(default_factory=dict)
    rles: dict[str, dict[str, Any]] = field(default_factory=dict)
    mask_files: set[Path] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)  # lines of rows that say what another says
    said: set[tuple[Any, str]] = field(default_factory=set)  # target and sentence
    refs: dict[Any, str] = field(default_factory=dict)  # by target, the reference
    targets: dict[str, Any] = field(default_factory=dict)  # by reference, its target
    n_sentences: Counter[str] = field(default_factory=Counter)  # by reference


def load_own(path: Path | str, images: Path | str | None = None) -> RefDataset:
    """Read own pictures, sentences and masks as the data set `own`; every file is opened.

    `path` is a .csv, .tsv, .json or .jsonl, see the module; picture names are relative to `images`,
    when None to the file. A sample's id is the number of its line (of a .json, of its entry), its
    split the file's name. Raises TasError for a file that is none of these, and for bad rows: names
    the first ones with their lines and the command that lists all.
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

    return RefDataset(
        name="own",
        split=name_part(re.sub(r"[^\w.+-]+", "-", data.path.stem)),
        samples=tuple(data.samples),
        images=data.images,
        index_digest=digest_of([data.path, *sorted(data.mask_files)]),
        ground_truth=ground_truth,
        without_mask=frozenset(s.sample_id for s in data.samples if s.sample_id not in rles),
        notes=tuple(notes_of(data)),
    )


def notes_of(data: OwnData) -> Iterator[str]:
    """What is right and yet worth a line."""
    if data.equal:
        n = len(data.equal)
        lines = ", ".join(data.equal[:SHOWN]) + (", ..." if n > SHOWN else "")
        rows = "1 row says" if n == 1 else f"{n} rows say"
        yield f"{data.path}: {rows} what an earlier one says, and each counts: line {lines}"


def read_own(path: Path | str, images: Path | str | None = None) -> OwnData:
    """Read a file of own data as far as it is sound; arguments as in `load_own`.

    Raises TasError where the file cannot be read, has no row, or lacks a column.
    """
    path = Path(path).expanduser()
    folder = path.parent if images is None else Path(images).expanduser()
    data, size_of = OwnData(path), cache(lambda picture: read_image(picture).shape[:2])
    for line, row in _read_rows(path):
        try:
            if isinstance(row, str):
                raise TasError(row)
            _add(data, line, row, folder, size_of)
        except TasError as error:
            data.faults.append(f"line {line}: {error}")
    return data


def _add(
    data: OwnData, line: int, row: Row, folder: Path, size_of: Callable[[Path], tuple[int, int]]
) -> None:
    wrong = [name for name in REQUIRED if not isinstance(row.get(name), str)]
    if wrong:
        raise TasError(f"no text in {' and '.join(wrong)}")
    taken = sorted(set(row) & TAKEN)
    if taken:
        raise TasError(f"{taken[0]!r} is a name that runs use; rename it")
    name, text = row["image"].strip(), row["expression"].strip()
    given = (row.get(option) for option in OPTIONAL[1:])
    value, category, ref_id = ("" if cell is None else str(cell).strip() for cell in given)
    mask = row.get("mask")
    mask = mask.strip() or None if isinstance(mask, str) else mask
    if not name:
        raise TasError("no picture in column image")
    if not any(c.isprintable() and not c.isspace() for c in text):
        raise TasError("no words in column expression")
    picture = find_file(folder, name)
    size_hw = size_of(picture)
    image_id, sample_id = os.path.normpath(name).replace("\\", "/"), str(line)
    target = (image_id, json.dumps(mask), value)
    if mask:
        truth, file = read_mask(mask, value, data.path.parent, size_hw, picture.name)
        ref_id = ref_id or data.refs.setdefault(target, sample_id)
        data.rles[sample_id] = encode_rle(truth[None])[0]
        data.mask_files |= {file} if file else set()
    elif value:
        raise TasError(f"a value {value!r} but no mask")
    ref_id = ref_id or sample_id
    if data.targets.setdefault(ref_id, target) != target:
        raise TasError(f"ref_id {ref_id!r} has another picture or mask in an earlier row")
    if (target, text) in data.said:
        data.equal.append(sample_id)
    data.said.add((target, text))
    data.n_sentences[ref_id] += 1
    data.images.setdefault(image_id, ImageEntry(picture, size_hw))
    known = {*REQUIRED, *OPTIONAL}
    data.samples.append(
        Sample(
            sample_id=sample_id,
            image_id=image_id,
            ref_id=ref_id,
            sent_id=str(data.n_sentences[ref_id] - 1),
            text=text,
            raw=text,
            category=category,
            split=data.path.stem,
            flags={str(name): str(value) for name, value in row.items() if name not in known},
        )
    )


def _read_rows(path: Path) -> list[tuple[int, Row | str]]:
    """The rows of a file with the numbers of their lines; a text says why a line is none."""
    kind = path.suffix.lower()
    if kind not in {".csv", ".tsv", ".json", ".jsonl"}:
        raise TasError(f"{path}: own data is a .csv, .tsv, .json or .jsonl file; convert it")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TasError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise TasError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    read = {".json": _json_list, ".jsonl": _json_lines}.get(kind, _csv_rows)
    rows = list(read(text, path))
    if not rows:
        raise TasError(f"{path}: no rows; write one as image,expression under such a header")
    return rows


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Row | str]]:
    first, _, rest = text.partition("\n")
    said = re.fullmatch(r"sep=(.)\r?", first)
    delimiter = said[1] if said else max(",;\t", key=first.count)
    csv.field_size_limit(1 << 24)  # run lengths and polygons may be long
    lines = io.StringIO(rest if said else text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    at = 1 if said else 0
    try:
        for cells in reader:
            line = reader.line_num + at
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells, path)
            elif len(cells) != len(header):
                counts = f"{len(cells)} cells in a row of {len(header)} columns"
                yield line, f"{counts}; quote cells that hold {delimiter!r}"
            else:
                yield line, {name: cell for name, cell in zip(header, cells, strict=True) if name}
    except csv.Error as error:
        yield reader.line_num + at, f"no CSV from here on ({error})"


def _header(cells: list[str], path: Path) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        there = ", ".join(filter(None, header)) or "nothing"
        raise TasError(f"{path}: no column {' and '.join(missing)}; its first line names {there}")
    twice = [name for name in header if name and header.count(name) > 1]
    clash = sorted(set(header) & TAKEN)
    if twice or clash or "" in header[1:]:  # the first may have no name: pandas' index
        name = (twice or clash or [""])[0]
        problem = "twice" if twice else "is a name that runs use" if clash else "has no name"
        raise TasError(f"{path}: column {name!r} {problem}; rename it")
    return header


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Row | str]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                yield line, _object(_parsed(content))
            except TasError as error:
                yield line, str(error)


def _json_list(text: str, path: Path) -> Iterator[tuple[int, Row | str]]:
    content = _parsed(text)
    if not isinstance(content, list):
        raise TasError(f"{path}: own data is a list of objects with image and expression")
    yield from ((number, _object(entry)) for number, entry in enumerate(content, start=1))


def _object(entry: Any) -> Row | str:
    return entry if isinstance(entry, dict) else "no JSON object with image and expression"


def _parsed(text: str) -> Any:
    def refused(name: str) -> None:
        raise ValueError(f"{name} is no number")

    try:
        return json.loads(text, parse_constant=refused)
    except (ValueError, RecursionError) as error:
        raise TasError(f"no JSON ({str(error)[:60]})") from None
