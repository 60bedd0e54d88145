"""What ships with the project: RefScenes, the embedded world, and photos7, a smoke set.

RefScenes has three families in RefCOCO's layout (`refs(tas).p`) and one in PhraseCut's; all share
`images/`. `expressions.parquet` adds the flags by which the study splits its tables. grefscenes,
in gRefCOCO's layout over the same pictures, has sentences that mean none, one or several things.

photos7 is seven photographs that install with scikit-image and scikit-learn and 35 references in
RefCOCO's layout (`refs.json`), drawn by eye before any proposal was computed: a smoke test, to be
printed with its n, never a result.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tasutils import paths
from tasutils.datasets.coco import load_refcoco, read_files, split_of
from tasutils.datasets.files import AGAIN, digest_of, parquet_rows
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.sample import DataSet, Flag, RefDataset, Sample
from tasutils.errors import TasError
from tasutils.language.reading import read_directions

_NO_FLAGS = {"family", "split", "image_id", "ref_id", "task_id", "sent_id", "text", "raw"}
_NO_FLAGS |= {"query", "targets"}
PACKAGES = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
INSTALL = "pip install 'tasutils[photo]'"


class Family(DataSet):
    """One family of sentences about the pictures of RefScenes; `layout` as it is written."""

    drawn = ("val", "testA", "testB", "testS")
    splits = (*drawn, "valP", "testP")
    takes = ("root",)
    group = "refscenes"

    def __init__(self, name: str, layout: str = "refcoco") -> None:
        self.name, self.layout = name, layout

    def load(self, split: str, *, root: Path | str | None = None, **_: Any) -> RefDataset:
        """Read a split with its flags; `valP` and `testP` are of cut-outs of photographs.

        `root` is the folder of the world, None: `paths.REFSCENES` or `paths.PHOTOSCENES`.
        """
        world = self._world(split, root)
        if self.layout == "phrasecut":
            data = load_phrasecut(world / self.name, split, world / "images", self.name)
        elif split in self.splits:
            data = load_refcoco(world, self.name, "tas", split, world / "images")
        else:
            raise TasError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        path = world / "expressions.parquet"
        flags = self._flags(path, split)

        def flagged(sample: Sample) -> Sample:
            found = flags.get((sample.ref_id, sample.sent_id))
            if found is None:
                said = f"split {sample.split} ref {sample.ref_id} sentence {sample.sent_id}"
                raise TasError(f"{path}: no row for {said}; restore its folder from the repository")
            return replace(sample, flags={**sample.flags, **found})

        digest = sha256((data.index_digest + digest_of([path])).encode()).hexdigest()
        return replace(data, samples=tuple(map(flagged, data.samples)), index_digest=digest)

    def _world(self, split: str, root: Path | str | None) -> Path:
        photographs = split in self.splits and split not in self.drawn
        return Path(root or (paths.PHOTOSCENES if photographs else paths.REFSCENES))

    def _flags(self, path: Path, split: str) -> dict[tuple[str, str], dict[str, Flag]]:
        """Flags by (ref id, sentence id); by (task id, "0") for PhraseCut's layout."""
        by_task, remedy = self.layout == "phrasecut", "restore it from git"
        wanted = [("family", "=", self.name), ("split", "=", split)]
        rows = parquet_rows(path, ("family", "split", "ref_id", "sent_id"), remedy, filters=wanted)
        found = {}
        for row in rows:
            ref, sent = (row.get("task_id"), 0) if by_task else (row["ref_id"], row["sent_id"])
            flags = {k: "" if v is None else v for k, v in row.items() if k not in _NO_FLAGS}
            found[str(row["ref_id"] if ref is None else ref), str(sent)] = flags
        return found


class Several(Family):
    """grefscenes, with two flags of a sentence.

    kind: one, or a variant of such a sentence: same, in other words; switch, one word changed so
    that another thing is meant; void, so that nothing is; or by itself absent (nothing of that
    name), all, both. base: the sample id of the sentence whose variant it is, else its own.
    """

    group = ""

    def load(self, split: str, *, root: Path | str | None = None, **_: Any) -> RefDataset:
        """Read a split; see `Family.load`."""
        world = self._world(split, root)
        instances = world / "refscenes" / "instances.json"
        files = read_files(world / self.name / "grefs(tas).json", instances)
        data = split_of(files, self.name, split, world / "images")
        refs = {str(ref["ref_id"]): ref for ref in files.refs}

        def flags(s: Sample) -> dict[str, Flag]:
            base = refs[s.ref_id]["base"]
            return {"kind": refs[s.ref_id]["kind"], "base": f"{base}-{base}"}

        return replace(data, samples=tuple(replace(s, flags=flags(s)) for s in data.samples))


class Photos7(DataSet):
    """The smoke set, with the flags `has_direction` (of the sentence) and `part` (of a thing)."""

    splits = ("all",)
    takes = ("root",)

    def here(self, root: Path | str | None = None) -> bool:
        """Whether both packages that carry the photographs are installed."""
        return None not in map(importlib.util.find_spec, PACKAGES)

    def load(self, split: str, *, root: Path | str | None = None, **_: Any) -> RefDataset:
        """Read `all` from `root`, None: data/photos7.

        Raises TasError for a package that is missing, or a picture of another SHA-256.
        """
        folder = paths.DATA / "photos7" if root is None else Path(root)
        files = read_files(folder / "refs.json", folder / "instances.json")
        data = split_of(files, "photos7", split, Path())
        parts = {str(ref["ref_id"]): ref.get("part") for ref in files.refs}
        if not all(isinstance(part, bool) for part in parts.values()):
            raise TasError(f"{files.refs_source}: a reference without part; {AGAIN}")
        images = {
            key: replace(entry, path=_packaged(entry.path, files.images[key].get("sha256")))
            for key, entry in data.images.items()
        }
        samples = tuple(
            replace(
                s, flags={"has_direction": bool(read_directions(s.text)), "part": parts[s.ref_id]}
            )
            for s in data.samples
        )
        return replace(data, samples=samples, images=images)


def _packaged(place: Path, digest: str | None) -> Path:
    """The picture's file in the installed package, its bytes compared."""
    path = paths.weights_path(f"package:{place.as_posix()}")
    package = PACKAGES.get(place.parts[0], place.parts[0])
    if not path.is_absolute():
        lacking = f"{place.name} is part of the package {package}, which is not installed"
        raise TasError(f"photos7: {lacking}; install it with: {INSTALL}")
    if not path.is_file() or sha256(path.read_bytes()).hexdigest() != digest:
        remedy = f"install the version of {package} that constraints.txt names"
        wrong = "not the picture that the references of photos7 were drawn on"
        raise TasError(f"{path}: {wrong}; {remedy}")
    return path
