"""RefCOCO, RefCOCO+ and RefCOCOg: in the layout of github.com/lichengunc/refer, and its mirrors.

`<root>/<name>/instances.json` holds COCO images, annotations and categories;
`<root>/<name>/refs(<split_by>).p` is a pickled list of references, each with several sentences.

The mirrors jxu124/refcoco, refcocoplus and refcocog on the Hugging Face hub are parquet files named
`train-*`, `validation-*`, `test-*`, `testB-*`: what is testA elsewhere is called test there
(RefCOCOg's test keeps its name). One row a reference, with the COCO records of annotation and image
as JSON text in raw_anns and raw_image_info. Categories carry no names there: `Sample.category` is
COCO's id.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasutils.datasets.files import by_id, digest_of, entries, load_plain, read_json, record
from tasutils.datasets.sample import (
    ImageEntry,
    RefDataset,
    Sample,
    image_entry,
    numbers,
    unique_ids,
    usual_notes,
)
from tasutils.datasets.shapes import Overlap, segmentation_mask
from tasutils.errors import TasError

MIRROR_COLUMNS = (
    "ref_id", "ann_id", "image_id", "category_id", "sentences", "raw_anns", "raw_image_info",
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
    sentences: list[_Sentence]


class _Image(BaseModel):
    file_name: str
    height: int
    width: int


class _Annotation(BaseModel):
    image_id: int | str
    segmentation: list[Any] | dict[str, Any]


@dataclass(frozen=True)
class RefFiles:
    """The files of a data set as read, before any split is looked at."""

    refs: list[Any]  # of all splits
    images: dict[str, Any]  # COCO's records by id
    annotations: dict[str, Any]
    categories: dict[str, str]  # names by id
    source: Path  # the file of the records, which messages name
    refs_source: Path  # that of the references
    digest: str  # SHA-256 hex of both


def load_refcoco(
    root: Path | str,
    name: str,
    split_by: str,
    split: str,
    images_dir: Path | str,
    overlap: Overlap = "union",
) -> RefDataset:
    """Read one split, such as `testA` by `unc`, from `<root>/<name>/` in RefCOCO's layout.

    Images are named by `images[].file_name` in `images_dir` (COCO train2014 for the published
    sets); a reference's own `file_name` is not the image's. For `overlap` see `segmentation_mask`.
    Raises TasError where a file is missing or damaged, or there is no such split; lists those
    there are.
    """
    folder = Path(root) / name
    files = read_files(folder / f"refs({split_by}).p", folder / "instances.json")
    return split_of(files, name, split, Path(images_dir), overlap)


def read_files(refs_path: Path, instances_path: Path) -> RefFiles:
    """Read two files in RefCOCO's form, the references pickled or as `.json`; raises TasError."""
    content = read_json(refs_path) if refs_path.suffix == ".json" else load_plain(refs_path)
    refs, instances = entries(content, refs_path), read_json(instances_path)
    images, annotations, categories = (
        by_id(entries(instances, instances_path, key), key, instances_path)
        for key in ("images", "annotations", "categories")
    )
    names = {key: str(entry.get("name", key)) for key, entry in categories.items()}
    digest = digest_of([instances_path, refs_path])
    return RefFiles(refs, images, annotations, names, instances_path, refs_path, digest)


def split_of(
    files: RefFiles, name: str, split: str, images_dir: Path, overlap: Overlap = "union"
) -> RefDataset:
    """One split of files that were read; arguments and errors otherwise as in `load_refcoco`."""
    refs = _refs_of(files, split)
    pairs = [(ref, sentence) for ref in refs for sentence in ref.sentences]
    ids = unique_ids([f"{ref.ref_id}-{sentence.sent_id}" for ref, sentence in pairs])
    images: dict[str, ImageEntry] = {}
    shapes, targets = dict[str, Any](), dict[Any, Any]()
    samples, source = [], files.source
    for sample_id, (ref, sentence) in zip(ids, pairs, strict=True):
        image_id = str(ref.image_id)
        shapes[sample_id] = _shape(files, ref)
        if targets.setdefault(ref.ref_id, ref.ann_id) != ref.ann_id:
            both = f"annotation {targets[ref.ref_id]} and annotation {ref.ann_id}"
            raise TasError(f"{files.refs_source}: ref {ref.ref_id} is {both}; get the file again")
        if image_id not in images:
            image = record(_Image, files.images[image_id], source)
            sides = image.height, image.width
            images[image_id] = image_entry(images_dir, image.file_name, *sides, str(source))
        samples.append(
            Sample(
                sample_id=sample_id,
                image_id=image_id,
                ref_id=str(ref.ref_id),
                sent_id=str(sentence.sent_id),
                text=sentence.sent,
                raw=sentence.sent if sentence.raw is None else sentence.raw,
                category=files.categories.get(str(ref.category_id), str(ref.category_id)),
                split=split,
                ann_ids=numbers([ref.ann_id]),
            )
        )

    def ground_truth(sample: Sample, rule: Overlap = overlap) -> NDArray[np.bool_]:
        where = f"{source}: ref {sample.ref_id}"
        size_hw = images[sample.image_id].size_hw
        return segmentation_mask(shapes[sample.sample_id], size_hw, where, rule)

    parts = sorted({ref["split"] for ref in files.refs if _is_of(ref["split"], split)})
    together = f"{name} {split}: {' and '.join(parts)} together, as REFER takes it"
    polygons = {key: shape for key, shape in shapes.items() if isinstance(shape, list)}
    in_parts = {key for key, shape in polygons.items() if len(shape) > 1}
    empty = [
        key
        for key, shape in polygons.items()
        if all(isinstance(p, list) and len(p) < 6 for p in shape)
    ]

    def refer_truth(sample: Sample) -> NDArray[np.bool_] | None:
        return ground_truth(sample, "exclusive") if sample.sample_id in in_parts else None

    return RefDataset(
        name=name,
        split=split,
        samples=tuple(samples),
        images=images,
        index_digest=files.digest,
        ground_truth=ground_truth,
        refer_truth=refer_truth if in_parts else None,
        notes=(
            *([together] if parts != [split] else []),
            *usual_notes(f"{name} {split}", "sentence", ids, empty),
        ),
    )


