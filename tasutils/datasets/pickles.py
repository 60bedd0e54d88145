"""Reads pickled plain data without letting it run code.

A pickle is a program for a small stack machine, some of whose instructions import and call
arbitrary functions. The annotation files of the RefCOCO family (`refs(unc).p`) are pickles that
Python 2 wrote, passed from mirror to mirror for a decade. `load_plain` is a stack machine that
*has* only the instructions of plain data: list, dict, tuple, str, int, float, bool, None. There is
no class lookup to be tricked, and no call. The instructions are described in the standard library's
`pickletools`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from tasutils.datasets.pickle_machine import PlainMachine, RefusedError
from tasutils.errors import TasError

MAX_BYTES = 1 << 29
MAX_DEPTH = 16
MAX_VALUES = 1 << 26
_CONTAINERS = (list, dict, tuple)


def load_plain(path: Path | str) -> Any:
    """Read a pickle that holds nothing but list, dict, tuple, str, int, float, bool and None.

    Protocols 0 to 5; strings that Python 2 wrote as bytes are read as UTF-8, and as Latin-1 where
    they are no UTF-8. Dictionary keys must be str or int.

    Raises:
        TasError: the file is missing, too large (over `MAX_BYTES`), damaged, nested deeper than
            `MAX_DEPTH`, of more than `MAX_VALUES` values, or
            contains an instruction that is not plain data.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise TasError(
                f"{path}: {size} bytes is too large for an annotation pickle "
                f"(limit {MAX_BYTES}); check that this is the published file"
            )
        data = path.read_bytes()
    except OSError as error:
        raise TasError(
            f"{path}: cannot be read ({error.strerror}); check the data set's folder and its layout"
        ) from None
    return loads_plain(data, source=str(path))


def loads_plain(data: bytes, source: str = "pickle") -> Any:
    r"""Read plain data from pickle bytes; see `load_plain`.

    >>> loads_plain(b"\x80\x02]q\x00U\x03dogq\x01a.")
    ['dog']
    """
    machine = PlainMachine(data)
    try:
        value = machine.run()
        _check_shape(value)
    except RefusedError as error:
        raise TasError(
            f"{source}: refused at byte {machine.opcode_at}: {error}; "
            "get the file from the data set's own page"
        ) from None
    except (IndexError, KeyError, ValueError, OverflowError, struct.error) as error:
        reason = " ".join(str(error).split())[:80]
        raise TasError(
            f"{source}: damaged pickle at byte {machine.opcode_at} ({reason}); get the file again"
        ) from None
    return value


def _check_shape(root: Any) -> None:
    """Refuse what is nested beyond `MAX_DEPTH`, within itself, or to more than `MAX_VALUES`.

    A pickle may name a list again and again, so a few lines can mean any number of values, which
    whoever prints them would see. Iterative, each container is entered once.
    """
    known: dict[int, tuple[int, int]] = {}  # by id: how deep a container is, how many values
    entered: set[int] = set()
    stack = [(root, False)]
    while stack:
        item, leaving = stack.pop()
        if not isinstance(item, _CONTAINERS) or id(item) in known:
            continue
        inner = list(item.values() if isinstance(item, dict) else item)
        if not leaving:
            if id(item) in entered:
                raise RefusedError("a list or dictionary inside itself")
            entered.add(id(item))
            stack.append((item, True))
            stack += [(part, False) for part in inner if isinstance(part, _CONTAINERS)]
            continue
        parts = [known[id(part)] for part in inner if isinstance(part, _CONTAINERS)]
        depth = 1 + max((deep for deep, _ in parts), default=0)
        count = 1 + len(inner) + sum(n for _, n in parts)
        if depth > MAX_DEPTH + 1:
            raise RefusedError(f"nested more than {MAX_DEPTH} deep")
        if count > MAX_VALUES:
            raise RefusedError(f"more than {MAX_VALUES} values, counted as often as they are named")
        known[id(item)] = depth, count
