"""Scenes on disk: a folder of parquet files, many scenes a file, one row each.

The name of a file holds the SHA-256 of its bytes, so no damage to it goes unseen. Embeddings are
the bytes of little-endian float16 (n, dim), run-length codes ASCII, `times_s` JSON; `source` is the
digest of the file that the picture was decoded from, "" if unknown.
"""

import hashlib
import io
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError, refused, say_once
from tasutils.paths import sweep, whole_file
from tasutils.scene import Proposals, Scene

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 3
GROUP_SCENES = 8  # are read together; as many are written together, or fewer
FILE_SCENES = 256  # a file of so many is not joined with others
FLUSH_S = 2.0  # a scene waits no longer to be written, but for the describing of another one
_JOIN_FILES = 32
_NAME = re.compile(r"scenes-([0-9a-f]{64})\.parquet")
_NUMBERS = {
    "boxes_xyxy": np.float32, "centers_xy": np.float32, "areas_px": np.int64,
    "predicted_iou": np.float32, "stability": np.float32,
}  # fmt: skip
_TEXTS = ("captions", "captions_raw", "phrases")
_SAME = (*_TEXTS, "image_id", "image_caption", "image_caption_raw", "describe_digest")
_WORDS = ("caption_embeddings", "phrase_embeddings")
_KNOWN = ("key", "describe_digest", "source")  # columns that tell what a file holds
Known = list[tuple[str, str, str]]


def scene_key(image: NDArray[np.uint8], describe_digest: str) -> str:
    """Name of a scene: digest (hex, 40 characters) of the pixels, their shape and the preset."""
    digest = hashlib.sha256(f"{image.shape} {describe_digest} ".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:40]


