"""Reading annotation files: JSON, their digests, and the check of their records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tasutils.errors import TasError

Record = TypeVar("Record", bound=BaseModel)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        TasError: the file is missing, unreadable or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise TasError(
            f"{path}: cannot be read ({error.strerror}); check the data set's folder and its layout"
        ) from None
    except (ValueError, RecursionError) as error:
        raise TasError(f"{path}: damaged JSON ({str(error)[:80]}); get the file again") from None


def digest_of(paths: list[Path]) -> str:
    """SHA-256 hex over the content of files, in the given order.

    Raises:
        TasError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise TasError(
                f"{path}: cannot be read ({error.strerror}); check the data set's "
                "folder and its layout"
            ) from None
    return digest.hexdigest()


def record(form: type[Record], entry: Any, source: Path) -> Record:
    """An entry of an annotation file in its checked form.

    Raises:
        TasError: a field is missing or of another type; names the field.
    """
    try:
        return form.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "entry"
        raise TasError(f"{source}: {where}: {first['msg']}; get the file again") from None


def entries(content: Any, source: Path, key: str | None = None) -> list[Any]:
    """The list that a file holds, under `key` if one is given.

    Raises:
        TasError: there is no such list.
    """
    found = content.get(key) if key is not None and isinstance(content, dict) else content
    if not isinstance(found, list):
        place = f"under {key!r}" if key is not None else "at its top"
        raise TasError(f"{source}: no list {place}; get the file again")
    return found
