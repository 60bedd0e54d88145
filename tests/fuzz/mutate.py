"""Mutations in the style of a coverage-less fuzzer: of bytes, and of the values that they mean."""

import copy
import gzip
import json
import pickle
import random
import struct
from io import BytesIO

from tasutils.datasets.files import loads_plain
from tasutils.errors import TasError

_WORDS = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\n", b"{", b"[", b'"', b"../", b"PK\x03\x04"]
_WORDS += [struct.pack(form, value) for form, value in [
    ("<H", 0xFFFF), (">H", 0xFFFF), ("<I", 0), ("<I", 0x7FFFFFFF), ("<I", 0xFFFFFFFF),
    (">I", 0x7FFFFFFF), (">I", 0xFFFFFFFF), (">I", 30_000), ("<I", 30_000), ("<Q", 2**63 - 1),
    ("<Q", 2**64 - 1), ("<q", -1), (">d", float("nan")),
]]  # fmt: skip
_DEEP: list = []
for _ in range(400):
    _DEEP = [_DEEP]
_VALUES = [
    None, True, False, 0, 1, -1, 2**31, -(2**31), 2**63, 2**64, 10**12, 10**400, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), "", " ", "0", "-1", "nan", "\0", "\ud800", "../../x", "/etc/passwd",
    "~nobody/x", "C:\\x", "a/b", "<img src=x onerror=alert(1)>", "$\\frac$", "\x1b[31m",
    "line\nbreak",
    "x" * 5_000, "o" * 40_000, "é" * 300, [], {}, [[]], [None], {"": None}, [0] * 1000, _DEEP,
    [[0, 0, 5, 5, 0, 5]], {"size": [4, 4], "counts": "o" * 9_000},
    {"size": [10**9, 10**9], "counts": [10**18]},
]  # fmt: skip


def mutated(rng: random.Random, name: str, data: bytes, others: list[bytes]) -> bytes:
    """A change of a file, of what it means where its name tells how to read it, else of its bytes.

    others: files of the same kind, from which pieces are taken.
    """
    if rng.random() < 0.6:
        for ends, change in _BY_MEANING.items():
            if name.endswith(ends):
                try:
                    return change(rng, data)
                except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
                    break  # a change that the form of the file cannot hold
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        data = rng.choice(_BYTES)(rng, data, others)
    return data


def value(rng: random.Random, root: object) -> object:
    """A change of lists, dictionaries and scalars at a few random places."""
    root = copy.deepcopy(root)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        places = list(_places(root))
        if not places:
            return copy.deepcopy(rng.choice(_VALUES))
        holder, key = rng.choice(places)
        kind, old = rng.randrange(8), holder[key]
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder[key:key] = [old] * rng.choice([1, 3, 100])
        elif kind == 2:
            other, at = rng.choice(places)
            if at in other if isinstance(other, dict) else at < len(other):
                holder[key] = copy.deepcopy(other[at])
        elif kind == 3 and type(old) in (int, float):
            holder[key] = rng.choice([-old, old + 1, old * 10**6, old / 3, str(old), [old]])
        elif kind == 4 and isinstance(holder, dict):
            holder[rng.choice(["x", "id", "counts", "../x", "\ud800", key + "2"])] = holder.pop(key)
        else:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))  # else later inputs meet its changes
    return root


def _places(root: object) -> "list[tuple]":
    """Up to a few thousand (container, key), not into what is nested very deep."""
    found, level = [], [root]
    for _ in range(12):
        inner = []
        for item in level:
            keys = list(item) if isinstance(item, dict) else range(len(item)) \
                if isinstance(item, list) else ()  # fmt: skip
            for key in keys:
                found.append((item, key))
                inner.append(item[key])
        level = inner[:2000]
    return found[:4000]


def _flip(rng, data, others):
    at = rng.randrange(len(data) or 1)
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :] if data else b""


def _set(rng, data, others):
    at, word = rng.randrange(len(data) + 1), rng.choice(_WORDS)
    return data[:at] + word + data[at + len(word) :]


def _insert(rng, data, others):
    at, word = rng.randrange(len(data) + 1), rng.choice(_WORDS)
    return data[:at] + word * rng.choice([1, 1, 4, 200]) + data[at:]


def _cut(rng, data, others):
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:a] + data[b:] if rng.random() < 0.7 else data[:a]


def _repeat(rng, data, others):
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return (data[:b] + data[a:b] * rng.choice([1, 2, 20]) + data[b:])[: 1 << 20]


