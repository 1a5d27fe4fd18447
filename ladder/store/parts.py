"""Append-only Parquet logs: each part is written beside, fsynced and renamed, so that a torn file is never seen.

Small parts are merged into larger ones. A merged part tells which parts it holds, by its name or in its footer; these no
longer count from the moment of its renaming, and are deleted next. Killed in between, they are deleted by the next merge.
Who may merge when is said at `Log.compact`; who may write at all is left to `ladder.store.locks`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ladder.errors import LadderError
from ladder.store.names import MERGED, Names, covered, merged_name, range_name
from ladder.store.tables import read_part, repeating, row_groups, table_of

FLUSH_SECONDS = 2.0
FLUSH_BYTES = 64 * 2**20
PART_BYTES = 128 * 2**20  # larger parts are not made by merging, and not merged again
FAN_IN = 16  # so many parts of a writer become one: a row of 4,000 parts is written again three times

_SMALL_BYTES = (
    2**20
)  # to compress less than that takes longer than to write it; merging does it once for many
_HOLDS = b"ladder.holds"  # names of the parts whose rows a part holds, also of those that were merged before
_STALE_SECONDS = 3600.0  # a temporary file of that age is of a writer that was killed

T = TypeVar("T")


class Log:
    """The parts `<folder>/<prefix>-*.parquet` of one schema. Any number of processes on any hosts may append."""

    def __init__(self, folder: Path, prefix: str, schema: pa.Schema, row_group: int = 4096) -> None:
        self.folder, self.prefix, self.schema, self.row_group = folder, prefix, schema, row_group
        self._names = Names(prefix)
        self._held: dict[str, frozenset[str]] = {}

    def __reduce__(self) -> Any:
        return Log, (self.folder, self.prefix, self.schema, self.row_group)  # another process, other names

    # --- reading ---------------------------------------------------------------------------------------------

    def paths(self) -> list[Path]:
        """The parts that count, oldest first. Where others merge parts, those may be gone by the time that they are
        read: see `read`."""
        before = self._listing()
        while True:
            # A listing is no snapshot: it can miss both a merged part and, deleted behind it, what that one holds.
            names = self._listing()
            hidden = self._hidden(names, names | before)
            if before <= names | hidden:
                return [self.folder / name for name in sorted(names - hidden)]
            before = names

    def read(self, use: Callable[[list[Path]], T]) -> T:
        """What `use` makes of the parts; it is called again where a part went away under it because others merge."""
        while True:
            paths = self.paths()
            try:
                return use(paths)
            except Exception:
                if all(path.exists() for path in paths):
                    raise

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """All rows, or some columns of them."""
        wanted = self._subset(columns)
        parts = self.read(lambda paths: [read_part(path, wanted) for path in paths])
        return pa.concat_tables(parts) if parts else wanted.empty_table()

    def _subset(self, columns: list[str] | None) -> pa.Schema:
        if columns is None:
            return self.schema
        return pa.schema([self.schema.field(name) for name in columns])

    def held(self, names: set[str]) -> set[str]:
        """Those of some names of parts, in a copy of this log, whose rows are here in larger parts."""
        here = {path.name for path in self.paths()}
        merged = here.union(*(self._holds(name) for name in here if name.endswith(MERGED)))
        return names & (merged | covered(merged | names)) - here

    def _listing(self) -> set[str]:
        return {path.name for path in self.folder.glob(f"{self.prefix}-*.parquet")}

    def _hidden(self, there: set[str], names: set[str]) -> set[str]:
        merged = (self._holds(name) for name in there if name.endswith(MERGED))
        return covered(names).union(*merged)

    def _holds(self, name: str) -> frozenset[str]:
        if name not in self._held:
            try:
                said = pq.read_metadata(self.folder / name).metadata or {}
                self._held[name] = frozenset(json.loads(said.get(_HOLDS, b"[]")))
            except FileNotFoundError:  # another part holds it by now
                return frozenset()
            except ValueError as error:  # no Parquet, or not ours
                raise LadderError(f"cannot read {self.folder / name}: {error}") from None
        return self._held[name]

    # --- appending -------------------------------------------------------------------------------------------

    def append(self, rows: Sequence[dict[str, Any]]) -> Path | None:
        """Write rows as one part; raises LadderError where the disk refuses (nothing torn is left)."""
        return self.append_table(table_of(rows, self.schema)) if rows else None

    def append_table(self, table: pa.Table) -> Path:
        """Write a table as one part."""
        return self._append(table, self._names, small=False)

    def append_small(self, rows: Sequence[dict[str, Any]], names: Names) -> Path:
        """Write rows of a writer as one part, which it will soon merge with others."""
        table = table_of(rows, self.schema)
        return self._append(table, names, small=table.nbytes < _SMALL_BYTES)

    def _append(self, table: pa.Table, names: Names, small: bool) -> Path:
        how: dict[str, Any] = {"compression": "none", "use_dictionary": False}
        if not small:
            how = {"compression": "zstd", "use_dictionary": repeating(table.schema)}
        return write_parquet(table, self.folder / names.next(), self.row_group, **how)

    def check_writable(self) -> None:
        """Raises LadderError where nothing can be appended: before hours of work, not after them."""
        probe = self.folder / f".{self.prefix}-writable"
        write_file(probe, lambda file: file.write(b""))
        _forget(probe)

    def append_batches(self, batches: Iterable[pa.RecordBatch]) -> Path | None:
        """Write batches as one part, as they come; columns are cast. None where they hold no row."""
        rows = 0

        def fill(file: BinaryIO) -> None:
            nonlocal rows
            with self._parquet(file) as writer:
                for batch in batches:
                    table = pa.Table.from_batches([batch]).select(self.schema.names).cast(self.schema)
                    writer.write_table(table, self.row_group)
                    rows += batch.num_rows

        path = write_file(self.folder / self._names.next(), fill)
        if not rows:
            path.unlink()
        return path if rows else None

    def _parquet(self, file: BinaryIO) -> pq.ParquetWriter:
        return pq.ParquetWriter(file, self.schema, compression="zstd", use_dictionary=repeating(self.schema))

    # --- merging ---------------------------------------------------------------------------------------------

    def compact(self) -> int:
        """Merge neighbouring small parts, and delete what merged parts hold already; how many parts fewer count.

        Only for who holds the ladder alone: no writer of this log merges its own parts meanwhile, and nobody else calls
        this. Others may append and read. The parts are merged from old to new as a binary counter adds: a row is
        written again O(log) times over all calls, and where nothing was appended, nothing is done.
        """
        self._delete(self._listing() - {path.name for path in self.paths()})
        self._forget_torn()
        before = len(self.paths())
        while groups := self._groups():
            for group in groups:
                names = [path.name for path in group]
                earlier = sorted(
                    {held for name in names if name.endswith(MERGED) for held in self._holds(name)}
                )
                self._merge(group, merged_name(self.prefix, names[0]), holds=[*names, *earlier])
        return before - len(self.paths())

    def merge_range(self, parts: Sequence[Path], pause: Callable[[], None]) -> Path:
        """Merge all parts that one writer made from the first to the last of `parts`; `pause` is called now and then,
        and may raise to give up. Only for the writer itself."""
        return self._merge(parts, range_name(self.prefix, parts[0].name, parts[-1].name), pause)

    def _groups(self) -> list[list[Path]]:
        groups: list[tuple[int, list[Path]]] = []
        for path in self.paths():
            groups.append((path.stat().st_size, [path]))
            while len(groups) > 1 and _mergeable(groups[-2][0], groups[-1][0]):
                (size, paths), (more, others) = groups[-2:]
                groups[-2:] = [(size + more, paths + others)]
        return [paths for _, paths in groups if len(paths) > 1]

    def _merge(
        self,
        parts: Sequence[Path],
        name: str,
        pause: Callable[[], None] = lambda: None,
        holds: Sequence[str] = (),
    ) -> Path:
        def fill(file: BinaryIO) -> None:
            with self._parquet(file) as writer:
                for table in row_groups(parts, self.schema, self.row_group):
                    writer.write_table(table, self.row_group)
                    pause()
                if holds:
                    writer.add_key_value_metadata({_HOLDS.decode(): json.dumps(holds)})

        path = write_file(self.folder / name, fill)
        _sync(self.folder)
        self._delete(part.name for part in parts)
        return path

    def _forget_torn(self) -> None:
        for path in self.folder.glob(f".{self.prefix}-*.tmp"):
            with suppress(FileNotFoundError):  # its writer lives, and has just renamed it
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            path = self.folder / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise LadderError(f"cannot delete {path}: {error.strerror or error}") from None


class Writer:
    """Buffers rows of a log; a thread appends them as a part when the oldest has waited so many seconds or they are many,
    and merges the parts that it made. `add` waits while more is buffered than the disk takes.

    `first` is flushed before: what its rows stand for, added before these, is never on disk later. What could not be
    written is kept and tried again; the error is raised once, by whichever of `add`, `flush` and `close` comes next. May be
    used by several threads.
    """

    def __init__(
        self,
        log: Log,
        seconds: float = FLUSH_SECONDS,
        size: Callable[[dict[str, Any]], int] | None = None,
        first: Writer | None = None,
    ) -> None:
        self._log, self._seconds, self._size, self._first = log, seconds, size or _weight, first
        self._names = Names(log.prefix)
        self._lock = threading.RLock()  # in C: no interrupt strikes between taking and holding it
        self._state = threading.Condition(self._lock)
        self._rows: list[dict[str, Any]] = []
        self._bytes = self._added = 0
        self._due = 0.0  # when the rows are to be written
        self._thread: threading.Thread | None = None  # while there are rows
        self._error: Exception | None = None  # that nobody was told yet
        self._failed = False  # at the last attempt
        self._closing = False
        self._levels: list[list[Path]] = [[]]  # own parts by how often their rows were merged
        self.written = 0

    def add(self, row: dict[str, Any]) -> None:
        """Buffer a row. Where this raises, the row is kept like those before it."""
        size = self._size(row)
        with self._lock:
            if not self._rows:
                self._due = time.monotonic() + self._seconds
            self._rows.append(row)
            self._added += 1
            full = self._bytes <= FLUSH_BYTES < self._bytes + size
            self._bytes += size
            self._work(now=full)
            self._state.wait_for(lambda: self._bytes <= FLUSH_BYTES or self._error is not None)
            self._tell()

    def flush(self) -> None:
        """Return when all that was added before is on disk."""
        with self._lock:
            self._error, self._failed = None, False  # what counts is what comes of this attempt
            wanted = self._added
            if self._rows:
                self._work(now=True)
            self._state.wait_for(lambda: self.written >= wanted or self._error is not None)
            self._tell()

    def close(self) -> None:
        """Append the rest and end the thread; a merge under way is given up. Rows may be added again."""
        with self._lock:
            self._closing = True
        try:
            self.flush()
        finally:
            thread = self._thread
            if thread is not None:
                thread.join()
            self._closing = False
            self._levels = [[]]  # from here on others may merge them

    def _tell(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self, now: bool) -> None:
        """See to it that a thread will write the rows."""
        if now:
            self._due = 0.0
            self._state.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"write {self._log.prefix}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while self._wait():
            self._write()
            self._compact()

    def _wait(self) -> bool:
        """Wait until rows are due; False where the thread has nothing more to do."""
        with self._lock:
            while self._rows and not (self._closing and self._failed):
                left = self._due - time.monotonic()
                if left <= 0:
                    return True
                self._state.wait(min(left, threading.TIMEOUT_MAX))
            self._thread = None
            return False

    def _write(self) -> None:
        with self._lock:
            rows, size = self._rows, self._bytes
            self._rows, self._bytes = [], 0
            self._state.notify_all()
        try:
            # In this order: what was added to `first` before one of these rows was taken is flushed.
            if self._first is not None:
                self._first.flush()
            path = self._log.append_small(rows, self._names)
        except Exception as error:  # for whoever waits for these rows
            with self._lock:
                self._rows, self._bytes = rows + self._rows, size + self._bytes
                self._error, self._failed = error, True
                self._due = time.monotonic() + FLUSH_SECONDS
                self._state.notify_all()
            return
        with self._lock:
            self.written += len(rows)
            self._error, self._failed = None, False
            self._state.notify_all()
        self._levels[0].append(path)

    def _compact(self) -> None:
        """Merge this writer's last parts where there are enough of one level."""
        level = 0
        while len(self._levels[level]) >= FAN_IN:
            parts, self._levels[level] = self._levels[level], []
            merged = self._merged(parts)
            if merged is None:  # no later range may span these parts
                del self._levels[level + 1 :]
                return
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(merged)

    def _merged(self, parts: list[Path]) -> Path | None:
        """None where they are large, or where it cannot be done now: the rows are safe, and Log.compact will tell."""
        try:
            if sum(path.stat().st_size for path in parts) > PART_BYTES:
                return None
            return self._log.merge_range(parts, self._pause)
        except Exception:  # whatever it is: the thread must go on, rows wait for it
            return None

    def _pause(self) -> None:
        """Between the row groups of a merge: rows do not wait for it to end."""
        with self._lock:
            if self._closing:
                raise _GivenUp
            due = bool(self._rows) and self._due <= time.monotonic()
        if due:
            self._write()


