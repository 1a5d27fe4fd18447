"""Merging parts: no row is lost or doubled, whoever is killed when, and whatever clocks say."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder.errors import LadderError
from ladder.store import Store, names, parts
from ladder.store.names import Names
from ladder.store.parts import Log, Writer
from ladder.store.verdicts import changes

KILLS = int(os.environ.get("LADDER_KILLS", "5"))
SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string())])


def row(a: int) -> dict[str, object]:
    return {"a": a, "b": str(a)}


def values(log: Log) -> list[int]:
    return log.table(["a"])["a"].to_pylist()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path, "rows", SCHEMA)


# --- what becomes of parts ------------------------------------------------------------------------------------


def test_many_small_parts_become_few_and_stay_so(log: Log) -> None:
    for a in range(300):
        log.append_small([row(a)], Names("rows"))
    assert log.compact() > 280
    there = log.paths()
    assert values(log) == list(range(300))
    assert sorted(there) == sorted(log.folder.iterdir())
    assert log.compact() == 0
    assert log.paths() == there, "nothing is written again for nothing"
    log.append([row(300)])
    assert values(log) == list(range(301))


def test_a_writer_merges_its_own_parts(log: Log) -> None:
    writer = Writer(log, seconds=float("inf"))
    for a in range(600):
        writer.add(row(a))
        writer.flush()
    writer.close()
    assert len(log.paths()) <= 2 + 5 + 15 + parts.FAN_IN
    assert values(log) == list(range(600))
    assert any("+" in path.name for path in log.paths())
    log.compact()
    assert values(log) == list(range(600))
    assert len(log.paths()) < 5


def test_large_parts_are_not_written_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 1)
    writer = Writer(log, seconds=float("inf"))
    for a in range(3 * parts.FAN_IN):
        writer.add(row(a))
        writer.flush()
    writer.close()
    assert log.compact() == 0
    assert len(log.paths()) == 3 * parts.FAN_IN
    assert values(log) == list(range(3 * parts.FAN_IN))


def test_a_range_never_spans_parts_that_it_does_not_hold(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, then large ones, then small ones of one writer: those between stay."""
    monkeypatch.setattr(parts, "PART_BYTES", 10_000)
    monkeypatch.setattr(parts, "FAN_IN", 3)
    writer = Writer(log, seconds=float("inf"))
    rng = random.Random(0)
    for a in range(200):
        large = rng.random() < 0.2
        writer.add({"a": a, "b": rng.randbytes(6_000).hex() if large else ""})
        writer.flush()
    writer.close()
    assert values(log) == list(range(200))


def test_columns_of_older_parts_are_null_after_merging(log: Log) -> None:
    Log(log.folder, "rows", pa.schema([("a", pa.int32())])).append([{"a": 1}])
    log.append([row(2)])
    log.compact()
    assert log.table().to_pylist() == [{"a": 1, "b": None}, row(2)]
    assert [pq.read_schema(path) for path in log.paths()] == [SCHEMA]


def test_merged_parts_have_full_row_groups(tmp_path: Path) -> None:
    log = Log(tmp_path, "rows", SCHEMA, row_group=10)
    for a in range(25):
        log.append([row(a)])
    log.compact()
    (path,) = log.paths()
    file = pq.read_metadata(path)
    assert [file.row_group(i).num_rows for i in range(file.num_row_groups)] == [10, 10, 5]


def test_a_torn_part_stops_the_merging_and_nothing_is_lost(log: Log) -> None:
    whole = [log.append([row(a)]) for a in range(3)]
    assert whole[1] is not None
    whole[1].write_bytes(b"torn")
    with pytest.raises(LadderError, match=f"cannot read {whole[1]}"):
        log.compact()
    assert log.paths() == whole
    assert sorted(log.folder.iterdir()) == whole


def test_torn_files_of_killed_writers_are_deleted_when_they_are_old(log: Log) -> None:
    log.append([row(1)])
    new, old = (log.folder / f".rows-{name}.parquet.tmp" for name in ("new", "old"))
    new.touch()
    old.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    log.compact()
    assert new.exists()
    assert not old.exists()


