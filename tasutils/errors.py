"""The one exception that a user's mistake raises."""


class TasError(ValueError):
    """A mistake of the caller or a fault of a file: one line that says what, where and what to do.

    The command line prints the message as it stands and exits with code 2.
    """
