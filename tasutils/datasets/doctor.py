"""Data sets on disk: how much there is beside what was published, and what is not sound.

Each is opened with its own reader. Faults go to stderr, one a line, counts and remedies to stdout.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
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
Faults = dict[str, dict[str, None]]  # by kind, each once


def faults_of(data: RefDataset, faults: Faults, decode: bool = False) -> int:
    """Note faults of every picture (read to its end: `decode`) and truth; how many pictures lie."""
    place, images, n_there = f"{data.name} {data.split}", data.by_image(), 0
    for image_id, samples in tqdm(images.items(), place, disable=len(images) < 1000):
        path, (height, width) = data.image_path(image_id), data.size_hw(image_id)
        there = is_file(path)
        n_there += there
        try:
            found = read_image(path).shape[:2] if decode else image_size(path)
            if found != (height, width):
                swapped = " (swapped)" if found == (width, height) else ""
                sides = f"{found[1]} x {found[0]} px, annotated as {width} x {height}{swapped}"
                faults["size"][f"{path.name} is {sides}"] = None
        except TasError as error:
            faults["size" if there else "image"][str(error) if there else path.name] = None
        for sample in {sample.ref_id: sample for sample in samples}.values():
            try:
                if not data.gt_mask(sample).any() and sample.ann_ids != ():
                    faults["empty"][f"{place}: ref {sample.ref_id}"] = None
            except TasError as error:
                faults["mask"][str(error).partition(";")[0]] = None
    return n_there


def counts_of(data: RefDataset) -> Counts:
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
            found = dict[str, Counts]()
            for split, data_ in _opened(entry, split_by, root, None):
                if isinstance(data_, RefDataset):
                    found[split] = counts_of(data_)
                elif entry.splits_here(split_by, root):
                    damaged[entry.name] = None
            for split, counts in splits.items():
                have = found.get(split)
                cells = (cell for what in WHAT for cell in (_cell(have, what), _cell(counts, what)))
                rows.append((entry.name, split_by, split, *cells))
    yield from ("", f"published data sets in {paths.DATA if root is None else root}")
    yield from _table(rows, 3)
    where = f" --root {root}" if root is not None else ""
    yield from (f"{name} is damaged: tas data check {name}{where}" for name in damaged)
    absent = [entry.name for entry in _published() if not entry.here(root)]
    if absent:
        yield f"- is not here; to fetch it: tas data get {' | '.join(absent)}{where}"


def check_shipped() -> int:
    """Examine what ships with the project, print what is found, return the number of faults."""
    faults: Faults = defaultdict(dict)
    n = 0
    for data in shipped():
        faults_of(data, faults, decode=True)
        n += len(data)
    n_faults = _complain(faults)
    print(f"{n} sentences checked, {n_faults} faults")
    return n_faults


def check_published(
    name: str | None, split_by: str | None, root: Path | None, images: Path | None
) -> int:
    """Examine a published data set, or all that are here; print, return the number of faults.

    Without `split_by` all its splits that are here are examined, the usual ones if none is. Raises
    TasError where there is no such data set or splits.
    """
    known = {entry.name: entry for entry in _published()}
    if name is not None and name not in known:
        raise TasError(f"no published data set {name!r}; there are {', '.join(known)}")
    n_faults = 0
    for entry in known.values() if name is None else [known[name]]:
        here = [by for by in entry.entry.splits if entry.splits_here(by, root)]
        if name is not None and (split_by or not here):
            here = [entry.known_split_by(split_by)]
        n_faults += sum(_check(entry, by, root, images) for by in here)
    return n_faults


def _check(entry: PublishedSet, split_by: str, root: Path | None, images: Path | None) -> int:
    faults: Faults = defaultdict(dict)
    notes = dict[str, None]()
    head = ("split", "refs", "published", "images", "published", "on disk", "sentences")
    rows: list[Sequence[object]] = [(*head, "published")]
    for split, data in _opened(entry, split_by, root, images):
        if isinstance(data, TasError):
            faults["file"][str(data)] = None
            continue
        notes |= dict.fromkeys(data.notes)
        n_there, have = faults_of(data, faults), counts_of(data)
        wanted = entry.entry.splits[split_by][split]
        refs, pictures, said = ((_cell(have, what), _cell(wanted, what)) for what in WHAT)
        rows.append((split, *refs, *pictures, n_there, *said))
        pairs = zip(WHAT, (refs, pictures, said), strict=True)
        off = [f"{a} {what} ({b})" for what, (a, b) in pairs if b not in (a, "unknown")]
        if off:
            faults["count"][f"{split}: {', '.join(off)}"] = None
    place = entry.place(root, images)
    mirror = f" (mirror {entry.entry.mirror})" if place.mirror else ""
    title = f"{entry.name} {split_by}".rstrip()
    print(one_line(f"{title} in {place.folder}{mirror}, images in {place.images}"))
    for line in (*(_table(rows, 1) if len(rows) > 1 else ()), *(f"  {note}" for note in notes)):
        print(one_line(line))
    n_faults = _complain(faults)
    where, archive = f" --root {root}" if root is not None else "", entry.archive(root)
    unpack = f"unpack {archive} with: " if archive else ""
    remedies = {
        "annotations": f"{unpack}tas data get {entry.name}{where}",
        "images": f"tas data get {entry.entry.get[-1]}{where}, or name their folder with --images",
    }
    for kind, (one, several, remedy) in KINDS.items():
        n = len(faults[kind])
        if n:
            print(f"  {n} {one if n == 1 else several}: {remedy.format(**remedies)}")
    if not n_faults:
        print("  sound")
    return n_faults


def check_own(path: Path, images: Path | None) -> int:
    """Examine a file of own data, print what is found, return the number of bad rows."""
    data = read_own(path, images)
    _print_faults(f"{path}: {fault}" for fault in data.faults)
    for note in notes_of(data):
        print(one_line(note))
    counts = f"{len(data.samples)} sentences on {len(data.images)} images"
    print(f"{counts}, {len(data.rles)} with a mask; {len(data.faults)} bad rows")
    return len(data.faults)


def _published() -> list[PublishedSet]:
    return [entry for entry in map(dataset, DATASETS) if isinstance(entry, PublishedSet)]


def _opened(
    entry: PublishedSet, split_by: str, root: Path | None, images: Path | None
) -> Iterator[tuple[str, RefDataset | TasError]]:
    # where no split is here, why the first cannot be opened
    splits = entry.splits_here(split_by, root) or list(entry.entry.splits[split_by])[:1]
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
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        words = [str(cell).ljust(width) for cell, width in zip(row[:n_words], widths, strict=False)]
        pairs = zip(row[n_words:], widths[n_words:], strict=True)
        numbers = [str(cell).rjust(width) for cell, width in pairs]
        yield ("  " + "  ".join(words + numbers)).rstrip()


def _complain(faults: Faults) -> int:
    for kind, (one, several, _) in KINDS.items():
        found = list(faults[kind])
        _print_faults(f"{one}: {text}" for text in found[:SHOWN])
        if len(found) > SHOWN:
            _print_faults([f"... and {len(found) - SHOWN} more, {len(found)} {several} in all"])
    return sum(map(len, faults.values()))


def _print_faults(lines: Iterable[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        print(one_line(line), file=sys.stderr)
    sys.stderr.flush()
