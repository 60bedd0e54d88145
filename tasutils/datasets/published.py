"""Published data sets by name: what they count, where their files lie, and how they are opened.

Counts, addresses and terms stand with their sources in published.yaml. The files are looked for in
one folder of data sets, `root` (the project's data/ unless another is given), in the layouts in
which they are published:

    <root>/refcoco/{instances.json, refs(unc).p, refs(google).p}     also refcoco+, refcocog
    <root>/refcoco/data/{train, validation, test, testB}-*.parquet   the mirror jxu124/refcoco
    <root>/coco/train2014/*.jpg       or train2014/, or images/mscoco/images/train2014/
    <root>/phrasecut/{image_data_split3000.json, refer_<split>.json, images/<image_id>.jpg}
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from tasutils.datasets.mirror import load_mirror, mirror_files
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.refcoco import load_refcoco
from tasutils.datasets.sample import RefDataset
from tasutils.errors import TasError

IMAGE_FOLDERS = ("coco/train2014", "train2014", "images/mscoco/images/train2014")
PHRASECUT_FOLDERS = ("phrasecut", "VGPhraseCut_v0")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Counts(_Part):
    """What a split counts; None where no source states it."""

    refs: int
    images: int
    sentences: int | None


class Published(_Part):
    """A published data set; `splits` by whose they are (`unc`, `google`, `umd`) and their name.

    `counts_from` and `get` name keys of `sources` and of `files` in published.yaml.
    """

    layout: Literal["refcoco", "phrasecut"]
    split_by: str
    mirror: str | None
    splits: dict[str, dict[str, Counts]]
    counts_from: dict[str, list[str]]
    get: list[str]


@dataclass(frozen=True)
class Place:
    """Where a data set lies: its annotations, its images, and the mirror's files if it is one."""

    folder: Path
    images: Path
    mirror: dict[str, Path]


@lru_cache(maxsize=1)
def published() -> dict[str, Published]:
    """The published data sets by name."""
    text = (files("tasutils") / "datasets" / "published.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["datasets"]
    return {name: Published.model_validate(entry) for name, entry in entries.items()}


def known_split_by(name: str, split_by: str | None) -> str:
    """Whose splits are meant; None is the usual ones.

    Raises:
        TasError: the data set has none of that name.
    """
    entry = published()[name]
    if split_by is None:
        return entry.split_by
    if split_by not in entry.splits:
        there = " and ".join(filter(None, entry.splits))
        remedy = f"it has {there}" if there else "leave out --split-by"
        raise TasError(f"{name} has no splits by {split_by!r}; {remedy}")
    return split_by


def find_place(
    name: str, root: Path | str | None = None, images: Path | str | None = None
) -> Place:
    """Where a data set lies, or where it would be looked for first; nothing is opened.

    Args:
        name: of `published`.
        root: the folder of data sets, or the very folder of this one; data/ when None.
        images: the folder of its images; when None the first of the published places below `root`
            that is there.
    """
    from tasutils import paths

    entry = published()[name]
    root = paths.DATA if root is None else Path(root).expanduser()
    names = [name, *([Path(entry.mirror).name] if entry.mirror else [])]
    if entry.layout == "phrasecut":
        names = list(PHRASECUT_FOLDERS)
    folder = _first([*(root / n for n in names), root], entry.layout) or root / names[0]
    if images is not None:
        pictures = Path(images).expanduser()
    elif entry.layout == "phrasecut":
        pictures = folder / "images"
    else:
        base = folder.parent if folder == root else root
        there = [base / n for n in IMAGE_FOLDERS if (base / n).is_dir()]
        pictures = there[0] if there else base / IMAGE_FOLDERS[0]
    # a mirror is read only where the published files are not
    pure = entry.layout == "refcoco" and not (folder / "instances.json").is_file()
    return Place(folder, pictures, mirror_files(folder) if pure else {})


def archive_of(name: str, root: Path | str | None = None) -> Path | None:
    """The published archive of a data set that lies packed in the folder of data sets, if any."""
    from tasutils import paths

    folder = paths.DATA if root is None else Path(root).expanduser()
    places = [folder / f"{name}.zip", folder / name / f"{name}.zip"]
    return next((path for path in places if path.is_file()), None)


def _first(folders: list[Path], layout: str) -> Path | None:
    """The first folder that holds a file of the layout, else the first that exists but the root."""
    pattern = ("instances.json", "refs(*).p") if layout == "refcoco" else ("refer_*.json",)
    for folder in folders:
        if any(path for p in pattern for path in folder.glob(p)) or mirror_files(folder):
            return folder
    return next((folder for folder in folders[:-1] if folder.is_dir()), None)


def load_published(
    name: str,
    split: str,
    split_by: str | None = None,
    root: Path | str | None = None,
    images: Path | str | None = None,
) -> RefDataset:
    """Open one split of a published data set.

    Args:
        name: `refcoco`, `refcoco+`, `refcocog` or `phrasecut`.
        split: such as `val`, `testA`, `miniv`.
        split_by: `unc`, `google` or `umd`; None is unc, of RefCOCOg umd.
        root, images: see `find_place`.

    PhraseCut's ground truth is drawn as its own evaluator draws it, see `phrasecut_metrics`.

    Raises:
        TasError: no such split, or a file is missing or damaged; says what to do.
    """
    split_by = known_split_by(name, split_by)
    entry, place = published()[name], find_place(name, root, images)
    splits = entry.splits[split_by]
    if split not in splits:
        whose = f"{name} {split_by}".rstrip()
        raise TasError(f"{whose} has no split {split!r}; it has {', '.join(splits)}")
    where = f" --root {root}" if root is not None else ""
    if not place.folder.is_dir():
        archive = archive_of(name, root)
        remedy = "name the folder of data sets with --root, or get it with"
        if archive is not None:
            remedy = f"{archive.name} lies there packed, unpack it with"
        raise TasError(f"{name} is not at {place.folder}; {remedy}: tas data get {name}{where}")
    if entry.layout == "phrasecut":
        tasks = place.folder / f"refer_{split}.json"
        if not tasks.is_file():
            raise TasError(f"{tasks} is not there; get it with: tas data get {name}{where}")
        data = load_phrasecut(place.folder, split, place.images, name, raster="outline")
    elif place.mirror:
        data = load_mirror(name, split, split_by, entry.split_by, place.mirror, place.images)
    else:
        data = load_refcoco(place.folder.parent, place.folder.name, split_by, split, place.images)
    return replace(data, name=name, split_by=split_by)
