"""Logs: parts are whole or absent, whatever interrupts their writing."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ladder
from ladder.errors import LadderError
from ladder.store import parts
from ladder.store.parts import Log, Writer, write_text
from ladder.store.tables import table_of

IMPORTABLE = os.environ | {"PYTHONPATH": str(Path(ladder.__file__).parents[1])}  # from any directory

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string())])


def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", "rows", SCHEMA)


def row(a: int) -> dict[str, object]:
    return {"a": a, "b": str(a)}


def values(found: Log) -> list[int]:
    return found.table(["a"])["a"].to_pylist()


def test_rows_come_back_in_the_order_they_were_appended(tmp_path: Path) -> None:
    found = log(tmp_path)
    assert values(found) == []
    for start in (0, 3, 6):
        found.append([row(a) for a in range(start, start + 3)])
    assert values(found) == list(range(9))
    assert found.table().schema == SCHEMA
    assert len(found.paths()) == 3


def test_no_rows_make_no_part(tmp_path: Path) -> None:
    assert log(tmp_path).append([]) is None
    assert log(tmp_path).paths() == []


def test_what_is_not_whole_is_not_read(tmp_path: Path) -> None:
    found = log(tmp_path)
    whole = found.append([row(1)])
    assert whole is not None
    whole.with_name(f".{whole.name}.tmp").write_bytes(whole.read_bytes()[:50])
    (found.folder / "other-0.parquet").write_bytes(b"")
    assert found.paths() == [whole]
    assert values(found) == [1]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_dies_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*((os, "fsync", die) if step == "fsync" else (Path, "replace", die)))
    with pytest.raises(KeyboardInterrupt):
        log(tmp_path).append([row(1)])
    assert log(tmp_path).paths() == []


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LadderError, match=r"cannot write .*No space left on device$"):
        log(tmp_path).append([row(1)])
    with pytest.raises(LadderError, match="No space left"):
        write_text("x", tmp_path / "log" / "text")
    assert list((tmp_path / "log").iterdir()) == []


def test_a_text_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text("old", tmp_path / "sub" / "x.toml")
    assert write_text("new", path).read_text() == "new"
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(LadderError):
        write_text("torn", path)
    assert path.read_text() == "new"


def until(true: Callable[[], bool]) -> None:
    """Wait for what a thread does by itself."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_was_added_gets_to_disk_though_nothing_is_added_any_more(tmp_path: Path) -> None:
    found = log(tmp_path)
    writer = Writer(found, seconds=0.1)
    for a in range(3):
        writer.add(row(a))
    until(lambda: values(found) == [0, 1, 2])
    until(lambda: writer._thread is None)
    writer.add(row(3))
    until(lambda: values(found) == [0, 1, 2, 3])


def test_a_large_buffer_is_written_at_once(tmp_path: Path) -> None:
    found = log(tmp_path)
    writer = Writer(found, seconds=float("inf"), size=lambda r: int(r["a"]))
    writer.add(row(1))
    writer.add(row(parts.FLUSH_BYTES))
    until(lambda: len(values(found)) == 2)


def test_rows_are_written_after_a_merge_that_failed(tmp_path: Path) -> None:
    found = log(tmp_path)
    writer = Writer(found, seconds=0.0)
    for a in range(parts.FAN_IN - 1):
        writer.add(row(a))
        until(lambda a=a: len(found.paths()) > a)  # type: ignore[misc]
    broken, *_ = found.paths()
    pq.write_table(pa.table({"a": ["no number"], "b": ["0"]}), broken)
    for a in range(parts.FAN_IN):
        writer.add(row(100 + a))
        until(lambda a=a: len(found.paths()) > parts.FAN_IN + a - 1)  # type: ignore[misc]
    broken.unlink()
    assert values(found) == [*range(1, parts.FAN_IN - 1), *range(100, 100 + parts.FAN_IN)]


def test_what_is_left_is_written_at_the_end(tmp_path: Path) -> None:
    found = log(tmp_path)
    writer = Writer(found, seconds=float("inf"))
    for a in (1, 2):
        writer.add(row(a))
        assert values(found) == list(range(1, a))
        writer.close()
        writer.close()
    assert values(found) == [1, 2]
    assert writer.written == 2


def test_what_rows_stand_for_is_on_disk_before_them(tmp_path: Path) -> None:
    """A verdict without its rollout would be one of a text that nobody has."""
    rollouts, verdicts = Log(tmp_path, "rollouts", SCHEMA), Log(tmp_path, "verdicts", SCHEMA)
    first = Writer(rollouts, seconds=float("inf"))
    second = Writer(verdicts, seconds=0.01, first=first)
    for a in range(200):
        first.add(row(a))
        second.add(row(a))
        there = values(verdicts)
        assert set(there) <= set(values(rollouts))
    second.close()
    assert values(verdicts) == values(rollouts) == list(range(200))


def test_threads_may_share_a_writer(tmp_path: Path) -> None:
    found = log(tmp_path)
    writer = Writer(found, seconds=0.0)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda a: (writer.add(row(a)), writer.flush() if a % 10 == 0 else None), range(200)))
    writer.close()
    assert sorted(values(found)) == list(range(200))


