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

from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from tasutils import paths
from tasutils.config import Part
from tasutils.datasets.coco import mirror_files, read_files, read_mirror, split_of
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.sample import DataSet, RefDataset
from tasutils.errors import TasError

IMAGE_FOLDERS = ("coco/train2014", "train2014", "images/mscoco/images/train2014")
Counts = dict[str, int | None]  # refs, images, sentences; None where no source states it


class Entry(Part):
    """A data set of published.yaml; `splits` by whose they are (such as `unc`) and name."""

    layout: Literal["refcoco", "phrasecut"]
    split_by: str
    mirror: str | None
    splits: dict[str, dict[str, Counts]]
    counts_from: dict[str, list[str]]  # keys of `sources`
    get: list[str]  # keys of `files`


@cache
def yaml_of(key: str) -> dict[str, Any]:
    """A part of published.yaml, such as `datasets` or `files`."""
    text = (files("tasutils") / "datasets" / "published.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)[key]


class PublishedSet(DataSet):
    """A published data set, read where it lies."""

    takes = ("split_by", "root", "images")

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def entry(self) -> Entry:
        """What was published."""
        return Entry.model_validate(yaml_of("datasets")[self.name])

    @property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        """The usual splits."""
        return tuple(self.entry.splits[self.entry.split_by])

    def here(self, root: Path | str | None = None) -> bool:
        """Whether its annotations lie in a folder of data sets."""
        return self._holds(self.place(root)[0])

    def splits_here(self, split_by: str, root: Path | str | None = None) -> list[str]:
        """Splits whose annotations are here, by their files."""
        folder, _, mirror = self.place(root)
        splits = list(self.entry.splits[split_by])
        if self.entry.layout == "phrasecut":
            return [split for split in splits if (folder / f"refer_{split}.json").is_file()]
        usual = self.entry.split_by == split_by
        own = usual if mirror else (folder / f"refs({split_by}).p").is_file()
        return splits if own else []

    def load(self, split: str, **options: Any) -> RefDataset:
        """Open one split as `load_dataset` does; PhraseCut's truth is drawn as by its evaluator."""
        return self.opener(**options)(split)

    def opener(
        self, split_by: str | None = None, root: Path | str | None = None,
        images: Path | str | None = None,
    ) -> Callable[[str], RefDataset]:  # fmt: skip
        """Opens splits by name; the files that they share are read once."""
        by = self.known_split_by(split_by)
        folder, pictures, mirror = self.place(root, images)
        get = f"tas data get {self.name}" + (f" --root {root}" if root is not None else "")
        if not folder.is_dir():
            remedy = "name the folder of data sets with --root, or get it (or unpack its zip) with"
            raise TasError(f"{self.name} is not at {folder}; {remedy}: {get}")
        if mirror and by != self.entry.split_by:
            only = f"the mirror of {self.name} holds the splits by {self.entry.split_by} only"
            raise TasError(f"{folder}: {only}; for {by} get the published files with: {get}")
        read = cache(lambda: read_files(folder / f"refs({by}).p", folder / "instances.json"))

        def open_split(split: str) -> RefDataset:
            splits = self.entry.splits[by]
            if split not in splits and not (split == "test" and {"testA", "testB"} <= set(splits)):
                whose = f"{self.name} {by}".rstrip()
                raise TasError(f"{whose} has no split {split!r}; it has {', '.join(splits)}")
            if self.entry.layout == "phrasecut":
                tasks = folder / f"refer_{split}.json"
                if not tasks.is_file():
                    raise TasError(f"{tasks} is not there; get it with: {get}")
                return load_phrasecut(folder, split, pictures, self.name, "outline")
            found = read_mirror(self.name, split, mirror) if mirror else read()
            return replace(split_of(found, self.name, split, pictures), split_by=by)

        return open_split

    def known_split_by(self, split_by: str | None) -> str:
        """Whose splits are meant, None: the usual ones; TasError where it has none by that name."""
        if split_by is None:
            return self.entry.split_by
        if split_by not in self.entry.splits:
            there = " and ".join(filter(None, self.entry.splits))
            remedy = f"it has {there}" if there else "leave out --split-by"
            raise TasError(f"{self.name} has no splits by {split_by!r}; {remedy}")
        return split_by

    def place(
        self, root: Path | str | None = None, images: Path | str | None = None
    ) -> tuple[Path, Path, dict[str, list[Path]]]:
        """The folders of its annotations and images, or where they would be looked for first.

        Third the files of a mirror, by its names of the splits, if it is one; nothing is opened.
        `root` is the folder of data sets (data/ when None) or the very folder of this one.
        """
        root = paths.DATA if root is None else Path(root).expanduser()
        phrasecut = self.entry.layout == "phrasecut"
        other = "VGPhraseCut_v0" if phrasecut else Path(self.entry.mirror or self.name).name
        folders = [root / self.name, root / other]
        there = [folder for folder in (*folders, root) if self._holds(folder)]
        folder = (there + [place for place in folders if place.is_dir()] + folders)[0]
        base = folder.parent if folder == root else root
        published = [folder / "images"] if phrasecut else [base / name for name in IMAGE_FOLDERS]
        pictures = next(filter(Path.is_dir, published), published[0])
        # a mirror is read only where the published files are not
        pure = not phrasecut and not (folder / "instances.json").is_file()
        if images is not None:
            pictures = Path(images).expanduser()
        return folder, pictures, mirror_files(folder) if pure else {}

    def _holds(self, folder: Path) -> bool:
        """Whether a folder has a file of the layout."""
        if self.entry.layout == "phrasecut":
            return any(folder.glob("refer_*.json"))
        kinds = (folder.glob("instances.json"), folder.glob("refs(*).p"), mirror_files(folder))
        return any(map(any, kinds))
