"""Which scenes a process makes now, for others at the same store to leave them to it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tasutils.errors import TasError

try:
    import fcntl
except ImportError:  # not of every system
    fcntl = None  # type: ignore[assignment]

CLAIMS_FILE = "claims.lock"
_HERE = 1 << 62  # a byte beyond those of scenes: locked, shared, by all that are at work


class Claims:
    """A context in which scenes are claimed: locks on a file beside the shards, a byte a scene.

    The system frees them when the process ends, however it ends; the last one deletes the file.
    Where there are no locks, such as on some network disks, every claim is granted: then work may
    be done twice, and nothing is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: int | None = None

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        with suppress(OSError):
            if _lock(self._file):
                (self.folder / CLAIMS_FILE).unlink()
        os.close(self._file)
        self._file = None

    def take(self, key: str) -> bool:
        """Claim the scene of a `store.scene_key`; False if another process has it.

        Raises:
            TasError: the folder cannot be written.
        """
        if fcntl is None:
            return True
        if self._file is None:
            self._file = self._open()
        try:
            return _lock(self._file, int(key[:12], 16), 1)
        except OSError:
            return True

    def _open(self) -> int:
        path = self.folder / CLAIMS_FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            while True:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    fcntl.lockf(file, fcntl.LOCK_SH, 1, _HERE)
                except OSError:  # no locks here
                    return file
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file), path.stat()):
                        return file
                os.close(file)  # deleted meanwhile
        except OSError as error:
            raise TasError(
                f"cannot write scenes to {self.folder} ({error.strerror or error}); "
                "choose another folder"
            ) from error


def _lock(file: int, start: int = 0, length: int = 0) -> bool:
    """Lock bytes, all from `start` on for length 0, unless another process has one of them."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except (BlockingIOError, PermissionError):
        return False
    return True
