"""Parquet files from outside, read in bounded memory.

A page's header says how many bytes and values the page has when unpacked; arrow allocates that
before it looks, and no two places of a file need agree. So the footer and the headers are read here
first (thrift's compact protocol, parquet.thrift), and rows come in batches, whose sum is bounded:
with a dictionary, a few bytes can stand for any number of rows. The footer is not asked of pyarrow,
which ends the process where a column's statistics are of a wrong size.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES, MAX_VALUES = 1 << 30, 1 << 27  # of all pages unpacked
_BATCH_BYTES = 1 << 28
_FOOTER_BYTES, _TAIL_BYTES = 2 << 20, 8
_DICTIONARY_PAGE = 2
_VALUED = (5, 7, 8)  # fields of a PageHeader whose first field is a number of values
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _STRUCT = (*range(1, 10), 12)
_DEPTH = 12  # of structs and lists
Fields = dict[tuple[int, int], Any]  # by number and type: thrift passes over another type


@dataclass(frozen=True)
class Chunk:
    """Where the pages of a column lie, start and size in bytes."""

    name: str
    start: int
    size: int


def batches(
    path: Path, columns: list[str] | None = None, most: int = 256
) -> "Iterator[pa.RecordBatch]":
    """The rows of some columns or of all, `most` at a time or fewer.

    Raises:
        ValueError: pages that claim more than `MAX_BYTES` or `MAX_VALUES`, or rows of more bytes.
        OSError, pyarrow.ArrowException: a damaged file.
    """
    import pyarrow.parquet as pq

    with path.open("rb") as raw:
        chunks = chain.from_iterable(column_chunks(raw))
        pages = (_read(raw, chunk.start, chunk.size) for chunk in chunks)
        longest = max(require_bounded(pages), 1)  # no value of a dictionary has more bytes
    n_rows, n_bytes = min(max(_BATCH_BYTES // longest, 1), most), 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(n_rows, columns=columns, use_threads=False):
            n_bytes += batch.nbytes
            if n_bytes > MAX_BYTES:
                raise ValueError(f"over {MAX_BYTES >> 30} GB of rows")
            yield batch


def table(path: Path) -> "pa.Table":
    """All rows of a file; errors as in `batches`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(batches(path, most=1 << 16))
    return pa.Table.from_batches(rows, rows[0].schema if rows else pq.read_schema(path))


def column_chunks(raw: BinaryIO) -> list[list[Chunk]]:
    """The column chunks of each row group, by the footer.

    Raises:
        ValueError, KeyError: no footer, one of over 2 MB, or chunks outside the file.
    """
    size = raw.seek(0, io.SEEK_END)
    length = int.from_bytes(_read(raw, max(size - _TAIL_BYTES, 0), 4), "little")
    if not 0 < length <= min(size - _TAIL_BYTES, _FOOTER_BYTES):
        raise ValueError("no footer of a parquet file")
    footer = _struct(io.BytesIO(_read(raw, size - _TAIL_BYTES - length, length)), _DEPTH)
    groups = [group[1, _LIST] for group in footer.get((4, _LIST), ())]
    found = [[_chunk(column[3, _STRUCT]) for column in columns] for columns in groups]
    if any(chunk.start + chunk.size > size for chunks in found for chunk in chunks):
        raise ValueError("a column outside the file")
    return found


@lru_cache(256)
def chunks_of(path: Path) -> list[list[Chunk]]:
    """`column_chunks` of a file whose name tells its footer, as a shard's does."""
    with path.open("rb") as raw:
        return column_chunks(raw)


def require_bounded(chunks: Iterable[bytes]) -> int:
    """Bytes of the longest dictionary of some column chunks, after a look at what all pages claim.

    Raises:
        ValueError: pages that claim more than `MAX_BYTES` or `MAX_VALUES`.
    """
    n_bytes = n_values = longest = 0
    for kind, size, count in chain.from_iterable(map(page_claims, chunks)):
        n_bytes, n_values = n_bytes + size, n_values + count
        if n_bytes > MAX_BYTES or n_values > MAX_VALUES:
            raise ValueError(f"claims {n_bytes:.3g} bytes, {n_values:.3g} values unpacked")
        longest = max(longest, size if kind == _DICTIONARY_PAGE else 0)
    return longest


def page_claims(chunk: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each page of a column chunk its kind, its bytes unpacked and its values, as it says.

    Raises:
        ValueError: the chunk is no row of pages.
    """
    stream = io.BytesIO(chunk)
    while stream.tell() < len(chunk):
        header = _struct(stream, _DEPTH)
        sizes = [header.get((field, _I32), -1) for field in (1, 2, 3)]
        valued = [header[field, _STRUCT] for field in _VALUED if (field, _STRUCT) in header]
        sizes += [fields.get((1, _I32), -1) for fields in valued]
        if min(sizes) < 0:
            raise ValueError("a page without its size")
        kind, size, packed, *counts = sizes
        yield kind, size, sum(counts)
        if stream.seek(packed, io.SEEK_CUR) > len(chunk):
            raise ValueError("a page beyond its column")


def _chunk(known: Fields) -> Chunk:
    """What a ColumnMetaData tells of a chunk, whose first page is found by arrow's own rule."""
    starts = [known[9, _I64], known.get((11, _I64), 0)]
    start = min(offset for offset in starts if offset > 0)
    return Chunk(known[3, _LIST][0].decode(), start, max(known[7, _I64], 0))


def _read(raw: BinaryIO, start: int, size: int) -> bytes:
    raw.seek(start)
    return raw.read(size)


def _struct(stream: io.BytesIO, depth: int) -> Fields:
    fields, number = Fields(), 0
    while byte := _take(stream, 1)[0]:
        last, kind = number, byte & 15
        number = last + (byte >> 4) if byte >> 4 else _signed(stream)
        if number <= last:
            raise ValueError("fields out of order")
        if kind not in (_TRUE, _FALSE):  # which have no bytes of their own
            fields[number, kind] = _value(stream, kind, depth)
    return fields


def _value(stream: io.BytesIO, kind: int, depth: int) -> Any:
    """Numbers, bytes, structs and lists; None for what is passed over."""
    if not depth:
        raise ValueError("nested too deep")
    if kind in (_I16, _I32, _I64):
        return _signed(stream)
    if kind == _STRUCT:
        return _struct(stream, depth - 1)
    if kind == _BINARY:
        return _take(stream, _varint(stream))
    if kind == _LIST:
        byte = _take(stream, 1)[0]
        count = byte >> 4 if byte >> 4 < 15 else _varint(stream)
        return [_value(stream, byte & 15, depth - 1) for _ in range(count)]
    if kind not in (_TRUE, _FALSE, _BYTE, _DOUBLE):
        raise ValueError("a type that no header has")
    _take(stream, 8 if kind == _DOUBLE else 1)
    return None


def _take(stream: io.BytesIO, size: int) -> bytes:
    data = stream.read(size) if size < 1 << 31 else b""
    if len(data) != size:
        raise ValueError("cut short")
    return data


def _varint(stream: io.BytesIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = _take(stream, 1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("a number without end")


def _signed(stream: io.BytesIO) -> int:
    """A zigzag number."""
    value = _varint(stream)
    return (value >> 1) ^ -(value & 1)
