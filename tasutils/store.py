"""Scenes on disk: a folder of parquet shards, many scenes a file, one row each."""

import hashlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.scene import Scene
from tasutils.store_rows import scene_table, scenes_of
from tasutils.store_shards import (
    GROUP_SCENES,
    SHARD_NAME,
    DamagedShard,
    ShardIndex,
    bytes_by_column,
    check_shard,
    read_group,
    read_index,
    write_shard,
)

if TYPE_CHECKING:
    import pyarrow as pa

DAMAGED = ".damaged"
_GROUPS_KEPT = 8  # of 16 scenes each: neighbours lie in as many shards as processes wrote them
_STALE_S = 3600.0  # a temporary file of this age is what a killed process left


def scene_key(image: NDArray[np.uint8], describe_digest: str) -> str:
    """Name of a scene: digest (hex, 40 characters) of the pixels, their shape and the preset."""
    digest = hashlib.sha256(f"{image.shape} {describe_digest} ".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:40]


class SceneStore:
    """Scenes by key, see `scene_key`; reads lazily, and may be used by many processes at once.

    A damaged shard is named in a line on stderr and set aside as NAME.damaged: its scenes are
    absent, and are made again. So are those of another schema version, whose files stay. A scene
    that two processes have put at the same time is read once.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()
        self._lock = RLock()
        self._shards: dict[str, ShardIndex] = {}
        self._where: dict[str, tuple[str, int]] = {}  # key -> name of the shard, row
        self._groups: dict[tuple[str, int], pa.Table] = {}  # row groups that `get` read last
        self._ignored: set[str] = set()  # damaged shards of a folder that cannot be written

    def __reduce__(self) -> tuple[Any, ...]:
        return SceneStore, (self.folder,)

    def keys(self) -> set[str]:
        """The keys that are there now."""
        with self._lock:
            self._refresh()
            return set(self._where)

    def keys_by_source(self, describe_digest: str) -> dict[str, str]:
        """The key for each digest of a picture's file, of the scenes of one configuration."""
        with self._lock:
            self._refresh()
            return {
                source: key
                for index in self._shards.values()
                for key, digest, source in zip(
                    index.keys, index.describe_digests, index.sources, strict=True
                )
                if source and digest == describe_digest
            }

    def get(self, key: str) -> Scene | None:
        """The stored scene; None when there is none, or none that is whole."""
        with self._lock:
            if key not in self._where:
                self._refresh()
            while key in self._where:
                name, row = self._where[key]
                table = self._kept(name, row // GROUP_SCENES)
                if table is not None:
                    return scenes_of(table.slice(row % GROUP_SCENES, 1))[0][1]
        return None

    def put(self, key: str, scene: Scene) -> Path | None:
        """`put_many` of one scene: a shard of its own, so use a `SceneWriter` for many."""
        return self.put_many([(key, scene)])

    def put_many(
        self, rows: Iterable[tuple[str, Scene]], sources: Mapping[str, str] | None = None
    ) -> Path | None:
        """Write the scenes that are not there yet as one shard; see `put_table`.

        Args:
            rows: key and scene.
            sources: by key the digest of the picture's file, see `engines.work.open_item`.
        """
        return self.put_table(scene_table(rows, sources))

    def put_table(self, table: "pa.Table") -> Path | None:
        """Write the rows of a `store_rows.scene_table` that are not there yet as one shard.

        Returns its path, None if all were there. It is on the disk whole, or not at all.

        Raises:
            TasError: the folder cannot be written.
        """
        seen, new = self.keys(), []
        for row, key in enumerate(table["key"].to_pylist()):
            if key not in seen:
                seen.add(key)
                new.append(row)
        if not new:
            return None
        path = write_shard(self.folder, table if len(new) == len(table) else table.take(new))
        self._ignored.discard(path.name)
        return path

    def scenes(self, keys: Iterable[str] | None = None) -> Iterator[tuple[str, Scene]]:
        """Each (key, scene) once, all or those of `keys`; one row group is in memory at a time."""
        for table in self.tables(keys=keys):
            yield from scenes_of(table)

    def tables(
        self, columns: Sequence[str] | None = None, keys: Iterable[str] | None = None
    ) -> Iterator["pa.Table"]:
        """The rows as tables, a row group at a time, shard by shard.

        Args:
            columns: of `store_rows.schema`; only these are read, all when None.
            keys: whose rows, all when None; those that are not there are left out.
        """
        rows: dict[tuple[str, int], list[int]] = {}
        with self._lock:
            found = self.keys() if keys is None else self.keys() & set(keys)
            for name, row in map(self._where.__getitem__, found):
                rows.setdefault((name, row // GROUP_SCENES), []).append(row % GROUP_SCENES)
        for name, group in sorted(rows):
            table = self._read(name, group, columns)
            if table is not None:
                yield table.take(sorted(rows[name, group]))

    def verify(self) -> list[str]:
        """Check every byte of every shard and set aside the damaged ones, whose names it returns.

        Temporary files that a killed process left an hour ago or earlier are deleted.
        """
        with self._lock:
            self._refresh()
            damaged = []
            for name in list(self._shards):
                try:
                    check_shard(self.folder / name)
                except FileNotFoundError:  # another process set it aside
                    pass
                except DamagedShard:
                    damaged.append(name)
                    self._set_aside(name)
            self._refresh()
        for path in self.folder.glob("*.tmp"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()
        return damaged

    def bytes_by_column(self) -> dict[str, int]:
        """Bytes on the disk of each column, and of the footers, over all shards."""
        total = dict[str, int]()
        with self._lock:
            self._refresh()
            for name in self._shards:
                for column, size in bytes_by_column(self.folder / name).items():
                    total[column] = total.get(column, 0) + size
        return total

    def _kept(self, name: str, group: int) -> "pa.Table | None":
        """A row group, of which the last few are kept."""
        if (name, group) not in self._groups:
            table = self._read(name, group)
            if table is None:
                return None
            if len(self._groups) >= _GROUPS_KEPT:
                del self._groups[next(iter(self._groups))]
            self._groups[name, group] = table
        return self._groups[name, group]

    def _read(
        self, name: str, group: int, columns: Sequence[str] | None = None
    ) -> "pa.Table | None":
        """A row group, or None if its shard is damaged or gone, which is then known."""
        try:
            return read_group(self.folder / name, group, columns)
        except DamagedShard:
            self._set_aside(name)
        except FileNotFoundError:  # another process set it aside
            pass
        self._refresh()
        return None

    def _refresh(self) -> None:
        """Learn of shards that came or went since."""
        with self._lock:
            names = self._names() - self._ignored
            gone, new = self._shards.keys() - names, []
            for name in gone:
                del self._shards[name]
            for name in sorted(names - self._shards.keys()):
                try:
                    self._shards[name] = read_index(self.folder / name)
                    new.append(name)
                except DamagedShard:
                    self._set_aside(name)
                except FileNotFoundError:  # another process set it aside
                    pass
            if gone:
                self._where, self._groups = {}, {}
            for name in self._shards if gone else new:
                for row, key in enumerate(self._shards[name].keys):
                    self._where.setdefault(key, (name, row))

    def _names(self) -> set[str]:
        try:
            return {path.name for path in self.folder.iterdir() if SHARD_NAME.fullmatch(path.name)}
        except (FileNotFoundError, NotADirectoryError):
            return set()
        except OSError as error:
            raise TasError(f"{self.folder}: cannot be read ({error.strerror})") from error

    def _set_aside(self, name: str) -> None:
        path = self.folder / name
        try:
            path.replace(path.with_name(name + DAMAGED))
            fate = f"set aside as {name}{DAMAGED}"
        except OSError:
            self._ignored.add(name)
            fate = "it is left there"
        print(f"tas: {path} is damaged; {fate}, its scenes are made again", file=sys.stderr)
