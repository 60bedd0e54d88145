"""RefCOCO, RefCOCO+ and RefCOCOg: in the layout of github.com/lichengunc/refer, and its mirrors.

`instances.json` holds COCO images, annotations and categories, `refs(<split_by>).p` is a pickled
list of references, each with several sentences.

The mirrors jxu124/refcoco, refcocoplus and refcocog on the Hugging Face hub are parquet files named
by split, testA as test (RefCOCOg's test keeps its name): one row a reference, the COCO records of
annotation and image as JSON text. Categories carry no names there: `Sample.category` is COCO's id.

Every layout is read into `RefFiles`, of which `split_of` makes a data set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasutils.datasets.files import (
    AGAIN,
    by_id,
    digest_of,
    entries,
    load_plain,
    parquet_rows,
    parsed,
    read_json,
    record,
)
from tasutils.datasets.sample import ImageEntry, RefDataset, Sample, annotated, image_entry, numbers
from tasutils.errors import TasError

MIRROR_COLUMNS = (
    "ref_id", "ann_id", "image_id", "category_id", "sentences", "raw_image_info", "raw_anns",
)  # fmt: skip
#: the mirrors' name of a split, by ours, where they differ
MIRRORED = {"val": "validation", "testA": "test"}


class _Sentence(BaseModel):
    sent_id: int | str
    sent: str
    raw: str | None = None


class _Ref(BaseModel):
    ref_id: int | str
    ann_id: int | str
    image_id: int | str
    category_id: int | str
    split: str
    sentences: list[_Sentence]


@dataclass(frozen=True)
class RefFiles:
    """The files of a data set as read, before any split is looked at."""

    refs: list[Any]  # of all splits, as dictionaries
    images: dict[str, Any]  # COCO's records by id
    annotations: dict[str, Any]
    source: Path  # the file of the records, which messages name
    refs_source: Path  # that of the references
    digest: str  # SHA-256 hex of both
    categories: dict[str, str] = field(default_factory=dict)  # names by id


def load_refcoco(
    root: Path | str, name: str, split_by: str, split: str, images_dir: Path | str
) -> RefDataset:
    """Read one split, such as `testA` by `unc`, from `<root>/<name>/` in RefCOCO's layout.

    A reference's own `file_name` is not the image's. Raises TasError where a file is missing or
    damaged, or there is no such split.
    """
    folder = Path(root) / name
    files = read_files(folder / f"refs({split_by}).p", folder / "instances.json")
    return split_of(files, name, split, Path(images_dir))


def read_files(refs_path: Path, instances_path: Path) -> RefFiles:
    """Read two files in RefCOCO's form, the references pickled or as `.json`; raises TasError."""
    read = read_json if refs_path.suffix == ".json" else load_plain
    refs, instances = entries(read(refs_path), refs_path), read_json(instances_path)
    images, annotations, categories = (
        by_id(entries(instances, instances_path, key), key, instances_path)
        for key in ("images", "annotations", "categories")
    )
    names = {key: str(entry.get("name", key)) for key, entry in categories.items()}
    digest = digest_of([instances_path, refs_path])
    return RefFiles(refs, images, annotations, instances_path, refs_path, digest, names)


def split_of(files: RefFiles, name: str, split: str, images_dir: Path) -> RefDataset:
    """One split of files that were read; arguments and errors otherwise as in `load_refcoco`."""
    refs, rows = _refs_of(files, split), list[tuple[Sample, list[Any] | None]]()
    images, targets = dict[str, ImageEntry](), dict[Any, Any]()
    for ref in refs:
        key, shapes = str(ref.image_id), [_shape(files, ref, ref.ann_id)]
        images[key] = images.get(key) or image_entry(images_dir, files.images[key], files.source)
        if targets.setdefault(ref.ref_id, ref.ann_id) != ref.ann_id:
            both = f"annotation {targets[ref.ref_id]} and annotation {ref.ann_id}"
            raise TasError(f"{files.refs_source}: ref {ref.ref_id} is {both}; {AGAIN}")
        category = files.categories.get(str(ref.category_id), str(ref.category_id))
        for said in ref.sentences:
            ids = f"{ref.ref_id}-{said.sent_id}", key, str(ref.ref_id), str(said.sent_id)
            raw, ann_ids = said.sent if said.raw is None else said.raw, numbers([ref.ann_id])
            rows.append((Sample(*ids, said.sent, raw, category, split, ann_ids=ann_ids), shapes))
    parts, where = sorted({ref.split for ref in refs}), f"{files.source}: ref"
    together = f"{name} {split}: {' and '.join(parts)} together, as REFER takes it"
    notes = [together] if parts != [split] else []
    return annotated(name, split, rows, images, files.digest, where, notes=notes, refer=True)


