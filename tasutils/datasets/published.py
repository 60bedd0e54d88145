"""Published data sets by name: what they count, where their files lie, how they are had and opened.

Counts, addresses and terms stand with their sources in published.yaml. The files are looked for in
one folder of data sets, `root` (the project's data/ unless another is given), in the layouts in
which they are published:

    <root>/refcoco/{instances.json, refs(unc).p, refs(google).p}     also refcoco+, refcocog
    <root>/refcoco/data/{train, validation, test, testB}-*.parquet   the mirror jxu124/refcoco
    <root>/coco/train2014/*.jpg       or train2014/, or images/mscoco/images/train2014/
    <root>/phrasecut/{image_data_split3000.json, refer_<split>.json, images/<image_id>.jpg}
    <root>/grefcoco/{instances.json, grefs(unc).json}
    <root>/refcoco-m/{data/validation-*.parquet, images/*.jpg}

Only `get_data` uses the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from tasutils import paths
from tasutils.config import Part
from tasutils.datasets.coco import (
    mirror_files,
    read_files,
    read_mirror,
    read_refcoco_m,
    shards,
    split_of,
)
from tasutils.datasets.files import AGAIN, entries, parquet_rows, read_json
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.sample import DataSet, RefDataset
from tasutils.errors import TasError
from tasutils.models import Bar, Expected, fetch, unpack, verify

Place = Path | str | None
#: by layout, what a folder of it holds some of
MARKS = {
    "refcoco": ("instances.json", "refs(*).p"), "grefcoco": ("grefs(*).json",),
    "phrasecut": ("refer_*.json",), "refcoco-m": ("data/validation-*.parquet",),
}  # fmt: skip
IMAGE_FOLDERS = ("coco/train2014", "train2014", "images/mscoco/images/train2014")
Counts = dict[str, int | None]  # refs, images, sentences; None where no source states it


class Entry(Part):
    """A data set of published.yaml; `splits` by whose they are (such as `unc`) and name."""

    layout: Literal["refcoco", "grefcoco", "refcoco-m", "phrasecut"]
    also: str  # another name of its folder
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


def get_line(name: str, root: Place) -> str:
    """The command that fetches a data set, or a set of files."""
    return f"tas data get {name}" + (f" --root {root}" if root is not None else "")


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

    def here(self, root: Place = None) -> bool:
        """Whether its annotations lie in a folder of data sets."""
        return self._holds(self.place(root)[0])

    def splits_here(self, split_by: str, root: Place = None) -> list[str]:
        """Splits whose annotations are here, by their files."""
        folder, _, mirror = self.place(root)
        splits = list(self.entry.splits[split_by])
        if self.entry.layout == "phrasecut":
            return [split for split in splits if (folder / f"refer_{split}.json").is_file()]
        refs = self._refs(folder, split_by).is_file()
        return splits if (self.entry.split_by == split_by if mirror else refs) else []

    def load(self, split: str, **options: Any) -> RefDataset:
        """Open one split as `load_dataset` does; PhraseCut's truth is drawn as by its evaluator."""
        return self.opener(**options)(split)

    def opener(
        self, split_by: str | None = None, root: Place = None, images: Place = None
    ) -> Callable[[str], RefDataset]:
        """Opens splits by name; the files that they share are read once."""
        by, get = self.known_split_by(split_by), get_line(self.name, root)
        folder, pictures, mirror = self.place(root, images)
        if not folder.is_dir():
            remedy = "name the folder of data sets with --root, or get it (or unpack its zip) with"
            raise TasError(f"{self.name} is not at {folder}; {remedy}: {get}")
        if mirror and by != self.entry.split_by:
            only = f"the mirror of {self.name} holds the splits by {self.entry.split_by} only"
            raise TasError(f"{folder}: {only}; for {by} get the published files with: {get}")
        read = cache(lambda: read_files(self._refs(folder, by), folder / "instances.json"))

        def open_split(split: str) -> RefDataset:
            splits = self.entry.splits[by]
            if split not in splits and not (split == "test" and {"testA", "testB"} <= set(splits)):
                whose = f"{self.name} {by}".rstrip()
                raise TasError(f"{whose} has no split {split!r}; it has {', '.join(splits)}")
            if self.entry.layout == "phrasecut":
                if not (tasks := folder / f"refer_{split}.json").is_file():
                    raise TasError(f"{tasks} is not there; get it with: {get}")
                return load_phrasecut(folder, split, pictures, self.name, "outline")
            if self.entry.layout == "refcoco-m":
                found = read_refcoco_m(shards(self.name, "validation", mirror))
            else:
                found = read_mirror(self.name, split, mirror) if mirror else read()
            return replace(split_of(found, self.name, split, pictures), split_by=by)

        return open_split

    def known_split_by(self, split_by: str | None) -> str:
        """Whose splits are meant, None: the usual ones; TasError where it has none by that name."""
        by = self.entry.split_by if split_by is None else split_by
        if by not in self.entry.splits:
            there = " and ".join(filter(None, self.entry.splits))
            remedy = f"it has {there}" if there else "leave out --split-by"
            raise TasError(f"{self.name} has no splits by {by!r}; {remedy}")
        return by

    def place(
        self, root: Place = None, images: Place = None
    ) -> tuple[Path, Path, dict[str, list[Path]]]:
        """The folders of its annotations and images, or where they would be looked for first.

        Third the files of a mirror, by its names of the splits, if it is one; nothing is opened.
        `root` is the folder of data sets (data/ when None) or the very folder of this one.
        """
        root = paths.DATA if root is None else Path(root).expanduser()
        folders = [root / self.name, root / self.entry.also]
        there = [folder for folder in (*folders, root) if self._holds(folder)]
        folder = (there + [place for place in folders if place.is_dir()] + folders)[0]
        base = folder.parent if folder == root else root
        own = self.entry.layout in ("phrasecut", "refcoco-m")
        usual = [folder / "images"] if own else [base / name for name in IMAGE_FOLDERS]
        pictures = next(filter(Path.is_dir, usual), usual[0])
        # a mirror is read only where the published files are not
        mirror = "refcoco" in self.entry.layout and not (folder / "instances.json").is_file()
        return (
            folder, pictures if images is None else Path(images).expanduser(),
            mirror_files(folder) if mirror else {},
        )  # fmt: skip

    def _refs(self, folder: Path, split_by: str) -> Path:
        names = {"refcoco": f"refs({split_by}).p", "grefcoco": f"grefs({split_by}).json"}
        return folder / names.get(self.entry.layout, "")

    def _holds(self, folder: Path) -> bool:
        """Whether a folder has a file of the layout."""
        own = any(path for mark in MARKS[self.entry.layout] for path in folder.glob(mark))
        return own or (self.entry.layout == "refcoco" and bool(mirror_files(folder)))


