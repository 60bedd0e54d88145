"""Who may read what is written: its writer alone until it is finished, then whom the umask lets."""

from __future__ import annotations

import os
from pathlib import Path


def private(path: str, flags: int) -> int:
    """An opener for `open`: a new file is the user's alone, and a link is not followed."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)


def share(path: Path) -> None:
    """Give a finished file or folder, until then the user's alone, the permissions of new ones."""
    mask = os.umask(0o077)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
