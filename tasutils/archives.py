"""Unpacking zip archives from outside: nothing leaves the folder, nothing grows without bound."""

from __future__ import annotations

import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tasutils.errors import TasError

MAX_FILES, MAX_BYTES, MAX_RATIO = 500_000, 64 << 30, 200
_JUNK = {"__MACOSX", ".DS_Store"}
_PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # others may ask for gigabytes to unpack
_FAULTS = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, LookupError,
    struct.error,
)  # fmt: skip


def unpack(archive: Path, folder: Path, flat: bool = False, progress: bool = True) -> list[Path]:
    """Unpack a zip archive into a folder: all of its files, or none.

    Files are written into a hidden folder beside their places and moved when all are whole; those
    of an earlier time are replaced.

    Args:
        archive: the .zip.
        folder: where its files go; made when missing.
        flat: whether to leave out the archive's own folders.
        progress: whether a bar on stderr counts bytes.

    Returns:
        The files, in the order of the archive.

    Raises:
        TasError: no zip or a damaged one, a member that is a link or would leave the folder, more
            than `MAX_FILES` files, more than `MAX_BYTES` or `MAX_RATIO` times the archive's own
            size when unpacked, or a disk too small.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, archive, flat)
            _check_size(members, archive, folder)
            folder.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
            try:
                _extract(opened, members, stage, progress)
                for name in members:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (stage / name).replace(folder / name)
            finally:
                shutil.rmtree(stage, ignore_errors=True)
    except TasError:
        raise
    except _FAULTS as error:
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise TasError(f"{archive}: cannot be unpacked ({reason}); get it again") from None
    return [folder / name for name in members]


def _members(opened: zipfile.ZipFile, archive: Path, flat: bool) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by the path they get, every name checked."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in opened.infolist():
        name = PurePosixPath(info.filename.replace("\\", "/"))
        outside = name.is_absolute() or ".." in name.parts or ":" in (name.parts or ("",))[0]
        if outside or stat.S_ISLNK(info.external_attr >> 16):
            raise TasError(
                f"{archive}: refused, its member {info.filename!r} leads out of the folder; "
                "get the archive from its published address"
            )
        if info.compress_type not in _PACKINGS:
            raise TasError(f"{archive}: refused, it is packed in an unusual way; get it again")
        if info.is_dir() or _JUNK & set(name.parts) or not name.parts:
            continue
        place = name.name if flat else name.as_posix()
        if place in members:
            raise TasError(f"{archive}: refused, it holds {place!r} twice; get it again")
        members[place] = info
    return members


def _check_size(members: dict[str, zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    total = sum(info.file_size for info in members.values())
    limit = min(MAX_BYTES, MAX_RATIO * archive.stat().st_size)
    if len(members) > MAX_FILES or total > limit:
        raise TasError(
            f"{archive}: refused, {len(members)} files of {total / 1e6:.0f} MB are more than an "
            "archive of its size holds; get it from its published address"
        )
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(existing).free
    if total > free:
        raise TasError(
            f"{existing}: {total / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free; make room"
        )


def _extract(
    opened: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], stage: Path, progress: bool
) -> None:
    from tqdm import tqdm

    total = sum(info.file_size for info in members.values())
    bar = tqdm(total=total, unit="B", unit_scale=True, desc="unpack", disable=not progress)
    with bar:
        for name, info in members.items():
            place = stage / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(info) as packed, place.open("wb") as file:  # checks the CRC
                shutil.copyfileobj(packed, file, 1 << 20)
            bar.update(info.file_size)
