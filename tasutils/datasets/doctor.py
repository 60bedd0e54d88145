"""Data sets on disk: how much there is beside what was published, and what is not sound.

Each is opened with its own reader. Faults go to stderr, one a line, counts and remedies to stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from tasutils import paths
from tasutils.datasets import DATASETS, dataset
from tasutils.datasets.own import notes_of, read_own
from tasutils.datasets.published import Counts, PublishedSet
from tasutils.datasets.sample import RefDataset
from tasutils.errors import TasError, one_line
from tasutils.images import image_size, is_file, read_image

SHOWN = 5
WHAT = ("refs", "images", "sentences")
#: kind of fault: (one, several, what to do)
KINDS = {
    "file": ("missing or damaged file", "missing or damaged files", "{annotations}"),
    "count": ("split with other counts", "splits with other counts", "{annotations}"),
    "mask": ("truth that cannot be drawn", "truths that cannot be drawn", "{annotations}"),
    "empty": ("target without a pixel", "targets without a pixel", "every method scores 0 on it"),
    "image": ("missing image", "missing images", "{images}"),
    "size": ("image of another size", "images of another size", "{images}"),
}


@dataclass
class Findings:
    """What was found in a data set: counts and images on disk by split, faults by kind."""

    counts: dict[str, Counts] = field(default_factory=dict)
    on_disk: dict[str, int] = field(default_factory=dict)
    faults: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> None:
        """Note a fault, once; `kind` is a key of `KINDS`."""
        self.faults.setdefault(kind, {})[text] = None

    def examine(self, data: RefDataset, decode: bool = False) -> None:
        """Look at every picture (to its end: `decode`) and every truth of a split."""
        place, images, missing = f"{data.name} {data.split}", data.by_image(), 0
        for image_id, samples in tqdm(images.items(), place, disable=len(images) < 1000):
            path, (height, width) = data.image_path(image_id), data.size_hw(image_id)
            try:
                found = read_image(path).shape[:2] if decode else image_size(path)
                if found != (height, width):
                    sides = f"{found[1]} x {found[0]} px, annotated as {width} x {height}"
                    swapped = " (swapped)" if found == (width, height) else ""
                    self.add("size", f"{path.name} is {sides}{swapped}")
            except TasError as error:
                gone = not is_file(path)
                missing += gone
                self.add("image" if gone else "size", path.name if gone else str(error))
            for sample in {sample.ref_id: sample for sample in samples}.values():
                try:
                    if not data.gt_mask(sample).any() and sample.ann_ids != ():
                        self.add("empty", f"{place}: ref {sample.ref_id}")
                except TasError as error:
                    self.add("mask", str(error).partition(";")[0])
        self.counts[data.split], self.on_disk[data.split] = counted(data), len(images) - missing

    @property
    def n_faults(self) -> int:
        """Number of faults of all kinds."""
        return sum(map(len, self.faults.values()))

    def lines(self) -> Iterator[str]:
        """Every kind with its first faults, one a line, and how many more there are."""
        for kind, (one, several, _) in KINDS.items():
            found = list(self.faults.get(kind, ()))
            yield from (f"{one}: {text}" for text in found[:SHOWN])
            if len(found) > SHOWN:
                yield f"... and {len(found) - SHOWN} more, {len(found)} {several} in all"


def counted(data: RefDataset) -> Counts:
    """References, images and sentences of a split."""
    refs = len({sample.ref_id for sample in data.samples})
    return Counts(refs=refs, images=len(data.image_ids), sentences=len(data))


def shipped() -> Iterator[RefDataset]:
    """Open every split of what needs no fetching, those of drawn pictures first."""
    entries = [e for e in map(dataset, DATASETS) if not isinstance(e, PublishedSet) and e.here()]
    for drawn in (True, False):
        for entry in entries:
            for split in entry.splits:
                if (split in entry.drawn) == drawn:
                    yield entry.load(split)


def list_lines(root: Path | None = None) -> Iterator[str]:
    """What ships, then a table of published data sets: counts found here beside those published."""
    for data in shipped():
        n_images = len(data.image_ids)
        yield f"{data.name:14} {data.split:6} {n_images:4} images {len(data):5} sentences"
    rows: list[Sequence[object]] = [
        ("", "", "", *(cell for what in WHAT for cell in (what, ""))),
        ("", "", "", *("found", "published") * len(WHAT)),
    ]
    damaged = dict[str, None]()
    for entry in _published():
        for split_by, splits in entry.entry.splits.items():
            here, found = _here(entry, split_by, root), dict[str, Counts]()
            for split, data_ in _opened(entry, split_by, root, None):
                if isinstance(data_, RefDataset):
                    found[split] = counted(data_)
                elif here:
                    damaged[entry.name] = None
            for split, counts in splits.items():
                have = found.get(split)
                cells = (cell for what in WHAT for cell in (_cell(have, what), _cell(counts, what)))
                rows.append((entry.name, split_by, split, *cells))
    yield from ("", f"published data sets in {paths.DATA if root is None else root}")
    yield from _table(rows, 3)
    where = f" --root {root}" if root is not None else ""
    for name in damaged:
        yield f"{name} is damaged: tas data check {name}{where}"
    absent = [entry.name for entry in _published() if not entry.here(root)]
    if absent:
        yield f"- is not here; to fetch it: tas data get {' | '.join(absent)}{where}"


def check_shipped() -> int:
    """Examine what ships with the project, print what is found, return the number of faults."""
    found, n = Findings(), 0
    for data in shipped():
        found.examine(data, decode=True)
        n += len(data)
    _complain(found.lines())
    print(f"{n} sentences checked, {found.n_faults} faults")
    return found.n_faults


def check_published(
    name: str | None, split_by: str | None, root: Path | None, images: Path | None
) -> int:
    """Examine a published data set, or all that are here; print, return the number of faults.

    Without `split_by` all its splits that are here are examined, the usual ones if none is.

    Raises:
        TasError: no such data set or splits.
    """
    known = {entry.name: entry for entry in _published()}
    if name is not None and name not in known:
        raise TasError(f"no published data set {name!r}; there are {', '.join(known)}")
    n_faults = 0
    for entry in known.values() if name is None else [known[name]]:
        here = [by for by in entry.entry.splits if _here(entry, by, root)]
        if name is not None and (split_by or not here):
            here = [entry.known_split_by(split_by)]
        for by in here:
            n_faults += _check(entry, by, root, images)
    return n_faults


def _check(entry: PublishedSet, split_by: str, root: Path | None, images: Path | None) -> int:
    found, place, expected = Findings(), entry.place(root, images), entry.entry.splits[split_by]
    notes = dict[str, None]()
    for split, data in _opened(entry, split_by, root, images):
        if isinstance(data, TasError):
            found.add("file", str(data))
            continue
        notes |= dict.fromkeys(data.notes)
        found.examine(data)
        pairs = [(_cell(found.counts[split], what), _cell(expected[split], what)) for what in WHAT]
        off = [
            f"{a} {w} ({b})"
            for w, (a, b) in zip(WHAT, pairs, strict=True)
            if b not in (a, "unknown")
        ]
        if off:
            found.add("count", f"{split}: {', '.join(off)}")
    mirror = f" (mirror {entry.entry.mirror})" if place.mirror else ""
    title = f"{entry.name} {split_by}".rstrip()
    print(one_line(f"{title} in {place.folder}{mirror}, images in {place.images}"))
    rows: list[Sequence[object]] = [
        ("split", "refs", "published", "images", "published", "on disk", "sentences", "published")
    ]
    for split, have in found.counts.items():
        refs, pictures, said = ((_cell(have, what), _cell(expected[split], what)) for what in WHAT)
        rows.append((split, *refs, *pictures, found.on_disk[split], *said))
    for line in _table(rows, 1) if found.counts else ():
        print(line)
    for note in notes:
        print(f"  {one_line(note)}")
    _complain(found.lines())
    for line in _remedies(found, entry, root) if found.n_faults else ["sound"]:
        print(f"  {line}")
    return found.n_faults


def _remedies(found: Findings, entry: PublishedSet, root: Path | None) -> Iterator[str]:
    """For every kind of fault found, how many there are and what to do."""
    where, archive = f" --root {root}" if root is not None else "", entry.archive(root)
    unpack = f"unpack {archive} with: " if archive else ""
    annotations = f"{unpack}tas data get {entry.name}{where}"
    images = f"tas data get {entry.entry.get[-1]}{where}, or name their folder with --images"
    for kind, (one, several, remedy) in KINDS.items():
        n = len(found.faults.get(kind, ()))
        if n:
            text = remedy.format(annotations=annotations, images=images)
            yield f"{n} {one if n == 1 else several}: {text}"


def check_own(path: Path, images: Path | None) -> int:
    """Examine a file of own data, print what is found, return the number of bad rows."""
    data = read_own(path, images)
    _complain(f"{path}: {fault}" for fault in data.faults)
    for note in notes_of(data):
        print(one_line(note))
    counts = f"{len(data.samples)} sentences on {len(data.images)} images"
    print(f"{counts}, {len(data.rles)} with a mask; {len(data.faults)} bad rows")
    return len(data.faults)


def _published() -> list[PublishedSet]:
    return [entry for entry in map(dataset, DATASETS) if isinstance(entry, PublishedSet)]


def _here(entry: PublishedSet, split_by: str, root: Path | None) -> list[str]:
    """Splits whose annotations are here, by their files."""
    place, splits = entry.place(root), list(entry.entry.splits[split_by])
    if entry.entry.layout == "phrasecut":
        return [split for split in splits if (place.folder / f"refer_{split}.json").is_file()]
    if place.mirror:
        return splits if split_by == entry.entry.split_by else []
    return splits if (place.folder / f"refs({split_by}).p").is_file() else []


def _opened(
    entry: PublishedSet, split_by: str, root: Path | None, images: Path | None
) -> Iterator[tuple[str, RefDataset | TasError]]:
    """Every split that is here, or why it cannot be opened; where none is, why the first cannot."""
    splits = _here(entry, split_by, root) or list(entry.entry.splits[split_by])[:1]
    try:
        open_split = entry.opener(split_by, root, images)
        for split in splits:
            try:
                yield split, open_split(split)
            except TasError as error:
                yield split, error
    except TasError as error:
        yield splits[0], error


def _cell(counts: Counts | None, what: str) -> str:
    value = "-" if counts is None else getattr(counts, what)
    return "unknown" if value is None else str(value)


def _table(rows: list[Sequence[object]], n_words: int) -> Iterator[str]:
    """Rows as aligned lines: the first cells to the left, numbers to the right."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            str(cell).ljust(width) if index < n_words else str(cell).rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def _complain(lines: Iterable[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        print(one_line(line), file=sys.stderr)
    sys.stderr.flush()