# ---- fetching


class FilePart(Expected):
    """A published file."""

    size: int | None = Field(alias="bytes")
    url: str
    name: str
    sources: list[str] = Field(alias="from")


class FileSet(Part):
    """Files that are fetched together: their terms, and where they go below the data folder."""

    terms: str
    terms_from: str
    parts: list[FilePart]
    into: str
    flat: bool


def file_sets() -> dict[str, FileSet]:
    """What can be fetched, by name."""
    return {name: FileSet.model_validate(entry) for name, entry in yaml_of("files").items()}


def get_data(
    name: str, bar: Bar, root: Path | None = None, url: str | None = None
) -> Iterator[str]:
    """Fetch a set of files, verify what can be verified and put it in its place.

    First come its terms and addresses, then a line for each file. An archive that lies in `root`
    (data/ when None) already is unpacked instead of fetched; files that are there are left as they
    are. `url` is another address, of a set of one file.
    """
    known, folder = file_sets(), paths.DATA if root is None else root.expanduser()
    if name not in known:
        raise TasError(f"nothing is known of {name!r}; there are {', '.join(known)}")
    chosen = known[name]
    yield f"{name}: {chosen.terms}"
    for part in chosen.parts:
        size = f"{part.size / 1e6:.0f} MB" if part.size else "size unknown"
        digest = "SHA-256" if part.sha256 else "MD5" if part.md5 else "no digest published"
        yield f"  {part.url} ({size}, {digest})"
    if url is not None and len(chosen.parts) > 1:
        raise TasError(f"{name} is {len(chosen.parts)} files; --url goes with a set of one")
    for part in chosen.parts:
        get = GET[Path(part.name).suffix]
        yield f"{part.name}{get(part, url or part.url, folder, chosen, bar)}"


def _get_archive(part: FilePart, url: str, folder: Path, chosen: FileSet, bar: Bar) -> str:
    """Unpack an archive, fetched if it does not lie there; one that was fetched is removed."""
    archive, into, note = folder / part.name, folder / chosen.into, ""
    lay_there = archive.is_file()
    if lay_there:
        try:
            verify(archive, part, str(archive))
        except TasError as error:
            note = f"; {str(error).removeprefix(f'{archive} ')}, so see what `tas data check` says"
    else:
        with bar(part.name) as progress:
            fetch(url, archive, part, progress)
    n_files = len(unpack(archive, into, chosen.flat))
    if not lay_there:
        archive.unlink()
    return f" ({'as it lay there' if lay_there else 'fetched'}): {n_files} files in {into}{note}"


def _get_list(part: FilePart, url: str, folder: Path, chosen: FileSet, bar: Bar) -> str:
    """Fetch a JSON file; a page in its place, which asks for a click, is not kept."""
    target = folder / chosen.into / part.name
    if target.is_file():
        return ": there already"
    unchecked = target.with_name(f"{part.name}.unchecked")
    with bar(part.name) as progress:
        fetch(url, unchecked, part, progress)
    try:
        entries(read_json(unchecked), unchecked)
    except TasError:
        unchecked.unlink()
        remedy = f"open it in a browser and put the file at {target}"
        raise TasError(f"{url} gave a page instead of {part.name}; {remedy}") from None
    unchecked.replace(target)
    return ": fetched"


def _get_pictures(part: FilePart, url: str, folder: Path, chosen: FileSet, bar: Bar) -> str:
    """Fetch a parquet file with pictures in it, if it is not there, and write these beside it."""
    target = folder / chosen.into / part.name
    lay_there, images = target.is_file(), target.parents[1] / "images"
    if not lay_there:
        with bar(part.name) as progress:
            fetch(url, target, part, progress)
    rows = parquet_rows(target, (*PICTURE_COLUMNS, "samples"), AGAIN, columns=[*PICTURE_COLUMNS])
    images.mkdir(exist_ok=True)
    for row in rows:
        (images / Path(row["file_name"]).name).write_bytes(row["image"]["bytes"])
    return f" ({'as it lay there' if lay_there else 'fetched'}): {len(rows)} pictures in {images}"


GET = {".zip": _get_archive, ".json": _get_list, ".parquet": _get_pictures}
PICTURE_COLUMNS = ("file_name", "image")
