"""Miniatures of the published data sets: the first pictures of RefScenes in their layouts.

Sentences, masks and pixels are RefScenes' own, files and folders are named as `published` says, so
that the readers of RefCOCO, RefCOCO+, RefCOCOg and PhraseCut can be seen at work where none of
these is at hand. A miniature measures nothing.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

from tasutils.datasets.files import read_json
from tasutils.datasets.pickles import load_plain
from tasutils.datasets.published import IMAGE_FOLDERS, PHRASECUT_FOLDERS, published
from tasutils.datasets.refscenes import FAMILIES, SPLIT_BY
from tasutils.errors import TasError

SPLIT = "val"
#: the family of RefScenes that stands in for a published data set
STAND_INS = dict(zip(("refcoco", "refcoco+", "refcocog", "phrasecut"), FAMILIES, strict=True))


def write_miniatures(root: Path | str, pictures: int = 2) -> Path:
    """Write the first pictures of RefScenes' val as each of the published data sets.

    Args:
        root: the folder of data sets, made if it is not there.
        pictures: how many, from 1 on.

    Returns:
        `root`, for `load_dataset(name, "val", root=root)`.

    Raises:
        TasError: fewer than one picture, or a data set is there already: nothing is overwritten.
    """
    from tasutils import paths

    root, world = Path(root), paths.REFSCENES
    there = [name for name in STAND_INS if (root / name).exists()]
    if there or pictures < 1:
        fault = f"{there[0]} is there already" if there else f"{pictures} pictures are too few"
        raise TasError(f"{root}: {fault}; a miniature needs an empty folder and 1 picture or more")
    listed = read_json(world / "phrasescenes" / "image_data_split.json")
    first = [image for image in listed if image["split"] == SPLIT][:pictures]
    kept = {image["image_id"] for image in first}
    for name, family in STAND_INS.items():
        if published()[name].layout == "refcoco":
            _write_refcoco(root / name, world / family, published()[name].split_by, kept)
    folder = root / PHRASECUT_FOLDERS[0]
    _dump(folder / "image_data_split3000.json", first)
    tasks = read_json(world / "phrasescenes" / f"refer_{SPLIT}.json")
    _dump(folder / f"refer_{SPLIT}.json", [t for t in tasks if t["image_id"] in kept])
    for image_id in kept:
        for place in (root / IMAGE_FOLDERS[0] / _file_name(image_id), folder / _jpg(image_id)):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(world / "images" / f"{image_id}.jpg", place)
    return root


def _write_refcoco(folder: Path, source: Path, split_by: str, kept: set[int]) -> None:
    content: Any = read_json(source / "instances.json")
    images = [
        {**image, "file_name": _file_name(image["id"])}
        for image in content["images"]
        if image["id"] in kept
    ]
    shapes = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    _dump(folder / "instances.json", {**content, "images": images, "annotations": shapes})
    refs = [ref for ref in load_plain(source / f"refs({SPLIT_BY}).p") if ref["image_id"] in kept]
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))


def _file_name(image_id: int) -> str:
    return f"COCO_train2014_{image_id:012d}.jpg"


def _jpg(image_id: int) -> str:
    return f"images/{image_id}.jpg"


def _dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