def test_the_latest_verdict_stays_the_latest(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    key = {"item_id": "i", "prompt": "p", "model": "m", "sampling": "s", "index": 0, "gold": "g"}
    for verifier, outcome in (("1", "timeout"), ("1", "wrong"), ("2", "no_answer"), ("3", "correct")):
        store.verdicts.append(
            [key | {"verifier": verifier, "outcome": outcome, "extracted": "", "reason": ""}]
        )
    before = changes(store, {"i": "g"}, "3", "0")
    assert [(c.before, c.after) for c in before[1]] == [("no_answer", "correct")]
    assert store.compact() == 3
    assert changes(store, {"i": "g"}, "3", "0") == before


# --- names ----------------------------------------------------------------------------------------------------


def test_names_increase_though_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([5, 9, 3, 3, 10])
    monkeypatch.setattr(names.time, "time_ns", lambda: next(clock))
    mine = Names("rows")
    spans = [names.span_of(mine.next()) for _ in range(5)]
    assert [span.first for span in spans if span] == [5, 9, 10, 11, 12]
    assert {span.writer for span in spans if span} == {mine.writer}
    assert Names("rows").writer != mine.writer


def test_a_forked_process_and_one_that_got_a_log_are_other_writers(log: Log) -> None:
    mine = log.append([row(0)])
    sent = Log.__reduce__(log)
    other = sent[0](*sent[1]).append([row(1)])
    child = os.fork()
    if child == 0:
        log.append([row(2)])
        os._exit(0)
    os.waitpid(child, 0)
    assert mine is not None
    assert other is not None
    writers = {span.writer for path in log.paths() if (span := names.span_of(path.name))}
    assert len(writers) == 3
    assert values(log) == [0, 1, 2]


def test_parts_of_older_versions_are_merged_too(log: Log) -> None:
    for a in range(3):
        path = log.append([row(a)])
        assert path is not None
        path.rename(path.with_name(f"rows-{a:020d}-4711.parquet"))
    (log.folder / "rows-mine.parquet").write_bytes(log.paths()[0].read_bytes())
    assert values(log) == [0, 1, 2, 0]
    log.compact()
    assert sorted(values(log)) == [0, 0, 1, 2]
    assert len(list(log.folder.iterdir())) == 1


# --- any order of things --------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.integers(-5, 20)),
        st.tuples(st.just("range"), st.integers(0, 2), st.integers(2, 5)),
        st.tuples(st.just("compact"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


class Killed(BaseException):
    """Nothing after it is done."""


class KillableLog(Log):
    """A log whose merges are killed now and then while they delete."""

    def __init__(self, folder: Path, kills: random.Random) -> None:
        super().__init__(folder, "rows", SCHEMA)
        self.kills = kills

    def _delete(self, names: Iterable[str]) -> None:
        names = list(names)
        done = self.kills.randrange(len(names) + 1) if self.kills.random() < 0.3 else len(names)
        super()._delete(self.kills.sample(names, done))
        if done < len(names):
            raise Killed


class World:
    """A log, and three writers on hosts whose clocks disagree."""

    def __init__(self, folder: Path, kills: random.Random) -> None:
        self.log = KillableLog(folder, kills)
        self.clock = 1000
        self.writers = [Names("rows") for _ in range(3)]
        self.own: list[list[Path]] = [[], [], []]
        self.added: list[int] = []

    def append(self, writer: int, step: int) -> None:
        self.clock = max(0, self.clock + step)
        self.added.append(len(self.added))
        path = self.log.append_small([row(self.added[-1])], self.writers[writer])
        self.own[writer].append(path)

    def range(self, writer: int, many: int) -> None:
        own = self.own[writer]
        taken = own[-many:]
        if len(taken) < 2:
            return
        try:
            own[-many:] = [self.log.merge_range(taken, lambda: None)]
        except Killed:
            self.renew(writer)

    def compact(self, *_: int) -> None:
        with contextlib.suppress(Killed):
            self.log.compact()
        for writer in range(3):
            self.renew(writer)

    def renew(self, writer: int) -> None:
        self.writers[writer], self.own[writer] = Names("rows"), []


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(0, 2**32))
def test_whatever_is_appended_merged_and_killed_each_row_is_there_once(
    steps: list[tuple[str, int, int]], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        world = World(Path(folder), random.Random(seed))
        patched.setattr(names.time, "time_ns", lambda: world.clock)
        for what, *arguments in steps:
            getattr(world, what)(*arguments)
            assert sorted(values(world.log)) == world.added
            assert sorted(values(Log(Path(folder), "rows", SCHEMA))) == world.added, "to another process too"


# --- readers beside merges ------------------------------------------------------------------------------------


def test_a_listing_that_missed_a_merge_is_made_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a directory lists while parts are merged in it can lack both the parts and the merged one."""
    for a in range(4):
        log.append([row(a)])
    true = Log._listing
    torn = iter([lambda: true(log), lambda: (log.compact(), set())[1]])
    with monkeypatch.context() as racing:
        other = Log(log.folder, "rows", SCHEMA)
        racing.setattr(other, "_listing", lambda: next(torn, lambda: true(log))(), raising=False)
        assert values(other) == [0, 1, 2, 3]


def test_a_reader_whose_parts_went_away_reads_again(log: Log) -> None:
    for a in range(4):
        log.append([row(a)])
    seen: list[int] = []

    def use(paths: list[Path]) -> list[int]:
        seen.append(len(paths))
        if len(seen) == 1:
            Log(log.folder, "rows", SCHEMA).compact()
        return [a for path in paths for a in pq.ParquetFile(path).read()["a"].to_pylist()]

    assert log.read(use) == [0, 1, 2, 3]
    assert seen == [4, 1]
    with pytest.raises(ZeroDivisionError):
        log.read(lambda paths: len(paths) // 0)


# --- real processes -------------------------------------------------------------------------------------------

WORK = """
import random, sys
from pathlib import Path
import pyarrow as pa
from ladder.store import parts
from ladder.store.parts import Log, Writer
parts.FAN_IN = 3
folder, name, alone = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "alone"
log = Log(folder, "rows", pa.schema([("a", pa.int64()), ("b", pa.string())]))
rng = random.Random(name)
writer = Writer(log, seconds=0.003)
print("ready", flush=True)
for a in range(name * 10**9, 10**18):
    writer.add({"a": a, "b": "x" * rng.randrange(300)})
    if rng.random() < 0.02:
        writer.flush()
        print(a, flush=True)
    if alone and rng.random() < 0.002:
        writer.close()
        print(a, flush=True)
        log.compact()
"""


def started(folder: Path, name: int, alone: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WORK, str(folder), str(name), alone]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def killed(process: subprocess.Popen[str]) -> int:
    """Kill it; the last row that it said was on disk, or -1."""
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[0].rpartition("\n")[0].splitlines()  # the last line may be torn
    return int(said[-1]) if said else -1


def check(log: Log, name: int, flushed: int) -> None:
    """The rows of one process: all up to the last flushed one, in order, each once."""
    mine = [a for a in values(log) if a // 10**9 == name]
    assert mine == list(range(name * 10**9, name * 10**9 + len(mine)))
    assert flushed < name * 10**9 + len(mine)


def test_a_writer_that_is_killed_loses_nothing_that_was_flushed_and_doubles_nothing(log: Log) -> None:
    rng = random.Random()
    for name in range(1, KILLS + 1):
        process = started(log.folder, name, "alone")
        time.sleep(rng.uniform(0.05, 1.0))
        check(log, name, killed(process))
        for path in log.folder.glob("*.parquet"):
            pq.ParquetFile(path).read()
    before = sorted(values(log))
    log.compact()
    assert sorted(values(log)) == before
    assert len(list(log.folder.glob("*.parquet"))) == len(log.paths()) <= 20


def test_processes_append_to_one_log_at_once_while_another_reads(log: Log) -> None:
    both = [started(log.folder, name, "beside another") for name in (1, 2)]
    seen = [0]
    try:
        end = time.monotonic() + 1.0
        while time.monotonic() < end or seen[-1] == 0:
            there = values(log)
            assert len(set(there)) == len(there) >= seen[-1]
            seen.append(len(there))
    finally:
        flushed = [killed(process) for process in both]
    for name, last in zip((1, 2), flushed, strict=True):
        check(log, name, last)


def test_a_kill_while_parts_of_several_writers_become_one_changes_nothing(log: Log, tmp_path: Path) -> None:
    """Every state between a merge's first and last step, as a kill would leave it."""
    for a in range(3):
        log.append_small([row(a)], Names("rows"))
    first = {path.name: path.read_bytes() for path in log.paths()}
    log.compact()
    (merged,) = log.paths()
    assert json.loads(pq.read_metadata(merged).metadata[b"ladder.holds"]) == list(first)
    for kept in range(4):
        other = tmp_path / f"kept {kept}"
        other.mkdir()
        shutil.copy(merged, other)
        for name in list(first)[:kept]:
            (other / name).write_bytes(first[name])
        left = Log(other, "rows", SCHEMA)
        assert values(left) == [0, 1, 2]
        left.compact()
        assert [path.name for path in other.iterdir()] == [merged.name]
