"""The RefCOCO mirrors jxu124/refcoco, refcocoplus and refcocog on the Hugging Face hub.

One parquet file a split, named `train-*`, `validation-*`, `test-*`, `testB-*`: what is testA
elsewhere is called test there (RefCOCOg's test keeps its name). One row a reference: ref_id,
ann_id, image_id, category_id, sentences (a list of raw, sent, sent_id, tokens), and the COCO
records of annotation and image as JSON text in raw_anns and raw_image_info. Columns and row counts
as the mirrors' README states them. Categories carry no names there: `Sample.category` is COCO's id.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasutils.datasets.files import digest_of
from tasutils.datasets.refcoco import dataset_of, refs_of_split
from tasutils.datasets.sample import RefDataset
from tasutils.errors import TasError

COLUMNS = ("ref_id", "ann_id", "image_id", "category_id", "sentences", "raw_anns", "raw_image_info")
#: the mirror's name of a split, by ours
SPLITS = {"train": "train", "val": "validation", "testA": "test", "test": "test", "testB": "testB"}


def mirror_files(folder: Path) -> dict[str, Path]:
    """The mirror's files in a folder or its `data/`, by the mirror's name of the split."""
    found: dict[str, Path] = {}
    for place in (folder, folder / "data"):
        for split in dict.fromkeys(SPLITS.values()):
            for path in sorted(place.glob(f"{split}-*.parquet")):
                found.setdefault(split, path)
    return found


def load_mirror(
    name: str, split: str, split_by: str, mirrored: str, paths: dict[str, Path], images_dir: Path
) -> RefDataset:
    """Read one split of a mirror.

    Args:
        name: such as `refcoco`.
        split: our name of the split, such as `testA`.
        split_by: whose splits are asked for.
        mirrored: whose splits the mirror holds.
        paths: from `mirror_files`.
        images_dir: the folder of COCO train2014.

    Raises:
        TasError: splits that the mirror does not hold, a missing or damaged file.
    """
    refs, instances, path = read_mirror(name, split, split_by, mirrored, paths)
    chosen = refs_of_split(refs, split, path)
    data = dataset_of(name, split, chosen, instances, path, images_dir)
    return replace(data, index_digest=digest_of([path]))


def read_mirror(
    name: str, split: str, split_by: str, mirrored: str, paths: dict[str, Path]
) -> tuple[list[Any], dict[str, Any], Path]:
    """The references and the instances of one split in RefCOCO's form, and their file.

    Arguments and errors as in `load_mirror`.
    """
    folder = next(iter(paths.values())).parent
    if split_by != mirrored:
        raise TasError(
            f"{folder}: the mirror of {name} holds the splits by {mirrored} only; for {split_by} "
            f"get the published files with: tas data get {name}"
        )
    path = paths.get(SPLITS.get(split, split))
    if path is None:
        raise TasError(
            f"{folder}: no {SPLITS.get(split, split)}-*.parquet for {name} {split}; the mirror's "
            f"files here are {', '.join(sorted(p.name for p in paths.values()))}"
        )
    rows = _rows(path)
    refs = [{**row, "split": split} for row in rows]
    instances: dict[str, Any] = {"images": {}, "annotations": {}, "categories": []}
    for row in rows:
        for key, column in (("images", "raw_image_info"), ("annotations", "raw_anns")):
            entry = _record(row[column], column, path)
            instances[key].setdefault(str(entry.get("id")), entry)
    return refs, {k: list(v.values()) if v else [] for k, v in instances.items()}, path


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise TasError(
                f"{path}: no column {', '.join(missing)}; this is no file of the mirror "
                "jxu124/refcoco, refcocoplus or refcocog"
            )
        return list(pq.read_table(path, columns=list(COLUMNS)).to_pylist())
    except TasError:
        raise
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"{path}: damaged ({reason}); get the file again") from None


def _record(text: Any, column: str, path: Path) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise TasError(f"{path}: {column} of a row is no JSON record; get the file again")
    return entry
