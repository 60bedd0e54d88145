"""The record of pictures that could not be read, beside the shards."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from tasutils.errors import TasError
from tasutils.permissions import private, share

if TYPE_CHECKING:
    from tasutils.datasets import RefDataset


def record_failures(
    folder: Path,
    dataset: RefDataset,
    shard: tuple[int, int] | None,
    tried: Collection[str],
    failed: list[tuple[str, str]],
) -> None:
    """Write `failed-<data set>-<split>[-<i>of<n>].jsonl`, a line {image_id, reason} a picture.

    Processes that work on shards at once have a file each. Lines about pictures that were not
    `tried` now stay, and without lines there is no file; a run that tried all pictures does away
    with the files of shards.

    Raises:
        TasError: the folder cannot be written.
    """
    name = re.sub(r"[^\w.+-]+", "-", f"failed-{dataset.name}-{dataset.split}")
    path = folder / (f"{name}.jsonl" if shard is None else f"{name}-{shard[0]}of{shard[1]}.jsonl")
    lines = [line for line in _lines(path) if line.get("image_id") not in tried]
    lines += [{"image_id": image_id, "reason": reason} for image_id, reason in failed]
    gone = set() if lines else {path}
    if set(dataset.image_ids) <= set(tried):
        sharded = re.compile(rf"{re.escape(name)}-\d+of\d+\.jsonl")
        gone |= {other for other in folder.glob("failed-*") if sharded.fullmatch(other.name)}
    try:
        if lines:
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
        for other in gone:
            other.unlink(missing_ok=True)
    except OSError as error:
        raise TasError(
            f"cannot write {path} ({error.strerror or error}); choose another folder"
        ) from error


def _lines(path: Path) -> list[dict[str, str]]:
    with suppress(OSError, ValueError, AttributeError):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line.keys() == {"image_id", "reason"}]
    return []


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.{token_hex(8)}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8", opener=private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        share(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
