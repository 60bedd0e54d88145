"""The one exception that a user's mistake raises."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_LONGEST = 2000  # characters: names and values in a message may be someone else's
_JOINERS = "\u200c\u200d"  # of letters and emojis, which are not seen


class TasError(ValueError):
    """A mistake of the caller or a fault of a file: one line that says what, where and what to do.

    The command line prints the message as it stands and exits with code 2. What cannot be printed,
    such as a terminal's control codes in the name of a file, is spelled out.

    >>> str(TasError("no picture at a\\x1b[2J.png;\\ncheck the path"))
    'no picture at a\\\\x1b[2J.png; check the path'
    """

    def __init__(self, message: str) -> None:
        line = one_line(message)
        super().__init__(line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ...")


def one_line(text: str) -> str:
    """Text of anyone as a part of one line, with all spelled out that a terminal would obey."""
    return text if text.isprintable() else "".join(map(_shown, text))


def printable(text: str) -> str:
    """Lines of text, each as `one_line` has it."""
    return "\n".join(map(one_line, text.split("\n")))


@contextmanager
def refused(what: str, remedy: str) -> Iterator[None]:
    """What the system refuses, as TasError: what was tried, its reason in brackets, the remedy."""
    try:
        yield
    except OSError as error:
        raise TasError(f"{what} ({error.strerror or error}); {remedy}") from error


@cache
def say_once(line: str) -> None:
    """Print a line on stderr, the first time alone."""
    print(line, file=sys.stderr)


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
