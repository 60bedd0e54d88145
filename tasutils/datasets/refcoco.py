"""RefCOCO, RefCOCO+ and RefCOCOg in the layout of github.com/lichengunc/refer.

`<root>/<name>/instances.json` holds COCO images, annotations and categories;
`<root>/<name>/refs(<split_by>).p` is a pickled list of references, each with several sentences.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasutils.datasets.files import digest_of, entries, read_json, record
from tasutils.datasets.pickles import load_plain
from tasutils.datasets.sample import ImageEntry, RefDataset, Sample, image_entry, unique_ids
from tasutils.datasets.shapes import Overlap, segmentation_mask
from tasutils.errors import TasError


class _Sentence(BaseModel):
    sent_id: int | str
    sent: str
    raw: str | None = None


class Ref(BaseModel):
    """A reference: an annotation of an image, and the sentences that refer to it."""

    ref_id: int | str
    ann_id: int | str
    image_id: int | str
    category_id: int | str
    sentences: list[_Sentence]


class Image(BaseModel):
    """An image record of instances.json."""

    file_name: str
    height: int
    width: int


class _Annotation(BaseModel):
    image_id: int | str
    segmentation: list[Any] | dict[str, Any]


def load_refcoco(
    root: Path | str,
    name: str,
    split_by: str,
    split: str,
    images_dir: Path | str,
    overlap: Overlap = "union",
) -> RefDataset:
    """Read one split of a data set in RefCOCO's layout.

    Args:
        root: the folder that holds `<name>/`.
        name: such as `refcoco`, `refcoco+`, `refcocog`.
        split_by: whose splits, such as `unc`, `google`, `umd`.
        split: such as `val`, `testA`.
        images_dir: the folder of the images (COCO train2014 for the published sets). Files are
            named by `images[].file_name`; a reference's own `file_name` is not the image's.
        overlap: what pixels under two polygons of one annotation are; see `segmentation_mask`.

    Raises:
        TasError: a file is missing or damaged, or the split does not exist; lists those that do.
    """
    folder = Path(root) / name
    refs_path, instances_path = folder / f"refs({split_by}).p", folder / "instances.json"
    return load_files(name, split, refs_path, instances_path, Path(images_dir), overlap)


def load_files(
    name: str,
    split: str,
    refs_path: Path,
    instances_path: Path,
    images_dir: Path,
    overlap: Overlap = "union",
) -> RefDataset:
    """Read one split from two files in RefCOCO's form, the references pickled or as `.json`.

    Arguments and errors otherwise as in `load_refcoco`.
    """
    content = read_json(refs_path) if refs_path.suffix == ".json" else load_plain(refs_path)
    refs = refs_of_split(entries(content, refs_path), split, refs_path)
    instances = read_json(instances_path)
    data = dataset_of(name, split, refs, instances, instances_path, images_dir, overlap)
    return replace(data, index_digest=digest_of([instances_path, refs_path]))


def dataset_of(
    name: str,
    split: str,
    refs: list[Ref],
    instances: Any,
    source: Path,
    images_dir: Path,
    overlap: Overlap = "union",
) -> RefDataset:
    """A split made of its references and the content of an instances.json, both as read.

    Args:
        name: such as `refcoco`.
        split: such as `val`.
        refs: the references of this split, from `refs_of_split`.
        instances: COCO images, annotations and categories.
        source: the file of the instances, which messages name.
        images_dir: the folder of the images.
        overlap: see `segmentation_mask`.

    Returns:
        The split; its `index_digest` is empty and for the caller to set.

    Raises:
        TasError: an image or annotation is damaged or not there.
    """
    images, annotations, categories = _lookups(instances, source)
    used, shapes = _resolve(refs, images, annotations, source, images_dir)

    def ground_truth(sample: Sample, rule: Overlap = overlap) -> NDArray[np.bool_]:
        where = f"{source}: ref {sample.ref_id}"
        return segmentation_mask(shapes[sample.ref_id], used[sample.image_id].size_hw, where, rule)

    in_parts = {key for key, s in shapes.items() if isinstance(s, list) and len(s) > 1}

    def refer_truth(sample: Sample) -> NDArray[np.bool_] | None:
        return ground_truth(sample, "exclusive") if sample.ref_id in in_parts else None

    return RefDataset(
        name=name,
        split=split,
        samples=_samples(refs, categories, split),
        images=used,
        index_digest="",
        ground_truth=ground_truth,
        refer_truth=refer_truth if in_parts else None,
    )


def refs_of_split(refs: list[Any], split: str, source: Path) -> list[Ref]:
    """Those references of a file that belong to a split, checked.

    Raises:
        TasError: a damaged reference, or no such split; lists those there are.
    """
    if not all(isinstance(ref, dict) and isinstance(ref.get("split"), str) for ref in refs):
        raise TasError(f"{source}: a reference without its split; get the file again")
    splits = {ref["split"] for ref in refs}
    if split not in splits:
        known = ", ".join(sorted(splits)) or "none"
        raise TasError(f"{source}: no split {split!r}; it has {known}")
    return [record(Ref, ref, source) for ref in refs if ref["split"] == split]


def _lookups(instances: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Images, annotations and category names by id."""
    try:
        images = {str(entry["id"]): entry for entry in entries(instances, path, "images")}
        annotations = {str(entry["id"]): entry for entry in entries(instances, path, "annotations")}
        categories = {
            str(entry["id"]): str(entry["name"]) for entry in entries(instances, path, "categories")
        }
    except (KeyError, TypeError):
        raise TasError(
            f"{path}: an image, annotation or category without its id; get the file again"
        ) from None
    return images, annotations, categories


