"""RefCOCO, RefCOCO+ and RefCOCOg: in the layout of github.com/lichengunc/refer, and its mirrors.

`instances.json` holds COCO images, annotations and categories, `refs(<split_by>).p` is a pickled
list of references, each with several sentences. gRefCOCO's `grefs(<split_by>).json` is such a list
too; there a reference has the ids of several annotations, or [-1] where its sentences mean nothing.

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
BOTH = "get both files from the same place"
#: the mirrors' name of a split, by ours, where they differ
MIRRORED = {"val": "validation", "testA": "test"}


class _Sentence(BaseModel):
    sent_id: int | str
    sent: str
    raw: str | None = None


class _Ref(BaseModel):
    ref_id: int | str
    ann_id: int | str | list[int | str]
    image_id: int | str
    category_id: int | str | list[int | str]
    split: str
    sentences: list[_Sentence]
    no_target: bool | None = None

    @property
    def ann_ids(self) -> list[int | str]:
        """Of the annotations whose union is meant."""
        listed = self.ann_id if isinstance(self.ann_id, list) else [self.ann_id]
        return [name for name in listed if str(name) != "-1"]


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
        key = str(ref.image_id)
        if key not in files.images:
            raise TasError(f"{files.source}: image {key} of ref {ref.ref_id} is not in it; {BOTH}")
        shapes = [_shape(files, ref, name) for name in ref.ann_ids]
        images[key] = images.get(key) or image_entry(images_dir, files.images[key], files.source)
        if targets.setdefault(ref.ref_id, ref.ann_id) != ref.ann_id:
            both = f"annotation {targets[ref.ref_id]} and annotation {ref.ann_id}"
            raise TasError(f"{files.refs_source}: ref {ref.ref_id} is {both}; {AGAIN}")
        listed = ref.category_id if isinstance(ref.category_id, list) else [ref.category_id]
        names = (files.categories.get(str(name), str(name)) for name in listed if ref.ann_ids)
        category = " and ".join(dict.fromkeys(names))
        for said in ref.sentences:
            ids = f"{ref.ref_id}-{said.sent_id}", key, str(ref.ref_id), str(said.sent_id)
            raw, ann_ids = said.sent if said.raw is None else said.raw, numbers(ref.ann_ids)
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
    wanted = [record(_Ref, ref, source) for ref in refs if _is_of(ref["split"], split)]
    for ref in wanted:
        if ref.no_target is not None and ref.no_target == bool(ref.ann_ids):
            said = f"no_target is {ref.no_target} with annotations {ref.ann_id}"
            raise TasError(f"{source}: ref {ref.ref_id}: {said}; {AGAIN}")
    if not wanted:
        known = ", ".join(sorted({ref["split"] for ref in refs})) or "none"
        raise TasError(f"{source}: no split {split!r}; it has {known}")
    return wanted


def _shape(files: RefFiles, ref: _Ref, ann_id: int | str) -> Any:
    """The segmentation of an annotation of a reference, which must lie in its image."""
    image, annotation = str(ref.image_id), files.annotations.get(str(ann_id))
    if annotation is None:
        lacking = f"annotation {ann_id} of ref {ref.ref_id} is not in it"
        raise TasError(f"{files.source}: {lacking}; {BOTH}")
    if annotation.get("iscrowd") and isinstance(ref.ann_id, list):
        return []  # gRefCOCO's own reader leaves crowds out of the truth
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


class _Drawn(BaseModel):
    """A reference of RefCOCO-M with its mask, COCO's run lengths."""

    id: int
    category: str
    sentences: list[str]
    mask: dict[str, Any]


class _Picture(BaseModel):
    image_id: int
    file_name: str
    samples: list[_Drawn]


def read_refcoco_m(paths: list[Path]) -> RefFiles:
    """Read RefCOCO-M: one row a picture, with its references; raises TasError for damaged files."""
    refs, images, annotations = list[Any](), dict[str, Any](), dict[str, Any]()
    remedy = "this is no file of moondream/refcoco-m"
    for path in paths:
        for row in parquet_rows(
            path, _Picture.model_fields, remedy, columns=[*_Picture.model_fields]
        ):
            picture = record(_Picture, row, path)
            for ref in picture.samples:
                height, width = [*ref.mask.get("size", ()), 0, 0][:2]
                entry = {"file_name": picture.file_name, "height": height, "width": width}
                images[str(picture.image_id)] = entry
                annotations[str(ref.id)] = {
                    "image_id": picture.image_id, "segmentation": ref.mask,
                }  # fmt: skip
                refs.append({
                    "ref_id": ref.id, "ann_id": ref.id, "category_id": ref.category,
                    "image_id": picture.image_id, "split": "val",
                    "sentences": [{"sent_id": k, "sent": s} for k, s in enumerate(ref.sentences)],
                })  # fmt: skip
    return RefFiles(refs, images, annotations, paths[0], paths[0], digest_of(paths))


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
