"""The doctor of RefCOCO, RefCOCO+ and RefCOCOg: reads all splits and names every fault.

Only annotations that a reference uses are looked at closely; the others are never drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasutils.datasets.files import entries, read_json, record
from tasutils.datasets.findings import (
    Findings,
    box_is_outside,
    compare_counts,
    compare_images,
    missing_file,
)
from tasutils.datasets.mirror import SPLITS, read_mirror
from tasutils.datasets.pickles import load_plain
from tasutils.datasets.published import Counts, find_place, known_split_by, published
from tasutils.datasets.refcoco import Image
from tasutils.datasets.sample import ImageEntry, image_entry
from tasutils.datasets.shapes import polygon_points, run_length_mask
from tasutils.errors import TasError

_FIELDS = ("ref_id", "ann_id", "image_id", "category_id", "split", "sentences")


def count_refs(refs: list[Any]) -> dict[str, Counts]:
    """References, images and sentences of every split, in the order of the file."""
    n_refs: Counter[str] = Counter()
    n_sentences: Counter[str] = Counter()
    images: dict[str, set[str]] = {}
    for ref in refs:
        if isinstance(ref, dict) and isinstance(ref.get("sentences"), list):
            split = str(ref.get("split"))
            n_refs[split] += 1
            n_sentences[split] += len(ref["sentences"])
            images.setdefault(split, set()).add(str(ref.get("image_id")))
    return {
        split: Counts(refs=n, images=len(images[split]), sentences=n_sentences[split])
        for split, n in n_refs.items()
    }


def read_refs(
    name: str, split_by: str | None = None, root: Path | str | None = None
) -> list[Any] | None:
    """All references of a data set as read, None when its file is not there.

    Raises:
        TasError: the file is damaged.
    """
    split_by = known_split_by(name, split_by)
    place = find_place(name, root)
    if place.mirror:
        refs = [ref for part, _ in _mirror_parts(name, split_by, place.mirror) for ref in part]
        return refs or None
    path = place.folder / f"refs({split_by}).p"
    return entries(load_plain(path), path) if path.is_file() else None


def check_refcoco(
    name: str,
    split_by: str | None = None,
    root: Path | str | None = None,
    images: Path | str | None = None,
) -> Findings:
    """Examine a data set with all its splits; arguments as in `load_published`.

    Faults of the files themselves are noted as well; nothing is raised for them.

    Raises:
        TasError: no such data set or splits.
    """
    split_by = known_split_by(name, split_by)
    found = Findings(name, split_by, find_place(name, root, images), root)
    refs, instances = _read(found)
    found.counts = count_refs(refs)
    if refs:
        compare_counts(found, published()[name].splits[split_by])
    if instances is not None:
        _examine(found, refs, instances)
        compare_images(found)
    return found


def _read(found: Findings) -> tuple[list[Any], dict[str, Any] | None]:
    """The references of all splits and the instances, as far as they can be read."""
    if found.place.mirror:
        return _read_mirror(found)
    refs: list[Any] = []
    instances: dict[str, Any] | None = None
    refs_path = found.place.folder / f"refs({found.split_by}).p"
    for path in (refs_path, found.place.folder / "instances.json"):
        if not path.is_file():
            found.add("file", missing_file(path))
            continue
        try:
            if path == refs_path:
                refs = entries(load_plain(path), path)
            else:
                content = read_json(path)
                for key in ("images", "annotations"):
                    entries(content, path, key)
                instances = content
        except TasError as error:
            found.add("record", str(error))
    return refs, instances


def _read_mirror(found: Findings) -> tuple[list[Any], dict[str, Any] | None]:
    try:
        parts = list(_mirror_parts(found.name, found.split_by, found.place.mirror))
    except TasError as error:
        found.add("record", str(error))
        return [], None
    whole = {
        key: {str(e.get("id")): e for _, instances in parts for e in instances[key]}
        for key in ("images", "annotations")
    }
    merged = {key: list(records.values()) for key, records in whole.items()}
    return [ref for part, _ in parts for ref in part], merged


def _mirror_parts(
    name: str, split_by: str, paths: dict[str, Path]
) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    entry = published()[name]
    for split in entry.splits[split_by]:
        if SPLITS[split] in paths or split_by != entry.split_by:
            refs, instances, _ = read_mirror(name, split, split_by, entry.split_by, paths)
            yield refs, instances


def _examine(found: Findings, refs: list[Any], instances: dict[str, Any]) -> None:
    """Note the faults of records, and the images in use."""
    images = {str(e.get("id")): e for e in instances["images"] if isinstance(e, dict)}
    annotations = {str(e.get("id")): e for e in instances["annotations"] if isinstance(e, dict)}
    for ann_id, listed in annotations.items():
        if str(listed.get("image_id")) not in images:
            found.add("no_image", f"annotation {ann_id} names image {listed.get('image_id')}")
    examined: set[str] = set()
    for position, ref in enumerate(refs):
        lacking = [n for n in _FIELDS if not isinstance(ref, dict) or ref.get(n) is None]
        if lacking:
            found.add("record", f"reference {position} of the file has no {lacking[0]}")
            continue
        image_id, ann_id = str(ref["image_id"]), str(ref["ann_id"])
        where = f"ref {ref['ref_id']} ({ref['split']})"
        annotation, entry = annotations.get(ann_id), _entry(found, images.get(image_id))
        if annotation is None:
            found.add("no_annotation", f"{where} names annotation {ann_id}")
        elif str(annotation.get("image_id")) != image_id:
            place = annotation.get("image_id")
            found.add("record", f"{where}: annotation {ann_id} is of image {place}, not {image_id}")
        if entry is None:
            found.add("record", f"{where}: image {image_id} is not listed with file name and size")
            continue
        found.use_image(str(ref["split"]), entry)
        if annotation is not None and ann_id not in examined:
            examined.add(ann_id)
            _examine_shape(found, annotation, entry.size_hw, f"annotation {ann_id}, {where}")


def _entry(found: Findings, image: Any) -> ImageEntry | None:
    """The file and size of an image record, None if it is not whole or leaves the folder."""
    try:
        listed = record(Image, image, Path("instances.json"))
        return image_entry(found.place.images, listed.file_name, listed.height, listed.width, "")
    except TasError:
        return None


def _examine_shape(
    found: Findings, annotation: dict[str, Any], size_hw: tuple[int, int], where: str
) -> None:
    """Note the faults of one annotation's segmentation and box."""
    if "bbox" in annotation and box_is_outside(annotation["bbox"], size_hw):
        height, width = size_hw
        found.add("box", f"{where}: {annotation['bbox']} in {width} x {height} px")
    shape = annotation.get("segmentation")
    try:
        if isinstance(shape, dict):
            if not run_length_mask(shape, size_hw, where).any():
                found.add("empty", where)
            return
        if not isinstance(shape, list):
            raise TasError(f"{where}: neither polygons nor run lengths")
        n_points = [len(polygon_points(polygon, size_hw, where)) // 2 for polygon in shape]
    except TasError as error:
        found.add("shape", str(error).partition(";")[0])
        return
    for n in n_points:
        if n < 3:
            found.add("points", f"{where}: {n} point{'' if n == 1 else 's'}")
    if all(n < 3 for n in n_points):
        found.add("empty", where)
