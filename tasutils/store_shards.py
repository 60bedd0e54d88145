"""One shard of a store: a parquet file that tells of each of its bytes whether it is right.

Its name is `scenes-<digest of the footer>.parquet`, and the footer has a CRC-32 of each column
chunk, so that what is read is checked, and nothing else need be read. (The checksums of pages that
parquet has itself leave out the pages' headers, damage to which gave wrong scenes.)
"""

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from tasutils.errors import TasError
from tasutils.parquet_pages import chunks_of, require_bounded
from tasutils.permissions import private, share
from tasutils.store_rows import EMBEDDINGS, SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SHARD_NAME = re.compile(r"scenes-[0-9a-f]{40}\.parquet")
GROUP_SCENES = 16  # scenes of a row group, the least that is read
_MAGIC = b"PAR1"  # at both ends of a parquet file
_TAIL_BYTES = 8  # after the footer: its length and the magic number
_CRC_DIGITS = 8
_REPEATED = ("describe_digest", "captions.list.element", "captions_raw.list.element")
Read = TypeVar("Read")


class DamagedShard(Exception):
    """The bytes of a shard are not those that its name and its footer tell."""


@dataclass(frozen=True)
class ShardIndex:
    """Of each row its key, its configuration's digest and the digest of its picture's file."""

    keys: list[str]
    describe_digests: list[str]
    sources: list[str]


def write_shard(folder: Path, table: "pa.Table") -> Path:
    """Write a `store_rows.scene_table` (temporary name, fsync, rename) and return its path.

    Raises:
        TasError: the folder cannot be written.
    """
    data = _parquet(table)
    path = folder / _name(data[_footer_start(data[-_TAIL_BYTES:], len(data)) :])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _write(path, data)
        except FileNotFoundError:  # a clock ahead of ours swept it as stale
            _write(path, data)
        _sync_folder(folder)
    except OSError as error:
        raise TasError(
            f"cannot write scenes to {folder} ({error.strerror or error}); choose another folder"
        ) from error
    return path


def read_index(path: Path) -> ShardIndex:
    """What rows a shard has, from three small columns; none if of another schema version.

    Errors as in `read_group`.
    """
    columns = ["key", "describe_digest", "source"]

    def read(file: "pq.ParquetFile", raw: BinaryIO) -> ShardIndex:
        if file.metadata.metadata.get(b"tas_schema_version") != str(SCHEMA_VERSION).encode():
            return ShardIndex([], [], [])
        _check_chunks(raw, file.metadata, range(file.num_row_groups), columns)
        table = file.read(columns, use_threads=False)
        if {str(kind) for kind in table.schema.types} != {"string"}:
            raise TypeError("keys that are no text")
        return ShardIndex(*(table[name].to_pylist() for name in columns))

    return _opened(path, read)


def read_group(path: Path, group: int, columns: Sequence[str] | None = None) -> "pa.Table":
    """A row group of a shard; only `columns` of it are read, all when None.

    Raises:
        DamagedShard: what was read is not what name and footer tell.
        FileNotFoundError: the shard is gone.
        TasError: it cannot be read for another reason.
    """

    def read(file: "pq.ParquetFile", raw: BinaryIO) -> "pa.Table":
        _check_chunks(raw, file.metadata, [group], columns)
        return file.read_row_group(group, columns, use_threads=False)

    return _opened(path, read)


def check_shard(path: Path) -> None:
    """Check every byte of a shard; errors as in `read_group`."""

    def read(file: "pq.ParquetFile", raw: BinaryIO) -> None:
        _check_chunks(raw, file.metadata, range(file.num_row_groups), None)

    _opened(path, read)


def bytes_by_column(path: Path) -> dict[str, int]:
    """Bytes of each column of a shard, and as "footer" of all that is none of them."""
    import pyarrow.parquet as pq

    meta, total = pq.read_metadata(path), dict[str, int]()
    for group in range(meta.num_row_groups):
        for name, column in _columns(meta, group):
            total[name] = total.get(name, 0) + column.total_compressed_size
    return total | {"footer": path.stat().st_size - sum(total.values())}


