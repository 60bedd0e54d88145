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
from tasutils.datasets.sample import DataSet, ImageEntry, RefDataset
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
        """Read the set.

        Args:
            split: `all`, the only one.
            root: the folder of instances.json and refs.json; data/photos7 when None.

        Raises:
            TasError: another split, damaged annotations, a package that is missing (names the
                command that installs it), or a picture that is not the one the polygons were drawn
                on.
        """
        from tasutils import paths

        folder = paths.DATA / "photos7" if root is None else Path(root)
        files = read_files(folder / "refs.json", folder / "instances.json")
        data = split_of(files, "photos7", split, Path())
        parts = [record(_Part, entry, files.refs_source) for entry in files.refs]
        is_part = {str(ref.ref_id): ref.part for ref in parts}
        samples = [
            replace(
                s, flags={"has_direction": bool(read_directions(s.text)), "part": is_part[s.ref_id]}
            )
            for s in data.samples
        ]
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
        raise TasError(
            f"photos7: {entry.path.name} is part of the package {package}, which is not installed; "
            f"install it with: {INSTALL}"
        )
    path = Path(spec.submodule_search_locations[0], *rest)
    try:
        found = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TasError(
            f"{path}: cannot be read ({error.strerror}); install {package} anew with: {INSTALL}"
        ) from None
    if found != digest:
        raise TasError(
            f"{path}: not the picture that the references of photos7 were drawn on; install the "
            f"version of {package} that constraints.txt names"
        )
    return replace(entry, path=path)
