"""How a command ends: exit code and, for a mistake, one line on stderr.

0 done; 1 a check failed; 2 a user's mistake, too little memory or a disk that refuses, nothing
half-written; 130 interrupted with ctrl-c, 143 terminated, 129 hung up, as the system ends programs,
what is done kept; 141 the reader of its output has gone. A fault of the program itself keeps its
traceback.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tasutils.errors import TasError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERRUPTED, _NO_READER = 130, 141


def run(app: Callable[..., Any], args: list[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        app: a typer app, or what imports and calls one: then ctrl-c meanwhile is one line, too.
        args: None for the program's own.
    """
    if args is None:
        _name_files_in_utf8()
    # Weights are files of this disk: a library that would ask a hub is told not to.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # that there is no home for its cache
    _open_streams()
    try:
        code, message = _outcome(app, args)
    except KeyboardInterrupt:
        code, message = _INTERRUPTED, "interrupted"
    with suppress(OSError):
        if message:
            print("tas:", one_line(" ".join(message.split())), file=sys.stderr)
    return code


def _outcome(app: Callable[..., Any], args: list[str] | None) -> tuple[int, str]:
    """Exit code and, if something is wrong, a message."""
    import typer

    usage_error: type[Exception] = next(
        c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
    )
    try:
        try:
            code = app(args, prog_name="tas", standalone_mode=False)
        finally:
            _flush()
    except TasError as error:
        return 2, str(error)
    except BrokenPipeError:  # `tas ... | head`: the reader has what it wanted
        return _NO_READER, ""
    except SystemExit as end:  # what typer makes of a broken pipe
        if isinstance(end.__context__, BrokenPipeError):
            return _NO_READER, ""
        raise
    except OSError as error:  # a full disk, a folder that may not be written
        if "temporary directory" in str(error):  # Python's own words, and matplotlib's
            return 2, "no folder for temporary files can be written; name one with TMPDIR=FOLDER"
        name = error.filename2 or error.filename or "file"  # of two the one that was written
        return 2, f"{name}: {error.strerror or error}"
    except typer.Abort:
        code = _INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return 2, f"out of memory ({str(error)[:80] or 'of this machine'}); free some and try again"
    except usage_error as error:
        # without arguments the message is the help page
        message = error.format_message()  # type: ignore[attr-defined]
        if "\n" in message:
            print(message)
            return 2, ""
        return 2, f"{message.rstrip('.')}; `tas --help` lists what there is"
    if code == _INTERRUPTED:
        return code, "interrupted"
    return (code if isinstance(code, int) else 0), ""


def _name_files_in_utf8() -> None:
    """Begin again in Python's UTF-8 mode where the locale has another encoding for file names.

    Data sets and sentences are UTF-8 whatever the locale; so are the names in them.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.ignore_environment:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)


def _open_streams() -> None:
    """Give a program that was started with closed streams some that lead nowhere.

    Else the first file that it opens would be taken for its output.
    """
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no emoji gets its code
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write what is left for stdout; if that fails, let Python not try again as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _is_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from tasutils.compute import is_out_of_memory

    return is_out_of_memory(error)
