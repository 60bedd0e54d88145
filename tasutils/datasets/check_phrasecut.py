"""The doctor of PhraseCut: reads the splits that are there and names every fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasutils.datasets.files import entries, read_json
from tasutils.datasets.findings import (
    Findings,
    box_is_outside,
    compare_counts,
    compare_images,
    missing_file,
)
from tasutils.datasets.phrasecut import IMAGE_FILES
from tasutils.datasets.published import Counts, find_place, published
from tasutils.datasets.sample import image_entry
from tasutils.datasets.shapes import polygon_points
from tasutils.errors import TasError

NAME = "phrasecut"
_FIELDS = ("task_id", "image_id", "phrase", "Polygons")


def read_tasks(folder: Path, split: str) -> list[Any] | None:
    """The tasks of a split as read, None when its file is not there; raises TasError if damaged."""
    path = folder / f"refer_{split}.json"
    return entries(read_json(path), path) if path.is_file() else None


def count_tasks(tasks: list[Any]) -> Counts:
    """Tasks and their images; a task has one sentence."""
    images = {str(task.get("image_id")) for task in tasks if isinstance(task, dict)}
    return Counts(refs=len(tasks), images=len(images), sentences=len(tasks))


def check_phrasecut(root: Path | str | None = None, images: Path | str | None = None) -> Findings:
    """Examine the splits of PhraseCut that are there; arguments as in `load_published`.

    A split whose file is not there is no fault, unless none is. Faults of the files themselves are
    noted as well; nothing is raised for them.
    """
    found = Findings(NAME, "", find_place(NAME, root, images), root)
    expected = published()[NAME].splits[""]
    listed = _image_records(found)
    for split in expected:
        try:
            tasks = read_tasks(found.place.folder, split)
        except TasError as error:
            found.add("record", str(error))
            continue
        if tasks is None:
            continue
        found.counts[split] = count_tasks(tasks)
        for position, task in enumerate(tasks):
            _examine(found, task, split, position, listed)
    if not found.counts and "record" not in found.faults:
        found.add("file", missing_file(found.place.folder / "refer_test.json"))
    compare_counts(found, {split: expected[split] for split in found.counts})
    compare_images(found)
    return found


def _image_records(found: Findings) -> dict[str, Any] | None:
    """The image records by id, None when their file is not there or damaged."""
    candidates = [found.place.folder / name for name in IMAGE_FILES]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        found.add("file", missing_file(candidates[0]))
        return None
    try:
        listed = entries(read_json(path), path)
    except TasError as error:
        found.add("record", str(error))
        return None
    return {str(entry.get("image_id")): entry for entry in listed if isinstance(entry, dict)}


def _examine(
    found: Findings, task: Any, split: str, position: int, listed: dict[str, Any] | None
) -> None:
    """Note the faults of one task, and its image."""
    lacking = [n for n in _FIELDS if not isinstance(task, dict) or task.get(n) is None]
    if lacking:
        found.add("record", f"{split} task {position} of the file has no {lacking[0]}")
        return
    image_id, where = str(task["image_id"]), f"task {task['task_id']}"
    if listed is None:
        return
    image = listed.get(image_id, {})
    height, width = image.get("height"), image.get("width")
    if not (isinstance(height, int) and isinstance(width, int)):
        found.add("record", f"{where}: image {image_id} is not listed with its size")
        return
    try:
        entry = image_entry(found.place.images, f"{image_id}.jpg", height, width, where)
    except TasError as error:
        found.add("record", str(error).partition(";")[0])
        return
    found.use_image(split, entry)
    _examine_shapes(found, task, (height, width), where)


def _examine_shapes(
    found: Findings, task: dict[str, Any], size_hw: tuple[int, int], where: str
) -> None:
    """Note the faults of a task's polygons and boxes."""
    boxes, instances = task.get("instance_boxes"), task["Polygons"]
    if isinstance(boxes, list):
        if isinstance(instances, list) and len(boxes) != len(instances):
            counts = f"{len(boxes)} boxes but {len(instances)} instances"
            found.add("record", f"{where}: {counts}")
        for box in boxes:
            if box_is_outside(box, size_hw):
                found.add("box", f"{where}: {box} in {size_hw[1]} x {size_hw[0]} px")
    n_points = []
    try:
        for polygons in instances:
            for polygon in polygons:
                flat = [coordinate for point in polygon for coordinate in point]
                n_points.append(len(polygon_points(flat, size_hw, where)) // 2)
    except (TypeError, TasError) as error:
        reason = "polygons that are no lists of points" if isinstance(error, TypeError) else ""
        found.add("shape", f"{where}: {reason}" if reason else str(error).partition(";")[0])
        return
    for n in n_points:
        if n < 3:
            found.add("points", f"{where}: {n} point{'' if n == 1 else 's'}")
    if all(n < 2 for n in n_points):
        found.add("empty", where)