def _resolve(
    refs: list[Ref],
    images: dict[str, Any],
    annotations: dict[str, Any],
    path: Path,
    images_dir: Path,
) -> tuple[dict[str, ImageEntry], dict[str, Any]]:
    """The images that references use, by image id, and the segmentations, by ref id."""
    used: dict[str, ImageEntry] = {}
    shapes: dict[str, Any] = {}
    for ref in refs:
        image_id, ref_id, ann_id = str(ref.image_id), str(ref.ref_id), str(ref.ann_id)
        if image_id not in images or ann_id not in annotations:
            raise TasError(
                f"{path}: image {image_id} or annotation {ann_id} of ref {ref_id} is "
                "not in it; get both files from the same place"
            )
        if image_id not in used:
            image = record(Image, images[image_id], path)
            used[image_id] = image_entry(
                images_dir, image.file_name, image.height, image.width, str(path)
            )
        annotation = record(_Annotation, annotations[ann_id], path)
        if str(annotation.image_id) != image_id:
            raise TasError(
                f"{path}: annotation {ann_id} of ref {ref_id} lies in image "
                f"{annotation.image_id}, not {image_id}; get both files again"
            )
        shapes[ref_id] = annotation.segmentation
    return used, shapes


def _samples(refs: list[Ref], categories: dict[str, str], split: str) -> tuple[Sample, ...]:
    """One sample a sentence, in the order of the file."""
    pairs = [(ref, sentence) for ref in refs for sentence in ref.sentences]
    ids = unique_ids([f"{ref.ref_id}-{sentence.sent_id}" for ref, sentence in pairs])
    return tuple(
        Sample(
            sample_id=sample_id,
            image_id=str(ref.image_id),
            ref_id=str(ref.ref_id),
            sent_id=str(sentence.sent_id),
            text=sentence.sent,
            raw=sentence.sent if sentence.raw is None else sentence.raw,
            category=categories.get(str(ref.category_id), str(ref.category_id)),
            split=split,
        )
        for sample_id, (ref, sentence) in zip(ids, pairs, strict=True)
    )
