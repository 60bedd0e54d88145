"""Published data sets as lines of text: what is here beside what was published, and the doctor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasutils.datasets.check_phrasecut import check_phrasecut, count_tasks, read_tasks
from tasutils.datasets.check_refcoco import check_refcoco, count_refs, read_refs
from tasutils.datasets.findings import WHAT, Findings
from tasutils.datasets.published import Counts, find_place, published
from tasutils.errors import TasError


def found_counts(name: str, split_by: str, root: Path | None = None) -> dict[str, Counts] | None:
    """What the annotations of a data set count here, by split; None where there are none.

    Raises:
        TasError: they are damaged.
    """
    if published()[name].layout == "phrasecut":
        folder = find_place(name, root).folder
        read = {split: read_tasks(folder, split) for split in published()[name].splits[split_by]}
        return {s: count_tasks(tasks) for s, tasks in read.items() if tasks is not None} or None
    try:
        refs = read_refs(name, split_by, root)
    except TasError:
        if find_place(name, root).mirror and split_by != published()[name].split_by:
            return None  # a mirror holds one kind of splits
        raise
    return None if refs is None else count_refs(refs)


def list_lines(root: Path | None = None) -> Iterator[str]:
    """A table of all published data sets: counts found here beside those published."""
    from tasutils import paths

    rows: list[Sequence[object]] = []
    absent: list[str] = []
    damaged: list[str] = []
    for name, entry in published().items():
        for split_by, splits in entry.splits.items():
            try:
                found = found_counts(name, split_by, root)
            except TasError:
                found = None
                damaged.append(name)
            if found is None and name not in absent + damaged:
                absent.append(name)
            for split, counts in splits.items():
                have = (found or {}).get(split)
                cells = [cell for what in WHAT for cell in _pair(have, counts, what)]
                rows.append((name, split_by, split, *cells))
    header = ("", "", "", *(("found", "published") * len(WHAT)))
    over = ("", "", "", *(cell for what in WHAT for cell in (what, "")))
    yield f"published data sets in {paths.DATA if root is None else root}"
    yield from _table([over, header, *rows])
    where = f" --root {root}" if root is not None else ""
    for name in dict.fromkeys(damaged):
        yield f"{name} is damaged: tas data check {name}{where}"
    if absent:
        yield f"- is not here; to fetch it: tas data get {' | '.join(absent)}{where}"


def _pair(have: Counts | None, published_counts: Counts, what: str) -> tuple[str, str]:
    found = "-" if have is None else str(getattr(have, what))
    wanted = getattr(published_counts, what)
    return found, "unknown" if wanted is None else str(wanted)


def check_lines(findings: Findings) -> Iterator[str]:
    """What the doctor found in one data set, but for the faults: places and a table of counts."""
    place, expected = findings.place, published()[findings.name].splits[findings.split_by]
    title = f"{findings.name} {findings.split_by}".rstrip()
    mirror = f" (mirror {published()[findings.name].mirror})" if place.mirror else ""
    yield f"{title} in {place.folder}{mirror}, images in {place.images}"
    if not findings.counts:
        return
    rows: list[Sequence[object]] = [
        ("split", "refs", "published", "images", "published", "on disk", "sentences", "published")
    ]
    for split, counts in findings.counts.items():
        wanted = expected.get(split)
        refs, images, sentences = (
            (str(getattr(counts, what)), _wanted(wanted, what)) for what in WHAT
        )
        rows.append((split, *refs, *images, findings.on_disk(split), *sentences))
    yield from _table(rows)


def _wanted(counts: Counts | None, what: str) -> str:
    value = getattr(counts, what) if counts is not None else "-"
    return "unknown" if value is None else str(value)


def _table(rows: list[Sequence[object]]) -> Iterator[str]:
    """Rows as aligned lines: words to the left, numbers to the right."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    n_words = 3 if len(widths) > 8 else 1
    for row in rows:
        cells = [
            str(cell).ljust(width) if index < n_words else str(cell).rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def examine(
    name: str | None,
    split_by: str | None = None,
    root: Path | None = None,
    images: Path | None = None,
) -> Iterator[Findings]:
    """Run the doctor on a published data set, or on all that are here when `name` is None.

    Without `split_by` all its splits that are here are examined, the usual ones if none is.

    Raises:
        TasError: no such data set or splits.
    """
    if name is not None and name not in published():
        raise TasError(f"no published data set {name!r}; there are {', '.join(published())}")
    for each in published() if name is None else [name]:
        entry, place = published()[each], find_place(each, root, images)
        if entry.layout == "phrasecut":
            if name is not None or any(place.folder.glob("refer_*.json")):
                yield check_phrasecut(root, images)
            continue
        here = [by for by in entry.splits if (place.folder / f"refs({by}).p").is_file()]
        here = [entry.split_by] if place.mirror else here
        if name is not None:
            here = [split_by] if split_by is not None else here or [entry.split_by]
        for by in here:
            yield check_refcoco(each, by, root, images)
