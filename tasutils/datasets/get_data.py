"""Fetching published data sets, on the one command that asks for it: `tas data get`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from tasutils import paths
from tasutils.config import Part
from tasutils.datasets.files import entries, read_json
from tasutils.datasets.published import yaml_of
from tasutils.errors import TasError
from tasutils.models import Bar, Expected, fetch, unpack, verify


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


def file_set(name: str) -> FileSet:
    """The files of a name; raises TasError where there is none."""
    found = file_sets()
    if name not in found:
        raise TasError(f"nothing is known of {name!r}; there are {', '.join(found)}")
    return found[name]


def terms_lines(name: str) -> Iterator[str]:
    """The terms of a set, where its files come from and how large they are."""
    chosen = file_set(name)
    yield f"{name}: {chosen.terms}"
    for part in chosen.parts:
        size = f"{part.size / 1e6:.0f} MB" if part.size else "size unknown"
        digest = "SHA-256" if part.sha256 else "MD5" if part.md5 else "no digest published"
        yield f"  {part.url} ({size}, {digest})"


def get_data(
    name: str, bar: Bar, root: Path | None = None, url: str | None = None
) -> Iterator[str]:
    """Fetch a set of files, verify what can be verified and put it in its place; a line for each.

    An archive that lies in `root` (data/ when None) already is unpacked instead of fetched; files
    that are there are left as they are. `url` is another address, of a set of one file.
    """
    chosen = file_set(name)
    if url is not None and len(chosen.parts) > 1:
        raise TasError(f"{name} is {len(chosen.parts)} files; --url goes with a set of one")
    folder = paths.DATA if root is None else root.expanduser()
    for part in chosen.parts:
        get = _get_archive if part.name.endswith(".zip") else _get_list
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
