"""Logs: parts are whole or absent, whatever interrupts their writing."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladder.errors import LadderError
from ladder.store import parts
from ladder.store.parts import Log, Writer, write_text

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


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

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


def test_a_writer_appends_when_its_buffer_is_old_or_large_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(parts.time, "monotonic", lambda: now[0])
    found = log(tmp_path)
    writer = Writer(found, seconds=2.0, size=lambda r: int(r["a"]))
    writer.add(row(1))
    now[0] = 1.9
    writer.add(row(2))
    assert values(found) == []
    now[0] = 2.1
    writer.add(row(3))
    assert values(found) == [1, 2, 3]
    writer.add(row(parts.FLUSH_BYTES + 1))
    assert len(values(found)) == 4
    writer.add(row(5))
    writer.close()
    writer.close()
    assert values(found)[4:] == [5]
    assert writer.written == 5


def test_what_rows_stand_for_is_on_disk_before_them(tmp_path: Path) -> None:
    """A verdict without its rollout would be one of a text that nobody has."""
    rollouts, verdicts = Log(tmp_path, "rollouts", SCHEMA), Log(tmp_path, "verdicts", SCHEMA)
    first = Writer(rollouts, seconds=float("inf"))
    second = Writer(verdicts, seconds=-1.0, first=first)
    for a in range(3):
        first.add(row(a))
        second.add(row(a))
        assert values(verdicts) == values(rollouts) == list(range(a + 1))


def test_two_writers_in_one_log_have_files_of_their_own(tmp_path: Path) -> None:
    found = log(tmp_path)
    writers = [Writer(found), Writer(found)]
    for a in range(10):
        writers[a % 2].add(row(a))
    for writer in writers:
        writer.close()
    assert sorted(values(found)) == list(range(10))
    assert all(pq.ParquetFile(path).metadata.num_rows == 5 for path in found.paths())