def _write(path: Path, data: memoryview) -> None:
    temporary = path.with_name(f"{path.stem}-{token_hex(8)}.tmp")
    try:
        with open(temporary, "xb", opener=private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        share(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _parquet(table: "pa.Table") -> memoryview:
    """The bytes of a shard. Embeddings are not compressed, which would save a tenth of them."""
    import pyarrow.parquet as pq

    n_chunks = -(-len(table) // GROUP_SCENES) * table.num_columns
    no_crcs = b"?" * _CRC_DIGITS * n_chunks
    metadata = {
        "tas_schema_version": str(SCHEMA_VERSION),
        "tas_describe_digests": " ".join(sorted(set(table["describe_digest"].to_pylist()))),
        "tas_crcs": no_crcs.decode(),
    }
    leaves = [f"{f.name}.list.element" if f.type.num_fields else f.name for f in table.schema]
    buffer = BytesIO()
    with pq.ParquetWriter(
        buffer,
        table.schema,
        compression={leaf: "none" if leaf in EMBEDDINGS else "zstd" for leaf in leaves},
        use_dictionary=list(_REPEATED),
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=GROUP_SCENES)
        writer.add_key_value_metadata(metadata)
    # the footer is written last, so the digits of known length in it can be set now
    data = buffer.getbuffer()
    meta = pq.read_metadata(buffer)
    crcs = [
        f"{zlib.crc32(data[slice(*_span(column))]):0{_CRC_DIGITS}x}"
        for group in range(meta.num_row_groups)
        for _, column in _columns(meta, group)
    ]
    place = buffer.getvalue().rindex(no_crcs)
    data[place : place + len(no_crcs)] = "".join(crcs).encode()
    return data


def _opened(path: Path, read: "Callable[[pq.ParquetFile, BinaryIO], Read]") -> Read:
    """What `read` makes of a shard whose footer is right; see `read_group` for the errors."""
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as raw:
            _check_ends(path, raw)
            with pq.ParquetFile(path) as file:
                return read(file, raw)
    except (DamagedShard, FileNotFoundError):
        raise
    except Exception as error:  # pyarrow raises many types; what it read was right
        raise TasError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def _check_ends(path: Path, file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _TAIL_BYTES, 0))
    start = _footer_start(file.read(), size)
    if start < len(_MAGIC):
        raise DamagedShard
    file.seek(0)
    magic = file.read(len(_MAGIC))
    file.seek(start)
    if magic != _MAGIC or _name(file.read()) != path.name:
        raise DamagedShard


def _check_chunks(
    file: BinaryIO, meta: Any, groups: Iterable[int], columns: Sequence[str] | None
) -> None:
    """Raise DamagedShard if a column chunk has not the CRC-32 that the footer tells."""
    crcs, chunks = meta.metadata[b"tas_crcs"].decode(), chunks_of(Path(file.name))
    for group in groups:
        for index, chunk in enumerate(chunks[group]):
            if columns is None or chunk.name in columns:
                file.seek(chunk.start)
                data = file.read(chunk.size)
                place = (group * meta.num_columns + index) * _CRC_DIGITS
                if zlib.crc32(data) != int(crcs[place : place + _CRC_DIGITS], 16):
                    raise DamagedShard
                require_bounded([data])


def _columns(meta: Any, group: int) -> list[tuple[str, Any]]:
    """The chunks of a row group with the names of their columns, in the order of the schema."""
    row_group = meta.row_group(group)
    chunks = map(row_group.column, range(row_group.num_columns))
    return [(chunk.path_in_schema.split(".")[0], chunk) for chunk in chunks]


def _span(chunk: Any) -> tuple[int, int]:
    """First and last byte (exclusive) of a column chunk in its file."""
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start, start + chunk.total_compressed_size


def _footer_start(tail: bytes | memoryview, size: int) -> int:
    """Offset of a parquet file's footer from its last eight bytes; negative if there is none."""
    return size - _TAIL_BYTES - int.from_bytes(tail[:4], "little") if size >= _TAIL_BYTES else -1


def _name(footer: bytes | memoryview) -> str:
    return f"scenes-{hashlib.sha256(footer).hexdigest()[:40]}.parquet"


def _sync_folder(folder: Path) -> None:
    """Make a rename last; not every system lets a folder be opened for that."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
