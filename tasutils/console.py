"""How a command ends: exit code and, for a mistake, one line on stderr.

0 done; 1 a check failed; 2 a user's mistake or a disk that refuses, nothing half-written;
130 interrupted with ctrl-c. A fault of the program itself keeps its traceback.
"""

from __future__ import annotations

import io
import os
import sys
import warnings

import typer

from tasutils.errors import TasError


def run(app: typer.Typer, args: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    # Weights are files of this disk: a library that would ask a hub is told not to.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no emoji gets its code
            stream.reconfigure(errors="backslashreplace")
    usage_error: type[Exception] = next(
        c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
    )
    try:
        code = app(args, prog_name="tas", standalone_mode=False)
        sys.stdout.flush()
    except TasError as error:
        return _fail(str(error))
    except BrokenPipeError:  # `tas ... | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except usage_error as error:
        # without arguments the message is the help page
        message = error.format_message()  # type: ignore[attr-defined]
        if "\n" in message:
            print(message)
            return 2
        return _fail(f"{message.rstrip('.')}; `tas --help` lists what there is")
    if code == 130:
        return _fail("interrupted", 130)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int = 2) -> int:
    print("tas:", " ".join(message.split()), file=sys.stderr)
    return code
