"""Builds that are killed or stopped while they run, and what is then found on disk: for kills.py and the tests.

A build runs through traced_build.py in a session of its own, as on a terminal. Leaves out which builds are killed when.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from traced_build import COMPACT, DERIVE, FLUSH, SAMPLING, STAGES, START

from ladder.pools.digits import write_pool
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.parts import Log

Key = tuple[str, str, str, str, int]  # prompt, model, sampling, item, index

KEY = ["prompt", "model", "sampling", "item_id", "index"]
_SCRIPT = Path(__file__).with_name("traced_build.py")
_LEFT_S = 10.0  # in which what a killed build started must have ended
_STOPPED = "ladder: stopped"


# --- a build that runs --------------------------------------------------------------------------------------------


class Running:
    """A build in a process of its own, started by way of `prefix`, with its trace; stdout and stderr go to files beside
    the trace. `script` may trace another verb."""

    def __init__(
        self,
        trace: Path,
        arguments: Sequence[str],
        prefix: Sequence[str] = (),
        script: Path = _SCRIPT,
        verb: str = "build",
    ) -> None:
        self.trace = trace
        self._out, self._err = trace.with_suffix(".out"), trace.with_suffix(".err")
        command = [*prefix, sys.executable, str(script), str(trace), verb, *arguments]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def said(self) -> str:
        """Its stderr."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """The trace so far."""
        if not self.trace.exists():
            return []
        whole = self.trace.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def stage(self) -> str:
        """The stage that it is in, or was in at its end."""
        return next((line["stage"] for line in reversed(self.lines()) if "stage" in line), START)

    def moments(self) -> dict[Key, float]:
        """When each of its samples ended."""
        return {_key(line["key"]): line["time"] for line in self.lines() if "key" in line}

    def send(self, sign: int, group: bool = False) -> float:
        """Send a signal to it, or as a terminal does to its process group; returns when."""
        when = time.monotonic()
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, sign)
        return when

    def end(self, seconds: float = 600.0) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(seconds)

    def left(self, seconds: float = _LEFT_S) -> list[str]:
        """What it started and still runs after so many seconds at most."""
        until = time.monotonic() + seconds
        while (found := list(_members(self.process.pid))) and time.monotonic() < until:
            time.sleep(0.05)
        return found


def _key(values: Sequence[Any]) -> Key:
    prompt, model, sampling, item_id, index = values
    return prompt, model, sampling, item_id, int(index)


def _members(session: int) -> Iterator[str]:
    """The processes of a session, without those that ended and wait for whoever reaps orphans."""
    for process in psutil.process_iter(["pid", "status", "cmdline"]):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE:
                yield f"{process.pid} {' '.join(process.info['cmdline'] or [])}"


# --- what is on disk ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """What a ladder's directory holds: stored samples, how many keys are there twice, and the files that are torn."""

    stored: frozenset[Key]
    doubled: int
    torn: tuple[str, ...]
    temporary: tuple[str, ...]


def look(ladder: Path) -> Disk:
    """Read every part of a ladder."""
    torn = tuple(str(path) for path in sorted(ladder.rglob("*.parquet")) if not _readable(path))
    temporary = tuple(str(path) for path in sorted(ladder.rglob(".*.tmp*")))
    log = Store(ladder).rollouts
    keys = Counter(_keys(log)) if not torn else Counter()
    return Disk(frozenset(keys), sum(n - 1 for n in keys.values()), torn, temporary)


def _keys(log: Log) -> Iterator[Key]:
    table = log.table(KEY)
    return (_key(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True))


def _readable(path: Path) -> bool:
    try:
        pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError):
        return False
    return True


def twice_judged(ladder: Path) -> int:
    """Verdicts that say again what another one says of the same sample."""
    counts = Counter(_keys(Store(ladder).verdicts))
    return sum(n - 1 for n in counts.values())


