"""Data sets of referring expressions, each read in its published layout.

`load_dataset` opens what ships with the project (RefScenes, photos7), the published data sets that
lie on this disk, and own pictures with sentences. `DATASETS` is the door: what has an entry there,
every command, report and notebook knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasutils.config import lookup
from tasutils.datasets.own import Own
from tasutils.datasets.published import PublishedSet
from tasutils.datasets.sample import DataSet, RefDataset, Sample
from tasutils.datasets.shipped import Family, Photos7, Several
from tasutils.errors import TasError

__all__ = [
    "DATASETS", "DataSet", "RefDataset", "Sample", "dataset", "group", "load_dataset",
]  # fmt: skip

DATASETS: dict[str, DataSet | str] = {
    "refscenes": Family("refscenes"),
    "refscenes+": Family("refscenes+"),
    "refscenesg": Family("refscenesg"),
    "phrasescenes": Family("phrasescenes", "phrasecut"),
    "grefscenes": Several("grefscenes"),
    "photos7": Photos7(),
    "refcoco": PublishedSet("refcoco"),
    "refcoco+": PublishedSet("refcoco+"),
    "refcocog": PublishedSet("refcocog"),
    "phrasecut": PublishedSet("phrasecut"),
    "grefcoco": PublishedSet("grefcoco"),
    "refcoco-m": PublishedSet("refcoco-m"),
    "own": Own(),
}


def dataset(name: str) -> DataSet:
    """The entry of a name, or of a class of your own, "my_module:Mine"; TasError where none is."""
    found = lookup("tasutils.datasets:DATASETS", name)
    return found() if isinstance(found, type) else found


def group(name: str, wanted: Sequence[str] | None = None) -> list[str]:
    """The data sets that a name stands for: those of a group, else the one of that name.

    Of a group, such as refscenes, only those `wanted` (None, nothing or "all": all). Raises
    TasError where there is no such group or data set, or none of that name in the group.
    """
    members = [each for each in DATASETS if dataset(each).group == name]
    if not members:
        dataset(name)
        if wanted:
            raise TasError(f"{name} has no families; leave out --family")
        return [name]
    for family in wanted or ():
        if family not in (*members, "all"):
            raise TasError(f"no family {family!r}; there are {', '.join(members)} and all")
    return list(dict.fromkeys(wanted)) if wanted and "all" not in wanted else members


def load_dataset(
    name: str, split: str, split_by: str | None = None, root: Path | str | None = None,
    images: Path | str | None = None,
) -> RefDataset:  # fmt: skip
    """Open one split of a data set of `DATASETS`.

    `split` is such as `val`, for `own` the path of a CSV, JSON or JSONL file; `split_by` says whose
    splits, such as `unc` or `google`; `root` is the folder of data sets (None: data/), of RefScenes
    that of the world; `images` that of a published set's images (None: the published places), of
    own data the one that picture names are relative to (None: that of the file). Raises TasError
    for no such data set or split, an argument that it does not take, missing or damaged files.
    """
    entry = dataset(name)
    given = {"split_by": split_by, "root": root, "images": images}
    options = {option: value for option, value in given.items() if value is not None}
    for option, value in options.items():
        if option not in entry.takes:
            raise TasError(f"{name} takes no {option}; leave out {value}")
    return entry.load(split, **options)
