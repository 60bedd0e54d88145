"""The stack machine of `pickles`: only the instructions of plain data, no import and no call."""

from __future__ import annotations

import codecs
import pickletools
import struct
from collections.abc import Callable
from typing import Any

MAX_LONG_BYTES = 64
HIGHEST_PROTOCOL = 5

_MARK = object()
_OPCODE_NAMES = {ord(op.code): op.name for op in pickletools.opcodes}


class RefusedError(Exception):
    """What the file asks for is no plain data."""


def _decode(raw: bytes) -> str:
    """A Python 2 byte string as text."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class PlainMachine:
    """A pickle stack machine with the plain-data instructions only."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.opcode_at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, more: dict[int, Callable[[Any], object]] | None = None) -> Any:
        """Execute up to STOP, with `more` instructions; returns the one value left on the stack."""
        data, instructions = self.data, _INSTRUCTIONS | (more or {})
        while True:
            self.opcode_at = self.at
            if self.at >= len(data):
                raise ValueError("ends before its STOP")
            opcode = data[self.at]
            self.at += 1
            if opcode == 0x2E:  # STOP
                if len(self.stack) != 1 or self.stack[0] is _MARK:
                    raise ValueError("not exactly one value at its end")
                return self.stack[0]
            instruction = instructions.get(opcode)
            if instruction is None:
                name = _OPCODE_NAMES.get(opcode, f"byte 0x{opcode:02x}")
                raise RefusedError(f"the instruction {name} is not plain data")
            instruction(self)

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise ValueError("truncated")
        raw = self.data[self.at : end]
        self.at = end
        return raw

    def number(self, form: str) -> Any:
        """The next number, in a `struct` format."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def byte(self) -> int:
        """The next byte as a number."""
        value = self.data[self.at]
        self.at += 1
        return value

    def line(self) -> bytes:
        """The bytes up to the next line feed."""
        end = self.data.find(b"\n", self.at)
        if end == -1:
            raise ValueError("truncated")
        raw = self.data[self.at : end]
        self.at = end + 1
        return raw

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take a value, never a mark, off the stack."""
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def pop_to_mark(self) -> list[Any]:
        """Take all values above the topmost mark, and the mark."""
        stack = self.stack
        for start in range(len(stack) - 1, -1, -1):
            if stack[start] is _MARK:
                items = stack[start + 1 :]
                del stack[start:]
                return items
        raise ValueError("a mark is missing")

    def store(self, index: int) -> None:
        """Remember the topmost value."""
        if self.stack[-1] is _MARK or index < 0:
            raise ValueError("a memo of nothing")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        """Push a remembered value."""
        if index not in self.memo:
            raise ValueError(f"memo {index} was never stored")
        self.push(self.memo[index])

    def extend(self, items: list[Any]) -> None:
        """Append items to the list on top of the stack."""
        if type(self.stack[-1]) is not list:
            raise RefusedError("appends to something that is no list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Set alternating keys and values in the dictionary on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict:
            raise RefusedError("sets keys of something that is no dict")
        self.fill(target, items)

    @staticmethod
    def fill(target: dict[Any, Any], items: list[Any]) -> None:
        """Put alternating keys and values into a dictionary."""
        if len(items) % 2:
            raise ValueError("a key without its value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # keys of other types could be nested without end and be hashed recursively
            if type(key) is not str and type(key) is not int:
                raise RefusedError(f"a dictionary key of type {type(key).__name__}")
            target[key] = value

    def tuple_of(self, size: int) -> None:
        """Replace the topmost `size` values by their tuple."""
        items = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(items)))

    def long_of(self, size: int) -> None:
        """Push a little-endian two's complement integer of `size` bytes."""
        if size > MAX_LONG_BYTES:
            raise RefusedError(f"an integer of {size} bytes")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def int_line(self) -> None:
        """Push the integer, or the boolean 00 or 01, of a text line."""
        raw = self.line()
        self.push({b"00": False, b"01": True}[raw] if raw in (b"00", b"01") else _int(raw))

    def quoted_line(self) -> None:
        """Push the string that Python 2's `repr` wrote on a text line."""
        raw = self.line().rstrip(b"\r ")
        if len(raw) < 2 or raw[:1] not in (b"'", b'"') or raw[-1:] != raw[:1]:
            raise ValueError("a string without its quotes")
        self.push(_decode(codecs.escape_decode(raw[1:-1])[0]))  # type: ignore[attr-defined]

    def dict_to_mark(self) -> None:
        """Push the dictionary of the values above the mark."""
        target: dict[Any, Any] = {}
        self.fill(target, self.pop_to_mark())
        self.push(target)

    def append_one(self) -> None:
        """Append the topmost value to the list below it."""
        item = self.pop()
        self.extend([item])

    def set_one(self) -> None:
        """Set the topmost value under the key below it in the dictionary below that."""
        value, key = self.pop(), self.pop()
        self.update([key, value])

    def protocol(self) -> None:
        """Check the protocol number."""
        if self.byte() > HIGHEST_PROTOCOL:
            raise ValueError("an unknown pickle protocol")


