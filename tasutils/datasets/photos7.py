"""photos7, a smoke set: seven photographs that install with packages, 35 hand-drawn references.

The pictures are read where scikit-image and scikit-learn keep them and compared with the SHA-256
that `instances.json` stores. Polygons were drawn by eye, before any proposal was computed on these
pictures; a polygon covers what is visible of a thing, lattice towers and wheels filled within their
outline. The annotations are COCO's, the references RefCOCO's (`refs.json`: JSON instead of a
pickle). With 35 sentences a score is a smoke test, to be printed with its n, never a result.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasutils.datasets.coco import read_files, split_of
from tasutils.datasets.files import record
from tasutils.datasets.sample import DataSet, Flag, ImageEntry, RefDataset
from tasutils.errors import TasError
from tasutils.language.reading import read_directions

PACKAGES = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
INSTALL = "pip install 'tasutils[photo]'"


class _Picture(BaseModel):
    sha256: str


class _Part(BaseModel):
    ref_id: int | str
    part: bool


class Photos7(DataSet):
    """The set, with the flags `has_direction` (holds a direction word) and `part` (of a thing)."""

    splits = ("all",)
    takes = ("root",)

    def here(self, root: Path | str | None = None) -> bool:
        """Whether both packages that carry the photographs are installed."""
        return all(find_spec(module) is not None for module in PACKAGES)

    def load(self, split: str, *, root: Path | str | None = None, **_: Any) -> RefDataset:
        """Read the split `all` from instances.json and refs.json in `root`, None: data/photos7.

        Raises TasError for another split, damaged annotations, a package that is missing (names the
        command that installs it), or a picture that is not the one the polygons were drawn on.
        """
        from tasutils import paths

        folder = paths.DATA / "photos7" if root is None else Path(root)
        files = read_files(folder / "refs.json", folder / "instances.json")
        data = split_of(files, "photos7", split, Path())
        refs = (record(_Part, entry, files.refs_source) for entry in files.refs)
        parts = {str(ref.ref_id): ref.part for ref in refs}
        samples = []
        for s in data.samples:
            directed = bool(read_directions(s.text))
            flags: dict[str, Flag] = {"has_direction": directed, "part": parts[s.ref_id]}
            samples.append(replace(s, flags=flags))
        images = {
            key: _packaged(entry, record(_Picture, files.images[key], files.source).sha256)
            for key, entry in data.images.items()
        }
        return replace(data, samples=tuple(samples), images=images)


def _packaged(entry: ImageEntry, digest: str) -> ImageEntry:
    """The entry with the place of its picture in the installed package, its bytes compared."""
    module, *rest = entry.path.parts
    spec = find_spec(module) if module in PACKAGES else None
    package = PACKAGES.get(module, module)
    if spec is None or not spec.submodule_search_locations:
        lacking = f"{entry.path.name} is part of the package {package}, which is not installed"
        raise TasError(f"photos7: {lacking}; install it with: {INSTALL}")
    path = Path(spec.submodule_search_locations[0], *rest)
    try:
        found = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        remedy = f"install {package} anew with: {INSTALL}"
        raise TasError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    if found != digest:
        remedy = f"install the version of {package} that constraints.txt names"
        wrong = "not the picture that the references of photos7 were drawn on"
        raise TasError(f"{path}: {wrong}; {remedy}")
    return replace(entry, path=path)
