"""The command line: thin verbs over functions that tests call. Nothing heavy is imported until a verb runs.

stdout is for data, stderr for logs and progress. Exit codes: 0 done, 1 failed, 2 bad input.
"""

from __future__ import annotations

import sys

from ladder import launched
from ladder.cli.shelf import app
from ladder.errors import LadderError
from ladder.runtime import prepare_environment, unheard

_INTERRUPTED = 130  # what typer returns, instead of raising, when it caught a KeyboardInterrupt


def main() -> None:
    """Entry point of the command `ladder`; under torchrun, of each of its processes."""
    command()
    launched.leave()


def command() -> None:
    """A command in a process that may go on; exits where it fails."""
    prepare_environment()
    with launched.one_voice():
        _run()


def _run() -> None:
    try:
        code = app(_completed(sys.argv[1:]), standalone_mode=False)
    except LadderError as error:
        _tell(_one_line(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:
        sys.exit(_usage_error(error))
    if code == _INTERRUPTED:
        unheard()
        _tell("stopped; the same command goes on from what is stored")
        sys.exit(1)


def _tell(why: str) -> None:
    if launched.first_to_fail():
        print(f"ladder: {why}", file=sys.__stderr__)


def _completed(arguments: list[str]) -> list[str]:
    """`--ray` may stand without an address: a local Ray is meant."""
    out: list[str] = []
    for argument, after in zip(arguments, [*arguments[1:], "-"], strict=True):
        out += [argument, "local"] if argument == "--ray" and after.startswith("-") else [argument]
    return out


def _usage_error(error: Exception) -> int:
    """Tell a usage error as the other errors are told; anything else is a bug and keeps its traceback."""
    show = getattr(error, "format_message", None)
    if show is None:
        raise error
    _tell(_one_line(show()))
    return 2


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
