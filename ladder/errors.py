"""The errors that a user sees. Anything else that escapes is a bug and keeps its traceback."""


class LadderError(Exception):
    """A failure to be told in one line (exit code 1)."""

    exit_code = 1


class BadInput(LadderError):
    """What the user gave cannot be used: says what was wrong, where, and what to do (exit code 2)."""

    exit_code = 2
