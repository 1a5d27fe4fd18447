"""Rows of tables: CSV and TSV, Parquet, and Arrow's own files and streams. Batches are small, for cells may be images."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.pools.packed import open_text
from ladder.pools.rows import BOMB_BYTES, BOMB_RATIO, MAX_ROW, Row, Unreadable, bounded, broken, lost, written
from ladder.pools.table_sizes import inflating, row_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS, _BATCH_BYTES = 1024, 16 * 2**20  # read, and held as Python objects, at once


def csv_rows(
    path: Path, delimiter: str, quote: str = '"', encoding: str = "utf-8", fields: Sequence[str] = ()
) -> Iterator[Row]:
    """Rows of a table in text, empty cells as ""; `fields` names the columns of one that has no header.

    A row of more or fewer cells than there are columns is broken, as is a cell longer than MAX_ROW characters.
    """
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    # The limit is the whole process's; nothing else here reads CSV.
    csv.field_size_limit(MAX_ROW)
    with open_text(path, encoding, newline="") as file:
        quotes: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
        cells = csv.reader(file, delimiter=delimiter, **quotes)
        try:
            columns = list(fields) or [name.strip() for name in next(cells, [])]
        except (csv.Error, UnicodeError) as error:
            yield lost(error)
            return
        if len(set(columns)) < len(columns):
            yield lost(f"columns of the same name: {', '.join(columns)}")
            return
        yield from _csv_rows(cells, columns, delimiter)


def _csv_rows(cells: Iterator[list[str]], columns: Sequence[str], delimiter: str) -> Iterator[Row]:
    """Rows as they are read; one that has taken others into a cell, because its quote is never closed, is broken."""
    while True:
        try:
            row = next(cells)
        except StopIteration:
            return
        except csv.Error as error:
            yield broken(error)
            continue
        except UnicodeError as error:
            yield lost(error)
            return
        if (swallowed := _swallowed(row, len(columns), delimiter)) > 0:
            yield broken(
                f"{swallowed} more lines in a cell: an open quote? pool.layout.quote = '' reads it as text"
            )
        elif len(row) == len(columns):
            yield _readable(dict(zip(columns, row, strict=True)))
        elif row:
            yield broken(f"{len(row)} cells in {len(columns)} columns")


def _swallowed(row: Sequence[str], columns: int, delimiter: str) -> int:
    """How many lines the cells of a row hold that look like rows: with as many tabs, or in too short a row."""
    if delimiter != "\t" and len(row) >= columns:
        return 0
    lines = [line for cell in row if "\n" in cell for line in cell.split("\n")[1:]]
    return sum(line.count(delimiter) >= columns - 1 for line in lines) if columns > 1 else 0


def _readable(row: Row) -> Row:
    for text in row.values():
        if isinstance(row := written(row, text), Unreadable):
            return row
    return row


def parquet_rows(path: Path, wanted: Collection[str] | None = None) -> Iterator[Row]:
    """Rows of a Parquet file; of its columns only those `wanted`, where it has any of them.

    A file whose columns inflate beyond reason, or that has more rows than bytes, is not read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            columns = projected(file.schema_arrow.names, wanted)
            if (why := _bomb(file.metadata, columns, path.stat().st_size)) is not None:
                yield lost(why)
                return
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                size = max(1, about.total_byte_size // max(1, about.num_rows))
                rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // size))
                for batch in file.iter_batches(rows, [group], columns=columns, use_threads=False):
                    yield from batch_rows(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield lost(error)


def _bomb(metadata: Any, columns: Sequence[str], size: int) -> str | None:
    """Why a Parquet file is not to be read, as far as it says so itself."""
    if metadata.num_rows > max(size, 1000):
        return f"{metadata.num_rows} rows in {size} bytes"
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
            wanted = column.path_in_schema.partition(".")[0] in columns
            if wanted and unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * max(packed, 1):
                return f"column {column.path_in_schema} unpacks from {packed} to {unpacked} bytes"
    return None


def arrow_rows(path: Path, wanted: Collection[str] | None = None) -> Iterator[Row]:
    """Rows of an Arrow IPC file or stream, as `datasets` saves them."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            for batch in _ipc_batches(source):
                yield from batch_rows(batch.select(projected(batch.schema.names, wanted)))
    except (pa.ArrowException, OSError, ValueError) as error:
        yield lost(error)


def parquet_count(path: Path) -> int:
    """How many rows a Parquet file says that it has; what is not to be read counts as one, that says so."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError, ValueError):
        return 1
    return int(metadata.num_rows) if _bomb(metadata, (), path.stat().st_size) is None else 1


def arrow_count(path: Path) -> int:
    """As `parquet_count`, of an Arrow file or stream."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            return sum(batch.num_rows for batch in _ipc_batches(source))
    except (pa.ArrowException, OSError, ValueError):
        return 1


def _ipc_batches(source: Any) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    # What is compressed says how large it is before it is unpacked.
    for why in inflating(source):
        raise ValueError(why)
    source.seek(0)
    if source.read(6) == b"ARROW1":
        with pa.ipc.open_file(source) as file:
            yield from (file.get_batch(i) for i in range(file.num_record_batches))
        return
    source.seek(0)
    with pa.ipc.open_stream(source) as stream:
        yield from stream


def projected(names: Sequence[str], wanted: Collection[str] | None) -> list[str]:
    """The columns to read: those that are wanted themselves or for a part of them."""
    if wanted is None:
        return list(names)
    heads = {*wanted, *(name.partition(".")[0] for name in wanted)}
    return [name for name in names if name in heads] or list(names)


def batch_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch, few at a time; one that holds what its type does not allow (a text that is no UTF-8), that
    takes more than MAX_ROW bytes, or that is nested too deeply is broken."""
    import pyarrow as pa

    try:
        # What comes from outside may lie about its own offsets; reading those unchecked could crash the process.
        batch.validate(full=True)
        sizes = row_bytes(batch)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            yield broken(error)
            return
        for row in range(batch.num_rows):
            yield from batch_rows(batch.slice(row, 1))
        return
    start = 0
    while start < batch.num_rows:
        stop = start + 1
        total = int(sizes[start])
        while (
            stop < batch.num_rows and stop - start < _BATCH_ROWS and total + int(sizes[stop]) <= _BATCH_BYTES
        ):
            total += int(sizes[stop])
            stop += 1
        if total > MAX_ROW:
            yield broken(f"a row of {total} bytes")
        else:
            yield from _slice_rows(batch.slice(start, stop - start))
        start = stop


def _slice_rows(batch: pa.RecordBatch) -> list[Row]:
    import pyarrow as pa

    try:
        return [bounded(row) for row in batch.to_pylist()]
    except (pa.ArrowException, ValueError, OverflowError, OSError, RecursionError) as error:
        if batch.num_rows == 1:
            return [broken(error)]
        return [row for i in range(batch.num_rows) for row in _slice_rows(batch.slice(i, 1))]
