"""One file over HTTP: resumed, verified, and put in its place whole or not at all."""

import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tasutils.errors import TasError

CHUNK_BYTES = 2**20
TIMEOUT_S = 60.0
_ATTEMPTS = 5  # of a connection that breaks; each goes on where the last one ended
_SPAN = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_REFUSALS = {
    401: "is not given without a login: fetch it in a browser and put it at {target}",
    403: "is refused: fetch it in a browser and put it at {target}",
    404: "does not exist (404): name a mirror with --url, or put the file at {target}",
    410: "exists no more (410): name a mirror with --url, or put the file at {target}",
}

Progress = Callable[[int, int | None], None]  # bytes here, bytes in all


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it comes; None where nothing is."""

    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


class _Broken(Exception):
    """The connection ended before the file did."""


def fetch(url: str, target: Path, expected: Expected, progress: Progress) -> str:
    """Download `url` to `target` and return its SHA-256 (hex).

    What has come lies beside the target as NAME.part, with the server's mark of the version as
    NAME.part.tag, and is gone on from, here or in a later call, unless the server has another
    version by then. Only a whole and verified file gets the target's name.

    Args:
        url: http, https or file address; redirections are followed.
        target: where to put it; a file there is replaced.
        expected: size and digests it must have.
        progress: called now and then.

    Raises:
        TasError: no connection, refused, no such file, another size or digest than expected, no
            room on the disk; the message is one line. After a wrong digest nothing is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    whole = False
    for _ in range(_ATTEMPTS):
        before = _size(part)
        try:
            _receive(url, part, target, expected, progress)
            whole = True
            break
        except _Broken:
            if _size(part) <= before:
                break
    if not whole:
        size = expected.size or _announced(part) or "an unknown number of"
        raise TasError(
            f"the connection to {url} broke after {_size(part)} of {size} bytes; "
            "they are kept, and the same command goes on from there"
        )
    sha256 = verify(part, expected, url)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    _tag(part).unlink(missing_ok=True)
    _sync_folder(target.parent)
    return sha256


def part_of(target: Path) -> Path:
    """Where what has come of a file lies until it is whole."""
    return target.with_name(f"{target.name}.part")


def verify(path: Path, expected: Expected, name: str, keep: bool = False) -> str:
    """SHA-256 of a file that is as `expected`; TasError, the file deleted unless `keep`, if not."""
    size, sha256, md5 = _size(path), hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
            if expected.md5:
                md5.update(chunk)
    found = {"size": size, "SHA-256": sha256.hexdigest(), "MD5": md5.hexdigest()}
    wanted = {"size": expected.size, "SHA-256": expected.sha256, "MD5": expected.md5}
    for what, value in wanted.items():
        if value is not None and found[what] != value:
            if not keep:
                path.unlink()
                _tag(path).unlink(missing_ok=True)
            kept = "" if keep else "; nothing of it is kept"
            raise TasError(f"{name} has {what} {found[what]}, not {value} as published{kept}")
    return sha256.hexdigest()


def open_url(url: str, headers: dict[str, str], target: Path | str) -> Any:
    """The server's answer; TasError in one line when it has none or refuses."""
    request = urllib.request.Request(url, headers={"User-Agent": "tasutils"} | headers)
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and "Range" in headers:
            raise
        refusal = _REFUSALS.get(error.code, f"gave error {error.code} ({error.reason}): try later")
        raise TasError(f"{url} {refusal.format(target=target)}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise TasError(
            f"no answer from {url} ({reason}); check the network, name a mirror with --url, "
            f"or put the file at {target}"
        ) from error


def _receive(url: str, part: Path, target: Path, expected: Expected, progress: Progress) -> None:
    """Append to `part` what it still lacks; _Broken if the connection ends before that."""
    start = _resumable(part, expected)
    if start and start in (expected.size, _announced(part)):
        return
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        headers |= {"If-Range": tag} if (tag := _read_tag(part)[0]) else {}
    try:
        answer = open_url(url, headers, target)
    except urllib.error.HTTPError:  # 416: nothing lies behind what came, so it is another version
        part.unlink()
        return _receive(url, part, target, expected, progress)
    with answer:
        span = _SPAN.fullmatch(answer.headers.get("Content-Range") or "")
        if answer.status != 206 or span is None or int(span[1]) != start:
            start = 0  # the whole file: the server knows no ranges, or has another version
        length = answer.headers.get("Content-Length") or ""
        total = start + int(length) if length.isdigit() else None
        if expected.size is not None and total not in (None, expected.size):
            raise TasError(f"{url} has {total} bytes, not {expected.size} as published")
        room = shutil.disk_usage(part.parent).free
        if total is not None and total - start > room:
            raise TasError(f"{total - start} bytes do not fit on the disk of {part}: {room} free")
        mark = answer.headers.get("ETag") or ""
        with open(_tag(part), "w") as note:
            note.write(f"{'' if mark.startswith('W/') else mark}\n{total or ''}\n")
        with open(part, "ab" if start else "wb") as file:
            _copy(answer, file, start, total, progress)


def _copy(answer: Any, file: BinaryIO, start: int, total: int | None, progress: Progress) -> None:
    done = start
    progress(done, total)
    try:
        while chunk := _read(answer):
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
        file.flush()
    except OSError as error:
        raise TasError(
            f"cannot write {file.name} ({error.strerror}); what came is kept, and the same "
            "command goes on from there"
        ) from error
    if total is not None and done < total:
        raise _Broken


def _read(answer: Any) -> bytes:
    try:
        return answer.read(CHUNK_BYTES)
    except (http.client.HTTPException, OSError) as error:
        raise _Broken from error


def _resumable(part: Path, expected: Expected) -> int:
    """Bytes of `part` that can be gone on from: none if two versions could be mixed unseen."""
    size = _size(part)
    if size and (_read_tag(part)[0] or expected.sha256) and size <= (expected.size or size):
        return size
    part.unlink(missing_ok=True)
    return 0


def _announced(part: Path) -> int | None:
    """The size that the server stated."""
    total = _read_tag(part)[1]
    return int(total) if total else None


def _read_tag(part: Path) -> list[str]:
    """The server's mark of the version and its size, "" where it gave none."""
    text = _tag(part).read_text() if _tag(part).is_file() else ""
    return [*text.split("\n"), "", ""][:2]


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system lets one open a folder."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
