"""What `ladder verify` prints: one verdict, those of a file of cases, or what changed in a ladder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from ladder.config import Settings, validate
from ladder.errors import BadInput, LadderError
from ladder.settings import VerifySettings
from ladder.verify.cases import as_json, case, judged, lines_of, table


class _Overridable(Settings):
    verify: VerifySettings = VerifySettings()


@dataclass(frozen=True)
class Judging:
    """How the command line says to judge."""

    overrides: tuple[str, ...] = ()
    workers: int | None = None
    deadline: float | None = None

    def settings(self) -> VerifySettings:
        """All of it as settings; raises BadInput for keys outside `verify`."""
        named = {"verify.workers": self.workers, "verify.deadline": self.deadline}
        more = [f"{key}={value}" for key, value in named.items() if value is not None]
        return validate(_Overridable, {}, [*self.overrides, *more], where="--set").verify


def run(what: str | None, one: dict[str, Any], judging: Judging, json_: bool) -> None:
    """Judge the case `one`, or what a file or a ladder named `what` holds; raises BadInput."""
    settings = judging.settings()
    given = {key: value for key, value in one.items() if value not in (None, [])}
    if what is not None and given:
        raise BadInput(
            f"{what} has golds and answers of its own; leave out --gold, --answer and what belongs to them"
        )
    if what is None and not {"gold", "response"} <= set(given):
        raise BadInput("give --gold and --answer, or a file of cases, or a ladder")
    if what is None:
        _print_one(given, settings, json_)
    elif what != "-" and Path(what).is_dir():
        _print_ladder(Path(what), judging, json_)
    else:
        _print_file(what, settings, json_)


def _print_one(given: dict[str, Any], settings: VerifySettings, json_: bool) -> None:
    if "option" in given:
        if "options" in given:
            raise BadInput("give --option for each, or --options for all")
        given["options"] = given.pop("option")
    try:
        response, item = case(given)
    except ValueError as error:
        raise BadInput(str(error)) from None
    with settings.pool() as pool:
        verdict = pool.verify(response, item)
    if json_:
        typer.echo(json.dumps(as_json(verdict)))
    else:
        extracted = "".join(c if c.isprintable() else " " for c in verdict.extracted)
        typer.echo(f"{verdict.outcome}  (extracted: {extracted}; {verdict.reason})")


def _print_file(name: str, settings: VerifySettings, json_: bool) -> None:
    """A line for each case as soon as it and those before are judged, or a table."""
    with _opened(name) as descriptor, settings.pool() as pool, _unread_is_told():
        verdicts = judged(lines_of(descriptor), "stdin" if name == "-" else name, pool)
        if not json_:
            return typer.echo(table(verdicts))
        for verdict in verdicts:
            sys.stdout.write(json.dumps(as_json(verdict)) + "\n")
            sys.stdout.flush()
    return None


def _print_ladder(path: Path, judging: Judging, json_: bool) -> None:
    from ladder.rejudge import rejudge, told

    report = rejudge(path, judging.overrides, judging.workers, judging.deadline)
    typer.echo(json.dumps(asdict(report), ensure_ascii=False) if json_ else told(report))


@contextmanager
def _opened(name: str) -> Iterator[int]:
    if name == "-":
        yield sys.stdin.fileno()
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        raise BadInput(f"{name}: {error.strerror or error}") from None
    with file:
        yield file.fileno()


@contextmanager
def _unread_is_told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
        raise LadderError("nobody reads the output any more") from None
