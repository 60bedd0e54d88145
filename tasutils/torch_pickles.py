"""What a file of torch would have torch allocate and run, told without torch.

torch allocates what the pickle in its files asks for before it looks whether the file holds that
much, and its `weights_only` lets a pickle call some forty functions, of which a few allocate what
their arguments say. Here that pickle is run by the machine of plain data and four calls more, none
of which does anything but compare sizes.
"""

from __future__ import annotations

import math
import mmap
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasutils.datasets.pickle_machine import PlainMachine, RefusedError

_MAGIC = 0x1950A86A20F9469CFC6C  # of the files before torch 1.6
_ITEM_BYTES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1,
    "BoolStorage": 1, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16,
}  # fmt: skip
_STORAGES = {f"torch.{name}" for name in _ITEM_BYTES}
_TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_PARAMETER = "torch._utils._rebuild_parameter"
_DICTS = {"collections.OrderedDict", "collections.Counter"}
_NAMES = _STORAGES | _TENSORS | _DICTS | {_PARAMETER}
_TENSOR = object()
_MAX_AXES = 64  # torch's own limit
_FAULTS = (
    RefusedError, IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error,
)  # fmt: skip


class ClaimError(Exception):
    """What the file asks for, to follow "the file"."""


@dataclass(frozen=True)
class _Name:
    """What a pickle names for calling."""

    path: str


@dataclass(frozen=True)
class _Storage:
    key: str
    count: int
    item_bytes: int


def zipped_fault(program: bytes, size: int) -> str | None:
    """What is wrong with the data.pkl of an archive of `size` bytes, to follow "the file"."""
    return _told(lambda: _TorchMachine(program, size).program())


def legacy_fault(data: mmap.mmap | bytes) -> str | None:
    """What is wrong with a whole file of torch before 1.6, to follow "the file"."""
    try:  # torch would read its headers, and one can ask for any size
        tarfile.TarInfo.frombuf(data[:512], "utf-8", "surrogateescape")
        return "is a tar archive, torch's oldest form of files, which is not read here"
    except (tarfile.HeaderError, ValueError):
        pass
    machine = _TorchMachine(data, len(data))

    def run() -> None:
        if machine.program() != _MAGIC:
            raise ValueError("another magic number")
        for _ in range(4):  # the version, the system, the state, the keys of its storages
            machine.program()

    return _told(run)


def _told(run: Callable[[], object]) -> str | None:
    try:
        run()
    except ClaimError as error:
        return str(error)
    except _FAULTS as error:
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        return f"is damaged, or no file of torch ({reason})"
    return None


class _TorchMachine(PlainMachine):
    """The machine of plain data with what a state dict's tensors need, made of nothing."""

    def __init__(self, data: Any, size: int) -> None:
        super().__init__(data)
        self.size = size
        self.storages: dict[str, _Storage] = {}
        self.needed = 0  # bytes of all storages

    def program(self) -> Any:
        """Run the next pickle of the file."""
        self.stack.clear()
        self.memo.clear()
        return self.run(_MORE)

    def name(self) -> None:
        """Push what is named, refusing all but the names of tensors' parts."""
        raw = f"{self.line().decode()}.{self.line().decode()}"
        if raw not in _NAMES:
            told = "".join(c for c in raw if c.isprintable())[:80]
            raise ClaimError(f"asks to run {told}, which is no tensor; it was not run")
        self.push(_Name(raw))

    def call(self) -> None:
        """Replace a name and its arguments by what the call would give."""
        given, name = self.pop(), self.pop()
        if not isinstance(name, _Name) or type(given) is not tuple:
            raise ValueError("a call of no function")
        if name.path in _TENSORS:
            self.tensor(*given[:4])
        elif name.path in _DICTS and all(type(part) is dict for part in given[:1]):
            self.push({})
        elif name.path == _PARAMETER and given[0] is _TENSOR:
            self.push(_TENSOR)
        else:
            raise ClaimError(f"asks to run {name.path} on what it does not take; it was not run")

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        """Push a tensor after a look whether it lies within its storage."""
        if not isinstance(storage, _Storage) or not len(shape) == len(strides) <= _MAX_AXES:
            raise ValueError("a tensor of no storage or no shape")
        for number in (offset, *shape, *strides):
            _natural(number)
        if math.prod(shape):
            steps = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
            self.require(max(math.prod(shape), steps))
            if offset + steps >= storage.count:
                raise ClaimError("holds a tensor that reaches out of its storage")
        self.push(_TENSOR)

    def storage(self) -> None:
        """Replace a persistent id by the storage that it stands for."""
        kind, name, key, _, count, *_ = self.pop()
        if kind != "storage" or not isinstance(name, _Name) or type(key) is not str:
            raise ValueError("no storage")
        item_bytes = _ITEM_BYTES[name.path.removeprefix("torch.")]
        made = _Storage(key, _natural(count), item_bytes)
        self.require(count)
        if key not in self.storages:
            self.storages[key] = made
            self.needed += count * item_bytes
        if self.storages[key] != made:
            raise ClaimError("holds a storage of two sizes")
        if self.needed > self.size:
            raise ClaimError(f"is cut short: it has {self.size} bytes, its tensors more")
        self.push(made)

    def require(self, count: int) -> None:
        """Refuse more values than the file has bytes."""
        if count > self.size:
            digits = f"{count:.3g}" if count < 10**300 else "over 1e300"
            raise ClaimError(f"asks for {digits} values, more than its {self.size} bytes hold")


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError("a size that is no whole number")
    return number


_MORE: dict[int, Callable[[Any], object]] = {
    ord("c"): _TorchMachine.name,
    ord("R"): _TorchMachine.call,
    ord("Q"): _TorchMachine.storage,
    ord("b"): PlainMachine.pop,  # the attributes of a dictionary, as a module's _metadata
}