def _is_of(own: str, wanted: str) -> bool:
    """Whether a reference of split `own` belongs to a split, by REFER's rule of letters.

    >>> _is_of("testAB", "testA"), _is_of("testA", "test"), _is_of("testA", "testB")
    (True, True, False)
    """
    if wanted in ("testA", "testB", "testC"):
        return own.startswith("test") and wanted[-1] in own.removeprefix("test")
    return wanted in own if wanted == "test" else own == wanted


def _refs_of(files: RefFiles, split: str) -> list[_Ref]:
    source = files.refs_source
    if not all(isinstance(ref, dict) and isinstance(ref.get("split"), str) for ref in files.refs):
        raise TasError(f"{source}: a reference without its split; get the file again")
    splits = {ref["split"] for ref in files.refs}
    if any(isinstance(ref.get("ann_id"), list) or "no_target" in ref for ref in files.refs):
        what = "gRefCOCO, whose sentences mean several things or none"
        raise TasError(f"{source}: this is {what}; only RefCOCO's files are read here")
    if not any(_is_of(own, split) for own in splits):
        known = ", ".join(sorted(splits)) or "none"
        raise TasError(f"{source}: no split {split!r}; it has {known}")
    return [record(_Ref, ref, source) for ref in files.refs if _is_of(ref["split"], split)]


def _shape(files: RefFiles, ref: _Ref) -> Any:
    """The segmentation of a reference's annotation, which must lie in its image."""
    image_id, ann_id = str(ref.image_id), str(ref.ann_id)
    if image_id not in files.images or ann_id not in files.annotations:
        lacking = f"image {image_id} or annotation {ann_id} of ref {ref.ref_id} is not in it"
        raise TasError(f"{files.source}: {lacking}; get both files from the same place")
    annotation = record(_Annotation, files.annotations[ann_id], files.source)
    if str(annotation.image_id) != image_id:
        wrong = f"annotation {ann_id} of ref {ref.ref_id} lies in image {annotation.image_id}"
        raise TasError(f"{files.source}: {wrong}, not {image_id}; get both files again")
    return annotation.segmentation


def mirror_files(folder: Path) -> dict[str, list[Path]]:
    """A mirror's files in a folder or its `data/`, by the mirror's name of the split."""
    found: dict[str, list[Path]] = {}
    for place in (folder / "data", folder):
        for split in ("train", "validation", "test", "testB"):
            paths = sorted(place.glob(f"{split}-*.parquet"))
            found |= {split: paths} if paths else {}
    return found


def read_mirror(name: str, split: str, paths: dict[str, list[Path]]) -> RefFiles:
    """Read what a mirror holds of one split, by our name; `test` of one that has a testB is both.

    `paths` are those of `mirror_files`; raises TasError where a file is missing or damaged.
    """
    wanted = {split: MIRRORED.get(split, split)}
    if split == "test" and "testB" in paths:
        wanted = {"testA": "test", "testB": "testB"}
    files = [(own, p) for own, other in wanted.items() for p in _shards(name, own, other, paths)]
    rows = [(own, path, row) for own, path in files for row in _rows(path)]
    refs = [{**row, "split": own} for own, _, row in rows]
    images, annotations = (
        by_id([_parsed(row[column], path) for _, path, row in rows], column, files[0][1])
        for column in ("raw_image_info", "raw_anns")
    )
    source, digest = files[0][1], digest_of([path for _, path in files])
    return RefFiles(refs, images, annotations, {}, source, source, digest)


def _shards(name: str, split: str, mirrored: str, paths: dict[str, list[Path]]) -> list[Path]:
    found = paths.get(mirrored, [])
    here = [path for each in paths.values() for path in each]
    if not found:
        lacking = f"{here[0].parent}: no {mirrored}-*.parquet for {name} {split}"
        there = ", ".join(sorted(path.name for path in here))
        raise TasError(f"{lacking}; the mirror's files here are {there}")
    said = re.search(r"-of-(\d+)", found[0].name)
    if said and int(said[1]) != len(found):
        some = f"{found[0].parent}: {len(found)} of the {int(said[1])} files of {name} {split}"
        raise TasError(f"{some}; get the others: {mirrored}-*.parquet")
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        missing = [name for name in MIRROR_COLUMNS if name not in pq.read_schema(path).names]
        if not missing:
            return list(pq.read_table(path, columns=list(MIRROR_COLUMNS)).to_pylist())
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:80]
        raise TasError(f"{path}: damaged ({reason}); get the file again") from None
    raise TasError(
        f"{path}: no column {', '.join(missing)}; this is no file of the mirror "
        "jxu124/refcoco, refcocoplus or refcocog"
    )


def _parsed(text: Any, path: Path) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise TasError(f"{path}: a row without a JSON record; get the file again") from None
