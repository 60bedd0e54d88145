"""A sitecustomize that notes what a process, and those it starts, write and whom they call."""

from pathlib import Path

SITE = """
import os, sys

_LOG = os.environ["TAS_WATCH_LOG"]
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.link": 1, "os.symlink": 1,
            "os.chmod": 0, "os.truncate": 0}


def _note(kind, what):
    with os.fdopen(os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as log:
        log.write(f"{kind} {what}\\n")


def _watch(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, (str, bytes)) and flags & _WRITES:
            path = os.path.abspath(os.fsdecode(path))
            if path != _LOG:
                _note("write", path)
    elif event in _CHANGES and isinstance(arguments[_CHANGES[event]], (str, bytes, os.PathLike)):
        _note("write", os.path.abspath(os.fsdecode(arguments[_CHANGES[event]])))
    elif event == "os.rename":
        for path in arguments[:2]:
            _note("write", os.path.abspath(os.fsdecode(path)))
    elif event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            _note("call", address)
            raise OSError("no network here")
    elif event == "socket.getaddrinfo":
        if arguments[0] not in ("127.0.0.1", "::1", "localhost", "", None):
            _note("call", arguments[0])
            raise OSError("no network here")


sys.addaudithook(_watch)
"""


def watched_environment(folder: Path) -> dict[str, str]:
    """Environment variables with which every Python process notes what it does in folder/log."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    return {"PYTHONPATH": str(site), "TAS_WATCH_LOG": str(folder / "log")}


def noted(folder: Path, kind: str) -> list[str]:
    """What was noted of one kind, `write` or `call`."""
    lines = (folder / "log").read_text().splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith(kind)]
