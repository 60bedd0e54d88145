"""PhraseCut in the layout of github.com/ChenyunWu/PhraseCutDataset.

`image_data_split3000.json` (or `image_data_split.json`) lists the images with their sizes,
`refer_<split>.json` the tasks: a phrase and the polygons of all instances that it names. A method
that answers with one mask is capped where there are several: the flag `multi` tells them apart. The
other flags are what the published subsets are made of, see `phrasecut_metrics`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasutils.datasets.files import digest_of, entries, read_json, record
from tasutils.datasets.sample import ImageEntry, RefDataset, Sample, image_entry, unique_ids
from tasutils.datasets.shapes import Raster, polygon_mask
from tasutils.errors import TasError

IMAGE_FILES = ("image_data_split3000.json", "image_data_split.json")


class _Structure(BaseModel):
    name: str = ""
    attributes: list[str] | None = None
    relation_descriptions: list[Any] | None = None
    type: str = ""


class _Task(BaseModel):
    task_id: str | int
    image_id: int | str
    phrase: str
    Polygons: list[list[list[tuple[float, float]]]]
    phrase_structure: _Structure | None = None


class _Image(BaseModel):
    height: int
    width: int


def load_phrasecut(
    root: Path | str,
    split: str,
    images_dir: Path | str | None = None,
    name: str = "phrasecut",
    raster: Raster = "coco",
) -> RefDataset:
    """Read one split of a data set in PhraseCut's layout; ground truth is the union of instances.

    Args:
        root: the folder with `image_data_split*.json` and `refer_<split>.json`.
        split: such as `val`, `test`, `miniv`.
        images_dir: the folder of `<image_id>.jpg`; `<root>/images` when None.
        name: what the data set is called.
        raster: how polygons are filled; see `polygon_mask`.

    Raises:
        TasError: a file is missing or damaged, or the split does not exist; lists those that do.
    """
    root = Path(root)
    tasks_path = root / f"refer_{split}.json"
    if not tasks_path.is_file():
        found = sorted(path.stem.removeprefix("refer_") for path in root.glob("refer_*.json"))
        raise TasError(f"{root}: no split {split!r} of {name}; it has {', '.join(found) or 'none'}")
    candidates = [root / file for file in IMAGE_FILES]
    images_path = next((path for path in candidates if path.is_file()), candidates[-1])
    sizes = _by_image_id(images_path)
    listed = entries(read_json(tasks_path), tasks_path)
    tasks = [record(_Task, entry, tasks_path) for entry in listed]
    folder = root / "images" if images_dir is None else Path(images_dir)
    images = _images(tasks, sizes, images_path, folder)
    ids = unique_ids([str(task.task_id) for task in tasks])
    instances = {sample_id: task.Polygons for sample_id, task in zip(ids, tasks, strict=True)}

    def ground_truth(sample: Sample) -> NDArray[np.bool_]:
        where = f"{tasks_path}: task {sample.ref_id}"
        union = np.zeros(images[sample.image_id].size_hw, np.bool_)
        for polygons in instances[sample.sample_id]:
            for polygon in polygons:
                flat = [coordinate for point in polygon for coordinate in point]
                union |= polygon_mask(flat, union.shape, where, raster)
        return union

    return RefDataset(
        name=name,
        split=split,
        samples=tuple(_sample(i, task, split, images) for i, task in zip(ids, tasks, strict=True)),
        images=images,
        index_digest=digest_of([images_path, tasks_path]),
        ground_truth=ground_truth,
    )


def _by_image_id(path: Path) -> dict[str, Any]:
    """The image records by id."""
    try:
        return {str(entry["image_id"]): entry for entry in entries(read_json(path), path)}
    except (KeyError, TypeError):
        raise TasError(f"{path}: an image without its image_id; get the file again") from None


def _images(
    tasks: list[_Task], sizes: dict[str, Any], path: Path, folder: Path
) -> dict[str, ImageEntry]:
    """The images that tasks use, by image id."""
    images: dict[str, ImageEntry] = {}
    for task in tasks:
        image_id = str(task.image_id)
        if image_id not in sizes:
            raise TasError(
                f"{path}: image {image_id} of task {task.task_id} is not in it; "
                "get both files from the same place"
            )
        if image_id not in images:
            size = record(_Image, sizes[image_id], path)
            images[image_id] = image_entry(
                folder, f"{image_id}.jpg", size.height, size.width, str(path)
            )
    return images


def _sample(sample_id: str, task: _Task, split: str, images: dict[str, ImageEntry]) -> Sample:
    structure = task.phrase_structure or _Structure()
    height, width = images[str(task.image_id)].size_hw
    return Sample(
        sample_id=sample_id,
        image_id=str(task.image_id),
        ref_id=str(task.task_id),
        sent_id="0",
        text=task.phrase,
        raw=task.phrase,
        category=structure.name,
        split=split,
        flags={
            "multi": len(task.Polygons) > 1,
            "n_instances": len(task.Polygons),
            "n_attributes": len(structure.attributes or ()),
            "n_relations": len(structure.relation_descriptions or ()),
            "phrase_type": structure.type,
            "image_area_px": height * width,
        },
    )
