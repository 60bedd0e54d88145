"""Scenes as rows of a table: one row a scene, and back, bit for bit.

Embeddings are the bytes of little-endian float16 (n, dim), run-length codes ASCII, `times_s` JSON;
`source` is the digest of the file that the picture was decoded from ("" if unknown), see
`engines.work.open_item`.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError
from tasutils.images import MAX_PIXELS
from tasutils.mask_runs import fills
from tasutils.scene import Proposals, Scene

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 2
EMBEDDINGS = ("crop_embeddings", "caption_embeddings", "phrase_embeddings")
_TEXTS = ("captions", "captions_raw", "phrases")
_NUMBERS = {
    "boxes_xyxy": np.float32,
    "centers_xy": np.float32,
    "areas_px": np.int64,
    "predicted_iou": np.float32,
    "stability": np.float32,
}


@cache
def schema() -> "pa.Schema":
    """The columns of a table of scenes; none of them may be null."""
    import pyarrow as pa

    kinds: dict[str, pa.DataType] = {
        "key": pa.string(),
        "describe_digest": pa.string(),
        "source": pa.string(),
        "image_id": pa.string(),
        "height_px": pa.int32(),
        "width_px": pa.int32(),
        "dim": pa.int32(),
        "rle_counts": _list_of(pa.binary()),
    }
    kinds |= {name: _list_of(pa.from_numpy_dtype(kind)) for name, kind in _NUMBERS.items()}
    kinds |= {name: _list_of(pa.string()) for name in _TEXTS}
    kinds |= {name: pa.string() for name in ("image_caption", "image_caption_raw", "times_s")}
    kinds |= {name: pa.binary() for name in EMBEDDINGS}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def scene_table(
    rows: Iterable[tuple[str, Scene]], sources: Mapping[str, str] | None = None
) -> "pa.Table":
    """The table (see `schema`) of scenes with their keys; `sources` has file digests by key.

    Embeddings are rounded to float16, which changes nothing of what describe() gives.
    """
    import pyarrow as pa

    listed = [_row(key, scene, (sources or {}).get(key, "")) for key, scene in rows]
    return pa.Table.from_pylist(listed, schema=schema())


def scenes_of(table: "pa.Table") -> list[tuple[str, Scene]]:
    """The (key, scene) of each row, the inverse of `scene_table`.

    Raises:
        TasError: rows that are no scenes; a store that others write to may hold any.
    """
    if table.schema != schema():
        table = _cast(table)
    try:
        return _scenes_of(table)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise _unsound(" ".join(str(error).split())[:80]) from None


def _scenes_of(table: "pa.Table") -> list[tuple[str, Scene]]:
    lists = {name: _split(table[name], kind) for name, kind in _NUMBERS.items()}
    plain = {name: table[name].to_pylist() for name in table.column_names if name not in lists}
    result = []
    for index, key in enumerate(plain["key"]):
        row = {name: column[index] for name, column in plain.items()}
        row |= {name: column[index] for name, column in lists.items()}
        result.append((key, _scene(row)))
    return result


def _cast(table: "pa.Table") -> "pa.Table":
    """The columns of `schema`, in its types; more are left out."""
    import pyarrow as pa

    try:
        return table.select(schema().names).cast(schema())
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise _unsound(" ".join(str(error).split())[:80]) from None


def _unsound(reason: str) -> TasError:
    return TasError(f"the store holds a row that is no scene ({reason}); move the store away")


def _list_of(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    return pa.list_(pa.field("element", kind, nullable=False))


def _row(key: str, scene: Scene, source: str) -> dict[str, Any]:
    proposals = scene.proposals
    row: dict[str, Any] = {
        "key": key,
        "describe_digest": scene.describe_digest,
        "source": source,
        "image_id": scene.image_id,
        "height_px": scene.size_hw[0],
        "width_px": scene.size_hw[1],
        "dim": scene.crop_embeddings.shape[1],
        "rle_counts": [rle["counts"].encode("ascii") for rle in proposals.rles],
        "image_caption": scene.image_caption,
        "image_caption_raw": scene.image_caption_raw,
        "times_s": json.dumps(scene.times_s),
    }
    row |= {
        name: np.asarray(getattr(proposals, name), kind).ravel() for name, kind in _NUMBERS.items()
    }
    row |= {name: getattr(scene, name) for name in _TEXTS}
    return row | {name: getattr(scene, name).astype("<f2").tobytes() for name in EMBEDDINGS}


def _split(column: "pa.ChunkedArray", kind: Any) -> list[NDArray[Any]]:
    """The values of each row of a column of lists, without a Python object for each of them."""
    result = []
    for chunk in column.chunks:
        offsets = chunk.offsets.to_numpy()
        values = chunk.values.to_numpy(zero_copy_only=False).astype(kind, copy=False)
        result += [values[a:b].copy() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    return result


def _scene(row: Mapping[str, Any]) -> Scene:
    size_hw, n = (row["height_px"], row["width_px"]), len(row["rle_counts"])
    if min(size_hw) < 1 or size_hw[0] * size_hw[1] > MAX_PIXELS:
        raise ValueError(f"a picture of {size_hw[0]} x {size_hw[1]} px")
    if not fills(row["rle_counts"], size_hw[0] * size_hw[1]):
        raise ValueError("run lengths that do not fill the picture")
    proposals = Proposals(
        rles=[
            {"size": list(size_hw), "counts": counts.decode("ascii")}
            for counts in row["rle_counts"]
        ],
        size_hw=size_hw,
        boxes_xyxy=row["boxes_xyxy"].reshape(-1, 4),
        centers_xy=row["centers_xy"].reshape(-1, 2),
        areas_px=row["areas_px"],
        predicted_iou=row["predicted_iou"],
        stability=row["stability"],
    )
    embeddings = {
        name: np.frombuffer(row[name], "<f2").astype(np.float32).reshape(-1, row["dim"])
        for name in EMBEDDINGS
    }
    lengths = {name: len(row[name]) for name in ("captions", "captions_raw")}
    lengths |= {name: len(getattr(proposals, name)) for name in _NUMBERS}
    lengths |= {name: len(embeddings[name]) for name in EMBEDDINGS[:2]}
    wrong = [name for name, length in lengths.items() if length != n]
    if wrong or len(embeddings["phrase_embeddings"]) != len(row["phrases"]):
        raise ValueError(f"another number of {wrong[0] if wrong else 'phrases'} than there are")
    return Scene(
        image_id=row["image_id"],
        size_hw=size_hw,
        proposals=proposals,
        image_caption=row["image_caption"],
        image_caption_raw=row["image_caption_raw"],
        times_s=json.loads(row["times_s"]),
        describe_digest=row["describe_digest"],
        captions=row["captions"],
        captions_raw=row["captions_raw"],
        phrases=row["phrases"],
        **embeddings,
    )
