"""Private folders for unfinished work, which are gone when their process is, however it ended."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not of every system
    fcntl = None  # type: ignore[assignment]

_ATTEMPTS = 10  # another process may delete the parent, or a folder before it is locked


@contextmanager
def unfinished_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder inside `parent`, made when missing; gone on leaving, unless it was renamed.

    A process holds a lock on its folder, which the system frees when it ends. So the folders that
    killed processes of this machine left here under the same prefix are known, and deleted. Where
    there are no locks they stay.

    Raises:
        OSError: `parent` cannot be written.
    """
    # locks may not reach other machines at the same disk
    prefix += hashlib.sha256(platform.node().encode()).hexdigest()[:8] + "-"
    for left in parent.glob(f"{prefix}*"):
        _delete_if_left(left)
    folder, lock = _make(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _make(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """A new folder and the descriptor that keeps it locked, if it can be."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        except FileNotFoundError:
            if attempt == _ATTEMPTS:
                raise
            continue
        if fcntl is None:
            return folder, None
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # no locks here
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)
    raise FileNotFoundError(2, "another process deletes what is made there", str(parent))


def _delete_if_left(folder: Path) -> None:
    if fcntl is None:
        return
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
