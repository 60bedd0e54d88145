"""PhraseCut: the layout of github.com/ChenyunWu/PhraseCutDataset, and its evaluator's numbers.

`image_data_split3000.json` (or `image_data_split.json`) lists the images with their sizes,
`refer_<split>.json` the tasks: a phrase and the polygons of all instances that it names; the ground
truth is their union. A method that answers with one mask is capped where there are several: the
flag `multi` tells them apart. The other flags are what the published subsets are made of.
The evaluator (utils/evaluator.py, utils/subset.py) truncates polygon points to int and draws
outline and fill: `raster="outline"`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasutils.datasets.files import by_id, digest_of, entries, read_json, record
from tasutils.datasets.sample import (
    Flag,
    Raster,
    RefDataset,
    Sample,
    annotated,
    image_entry,
    numbers,
)
from tasutils.errors import TasError
from tasutils.metrics import METRIC_NAMES, metric

if TYPE_CHECKING:
    import pandas as pd

#: the published subsets, by columns of samples.parquet
SUBSETS = {
    "i_single": "n_instances == 1", "i_multi": "n_instances > 1", "i_many": "n_instances >= 5",
    "p_name": "phrase_type == 'name'", "p_att": "n_attributes > 0",
    "p_att+": "phrase_type == 'attribute'", "p_rel": "n_relations > 0",
    "p_rel+": "phrase_type == 'relation'", "p_verbose": "phrase_type == 'verbose'",
    "p_attm": "n_attributes > 1", "p_relm": "n_relations > 1",
    "p_att_rel": "n_attributes > 0 and n_relations > 0", "s_small": "share < 0.02",
    "s_mid": "0.02 <= share <= 0.2", "s_large": "share > 0.2",
}  # fmt: skip
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
    Polygons: list[list[list[tuple[float, float]]]]  # of each instance
    ann_ids: Any = None
    phrase_structure: _Structure | None = None


def load_phrasecut(
    root: Path | str, split: str, images_dir: Path | str | None = None, name: str = "phrasecut",
    raster: Raster = "coco",
) -> RefDataset:  # fmt: skip
    """Read one split in PhraseCut's layout; `images_dir`: `<root>/images` when None.

    For `raster` see `segmentation_mask`. Raises TasError where a file is missing or damaged, or
    there is no such split.
    """
    root = Path(root)
    path = root / f"refer_{split}.json"
    if not path.is_file():
        found = sorted(path.stem.removeprefix("refer_") for path in root.glob("refer_*.json"))
        raise TasError(f"{root}: no split {split!r} of {name}; it has {', '.join(found) or 'none'}")
    listed = [root / file for file in IMAGE_FILES]
    source = next(filter(Path.is_file, listed), listed[-1])
    sizes = by_id(entries(read_json(source), source), "images", source, "image_id")
    tasks = [record(_Task, entry, path) for entry in entries(read_json(path), path)]
    folder = root / "images" if images_dir is None else Path(images_dir)
    rows, images = [], {}
    for task in tasks:
        key, task_id, said = str(task.image_id), str(task.task_id), task.phrase
        if key not in sizes:
            lacking = f"image {key} of task {task_id} is not in it"
            raise TasError(f"{source}: {lacking}; get both files from the same place")
        images[key] = image_entry(folder, sizes[key], source, f"{key}.jpg")
        height, width = images[key].size_hw
        structure, ann_ids = task.phrase_structure or _Structure(), numbers(task.ann_ids) or None
        flags: dict[str, Flag] = {
            "multi": len(task.Polygons) > 1, "n_instances": len(task.Polygons),
            "n_attributes": len(structure.attributes or ()),
            "n_relations": len(structure.relation_descriptions or ()),
            "phrase_type": structure.type, "image_area_px": height * width,
        }  # fmt: skip
        ids = task_id, key, task_id, "0"
        sample = Sample(*ids, said, said, structure.name, split, flags, ann_ids)
        things = [[[c for xy in part for c in xy] for part in each] for each in task.Polygons]
        rows.append((sample, things))
    digest = digest_of([source, path])
    return annotated(name, split, rows, images, digest, f"{path}: task", raster)


def subsets(samples: pd.DataFrame, as_published: bool = False) -> dict[str, NDArray[np.bool_]]:
    """Which tasks belong to each published subset that the annotations alone decide, bool (n,).

    p_name, p_att+, p_rel+ and p_verbose are by what was needed to tell the target apart.
    `as_published` takes i_many out of i_multi, as the code does against its own description.
    Raises TasError where `samples`, samples.parquet of a run, is of another data set.
    """
    area = samples["gt_area_px"].astype(float)
    try:
        table = samples.assign(share=area / samples["image_area_px"])
        found = {
            name: np.asarray(table.eval(rule, engine="python"), np.bool_)
            for name, rule in SUBSETS.items()
        }
    except (KeyError, NameError) as error:
        lacking = " ".join(map(str, error.args))
        raise TasError(f"{lacking}: the subsets are those of PhraseCut's layout") from None
    several = found["i_multi"] & ~found["i_many"] if as_published else found["i_multi"]
    return {"all": np.ones(len(samples), np.bool_)} | found | {"i_multi": several}


def scores(samples: pd.DataFrame, as_published: bool = False) -> pd.DataFrame:
    """PhraseCut's numbers, one row for each of `subsets`, in 0..1, 0 over no tasks.

    Tasks without a prediction (`chosen` is -1) count as empty masks; `as_published` leaves them
    out, as the evaluator does in silence.
    """
    import pandas as pd

    there = samples["chosen"].to_numpy(int) >= 0
    intersection, union = (samples[f"{n}_px"].to_numpy(int) for n in ("intersection", "union"))
    columns = ["cum_iou", "mean_iou", *(f"acc@{name[2:]}" for name in METRIC_NAMES[2:])]
    rows = {}
    for name, member in subsets(samples, as_published).items():
        counted = member & there if as_published else member
        found = [metric(intersection[counted], union[counted], each) for each in METRIC_NAMES]
        n = {"n": int(counted.sum()), "n_missing": int((member & ~there).sum())}
        rows[name] = n | dict(zip(columns, found, strict=True))
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table[["n", "n_missing", "mean_iou", *columns[:1], *columns[2:]]]
