"""What the doctor of published data sets finds: counts beside the published ones, and faults.

A fault is one line. Faults of one kind are shown up to a limit with their total, and each kind ends
in what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from tasutils.datasets.published import Counts, Place, archive_of, published
from tasutils.datasets.sample import ImageEntry
from tasutils.errors import TasError

SHOWN = 5
WHAT = ("refs", "images", "sentences")
#: kind of fault: (one, several, what to do)
KINDS = {
    "file": ("missing file", "missing files", "{annotations}"),
    "count": ("split with other counts", "splits with other counts", "{annotations}"),
    "record": ("damaged record", "damaged records", "{annotations}"),
    "no_annotation": ("ref without annotation", "refs without annotation", "{annotations}"),
    "no_image": ("annotation without image", "annotations without image", "{annotations}"),
    "shape": ("shape that cannot be drawn", "shapes that cannot be drawn", "{annotations}"),
    "points": (
        "polygon of fewer than 3 points",
        "polygons of fewer than 3 points",
        "they are drawn as nothing (2 points: as a line in PhraseCut); scores stay comparable",
    ),
    "empty": (
        "target without a pixel",
        "targets without a pixel",
        "nothing to do: every method scores 0 on it",
    ),
    "box": (
        "box outside its image",
        "boxes outside their image",
        "nothing to do: masks are read, boxes are not",
    ),
    "image": ("missing image", "missing images", "{images}"),
    "size": ("image of another size", "images of another size", "{images}"),
}


@dataclass
class Findings:
    """What was found in one data set by one set of splits."""

    name: str
    split_by: str
    place: Place
    root: Path | str | None = None
    counts: dict[str, Counts] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    used: dict[str, set[Path]] = field(default_factory=dict)
    missing: set[Path] = field(default_factory=set)

    def add(self, kind: str, text: str) -> None:
        """Note a fault; `kind` is a key of `KINDS`."""
        self.faults.setdefault(kind, []).append(text)

    def use_image(self, split: str, entry: ImageEntry) -> None:
        """Note an image that a split uses and the (H, W) it should have."""
        self.sizes[entry.path] = entry.size_hw
        self.used.setdefault(split, set()).add(entry.path)

    def on_disk(self, split: str) -> int:
        """How many images of a split are there, after `compare_images`."""
        return len(self.used.get(split, set()) - self.missing)

    @property
    def n_faults(self) -> int:
        """Number of faults of all kinds."""
        return sum(map(len, self.faults.values()))

    def fault_lines(self, shown: int = SHOWN) -> Iterator[str]:
        """Every kind with its first faults, one a line, and how many more there are."""
        for kind, (one, several, _) in KINDS.items():
            found = self.faults.get(kind, [])
            for text in found[:shown]:
                yield f"{one}: {text}"
            if len(found) > shown:
                yield f"... and {len(found) - shown} more, {len(found)} {several} in all"

    def remedies(self) -> Iterator[str]:
        """For every kind of fault found, how many there are and what to do."""
        for kind, (one, several, remedy) in KINDS.items():
            n = len(self.faults.get(kind, []))
            if n:
                text = remedy.format(annotations=self._annotations(), images=self._images())
                yield f"{n} {one if n == 1 else several}: {text}"

    def _annotations(self) -> str:
        archive = archive_of(self.name, self.root)
        what = f"unpack {archive} with: " if archive else ""
        return f"{what}tas data get {self.name}{self._root()}"

    def _images(self) -> str:
        name = published()[self.name].get[-1]
        return f"tas data get {name}{self._root()}, or name their folder with --images"

    def _root(self) -> str:
        return f" --root {self.root}" if self.root is not None else ""


def missing_file(path: Path) -> str:
    """What to say of a file that is not there: its path and, if one was renamed, which."""
    found = sorted(entry.name for entry in path.parent.glob("*")) if path.parent.is_dir() else []
    if not path.parent.is_dir():
        return f"{path} (there is no folder {path.parent})"
    similar = get_close_matches(path.name, found, n=1, cutoff=0.7)
    if similar:
        return f"{path}; {similar[0]} is there: rename it if it is the same file"
    return f"{path} (there: {', '.join(found[:4]) or 'nothing'}{', ...' if len(found) > 4 else ''})"


def compare_counts(findings: Findings, expected: dict[str, Counts]) -> None:
    """Note each split whose counts are not the published ones, which stand in brackets.

    What no source states is not compared.
    """
    for split, counts in expected.items():
        found = findings.counts.get(split, Counts(refs=0, images=0, sentences=0))
        pairs = {what: (getattr(found, what), getattr(counts, what)) for what in WHAT}
        off = [f"{a} {what} ({b})" for what, (a, b) in pairs.items() if b is not None and a != b]
        if off:
            findings.add("count", f"{split}: {', '.join(off)}")
    for split in findings.counts:
        if split not in expected:
            findings.add("count", f"{split}: a split that was not published")


def compare_images(findings: Findings) -> None:
    """Note every image in use that is not there, is no picture, or has another size.

    Only headers are read. Of more than a few thousand a bar on stderr counts them.
    """
    from tqdm import tqdm

    from tasutils.images import image_size, is_file

    sizes = findings.sizes
    bar = tqdm(sizes.items(), desc="images", unit="", disable=len(sizes) < 2000)
    for path, (height, width) in bar:
        if not is_file(path):
            findings.missing.add(path)
            findings.add("image", str(path.name))
            continue
        try:
            found = image_size(path)
        except TasError as error:
            findings.add("size", str(error))
            continue
        if found != (height, width):
            findings.add(
                "size",
                f"{path.name} is {found[1]} x {found[0]} px, annotated as {width} x {height}",
            )


def box_is_outside(box: object, size_hw: tuple[int, int], tolerance_px: float = 1.0) -> bool:
    """Whether a box x, y, w, h leaves the image by more than `tolerance_px`, or is no box."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        return True
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError, OverflowError):
        return True
    low, right = -tolerance_px, size_hw[1] + tolerance_px
    inside = low <= x <= x + width <= right and low <= y <= y + height <= size_hw[0] + tolerance_px
    return not inside