class SceneStore:
    """Scenes by key, see `scene_key`; many processes may read and write one folder at once.

    A damaged file is named in a line on stderr and set aside as NAME.damaged: its scenes are
    absent, and are made again. So are those of an older form, whose files stay. A scene that two
    processes have put is read once.

    In a `with` block scenes that are put are written several at a time, at most a few seconds
    later, and the rest when it is left; then files of few scenes are joined.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()
        self._files: dict[str, Known] = {}  # what each file holds; nothing if it cannot be used
        self._where: dict[str, tuple[str, int]] = {}  # key -> name of the file, row
        self._waiting: dict[str, tuple[Scene, str]] = {}
        self._inside = False
        self._n_written = 0
        self._flushed_s = 0.0

    def __enter__(self) -> Self:
        self._inside, self._flushed_s = True, time.monotonic()
        sweep(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._inside = False
        if kind is None:
            self.flush()
            if self._n_written:
                self.join()
        else:
            with suppress(TasError):  # the first error is told
                self.flush()

    def require_writable(self) -> None:
        """Make the folder; TasError if it cannot be written."""
        with self._writing():
            with whole_file(self.folder / ".tas-probe") as temporary:
                temporary.touch()
            (self.folder / ".tas-probe").unlink(missing_ok=True)

    def keys(self) -> set[str]:
        """The keys of the scenes that are written now."""
        self._refresh()
        return set(self._where)

    def sources(self, describe_digest: str) -> dict[str, str]:
        """The key by the digest of a picture's file, of the scenes of one configuration."""
        self._refresh()
        known = (row for rows in self._files.values() for row in rows)
        return {source: key for key, of, source in known if source and of == describe_digest}

    def get(self, key: str) -> Scene | None:
        """The scene that is written, or waits for it; None when there is none."""
        if self._waiting and time.monotonic() - self._flushed_s > FLUSH_S:
            self.flush()
        if key in self._waiting:
            return self._waiting[key][0]
        if key not in self._where:
            self._refresh()
        while key in self._where:
            name, row = self._where[key]
            try:
                return _group(self.folder / name, row // GROUP_SCENES)[row % GROUP_SCENES]
            except FileNotFoundError:  # another process joined or set it aside
                self._refresh()
        return None

    def scenes(self) -> Iterator[tuple[str, Scene]]:
        """Each (key, scene) once, in the order in which they lie there."""
        for key in sorted(self.keys(), key=self._where.__getitem__):
            scene = self.get(key)
            if scene is not None:
                yield key, scene

    def put(self, key: str, scene: Scene, source: str = "") -> None:
        """Keep a scene; source: digest of the picture's file. TasError if it cannot be written."""
        # a mask that waits here must not keep the device's memory
        self._waiting[key] = replace(scene, proposals=scene.proposals.released()), source
        late = time.monotonic() - self._flushed_s > FLUSH_S
        if not self._inside or late or len(self._waiting) >= GROUP_SCENES:
            self.flush()

    def flush(self) -> None:
        """Write what waits, but what is there by now. Errors as of `put`."""
        there = self.keys() if self._waiting else set()
        new = self._waiting.keys() - there
        rows = [_row(key, *waits) for key, waits in self._waiting.items() if key in new]
        if rows:
            import pyarrow as pa

            self._write(pa.Table.from_pylist(rows, schema=schema()))
            self._n_written += 1
        self._waiting, self._flushed_s = {}, time.monotonic()
        if rows and self._n_written % _JOIN_FILES == 0:
            self.join()

    def join(self) -> None:
        """Write files of few scenes as larger ones. Errors as of `put`."""
        self._refresh()
        few = list[str]()
        names = [name for name, known in self._files.items() if 0 < len(known) < FILE_SCENES]
        with suppress(FileNotFoundError):  # another process joins them
            for name in sorted(names, key=lambda name: (self.folder / name).stat().st_mtime_ns):
                few.append(name)
                if sum(len(self._files[one]) for one in few) >= FILE_SCENES:
                    self._join(few)
                    few = []
            self._join(few)

    def _join(self, names: list[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if len(names) < 2:
            return
        table = pa.concat_tables([pq.read_table(self.folder / name) for name in names])
        first: dict[str, int] = {}
        for row, key in enumerate(table["key"].to_pylist()):
            first.setdefault(key, row)
        written = self._write(table.take(list(first.values())))
        for name in names:  # only now, so that no scene is ever absent
            if name != written:
                with suppress(OSError):
                    (self.folder / name).unlink()

    def _write(self, table: "pa.Table") -> str:
        import pyarrow.parquet as pq

        digests = " ".join(sorted(set(table["describe_digest"].to_pylist())))
        metadata = {"tas_schema_version": str(SCHEMA_VERSION), "tas_describe_digests": digests}
        buffer = io.BytesIO()
        pq.write_table(
            table.replace_schema_metadata(metadata), buffer, row_group_size=GROUP_SCENES,
            compression="zstd", use_dictionary=False, write_statistics=False,
        )  # fmt: skip
        data = buffer.getbuffer()
        name = f"scenes-{hashlib.sha256(data).hexdigest()}.parquet"
        path = self.folder / name
        with self._writing(), whole_file(path) as temporary, temporary.open("xb") as file:
            file.write(data)
        return name

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with refused(f"cannot write scenes to {self.folder}", "choose another folder"):
            self.folder.mkdir(parents=True, exist_ok=True)
            yield

    def _refresh(self) -> None:
        try:
            names = {path.name for path in self.folder.iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            names = set()
        except OSError as error:
            raise TasError(f"{self.folder}: cannot be read ({error.strerror})") from error
        names = {name for name in names if _NAME.fullmatch(name)}
        if names == self._files.keys():
            return
        self._files = {name: known for name, known in self._files.items() if name in names}
        for name in sorted(names - self._files.keys()):
            with suppress(FileNotFoundError):  # it went meanwhile
                self._files[name] = self._known(name)
        self._where = {}
        for name, known in self._files.items():
            for row, (key, _, _) in enumerate(known):
                self._where.setdefault(key, (name, row))

    def _known(self, name: str) -> Known:
        """What a file holds, after a look at all its bytes; nothing if it is damaged or older."""
        import pyarrow.parquet as pq

        path = self.folder / name
        with _readable(path):
            with path.open("rb") as raw:
                digest = hashlib.file_digest(raw, "sha256").hexdigest()
            if f"scenes-{digest}.parquet" != name:
                self._set_aside(path)
                return []
            with pq.ParquetFile(path) as file:
                version = (file.metadata.metadata or {}).get(b"tas_schema_version")
                if version != str(SCHEMA_VERSION).encode():
                    say_once(
                        f"tas: {self.folder} holds scenes of another form, which are skipped and "
                        "made again; delete them to be rid of this line"
                    )
                    return []
                rows = file.read(list(_KNOWN), use_threads=False)
            return list(zip(*(rows[column].to_pylist() for column in _KNOWN), strict=True))

    def _set_aside(self, path: Path) -> None:
        try:
            path.replace(path.with_name(f"{path.name}.damaged"))
            fate = f"set aside as {path.name}.damaged"
        except OSError:
            fate = "it is left there"
        print(f"tas: {path} is damaged; {fate}, its scenes are made again", file=sys.stderr)


@cache
def schema() -> "pa.Schema":
    """The columns of a table of scenes; none of them may be null."""
    import pyarrow as pa

    def many(kind: pa.DataType) -> pa.DataType:
        return pa.list_(pa.field("element", kind, nullable=False))

    kinds: dict[str, pa.DataType] = dict.fromkeys((*_KNOWN, "image_id"), pa.string())
    kinds |= dict.fromkeys(("height_px", "width_px", "dim"), pa.int32())
    kinds |= {"rle_counts": many(pa.binary())}
    kinds |= {name: many(pa.from_numpy_dtype(kind)) for name, kind in _NUMBERS.items()}
    kinds |= dict.fromkeys(_TEXTS, many(pa.string()))
    kinds |= dict.fromkeys(("image_caption", "image_caption_raw", "times_s"), pa.string())
    kinds |= {"views": pa.map_(pa.string(), pa.field("value", pa.binary(), nullable=False))}
    kinds |= dict.fromkeys(_WORDS, pa.binary())
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def _row(key: str, scene: Scene, source: str) -> dict[str, Any]:
    def halves(rows: NDArray[np.floating]) -> bytes:  # describe() has rounded them already
        return rows.astype("<f2").tobytes()

    proposals, (height, width) = scene.proposals, scene.size_hw
    numbers = {name: getattr(proposals, name).astype(kind) for name, kind in _NUMBERS.items()}
    return {
        "key": key, "source": source, "height_px": height, "width_px": width,
        "dim": scene.caption_embeddings.shape[1],
        "rle_counts": [rle["counts"].encode("ascii") for rle in proposals.rles],
        "times_s": json.dumps(scene.times_s),
        "views": [(name, halves(rows)) for name, rows in scene.views.items()],
        **{name: values.ravel() for name, values in numbers.items()},
        **{name: getattr(scene, name) for name in _SAME},
        **{name: halves(getattr(scene, name)) for name in _WORDS},
    }  # fmt: skip


@lru_cache(maxsize=4)
def _group(path: Path, group: int) -> list[Scene]:
    """The scenes of a group of rows, the inverse of `_row`."""
    import pyarrow.parquet as pq

    with _readable(path), pq.ParquetFile(path) as file:
        table = file.read_row_group(group, use_threads=False)
        columns = {  # a number has no Python object of its own
            name: table[name].to_numpy() if name in _NUMBERS else table[name].to_pylist()
            for name in schema().names
        }
        rows = zip(*columns.values(), strict=True)
        return [_scene(dict(zip(columns, row, strict=True))) for row in rows]


def _scene(row: dict[str, Any]) -> Scene:
    size_hw = (row["height_px"], row["width_px"])

    def rows(data: bytes) -> NDArray[np.float32]:
        return np.frombuffer(data, "<f2").astype(np.float32).reshape(-1, row["dim"])

    numbers = {name: row[name].astype(kind) for name, kind in _NUMBERS.items()}
    for name, k in (("boxes_xyxy", 4), ("centers_xy", 2)):
        numbers[name] = numbers[name].reshape(-1, k)
    rles = [{"size": list(size_hw), "counts": c.decode("ascii")} for c in row["rle_counts"]]
    proposals = Proposals(rles=rles, size_hw=size_hw, **numbers)
    kept = {name: row[name] for name in _SAME} | {name: rows(row[name]) for name in _WORDS}
    views = {name: rows(data) for name, data in row["views"]}
    times_s = json.loads(row["times_s"])
    return Scene(size_hw=size_hw, proposals=proposals, views=views, times_s=times_s, **kept)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """One line for what pyarrow, or a file of another maker, raises; a file that went is told."""
    try:
        yield
    except (FileNotFoundError, TasError):
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, MemoryError) as error:
        told = " ".join(str(error).split())[:120]
        raise TasError(f"{path} cannot be read as scenes ({told}); move it away") from error