def test_while_the_disk_is_slow_no_more_than_a_buffer_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, disk, adding = log(tmp_path), threading.Event(), []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (disk.wait(), sync(handle)))
    writer = Writer(found, size=lambda _: parts.FLUSH_BYTES // 2 + 1)

    def add() -> None:
        for a in range(10):
            writer.add(row(a))
            adding.append(a)

    thread = threading.Thread(target=add)
    thread.start()
    until(lambda: len(adding) == 3)
    thread.join(0.2)
    assert len(adding) == 3, "two rows are being written, one waits, and the next one fills the buffer"
    disk.set()
    thread.join()
    writer.close()
    assert values(found) == list(range(10))


def test_an_error_is_told_once_and_the_rows_are_written_when_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = log(tmp_path)
    writer = Writer(found, seconds=0.0)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        writer.add(row(0))
        until(lambda: writer._error is not None)
        with pytest.raises(LadderError, match="No space left on device"):
            writer.add(row(1))
        writer.add(row(2))
        with pytest.raises(LadderError, match="No space left on device"):
            writer.flush()
        with pytest.raises(LadderError, match="No space left on device"):
            writer.close()
        assert values(found) == []
        assert list(found.folder.iterdir()) == []
    writer.close()
    assert values(found) == [0, 1, 2]


def test_a_row_that_is_none_is_told_to_whoever_adds(tmp_path: Path) -> None:
    writer = Writer(log(tmp_path))
    writer.add({"a": "no number"})
    with pytest.raises(pa.ArrowInvalid):
        writer.close()


BIG = """
import os, resource, sys
from pathlib import Path
import pyarrow as pa
from ladder.errors import LadderError
from ladder.store.parts import Log, Writer
log = Log(Path(sys.argv[1]), "rows", pa.schema([("a", pa.int64()), ("b", pa.binary())]))
writer = Writer(log, seconds=float("inf"))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
for a in range(10):
    writer.add({"a": a, "b": os.urandom(100_000)})
try:
    writer.close()
except LadderError as error:
    print(error)
print(sorted(os.listdir(log.folder)), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
writer.close()
print(log.table(["a"])["a"].to_pylist())
"""


def test_a_disk_that_takes_no_more_loses_nothing_that_fits_later(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path)], capture_output=True, text=True, check=True
    )
    said, there, rows = done.stdout.splitlines()
    assert said.startswith(f"cannot write {tmp_path}/rows-")
    assert said.endswith("File too large")
    assert (there, rows) == ("[]", str(list(range(10))))


READ_ONLY = """
import os
from pathlib import Path
import pyarrow as pa
from ladder.errors import LadderError
from ladder.store.parts import Log, Writer
log = Log(Path("."), "rows", pa.schema([("a", pa.int64())]))
root = os.geteuid() == 0  # who may write anywhere
writer = Writer(log, seconds=float("inf"))
writer.add({"a": 1})
os.chmod(".", 0o555)
if root: os.seteuid(65534)
try:
    writer.flush()
except LadderError as error:
    print(error)
print(os.listdir("."))
if root: os.seteuid(0)
os.chmod(".", 0o755)
writer.flush()
print(log.table()["a"].to_pylist())
"""


def test_a_directory_that_may_not_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    where = tmp_path / "log"
    where.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY],
        cwd=where,
        env=IMPORTABLE,
        capture_output=True,
        text=True,
        check=True,
    )
    said, there, rows = done.stdout.splitlines()
    assert said.startswith("cannot write rows-")
    assert said.endswith("Permission denied")
    assert (there, rows) == ("[]", "[1]")


def test_two_writers_in_one_log_have_files_of_their_own(tmp_path: Path) -> None:
    found = log(tmp_path)
    writers = [Writer(found), Writer(found)]
    for a in range(10):
        writers[a % 2].add(row(a))
    for writer in writers:
        writer.close()
    assert sorted(values(found)) == list(range(10))
    assert all(pq.ParquetFile(path).metadata.num_rows == 5 for path in found.paths())


NUMBERS = pa.schema(
    [("ids", pa.list_(pa.int32())), ("logs", pa.list_(pa.float32())), ("names", pa.list_(pa.string()))]
)


@given(
    st.lists(st.none() | st.lists(st.integers(0, 2**24), max_size=4), max_size=6),
    st.sampled_from([tuple, list, *(lambda x, t=t: np.array(x, t) for t in (np.int32, np.int64, np.uint32))]),
)
def test_lists_are_stored_alike_in_whatever_they_come(
    numbers: list[list[int] | None], kind: Callable[..., Any]
) -> None:
    rows = [{"ids": None if n is None else kind(n), "logs": n and kind(n), "names": ["x"]} for n in numbers]
    table = table_of(rows, NUMBERS)
    table.validate(full=True)
    assert table["ids"].to_pylist() == numbers
    assert table["logs"].to_pylist() == [n and list(map(float, np.float32(n))) for n in numbers]


def test_numbers_that_do_not_fit_are_not_stored_as_others() -> None:
    for wrong in (np.array([2**31]), (2**31,), np.array([0.5])):
        with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
            table_of([{"ids": wrong}], NUMBERS)


def test_token_ids_get_no_dictionary(tmp_path: Path) -> None:
    found = Log(tmp_path, "rows", NUMBERS)
    path = found.append([{"ids": [1, 1], "logs": [0.0, 0.0], "names": ["x", "x"]}])
    assert path is not None
    columns = pq.read_metadata(path).row_group(0)
    encodings = {columns.column(i).path_in_schema: columns.column(i).encodings for i in range(3)}
    assert [name for name, used in encodings.items() if "RLE_DICTIONARY" in used] == ["names.list.element"]


def test_a_file_that_is_no_part_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "rows-1.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(LadderError, match=r"cannot read .*rows-1\.parquet: "):
        Log(tmp_path, "rows", SCHEMA).table()
