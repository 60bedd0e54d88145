"""Annotation files from outside: JSON, pickles, their digests, the check of their records."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import pickletools
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tasutils.errors import TasError

MAX_BYTES, MAX_VALUES = 1 << 29, 1 << 26
AGAIN = "get the file again"
#: the instructions of list, dict, str, int, float, bool and None; no import, no call, no tuple
_PLAIN = {
    "MARK", "STOP", "POP", "POP_MARK", "DUP", "NONE", "INT", "LONG", "BININT", "BININT1", "BININT2",
    "LONG1", "LONG4", "NEWTRUE", "NEWFALSE", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_LIST",
    "APPEND", "APPENDS", "LIST", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "PUT", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "PROTO", "FRAME",
}  # fmt: skip
_CODES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
Record = TypeVar("Record", bound=BaseModel)


class _Unpickler(pickle._Unpickler):
    """The standard library's, without the instructions that are not of plain data."""

    dispatch = {c: pickle._Unpickler.dispatch[c] for c, name in _CODES.items() if name in _PLAIN}


def read_bytes(path: Path) -> bytes:
    """The content of an annotation file; raises TasError where there is none, or a renamed one."""
    try:
        if path.stat().st_size > MAX_BYTES and path.suffix != ".json":
            size = f"over {MAX_BYTES >> 20} MB"
            raise TasError(f"{path}: {size}; check that it is the published file")
        return path.read_bytes()
    except OSError as error:
        names = [entry.name for entry in path.parent.glob("*") if entry != path]
        remedy = "check the data set's folder and its layout"
        for near in get_close_matches(path.name, names, n=1, cutoff=0.7):
            remedy = f"{near} is there: rename it if it is the same file"
        raise TasError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises TasError where it is missing, unreadable or damaged."""
    return parsed(read_bytes(path), path)


def parsed(text: bytes | str, source: Path) -> Any:
    """What JSON means; raises TasError, naming `source`, where it is damaged."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise TasError(f"{source}: damaged JSON ({str(error)[:80]}); {AGAIN}") from None


def load_plain(path: Path | str) -> Any:
    """Read a pickle that holds nothing but list, dict, str, int, float, bool and None.

    A pickle is a program; no instruction is known here that imports or calls. Byte strings of
    Python 2 are read as UTF-8, and as Latin-1 where they are no UTF-8. Raises TasError where the
    file is missing, too large, damaged, or asks for anything but plain data.
    """
    return loads_plain(read_bytes(Path(path)), str(path))


def loads_plain(data: bytes, source: str = "pickle") -> Any:
    """Read plain data from pickle bytes; see `load_plain`."""
    stream = io.BytesIO(data)
    try:
        value = _Unpickler(stream, encoding="utf-8", errors="surrogateescape").load()
        n_values = _settle(value, {})
    except KeyError as error:
        refusal = f"the instruction {_CODES.get(error.args[0], 'an unknown one')} is not plain data"
        raise TasError(f"{source}: refused: {refusal}; {AGAIN}") from None
    except Exception as error:  # pickle raises nearly any type for damaged bytes
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise TasError(f"{source}: damaged pickle ({reason}); {AGAIN}") from None
    if n_values > MAX_VALUES:
        raise TasError(f"{source}: refused: {n_values:.0e} values; {AGAIN}")
    return value


def _settle(value: Any, known: dict[int, float]) -> float:
    """Mend the texts below a list or dict in place; how many values it has, as often as named."""
    if not isinstance(value, list | dict):
        return 1
    if id(value) not in known:
        known[id(value)] = float("inf")  # within itself
        n_values = 1.0
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            if isinstance(item, str):
                if not item.isascii():
                    value[key] = _text(item)
                n_values += 1
            else:
                n_values += _settle(item, known)
        known[id(value)] = n_values
    return known[id(value)]


def _text(text: str) -> str:
    """A text without surrogates: a pair is one character, a lone one a byte of Latin-1."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")


def digest_of(paths: Iterable[Path]) -> str:
    """SHA-256 hex over files in the given order; raises TasError where one cannot be read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise TasError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    return digest.hexdigest()


def record(form: type[Record], entry: Any, source: Path) -> Record:
    """An entry of a file in its checked form; raises TasError that names the wrong field."""
    try:
        return form.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "entry"
        raise TasError(f"{source}: {where}: {first['msg']}; {AGAIN}") from None


def entries(content: Any, source: Path, key: str | None = None) -> list[Any]:
    """The list that a file holds, under `key` if given; raises TasError where there is none."""
    found = content.get(key) if key is not None and isinstance(content, dict) else content
    if not isinstance(found, list):
        place = f"under {key!r}" if key is not None else "at its top"
        raise TasError(f"{source}: no list {place}; {AGAIN}")
    return found


def by_id(records: list[Any], what: str, source: Path, key: str = "id") -> dict[str, Any]:
    """Records by their id; raises TasError where one has none, or an id stands for two things."""
    found: dict[str, Any] = {}
    for entry in records:
        if not isinstance(entry, dict) or entry.get(key) is None:
            raise TasError(f"{source}: one of its {what} has no {key}; {AGAIN}")
        if found.setdefault(str(entry[key]), entry) != entry:
            raise TasError(f"{source}: two of its {what} have the {key} {entry[key]}; {AGAIN}")
    return found


def parquet_rows(path: Path, needed: Iterable[str], remedy: str, **options: Any) -> list[Any]:
    """The rows of a parquet file with such columns at least; `options` are `read_table`'s."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        missing = sorted({*needed} - {*pq.read_schema(path).names})
        rows = [] if missing else pq.read_table(path, **options).to_pylist()
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:80]
        raise TasError(f"{path}: damaged or missing ({why}); {remedy}") from None
    if missing:
        raise TasError(f"{path}: no column {', '.join(missing)}; {remedy}")
    return rows
