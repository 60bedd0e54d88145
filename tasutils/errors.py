"""The one exception that a user's mistake raises."""

_LONGEST = 2000  # characters: names and values in a message may be someone else's


class TasError(ValueError):
    """A mistake of the caller or a fault of a file: one line that says what, where and what to do.

    The command line prints the message as it stands and exits with code 2. What cannot be printed,
    such as a terminal's control codes in the name of a file, is spelled out.

    >>> str(TasError("no picture at a\\x1b[2J.png;\\ncheck the path"))
    'no picture at a\\\\x1b[2J.png; check the path'
    """

    def __init__(self, message: str) -> None:
        line = message if message.isprintable() else "".join(map(_shown, message))
        super().__init__(line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ...")


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
