"""Scenes on disk: one parquet file an image, written whole or not at all."""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.scene import Proposals, Scene

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
_TEXT_COLUMNS = ("captions", "captions_raw", "phrases")
_EMBEDDINGS = ("crop_embeddings", "caption_embeddings", "phrase_embeddings")


def scene_key(image: NDArray[np.uint8], describe_digest: str) -> str:
    """Name of a scene: digest (hex, 40 characters) of the pixels, their shape and the preset."""
    digest = hashlib.sha256(f"{image.shape} {describe_digest} ".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:40]


class SceneStore:
    """A folder of scenes; `key` is a name made by `scene_key`, or any plain file name.

    Damaged files and files of another schema version count as absent: they are made again.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()

    def path(self, key: str) -> Path:
        """The file of a key; raises ValueError for a key that is no plain name."""
        if not re.fullmatch(r"[\w][\w.+-]*", key):
            raise ValueError(f"a scene key is a plain file name, not {key!r}")
        return self.folder / f"{key}.parquet"

    def get(self, key: str) -> Scene | None:
        """The stored scene, or None when there is none of this schema version."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(key)
        if not path.is_file():
            return None
        try:
            table = pq.ParquetFile(path).read()
            version = (table.schema.metadata or {}).get(b"tas_schema_version")
            if version != str(SCHEMA_VERSION).encode() or table.num_rows != 1:
                return None
            return _scene(table.to_pylist()[0])
        except (pa.ArrowException, OSError, KeyError, ValueError):
            return None

    def put(self, key: str, scene: Scene) -> Path:
        """Write a scene to its file (temporary name, fsync, rename) and return the path.

        Raises TasError when the folder cannot be written.
        """
        import pyarrow.parquet as pq

        path = self.path(key)
        temporary: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
                temporary = Path(file.name)
                pq.write_table(_table(scene), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink()
            raise TasError(
                f"cannot write scene to {path} ({error.strerror or error}); choose another folder"
            ) from error
        return path


def _table(scene: Scene) -> "pa.Table":
    import pyarrow as pa

    floats, texts = pa.list_(pa.float32()), pa.list_(pa.string())
    proposals = scene.proposals
    columns: dict[str, tuple[Any, pa.DataType]] = {
        "image_id": (scene.image_id, pa.string()),
        "height_px": (scene.size_hw[0], pa.int32()),
        "width_px": (scene.size_hw[1], pa.int32()),
        "rle_counts": ([rle["counts"] for rle in proposals.rles], texts),
        "boxes_xyxy": (proposals.boxes_xyxy.ravel(), floats),
        "centers_xy": (proposals.centers_xy.ravel(), floats),
        "areas_px": (proposals.areas_px, pa.list_(pa.int64())),
        "predicted_iou": (proposals.predicted_iou, floats),
        "stability": (proposals.stability, floats),
        "dim": (scene.crop_embeddings.shape[1], pa.int32()),
        "image_caption": (scene.image_caption, pa.string()),
        "image_caption_raw": (scene.image_caption_raw, pa.string()),
        "times_s": (json.dumps(scene.times_s), pa.string()),
        "describe_digest": (scene.describe_digest, pa.string()),
    }
    columns |= {name: (getattr(scene, name), texts) for name in _TEXT_COLUMNS}
    columns |= {name: (getattr(scene, name).ravel(), floats) for name in _EMBEDDINGS}
    arrays = {name: pa.array([value], type=kind) for name, (value, kind) in columns.items()}
    metadata = {
        "tas_schema_version": str(SCHEMA_VERSION),
        "tas_describe_digest": scene.describe_digest,
    }
    return pa.table(arrays).replace_schema_metadata(metadata)


def _scene(row: dict[str, Any]) -> Scene:
    size_hw = (row["height_px"], row["width_px"])
    proposals = Proposals(
        rles=[{"size": list(size_hw), "counts": counts} for counts in row["rle_counts"]],
        size_hw=size_hw,
        boxes_xyxy=np.array(row["boxes_xyxy"], np.float32).reshape(-1, 4),
        centers_xy=np.array(row["centers_xy"], np.float32).reshape(-1, 2),
        areas_px=np.array(row["areas_px"], np.int64),
        predicted_iou=np.array(row["predicted_iou"], np.float32),
        stability=np.array(row["stability"], np.float32),
    )
    embeddings = {
        name: np.array(row[name], np.float32).reshape(-1, row["dim"]) for name in _EMBEDDINGS
    }
    return Scene(
        image_id=row["image_id"],
        size_hw=size_hw,
        proposals=proposals,
        captions=row["captions"],
        captions_raw=row["captions_raw"],
        image_caption=row["image_caption"],
        image_caption_raw=row["image_caption_raw"],
        phrases=row["phrases"],
        times_s=json.loads(row["times_s"]),
        describe_digest=row["describe_digest"],
        **embeddings,
    )
