"""Who may work in a directory at once: in a ladder's one builder alone, or any number of shards of a build; in a training
run's the run.

`.locks/shard-<i>` is held by the one shard of that number; `.lock` exclusively by a builder, or shared by shards;
`.locks/section` by the shard that does what only one may do at a time. All are flocks: the kernel releases them when a
process dies, on this host or, over a network file system that supports them, on another. A process takes them in the
order in which they stand here and waits for none while it holds a later one, so that no two wait for each other. The
file says who holds the lock, which is read only while it is held.

Who only reads, or appends to a log of its own (training), takes no lock.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ladder.errors import BadInput, LadderError
from ladder.progress import say

_NAMED_SECONDS = (
    0.3  # a lock that is held longer is named by its holder, and is no one's look at who holds it
)
_TOLD_SECONDS = 2.0
_SHARDS_NAMED = 3

_open: set[TextIO] = set()


def _let_go() -> None:
    for file in _open:
        file.close()
    _open.clear()


# A flock lasts while any process has the file open: a worker that outlives a killed build must not hold the build's.
os.register_at_fork(after_in_child=_let_go)


class Held:
    """What a builder or a shard holds: see `building` and `sharing`."""

    def __init__(self, folder: Path, lock: TextIO, name: str, shard: bool) -> None:
        self._folder, self._lock, self._name, self._shard = folder, lock, name, shard

    @contextmanager
    def exclusively(self, what: str) -> Iterator[None]:
        """Do what no other shard may do at the same time; waits for the others, and says so."""
        if not self._shard:
            yield
            return
        with _file(self._folder / ".locks" / "section") as file:
            _wait(file, fcntl.LOCK_EX, f"{what}: waiting for")
            with _named(file, f"{self._name} ({what})"):
                yield

    def last(self) -> bool:
        """Give the share up. True where no other shard runs: from here on the ladder is held as by a builder.

        Of shards that end at the same time at least the last one to ask is told so. Shards that start meanwhile wait.
        """
        if not self._shard:
            return True
        fcntl.flock(self._lock, fcntl.LOCK_UN)  # where flock is emulated, asking for more does not give it up
        if not _take(self._lock, fcntl.LOCK_EX):
            return False
        self._shard = False
        _name(self._lock, self._name)
        return True


@contextmanager
def building(folder: Path, verb: str) -> Iterator[Held]:
    """Hold a ladder or a run's directory alone; raises BadInput naming who works in it."""
    with _file(folder / ".lock") as file:
        if not _take(file, fcntl.LOCK_EX, _NAMED_SECONDS):
            shards = _few(_shards(folder))
            raise BadInput(
                f"{folder} is in use by {shards or _holder(file)}; wait for it, or choose another directory"
            )
        name = _who(f"ladder {verb}")
        with _named(file, name):
            yield Held(folder, file, name, shard=False)


@contextmanager
def sharing(folder: Path, verb: str, shard: int, of: int) -> Iterator[Held]:
    """Hold a ladder with the other shards of a build, as the only one of this number.

    Raises BadInput naming another of this number, or those that are shares of another n; waits for who holds the ladder
    alone.
    """
    name = _who(f"ladder {verb} --shard {shard}/{of}")
    with _file(folder / ".locks" / f"shard-{shard}") as own:
        if not _take(own, fcntl.LOCK_EX, _NAMED_SECONDS):
            raise BadInput(f"shard {shard} of {folder} is being built by {_holder(own)}; wait for it")
        with _named(own, name), _file(folder / ".lock") as file:
            _refuse_other_shares(folder, own, of)
            _wait(file, fcntl.LOCK_SH, "waiting for")
            _name(file, "")  # who held it alone before has ended, perhaps killed
            yield Held(folder, file, name, shard=True)


def _who(command: str) -> str:
    return f"`{command}`, process {os.getpid()} on {socket.gethostname()}"


@contextmanager
def _file(path: Path) -> Iterator[TextIO]:
    """A file to lock. Closing it releases what is held of it."""
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise LadderError(f"cannot write in {path.parent}: {error.strerror or error}") from None
    _open.add(file)
    try:
        with file:
            yield file
    finally:
        _open.discard(file)


def _take(file: TextIO, kind: int, seconds: float = 0.0) -> bool:
    """Whether the lock could be had within some seconds."""
    end = time.monotonic() + seconds
    pause = 0.02
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
        except OSError as error:
            raise LadderError(
                f"cannot lock {file.name}: {error.strerror}; put the ladder where flock works"
            ) from None
        time.sleep(pause)
        pause = min(2 * pause, 1.0)


def _wait(file: TextIO, kind: int, what: str) -> None:
    if _take(file, kind, _TOLD_SECONDS):
        return
    say(f"  {what} {_holder(file)}")
    _take(file, kind, float("inf"))


def _holder(file: TextIO) -> str:
    """Who holds a lock that could not be had for long enough that its holder has written a name."""
    file.seek(0)
    return file.read().strip() or "another process"


def _refuse_other_shares(folder: Path, own: TextIO, of: int) -> None:
    """Refuse to work beside shares of another n. A shard that is only starting may still bear an older name."""
    end = time.monotonic() + _NAMED_SECONDS
    while others := [n for n in _shards(folder, own.name) if "--shard" in n and f"/{of}`" not in n]:
        if time.monotonic() >= end:
            raise BadInput(
                f"{folder} is being built in other shares, by {_few(others)}; wait for it, or use theirs"
            )
        time.sleep(0.02)


def _shards(folder: Path, but: str = "") -> list[str]:
    """The names of the shards that hold their locks."""
    found: list[str] = []
    for path in sorted((folder / ".locks").glob("shard-*")):
        if str(path) == but:
            continue
        with _file(path) as file:
            if not _take(file, fcntl.LOCK_SH):
                found.append(_holder(file))
    return found


def _few(names: list[str]) -> str:
    """The first few by name; empty where there is none."""
    more = f" and {len(names) - _SHARDS_NAMED} more shards" if len(names) > _SHARDS_NAMED else ""
    return "; ".join(names[:_SHARDS_NAMED]) + more


@contextmanager
def _named(file: TextIO, name: str) -> Iterator[None]:
    _name(file, name)
    try:
        yield
    finally:
        _name(file, "")


def _name(file: TextIO, name: str) -> None:
    """Write who holds a lock. On a full disk nobody is told, and the lock is held all the same."""
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), name.encode())