def differing(one: Path, other: Path) -> list[str]:
    """The catalogue's tables and the tiers in which two ladders differ."""
    tables, others = _tables(Store(one)), _tables(Store(other))
    return sorted(name for name in tables.keys() | others.keys() if tables.get(name) != others.get(name))


def _tables(store: Store) -> dict[str, Any]:
    """All that is derived from samples, comparable: neither when a build ran nor what its files are called."""
    with catalogue(store) as connection:
        names = [name for (name,) in connection.sql("SELECT table_name FROM duckdb_tables()").fetchall()]
        kept = {
            name: connection.sql(f'SELECT * FROM "{name}"{_WHICH.get(name, "")} ORDER BY ALL').fetchall()
            for name in names
            if name != "runs"
        }
    for folder in (store.path / "tiers").iterdir():
        kept[f"tier {folder.name}"] = [
            pq.ParquetFile(path).read().to_pylist() for path in sorted(folder.glob("*.parquet"))
        ]
    return kept


_WHICH = {"build": " WHERE key <> 'state'"}


# --- builds to be killed ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """An undisturbed build: seconds until it samples, of sampling, and after it; and how many samples that are."""

    before: float
    sampling: float
    after: float
    samples: int

    def left(self, stored: int) -> float:
        """Seconds that a build takes where so many samples are stored."""
        return self.before + self.sampling * (1 - stored / max(self.samples, 1)) + self.after


def life_of(run: Running, started: float, ended: float) -> Life:
    """From the trace of a build that came to its end."""
    lines = run.lines()
    first = next(line["time"] for line in lines if line.get("stage") == SAMPLING)
    last = max(line["time"] for line in lines if line.get("stage") == FLUSH)
    return Life(first - started, last - first, ended - last, len(run.moments()))


@dataclass(frozen=True)
class Variant:
    """A way to build: an engine, settings, options of the command; `shards` processes at once. It must end with the
    keys of an undisturbed build of `like` (None: of its own) and, where it is `exact`, with all that is derived from it."""

    name: str
    engine: str
    settings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    shards: int = 0
    exact: bool = True
    like: Variant | None = None

    def arguments(self, pool: Path, out: Path) -> list[list[str]]:
        """The arguments of its processes."""
        own = [f'pool.root="{pool}"', f"engine={self.engine}"]
        set_ = [f"--set={setting}" for setting in (*own, *self.settings)]
        shared = ["digits", "--out", str(out), *set_, *self.options]
        shards = [["--shard", f"{i}/{self.shards}"] for i in range(self.shards)]
        return [[*shared, *shard] for shard in shards or [[]]]


@dataclass
class Found:
    """What kills did: to be added up."""

    kills: int = 0
    missed: int = 0  # had ended by itself
    stages: Counter[str] = field(default_factory=Counter)
    repeated_seconds: list[float] = field(default_factory=list)
    repeated_samples: list[int] = field(default_factory=list)
    doubled: int = 0
    torn: int = 0
    lost: int = 0  # stored samples that were gone later
    again: int = 0  # stored samples that were sampled again
    wrong: int = 0  # keys that are there and not wanted, or wanted and not there
    differing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    builds: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, doubled, torn or left running."""
        kept = not (self.lost or self.again or self.wrong or self.differing)
        return kept and not (self.doubled or self.torn or self.left)


Moment = Callable[[random.Random, Running, int], None]  # waits until a running build is to be killed


def write_pool_with_expressions(folder: Path, items: int) -> None:
    """The embedded pool, and some questions that start the verifier's worker processes."""
    write_pool(folder, items=items, probe_items=0, seed=0)
    with (folder / "rows.jsonl").open("a", encoding="utf-8") as file:
        for n in (2, 3, 5, 6, 7):
            own = {
                "id": f"root-{n}",
                "question": f"Root of {n}/4?",
                "answer": f"\\frac{{\\sqrt{{{n}}}}}{{2}}",
            }
            file.write(json.dumps(own | {"split": "train", "kind": "root", "digits": 0}) + "\n")