def _int(raw: bytes) -> int:
    """An integer in decimal digits, bounded."""
    if len(raw) > 2 * MAX_LONG_BYTES:
        raise RefusedError(f"an integer of {len(raw)} digits")
    return int(raw)


def _joined(text: str) -> str:
    """Surrogate pairs, which Python 2 wrote on narrow builds, as single characters."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


_INSTRUCTIONS: dict[int, Callable[[PlainMachine], object]] = {
    ord(code): instruction
    for code, instruction in {
        "(": lambda m: m.push(_MARK),
        "0": lambda m: m.stack.pop(),
        "1": PlainMachine.pop_to_mark,
        "2": lambda m: m.stack.append(m.stack[-1]),
        "N": lambda m: m.push(None),
        "I": PlainMachine.int_line,
        "L": lambda m: m.push(_int(m.line().removesuffix(b"L"))),
        "J": lambda m: m.push(m.number("<i")),
        "K": lambda m: m.push(m.byte()),
        "M": lambda m: m.push(m.number("<H")),
        "\x8a": lambda m: m.long_of(m.byte()),
        "\x8b": lambda m: m.long_of(m.number("<I")),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "F": lambda m: m.push(float(m.line())),
        "G": lambda m: m.push(m.number(">d")),
        "S": PlainMachine.quoted_line,
        "T": lambda m: m.push(_decode(m.take(m.number("<i")))),
        "U": lambda m: m.push(_decode(m.take(m.byte()))),
        "V": lambda m: m.push(_joined(m.line().decode("raw-unicode-escape"))),
        "X": lambda m: m.push(m.take(m.number("<I")).decode("utf-8")),
        "\x8c": lambda m: m.push(m.take(m.byte()).decode("utf-8")),
        "\x8d": lambda m: m.push(m.take(m.number("<Q")).decode("utf-8")),
        "]": lambda m: m.push([]),
        "a": PlainMachine.append_one,
        "e": lambda m: m.extend(m.pop_to_mark()),
        "l": lambda m: m.push(m.pop_to_mark()),
        "}": lambda m: m.push({}),
        "d": PlainMachine.dict_to_mark,
        "s": PlainMachine.set_one,
        "u": lambda m: m.update(m.pop_to_mark()),
        ")": lambda m: m.push(()),
        "t": lambda m: m.push(tuple(m.pop_to_mark())),
        "\x85": lambda m: m.tuple_of(1),
        "\x86": lambda m: m.tuple_of(2),
        "\x87": lambda m: m.tuple_of(3),
        "p": lambda m: m.store(_int(m.line())),
        "q": lambda m: m.store(m.byte()),
        "r": lambda m: m.store(m.number("<I")),
        "\x94": lambda m: m.store(len(m.memo)),
        "g": lambda m: m.recall(_int(m.line())),
        "h": lambda m: m.recall(m.byte()),
        "j": lambda m: m.recall(m.number("<I")),
        "\x80": PlainMachine.protocol,
        "\x95": lambda m: m.take(8),  # FRAME: only a length
    }.items()
}