class _GivenUp(Exception):
    """A merge is not worth waiting for."""


def _weight(row: dict[str, Any]) -> int:
    """About how many bytes of memory a row takes."""
    total = 0
    for value in row.values():
        if isinstance(value, np.ndarray):
            total += value.nbytes
        elif isinstance(value, str | bytes):
            total += len(value)
        elif isinstance(value, tuple | list):
            total += 32 * len(value)
    return total


def _mergeable(older: int, newer: int) -> bool:
    """Whether two neighbours of so many bytes become one: no part is written again for the sake of a much smaller one."""
    return older <= 2 * newer and older + newer <= PART_BYTES


def write_parquet(
    table: pa.Table,
    path: Path,
    row_group: int = 4096,
    compression: str = "zstd",
    use_dictionary: bool | list[str] = True,
) -> Path:
    """Write a Parquet file atomically; raises LadderError (disk full, read-only) and leaves nothing torn."""
    how: dict[str, Any] = {"compression": compression, "use_dictionary": use_dictionary}
    return write_file(path, lambda file: pq.write_table(table, file, row_group_size=row_group, **how))


def write_text(text: str, path: Path) -> Path:
    """As write_parquet, for a text file."""
    return write_file(path, lambda file: file.write(text.encode()))


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    """As write_parquet, for whatever `fill` writes: beside, fsynced, renamed."""
    part = path.with_name(
        f".{path.name}.{os.getpid()}.tmp"
    )  # others may write the same file at the same time
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        _forget(part)
        raise LadderError(f"cannot write {path}: {error.strerror or error}") from None
    except BaseException:
        _forget(part)
        raise
    return path


def _sync(folder: Path) -> None:
    """Make renamings last before anything is deleted because of them."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _forget(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:  # a read-only disk: nothing was written either
        return