@dataclass
class Place:
    """Where builds of one pool are made, and an undisturbed one of each variant is kept."""

    root: Path
    items: int
    _wholes: dict[str, tuple[Life, frozenset[Key]]] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        write_pool_with_expressions(self.root / "pool", self.items)

    def start(self, variant: Variant, name: str) -> list[Running]:
        """Start the processes of a build into `root/name`."""
        out = self.root / name
        return [self.run(arguments) for arguments in variant.arguments(self.root / "pool", out)]

    def run(self, arguments: Sequence[str]) -> Running:
        """Start `ladder build` with some arguments, traced."""
        self._number += 1
        return Running(self.root / f"{self._number:03d}.trace", arguments)

    def finish(self, variant: Variant, name: str) -> list[Running]:
        """Build to the end; raises RuntimeError with what it said where that fails."""
        runs = self.start(variant, name)
        for run in runs:
            if run.end():
                raise RuntimeError(f"{name} failed: {run.said}")
        return runs

    def whole(self, variant: Variant) -> tuple[Life, frozenset[Key]]:
        """The undisturbed build of a variant, `root/whole-<variant>`: its life and its keys."""
        if variant.name not in self._wholes:
            name = f"whole-{variant.name}"
            started = time.monotonic()
            runs = self.finish(variant, name)
            lives = [life_of(run, started, time.monotonic()) for run in runs]
            self._wholes[variant.name] = lives[0], look(self.root / name).stored
        return self._wholes[variant.name]

    def killed(self, variant: Variant, moments: Sequence[Moment], rng: random.Random, found: Found) -> None:
        """Kill a build at each of these moments, unless it ends before; let it end, and compare."""
        out = self.root / "killed"
        shutil.rmtree(out, ignore_errors=True)
        stored: frozenset[Key] = frozenset()
        for moment in moments:
            stored, ended = self._kill(variant, rng, moment, stored, found)
            if ended:
                break
        if (out / "rollouts").is_dir():  # what a kill in the middle of a write leaves
            (out / "rollouts" / ".rollouts-0.parquet.tmp").write_bytes(b"PAR1 torn")
        for run in self.finish(variant, out.name):
            found.again += len(run.moments().keys() & stored)
        like = variant.like or variant
        _, keys = self.whole(like)
        disk = look(out)
        _add(found, disk, stored)
        found.builds += 1
        found.wrong += len(keys ^ disk.stored)
        found.differing += differing(self.root / f"whole-{like.name}", out) if variant.exact else []

    def _kill(
        self, variant: Variant, rng: random.Random, moment: Moment, stored: frozenset[Key], found: Found
    ) -> tuple[frozenset[Key], bool]:
        """Kill a build, of several shards one: what is stored now, and whether it had ended before."""
        runs = self.start(variant, "killed")
        victim = rng.choice(runs)
        moment(rng, victim, len(stored))
        hit = victim.runs
        when = victim.send(signal.SIGKILL)
        for run in runs:
            if run.end() and run is not victim:
                raise RuntimeError(f"a shard beside the killed one failed: {run.said}")
            found.left += run.left()
            found.again += len(run.moments().keys() & stored)
        disk = look(self.root / "killed")
        _add(found, disk, stored)
        if hit:
            found.kills += 1
            found.stages[victim.stage()] += 1
            lost = [at for key, at in victim.moments().items() if key not in disk.stored]
            found.repeated_seconds.append(max((when - at for at in lost), default=0.0))
            found.repeated_samples.append(len(lost))
        found.missed += not hit
        return disk.stored, not hit


def _add(found: Found, disk: Disk, before: frozenset[Key]) -> None:
    found.doubled += disk.doubled
    found.torn += len(disk.torn)
    found.lost += len(before - disk.stored)


def at_any_time(life: Life) -> Moment:
    """Uniform over what is left of a build's life."""

    def wait(rng: random.Random, run: Running, stored: int) -> None:
        with suppress(subprocess.TimeoutExpired):
            run.process.wait(rng.uniform(0.0, life.left(stored)))

    return wait