def _splice(rng, data, others):
    other = rng.choice([*others, data])
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _number(rng, data, others):
    """A text number becomes another."""
    digits = [i for i, byte in enumerate(data[:100_000]) if 48 <= byte <= 57]
    if not digits:
        return _flip(rng, data, others)
    at = rng.choice(digits)
    other = rng.choice(
        [b"-1", b"0", b"1e9", b"99999999999", b"NaN", b"9" * 400, b"9" * 5000, b"''"]
    )
    return data[:at] + other + data[at + 1 :]


_BYTES = [_flip, _flip, _flip, _set, _set, _insert, _cut, _repeat, _splice, _number]


def _json(rng, data):
    text = json.dumps(value(rng, json.loads(data)))
    if rng.random() < 0.03:
        text = text.replace("[", "[" * 30_000, 1)
    return text.encode("utf-8", "surrogatepass")


def _jsonl(rng, data):
    rows = value(rng, [json.loads(line) for line in data.splitlines()])
    rows = rows if isinstance(rows, list) else [rows]
    return "\n".join(map(json.dumps, rows)).encode()


def _pickle(rng, data):
    try:
        return pickle.dumps(value(rng, loads_plain(data)), rng.randrange(6))
    except (TasError, RecursionError):
        return b"]" * 50_000


def _csv(rng, data):
    rows = value(rng, [line.split(",") for line in data.decode().splitlines()])
    rows = rows if isinstance(rows, list) else [rows]
    lines = [",".join(map(_cell, row)) if isinstance(row, list) else _cell(row) for row in rows]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _cell(cell):
    try:
        return str(cell)
    except RecursionError:
        return "[["


def _nested(form):
    names = "abcdefghijkl"
    return "a: &a {x: 1}\n" + "".join(
        form.format(*[previous] * 3, name=name)
        for previous, name in zip(names, names[1:], strict=False)
    )


_YAML_ENDS = [
    "x: &a [*a]\n", "x: !!python/object/apply:os.system [touch owned]\n", "x: 2020-13-45\n",
    _nested("{name}: &{name} [*{0}, *{1}, *{2}]\n"),
    _nested("{name}: &{name} {{<<: [*{0}, *{1}, *{2}]}}\n"),
    "x: " + "[" * 5000 + "\n", "x: !!int ''\n", "? [a]\n: b\n", "x: 1:99:99:99\n",
    "x: !!binary é\n",
]  # fmt: skip


def _yaml(rng, data):
    import yaml

    text = yaml.safe_dump(_without_surrogates(value(rng, yaml.safe_load(data))))
    if rng.random() < 0.2:
        text += rng.choice(_YAML_ENDS)
    return text.encode("utf-8", "replace")


def _without_surrogates(root):
    return json.loads(json.dumps(root).replace("\\ud800", "\\u0007").replace("\\u0000", "\\u0008"))


def _table(rng, data):
    """A parquet file with one column changed, or of other rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(BytesIO(data))
    for _ in range(rng.choice([1, 1, 3])):
        at = rng.randrange(table.num_columns) if table.num_columns else 0
        field = table.schema.field(at)
        column, kind = table.column(at).to_pylist(), rng.randrange(6)
        if kind == 0:
            table = table.remove_column(at)
        elif kind == 1:
            table = table.rename_columns(
                [n if n != field.name else "x" for n in table.column_names]
            )
        elif kind == 2:
            rows = (
                [rng.randrange(len(table)) for _ in range(rng.randrange(4))] if len(table) else []
            )
            table = table.take(pa.array(rows, pa.int64()))
        else:
            column = value(rng, column) if kind < 5 else [rng.choice(_VALUES)] * len(column)
            column = (column if isinstance(column, list) else [column])[: len(table)]
            column += [None] * (len(table) - len(column))
            try:
                made = pa.array(column, rng.choice([field.type, None]))
            except (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError):
                made = pa.nulls(len(table))
            table = table.set_column(at, field.name, made)
    buffer = BytesIO()
    try:
        pq.write_table(table, buffer)
    except pa.ArrowException:
        return data[: len(data) // 2]
    return buffer.getvalue()


def _gzip(rng, data):
    text = gzip.decompress(data)
    for _ in range(rng.choice([1, 2, 8])):
        text = rng.choice(_BYTES)(rng, text, [text])
    return gzip.compress(text, mtime=0)


_BY_MEANING = {
    ".json": _json, ".jsonl": _jsonl, ".p": _pickle, ".csv": _csv, ".yaml": _yaml,
    ".parquet": _table, ".gz": _gzip,
}  # fmt: skip
