"""Data sets on disk: how much there is beside what was published, and what is not sound.

Each is opened with its own reader. Faults go to stderr, one a line, counts and remedies to stdout.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasutils import paths
from tasutils.datasets import DATASETS, dataset
from tasutils.datasets.own import SHOWN, read_own
from tasutils.datasets.published import Counts, PublishedSet, get_line
from tasutils.datasets.sample import RefDataset
from tasutils.engines import counted
from tasutils.errors import TasError, one_line
from tasutils.images import image_size, is_file, read_image

HEAD = ("refs", "published", "images", "published", "sentences", "published")
#: kinds of faults, and what to do
KINDS = {
    "missing or damaged file": "{annotations}",
    "split with other counts": "{annotations}",
    "truth that cannot be drawn": "{annotations}",
    "target without a pixel": "every method scores 0 on it",
    "missing image": "{images}",
    "image of another size": "{images}",
}
PUBLISHED = {e.name: e for e in map(dataset, DATASETS) if isinstance(e, PublishedSet)}
Faults = defaultdict[str, list[str]]  # by kind


def faults_of(data: RefDataset, faults: Faults, decode: bool = False) -> int:
    """Note faults of every picture (read to its end: `decode`) and truth; how many pictures lie."""
    place, images, n_there = f"{data.name} {data.split}", data.by_image(), 0
    for image_id, samples in counted(images.items(), place, len(images), len(images) >= 1000):
        path, (height, width) = data.image_path(image_id), data.size_hw(image_id)
        there = is_file(path)
        n_there += there
        try:
            found = read_image(path).shape[:2] if decode else image_size(path)
            if found != (height, width):
                swapped = " (swapped)" if found == (width, height) else ""
                sides = f"{found[1]} x {found[0]} px, annotated as {width} x {height}{swapped}"
                faults["image of another size"].append(f"{path.name} is {sides}")
        except TasError as error:
            kind = "image of another size" if there else "missing image"
            faults[kind].append(str(error) if there else path.name)
        for sample in {sample.ref_id: sample for sample in samples}.values():
            try:
                if not data.gt_mask(sample).any() and sample.ann_ids != ():
                    faults["target without a pixel"].append(f"{place}: ref {sample.ref_id}")
            except TasError as error:
                faults["truth that cannot be drawn"].append(str(error).partition(";")[0])
    return n_there


def shipped() -> Iterator[RefDataset]:
    """Open every split of what needs no fetching, those of drawn pictures first."""
    entries = [e for e in map(dataset, DATASETS) if not isinstance(e, PublishedSet) and e.here()]
    for drawn in (True, False):
        for entry in entries:
            yield from (entry.load(s) for s in entry.splits if (s in entry.drawn) == drawn)


def list_lines(root: Path | None = None) -> Iterator[str]:
    """What ships, then a table of published data sets: counts found here beside those published."""
    for data in shipped():
        n_images = len(data.by_image())
        yield f"{data.name:14} {data.split:6} {n_images:4} images {len(data):5} sentences"
    rows, damaged = list[Sequence[object]](), dict[str, None]()
    for entry in PUBLISHED.values():
        for split_by, splits in entry.entry.splits.items():
            opened = dict(_opened(entry, split_by, root, None))
            for split, published in splits.items():
                found = _counts_of(opened.get(split))
                rows.append((entry.name, split_by, split, *_cells(found, published)))
            if entry.splits_here(split_by, root) and not all(map(_counts_of, opened.values())):
                damaged[entry.name] = None
    yield from ("", f"published data sets in {paths.DATA if root is None else root}")
    yield from _table(rows, ("set", "by", "split", *HEAD))
    for name in damaged:
        yield f"{name} is damaged: {get_line(name, root).replace(' get ', ' check ', 1)}"
    if absent := " | ".join(entry.name for entry in PUBLISHED.values() if not entry.here(root)):
        yield f"- is not here; to fetch it: {get_line(absent, root)}"


def check(name: str | None, split_by: str | None, root: Path | None, images: Path | None) -> int:
    """Examine a published data set, a file of own data or all that is here; the number of faults.

    Without `split_by` all its splits that are here are examined, the usual ones if none is.
    """
    if name is not None and Path(name).suffix:
        return _check_own(Path(name), images)
    if name is not None and name not in PUBLISHED:
        raise TasError(f"no published data set {name!r}; there are {', '.join(PUBLISHED)}")
    n_faults = 0
    for entry in PUBLISHED.values() if name is None else [PUBLISHED[name]]:
        here = [by for by in entry.entry.splits if entry.splits_here(by, root)]
        if name is not None and (split_by or not here):
            here = [entry.known_split_by(split_by)]
        n_faults += sum(_check(entry, by, root, images) for by in here)
    if name is None:
        faults, n = Faults(list), 0
        for data in shipped():
            faults_of(data, faults, decode=True)
            n += len(data)
        n_shipped = _told(faults, "restore it from the repository", "restore it")
        print(f"{n} sentences checked, {n_shipped} faults")
        n_faults += n_shipped
    return n_faults


def _check(entry: PublishedSet, split_by: str, root: Path | None, images: Path | None) -> int:
    faults, rows, notes = Faults(list), list[Sequence[object]](), list[str]()
    for split, data in _opened(entry, split_by, root, images):
        if isinstance(data, TasError):
            faults["missing or damaged file"].append(str(data))
            continue
        have, published = _counts_of(data), entry.entry.splits[split_by][split]
        notes += [f"  {note}" for note in data.notes]
        rows.append((split, *_cells(have, published), faults_of(data, faults)))
        off = [f"{have[k]} {k} ({n})" for k, n in published.items() if n not in (None, have[k])]
        if off:
            faults["split with other counts"].append(f"{split}: {', '.join(off)}")
    folder, pictures, parts = entry.place(root, images)
    mirror = f" (mirror {entry.entry.mirror})" if parts else ""
    title = f"{entry.name} {split_by}".rstrip() + f" in {folder}{mirror}, images in {pictures}"
    print(*map(one_line, [title, *_table(rows, ("split", *HEAD, "on disk")), *notes]), sep="\n")
    get = f"{get_line(entry.entry.get[-1], root)}, or name their folder with --images"
    n_faults = _told(faults, get_line(entry.name, root), get)
    if not n_faults:
        print("  sound")
    return n_faults


def _check_own(path: Path, images: Path | None) -> int:
    data, faults = read_own(path, images)
    _complain(f"{path}: {fault}" for fault in faults)
    n_masks = len(data) - len(data.without_mask)
    counts = f"{len(data)} sentences on {len(data.images)} images"
    counts += f", {n_masks} with a mask; {len(faults)} bad rows"
    print(*map(one_line, data.notes), counts, sep="\n")
    return len(faults)


def _opened(
    entry: PublishedSet, split_by: str, root: Path | None, images: Path | None
) -> Iterator[tuple[str, RefDataset | TasError]]:
    # where no split is here, why the first cannot be opened
    splits = entry.splits_here(split_by, root) or list(entry.entry.splits[split_by])[:1]
    open_split = None
    for split in splits:
        try:
            open_split = open_split or entry.opener(split_by, root, images)
            yield split, open_split(split)
        except TasError as error:
            yield split, error


def _counts_of(data: RefDataset | TasError | None) -> Counts:
    """What a split has; nothing of one that is not here or damaged."""
    if not isinstance(data, RefDataset):
        return {}
    n_refs = len({sample.ref_id for sample in data.samples})
    return {"refs": n_refs, "images": len(data.by_image()), "sentences": len(data)}


def _cells(have: Counts, published: Counts) -> list[object]:
    """What is found beside what was published."""
    pairs = [(have.get(what, "-"), number) for what, number in published.items()]
    return ["unknown" if cell is None else cell for pair in pairs for cell in pair]


def _table(rows: list[Sequence[object]], head: Sequence[str]) -> list[str]:
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(head), dtype=object)
    return table.to_string(index=False).splitlines() if rows else []


def _told(faults: Faults, annotations: str, images: str) -> int:
    """Print the first faults of each kind, each once, and what to do; how many there are."""
    n_faults = 0
    for kind, remedy in KINDS.items():
        found = [f"{kind}: {text}" for text in dict.fromkeys(faults[kind])]
        more = f"... and {len(found) - SHOWN} more, {len(found)} in all: {kind}"
        _complain(found[:SHOWN] + [more] * (len(found) > SHOWN))
        if found:
            what = remedy.format(annotations=annotations, images=images)
            print(f"  {kind}: {len(found)}; {what}")
        n_faults += len(found)
    return n_faults


def _complain(lines: Iterable[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        print(one_line(line), file=sys.stderr)
