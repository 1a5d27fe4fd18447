"""About how many rows a pool has, before it is imported: as its files say, else counted, else judged by their size.

What becomes of a row (`where`, the audit) is not asked: no import finds more items than there are rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ladder.pools.hub import stated_rows as dataset_rows
from ladder.pools.readers import stated_rows
from ladder.pools.source import Pool, Raw, Row

_AT_LEAST = 1000  # rows of a file are read before more is judged by its size
_CSV_CELL = 1  # bytes besides its text: a comma
_JSON_CELL = 8  # besides its text and its name: quotes, colon, comma, spaces


class RowCount(NamedTuple):
    """Rows; `counted` False where a part of them is judged by its size."""

    rows: int
    counted: bool


def count_rows(pool: Pool, seconds: float = 5.0) -> RowCount | None:
    """A pool's rows, read for so many seconds at most; None of a data set that does not say.

    Raises BadInput where a data set cannot be loaded, or where it cannot be told what a file's rows are.
    """
    make = pool.settings.make
    if make is not None and not pool.made(make):
        return RowCount(make.items + make.probe_items, True)
    if pool.settings.dataset is not None:
        rows = dataset_rows(pool.settings.dataset, pool.root)
        return None if rows is None else RowCount(rows, True)
    return _count_files(pool, time.monotonic() + seconds)


def _count_files(pool: Pool, deadline: float) -> RowCount:
    stated = read = seen = rest = 0  # rows said to be there and read; bytes of those that were read, and not
    for path in pool.files():
        size = path.stat().st_size if path.is_file() else 0
        if (rows := stated_rows(path, pool.settings.layout) if size else 1) is not None:
            stated += rows
        elif read and time.monotonic() > deadline:
            rest += size
        else:
            rows, taken = _read(pool.rows_of(path), deadline, _named(path, pool))
            read, seen = read + rows, seen + min(taken or size, size)
            rest += max(size - (taken or size), 0)
    return RowCount(stated + read + (rest * read // seen if seen else 0), not rest)


def _named(path: Path, pool: Pool) -> bool:
    """Whether each row names its columns."""
    return (pool.settings.layout.format or path.suffix) in ("json", ".json")


def _read(rows: Iterator[Raw | Row], deadline: float, named: bool) -> tuple[int, int]:
    """How many rows there are; past the deadline those so far, and their bytes, else 0."""
    count = taken = 0
    for row in rows:
        count += 1
        taken += len(row.line) if isinstance(row, Raw) else _bytes(row, named)
        if count >= _AT_LEAST and time.monotonic() > deadline:
            return count, max(taken, 1)
    return count, 0


def _bytes(row: Row, named: bool) -> int:
    own = {column: str(cell) for column, cell in row.items() if not column.startswith("_")}
    return sum(len(cell) + (len(column) + _JSON_CELL if named else _CSV_CELL) for column, cell in own.items())