def at_sample(wanted: int) -> Moment:
    """When a number of samples has ended that is uniform over three quarters of those still to come, of `wanted` in all."""

    def wait(rng: random.Random, run: Running, stored: int) -> None:
        number = rng.randrange(max(1, 3 * (wanted - stored) // 4))
        wait_until(run, lambda: len(run.moments()) > number)

    return wait


def at_stage(*stages: str) -> Moment:
    """Some milliseconds after one of these stages has begun."""

    def wait(rng: random.Random, run: Running, _stored: int) -> None:
        stage = rng.choice(stages)
        wait_until(run, lambda: STAGES.index(run.stage()) >= STAGES.index(stage))
        time.sleep(rng.uniform(0.0, 0.1))

    return wait


def at_the_end() -> Moment:
    """While parts are merged, or what is derived is made."""
    return at_stage(COMPACT, DERIVE)


def wait_until(run: Running, condition: Callable[[], bool]) -> None:
    """Wait for a condition, or the end of the build."""
    while run.runs and not condition():
        time.sleep(0.01)


# --- a long answer, and builds that are told to stop ---------------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """What became of short answers beside one that still ran when its build was killed."""

    siblings: int  # of an item of which all but one sample had ended: stored at the kill
    again: int  # stored samples that the next build drew again
    longest: int  # tokens of the answer that was cut off
    complete: bool


def kill_beside_a_long_answer(place: Place, variant: Variant, k: int = 8) -> Beside:
    """Kill a build once all of an item's samples but one are stored and nothing else ends; build on."""

    def halfway() -> str | None:
        counts = Counter(key[3] for key in look(out).stored) if out.exists() else Counter()
        return next((item for item, n in counts.items() if n == k - 1), None)

    out = place.root / "beside"
    (run,) = place.start(variant, out.name)
    wait_until(run, lambda: halfway() is not None)
    run.send(signal.SIGKILL)
    run.end()
    before = look(out)
    item = halfway()
    (after,) = place.finish(variant, out.name)
    lengths = [line["tokens"] for line in after.lines() if "key" in line and line["key"][3] == item]
    return Beside(
        siblings=sum(key[3] == item for key in before.stored),
        again=len(after.moments().keys() & before.stored),
        longest=max(lengths, default=0),
        complete=look(out).stored == before.stored | after.moments().keys(),
    )


@dataclass(frozen=True)
class Stopped:
    """How a build ended that was told to."""

    code: int
    seconds: float
    said: str
    unstored: int  # finished samples that are not on disk
    disk: Disk
    left: tuple[str, ...]

    @property
    def orderly(self) -> bool:
        """As promised: exit code 1, the last line says how to go on, no traceback, nothing torn or left. A sample that
        ended while the signal came may be lost."""
        told = self.said.splitlines()[-1].startswith(_STOPPED) and "Traceback" not in self.said
        whole = not (self.disk.torn or self.disk.temporary or self.disk.doubled)
        return self.code == 1 and told and whole and self.unstored <= 1 and not self.left


def stop(run: Running, ladder: Path, signs: Sequence[tuple[int, bool]], pauses: Iterator[float]) -> Stopped:
    """Send signals (to the process, or to its group) with pauses between them; wait for the end."""
    first = time.monotonic()
    for sign, group in signs:
        run.send(sign, group)
        time.sleep(next(pauses))
    code = run.end(120.0)
    seconds = time.monotonic() - first
    disk = look(ladder)
    return Stopped(code, seconds, run.said, len(run.moments().keys() - disk.stored), disk, tuple(run.left()))


SIGNALS: dict[str, list[tuple[int, bool]]] = {
    "SIGTERM": [(signal.SIGTERM, False)],
    "Ctrl-C": [(signal.SIGINT, True)],
    "Ctrl-C again and again": [(signal.SIGINT, True)] * 4,
}
