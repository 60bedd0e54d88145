"""What a terminal is shown: text of others spelled out where a terminal would obey it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any, cast

#: Control codes, line ends other than "\n" and "\t", and what turns the direction of a line.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def spelled(text: str) -> str:
    r"""Text as a terminal shows it and does not obey it, in the escapes of JSON; "\n", "\t" stay.

    >>> spelled("a\x1b[2J\u202eb\n")
    'a\\u001b[2J\\u202eb\n'
    """
    return _OBEYED.sub(lambda found: json.dumps(found[0])[1:-1], text)


def one_line(text: str) -> str:
    r"""Text of somebody as a part of one line.

    >>> one_line("a dog\nmIoU 99.9 \x1b[A")
    'a dog mIoU 99.9 \\u001b[A'
    """
    return spelled(" ".join(text.splitlines()))


@contextmanager
def spelled_output() -> Iterator[None]:
    """Let whatever is printed meanwhile pass `spelled`; bars on stderr may go back with "\\r"."""
    out, err = _Spelled(sys.stdout), _Spelled(sys.stderr, bars=True)
    with redirect_stdout(cast(IO[str], out)), redirect_stderr(cast(IO[str], err)):
        yield


class _Spelled:
    """A text stream that spells out what it is given; all else is the stream's own."""

    def __init__(self, stream: IO[str], *, bars: bool = False) -> None:
        self._stream, self._bars = stream, bars

    def write(self, text: str) -> int:
        """Write text; the "\\r" with which a bar begins stays."""
        head = "\r" if self._bars and text.startswith("\r") else ""
        self._stream.write(head + spelled(text[len(head) :]))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write lines, as they are."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
