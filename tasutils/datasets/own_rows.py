"""The rows of a file of own data: CSV with a header, or JSON lines; see `own`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasutils.errors import TasError

REQUIRED = ("image", "expression")
OPTIONAL = ("mask", "value", "category")
#: columns of samples.parquet that a flag must not overwrite
TAKEN = {
    "sample_id", "image_id", "ref_id", "sent_id", "text", "raw", "split", "chosen", "n_proposals",
    "intersection_px", "union_px", "iou", "gt_area_px", "oracle_intersection_px", "oracle_union_px",
    "oracle_iou", "rectified", "reason", "image_digest",
}  # fmt: skip
_CELL_LIMIT = 1 << 24  # run lengths and polygons may be long


@dataclass(frozen=True)
class Row:
    """One row as it was written, with the number of its line; `fault` says why it is none."""

    line: int
    image: str = ""
    expression: str = ""
    mask: Any = None
    value: str = ""
    category: str = ""
    flags: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def read_rows(path: Path) -> list[Row]:
    """The rows of a .csv or .jsonl file.

    Raises:
        TasError: the file cannot be read, is none of these, has no row, or lacks a column.
    """
    if path.suffix.lower() not in {".csv", ".tsv", ".jsonl"}:
        raise TasError(f"{path}: own data is a .csv, .tsv or .jsonl file; rename or convert it")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TasError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise TasError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    rows = list(_json_rows(text) if path.suffix.lower() == ".jsonl" else _csv_rows(text, path))
    if not rows:
        raise TasError(f"{path}: no rows; write one as image,expression under such a header")
    return rows


def _csv_rows(text: str, path: Path) -> Iterator[Row]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(_CELL_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells, path)
            elif len(cells) != len(header):
                counts = f"{len(cells)} cells in a row of {len(header)} columns"
                fault = f"{counts}; quote cells that hold {delimiter!r}"
                yield Row(reader.line_num, fault=fault)
            else:
                yield _row(reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        yield Row(reader.line_num, fault=f"no CSV from here on ({error})")


def _header(cells: list[str], path: Path) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise TasError(
            f"{path}: no column {' and '.join(missing)}; its first line names "
            f"{', '.join(filter(None, header)) or 'nothing'}"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    clash = sorted(set(header) & TAKEN)
    if twice or clash or "" in header:
        name = (twice or clash or [""])[0]
        problem = "twice" if twice else "is a name that runs use" if clash else "has no name"
        raise TasError(f"{path}: column {name!r} {problem}; rename it")
    return header


def _json_rows(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, fault=f"no JSON ({str(error)[:60]})")
            continue
        if not isinstance(cells, dict):
            yield Row(number, fault="no JSON object with image and expression")
        elif set(cells) & TAKEN:
            name = sorted(set(cells) & TAKEN)[0]
            yield Row(number, fault=f"{name!r} is a name that runs use; rename it")
        else:
            yield _row(number, cells)


def _row(line: int, cells: dict[str, Any]) -> Row:
    """A row of cells by column; those of a CSV are text."""
    wrong = [n for n in REQUIRED if cells.get(n) is None or not isinstance(cells[n], str)]
    if wrong:
        return Row(line, fault=f"no text in {' and '.join(wrong)}")
    mask = cells.get("mask")
    if isinstance(mask, str):
        mask = mask.strip() or None
    known = {*REQUIRED, *OPTIONAL}
    return Row(
        line=line,
        image=cells["image"].strip(),
        expression=cells["expression"].strip(),
        mask=mask,
        value="" if cells.get("value") is None else str(cells["value"]).strip(),
        category=str(cells.get("category") or "").strip(),
        flags={str(name): str(value) for name, value in cells.items() if name not in known},
    )
