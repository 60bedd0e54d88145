"""PhraseCut: the layout of github.com/ChenyunWu/PhraseCutDataset, and its evaluator's numbers.

`image_data_split3000.json` (or `image_data_split.json`) lists the images with their sizes,
`refer_<split>.json` the tasks: a phrase and the polygons of all instances that it names; the ground
truth is their union. A method that answers with one mask is capped where there are several: the
flag `multi` tells them apart. The other flags are what the published subsets are made of.

The evaluator (utils/evaluator.py, utils/subset.py) truncates polygon points to int and draws
outline and fill (`raster="outline"`, which `load_dataset("phrasecut", ...)` takes). IoU is 0 where
the intersection is 0; accuracy is strictly above .5 to .9; the mean IoU weighs every task alike,
the cumulative IoU is the sum of intersections over the sum of unions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasutils.datasets.files import by_id, digest_of, entries, read_json, record
from tasutils.datasets.sample import (
    ImageEntry,
    RefDataset,
    Sample,
    image_entry,
    numbers,
    unique_ids,
    usual_notes,
)
from tasutils.datasets.shapes import Raster, polygon_mask
from tasutils.errors import TasError
from tasutils.metrics import METRIC_NAMES, metric

if TYPE_CHECKING:
    import pandas as pd

MANY, SMALL, LARGE = 5, 0.02, 0.2
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
    ann_ids: Any = None
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
    """Read one split in PhraseCut's layout; ground truth is the union of instances.

    `root` holds `image_data_split*.json` and `refer_<split>.json`, `images_dir` (`<root>/images`
    when None) `<image_id>.jpg`; for `raster` see `polygon_mask`. Raises TasError where a file is
    missing or damaged, or there is no such split; lists those there are.
    """
    root = Path(root)
    tasks_path = root / f"refer_{split}.json"
    if not tasks_path.is_file():
        found = sorted(path.stem.removeprefix("refer_") for path in root.glob("refer_*.json"))
        raise TasError(f"{root}: no split {split!r} of {name}; it has {', '.join(found) or 'none'}")
    candidates = [root / file for file in IMAGE_FILES]
    images_path = next((path for path in candidates if path.is_file()), candidates[-1])
    sizes = by_id(entries(read_json(images_path), images_path), "images", images_path, "image_id")
    listed = entries(read_json(tasks_path), tasks_path)
    tasks = [record(_Task, entry, tasks_path) for entry in listed]
    folder = root / "images" if images_dir is None else Path(images_dir)
    images: dict[str, ImageEntry] = {}
    for task in tasks:
        image_id = str(task.image_id)
        if image_id not in sizes:
            lacking = f"image {image_id} of task {task.task_id} is not in it"
            raise TasError(f"{images_path}: {lacking}; get both files from the same place")
        size = record(_Image, sizes[image_id], images_path)
        images[image_id] = images.get(image_id) or image_entry(
            folder, f"{image_id}.jpg", size.height, size.width, str(images_path)
        )
    ids = unique_ids([str(task.task_id) for task in tasks])
    instances = {sample_id: task.Polygons for sample_id, task in zip(ids, tasks, strict=True)}
    least = 3 if raster == "coco" else 2
    empty = [key for key, all_ in instances.items() if all(len(p) < least for i in all_ for p in i)]

    def ground_truth(sample: Sample) -> NDArray[np.bool_]:
        where = f"{tasks_path}: task {sample.ref_id}"
        union = np.zeros(images[sample.image_id].size_hw, np.bool_)
        for polygons in instances[sample.sample_id]:
            for polygon in polygons:
                union |= polygon_mask([c for xy in polygon for c in xy], union.shape, where, raster)
        return union

    return RefDataset(
        name=name,
        split=split,
        samples=tuple(_sample(i, task, split, images) for i, task in zip(ids, tasks, strict=True)),
        images=images,
        index_digest=digest_of([images_path, tasks_path]),
        ground_truth=ground_truth,
        notes=tuple(usual_notes(f"{name} {split}", "task", ids, empty)),
    )


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
        ann_ids=numbers(task.ann_ids) or None,
        flags={
            "multi": len(task.Polygons) > 1,
            "n_instances": len(task.Polygons),
            "n_attributes": len(structure.attributes or ()),
            "n_relations": len(structure.relation_descriptions or ()),
            "phrase_type": structure.type,
            "image_area_px": height * width,
        },
    )


def subsets(samples: pd.DataFrame, as_published: bool = False) -> dict[str, NDArray[np.bool_]]:
    """Which tasks belong to each published subset that the annotations alone decide.

    By instances (i_single 1, i_multi 2 and more, i_many 5 and more), by the phrase (p_att,
    p_attm: attributes; p_rel, p_relm: relations; p_att_rel; p_name, p_att+, p_rel+, p_verbose: what
    was needed to tell the target apart) and by the target's share of the image (s_small below 2 %,
    s_large above 20 %). The subsets by frequency of words and by lists of words are not here.
    `as_published` takes i_many out of i_multi, as the code does against its own description.

    Returns bool (n,) by name; raises TasError where `samples`, samples.parquet of a run, is of
    another data set.
    """
    needed = ("n_instances", "n_attributes", "n_relations", "phrase_type", "image_area_px")
    lacking = [name for name in needed if name not in samples]
    if lacking:
        raise TasError(f"no column {lacking[0]}: the subsets are those of PhraseCut's layout")
    instances, kind = samples["n_instances"].to_numpy(int), samples["phrase_type"].to_numpy(str)
    attributes, relations = (samples[f"n_{n}"].to_numpy(int) for n in ("attributes", "relations"))
    share = samples["gt_area_px"].to_numpy(float) / samples["image_area_px"].to_numpy(float)
    return {
        "all": np.ones(len(samples), np.bool_),
        "i_single": instances == 1,
        "i_multi": (instances > 1) & ((instances < MANY) | (not as_published)),
        "i_many": instances >= MANY,
        "p_name": kind == "name",
        "p_att": attributes > 0,
        "p_att+": kind == "attribute",
        "p_rel": relations > 0,
        "p_rel+": kind == "relation",
        "p_verbose": kind == "verbose",
        "p_attm": attributes > 1,
        "p_relm": relations > 1,
        "p_att_rel": (attributes > 0) & (relations > 0),
        "s_small": share < SMALL,
        "s_mid": (share >= SMALL) & (share <= LARGE),
        "s_large": share > LARGE,
    }


def scores(samples: pd.DataFrame, as_published: bool = False) -> pd.DataFrame:
    """PhraseCut's numbers, one row for each of `subsets`.

    Columns are n, n_missing, mean_iou, cum_iou, acc@0.5 ... acc@0.9, in 0..1, 0 over no tasks.
    Tasks without a prediction (`chosen` is -1) count as empty masks; `as_published` leaves them
    out, as the evaluator does in silence.
    """
    import pandas as pd

    there = samples["chosen"].to_numpy(int) >= 0
    intersection, union = (samples[f"{n}_px"].to_numpy(int) for n in ("intersection", "union"))
    rows = {}
    for name, member in subsets(samples, as_published).items():
        counted = member & there if as_published else member
        pixels = intersection[counted], union[counted]
        found = {name: metric(*pixels, name) for name in METRIC_NAMES}
        rows[name] = {
            "n": int(counted.sum()),
            "n_missing": int((member & ~there).sum()),
            "mean_iou": found["miou"],
            "cum_iou": found["oiou"],
            **{f"acc@{name[2:]}": found[name] for name in METRIC_NAMES[2:]},
        }
    return pd.DataFrame.from_dict(rows, orient="index")