def _is_of(own: str, wanted: str) -> bool:
    """Whether a reference of split `own` (testAB) belongs to one (testA), by REFER's letters."""
    if wanted in ("testA", "testB", "testC"):
        return own.startswith("test") and wanted[-1] in own.removeprefix("test")
    return wanted in own if wanted == "test" else own == wanted


def _refs_of(files: RefFiles, split: str) -> list[_Ref]:
    source, refs = files.refs_source, files.refs
    if not all(isinstance(ref, dict) and isinstance(ref.get("split"), str) for ref in refs):
        raise TasError(f"{source}: a reference without its split; {AGAIN}")
    if any(isinstance(ref.get("ann_id"), list) or "no_target" in ref for ref in refs):
        what = "gRefCOCO, whose sentences mean several things or none"
        raise TasError(f"{source}: this is {what}; only RefCOCO's files are read here")
    wanted = [record(_Ref, ref, source) for ref in refs if _is_of(ref["split"], split)]
    if not wanted:
        known = ", ".join(sorted({ref["split"] for ref in refs})) or "none"
        raise TasError(f"{source}: no split {split!r}; it has {known}")
    return wanted


def _shape(files: RefFiles, ref: _Ref, ann_id: int | str) -> Any:
    """The segmentation of an annotation of a reference, which must lie in its image."""
    image, annotation = str(ref.image_id), files.annotations.get(str(ann_id))
    if image not in files.images or annotation is None:
        lacking = f"image {image} or annotation {ann_id} of ref {ref.ref_id} is not in it"
        raise TasError(f"{files.source}: {lacking}; get both files from the same place")
    there, shape = annotation.get("image_id"), annotation.get("segmentation")
    if str(there) != image or not isinstance(shape, list | dict):
        wrong = f"annotation {ann_id} of ref {ref.ref_id} lies in image {there}, not {image}"
        raise TasError(f"{files.source}: {wrong}, or has no shape; get both files again")
    return shape


# ---- mirrors


def mirror_files(folder: Path) -> dict[str, list[Path]]:
    """A mirror's files in a folder or its `data/`, by the mirror's name of the split."""
    return {
        split: paths
        for place in (folder / "data", folder)
        for split in ("train", "validation", "test", "testB")
        if (paths := sorted(place.glob(f"{split}-*.parquet")))
    }


def read_mirror(name: str, split: str, paths: dict[str, list[Path]]) -> RefFiles:
    """Read what a mirror holds of one split, by our name; `test` of one that has a testB is both.

    `paths` are those of `mirror_files`; raises TasError where a file is missing or damaged.
    """
    refs, read = list[Any](), list[Path]()
    for own in ["testA", "testB"] if split == "test" and "testB" in paths else [split]:
        for path in shards(f"{name} {own}", MIRRORED.get(own, own), paths):
            remedy = "this is no file of the mirror jxu124/refcoco, refcocoplus or refcocog"
            rows = parquet_rows(path, MIRROR_COLUMNS, remedy, columns=list(MIRROR_COLUMNS))
            refs += [row | {"split": own} for row in rows]
            read.append(path)
    images, annotations = (
        by_id([parsed(ref[column], read[0]) for ref in refs], column, read[0])
        for column in MIRROR_COLUMNS[-2:]
    )
    return RefFiles(refs, images, annotations, read[0], read[0], digest_of(read))


def shards(what: str, mirrored: str, paths: dict[str, list[Path]]) -> list[Path]:
    """All files of a mirror's split; raises TasError where one is missing."""
    found = paths.get(mirrored, [])
    if not found:
        there = [path for each in paths.values() for path in each]
        lacking = f"{there[0].parent}: no {mirrored}-*.parquet for {what}"
        raise TasError(f"{lacking}; there are {', '.join(path.name for path in there)}")
    said = re.search(r"-of-(\d+)", found[0].name)
    if said and int(said[1]) != len(found):
        some = f"{found[0].parent}: {len(found)} of the {int(said[1])} files of {what}"
        raise TasError(f"{some}; get the others: {mirrored}-*.parquet")
    return found
