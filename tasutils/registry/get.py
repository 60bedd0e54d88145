"""Fetching a published model: the only place of the project that uses the network."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from tasutils.checkpoints import file_fault
from tasutils.errors import TasError
from tasutils.registry import PublishedModel
from tasutils.registry.fetch import Expected, Progress, fetch, part_of, verify
from tasutils.registry.hub import also_wanted, file_url, hub_address, list_repository
from tasutils.registry.local import Files, known_files, write_receipt

Bar = Callable[[str], AbstractContextManager[Progress]]


def get_model(model: PublishedModel, bar: Bar, url: str | None = None) -> int:
    """Fetch what the model lacks on this disk, and return the number of files that came.

    Files that are here and whole are left as they are; damaged ones are replaced.

    Args:
        model: what to fetch; not what it needs besides.
        bar: makes a progress bar for a file's name.
        url: another address: of the one file, or of a mirror of the hub.

    Raises:
        TasError: see `fetch`; also if what came as weights is a page of text.
    """
    hub, single = _addresses(model, url)
    wanted = known_files(model)
    if model.hub and not single and _needs_list(model, wanted):
        listed = list_repository(model, hub)
        wanted |= {name: listed[name] for name in also_wanted(model, listed)}
        wanted = {name: _filled(entry, listed.get(name)) for name, entry in wanted.items()}
    here = {name: digest for name in wanted if (digest := _whole(model, name, wanted[name]))}
    missing = {name: entry for name, entry in wanted.items() if name not in here}
    _require_room(model, missing)
    got: Files = {name: replace(wanted[name], sha256=digest) for name, digest in here.items()}
    addresses = {file.name: file.url for file in model.files}
    for name, expected in missing.items():
        source = single or addresses.get(name) or file_url(model, name, hub)
        target = model.place(name)
        with bar(target.name) as progress:
            digest = fetch(source, target, expected, progress)
        got[name] = replace(expected, sha256=digest, size=target.stat().st_size)
        _require_weights(model, name, source)
    write_receipt(model, got)
    return len(missing)


def _addresses(model: PublishedModel, url: str | None) -> tuple[str, str | None]:
    """The hub's address, and that of the one file if `url` names a file."""
    if url is None:
        return hub_address(), None
    if not urlsplit(url).scheme:
        raise TasError(f"--url is an address like https://host/file, not {url!r}")
    names_file = bool(PurePosixPath(urlsplit(url).path).suffix)
    if names_file and len(model.files) == 1 and not model.also:
        return hub_address(), url
    if names_file or model.hub is None:
        what = "a mirror of the hub" if model.hub else "its file"
        raise TasError(f"{model.name}: --url names {what}, not {url!r}")
    return hub_address(url), None


def _needs_list(model: PublishedModel, known: Files) -> bool:
    """Whether the hub's list can tell more than is known here."""
    unlisted = bool(model.also) and len(known) == len(model.files)
    return unlisted or any(entry.sha256 is None for entry in known.values())


def _filled(known: Expected, listed: Expected | None) -> Expected:
    if listed is None:
        return known
    size = listed.size if known.size is None else known.size
    return replace(known, size=size, sha256=known.sha256 or listed.sha256)


def _whole(model: PublishedModel, name: str, expected: Expected) -> str | None:
    """SHA-256 of a file that is here and as expected; None if it must be fetched."""
    path = model.place(name)
    if not path.is_file() or expected.size not in (None, path.stat().st_size):
        return None
    try:
        return verify(path, expected, str(path), keep=True)
    except TasError:
        return None


def _require_room(model: PublishedModel, files: Files) -> None:
    folder = model.home().parent
    folder.mkdir(parents=True, exist_ok=True)
    parts = (part_of(model.place(name)) for name in files)
    here = sum(part.stat().st_size for part in parts if part.is_file())
    needed = sum(entry.size or 0 for entry in files.values()) - here
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise TasError(
            f"{model.name} needs {needed / 1e9:.1f} GB more, and {folder} has {free / 1e9:.1f} GB "
            "left; free some, or set TAS_HOME to another disk"
        )


def _require_weights(model: PublishedModel, name: str, source: str) -> None:
    """Raise TasError, the file deleted, if what came is seen at a glance to be no weights."""
    path = model.place(name)
    fault = file_fault(path)
    if fault:
        path.unlink()
        raise TasError(f"{source} gave a file that {fault}; nothing of it is kept")
