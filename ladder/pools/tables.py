"""Rows of tables: CSV and TSV, Parquet, and Arrow's own files and streams. Batches are small, for cells may be images."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.pools.rows import BROKEN, MAX_ROW, Row, broken, lost, written

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 32  # rows held at once


def csv_rows(
    path: Path, delimiter: str, quote: str = '"', encoding: str = "utf-8", fields: Sequence[str] = ()
) -> Iterator[Row]:
    """Rows of a table in text, empty cells as ""; `fields` names the columns of one that has no header.

    A row of more or fewer cells than there are columns is broken, as is a cell longer than MAX_ROW characters.
    """
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    # The limit is the whole process's; nothing else here reads CSV.
    csv.field_size_limit(MAX_ROW)
    with path.open(encoding=encoding, errors="surrogateescape", newline="") as file:
        quotes: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
        cells = csv.reader(file, delimiter=delimiter, **quotes)
        try:
            columns = list(fields) or next(cells, [])
        except (csv.Error, UnicodeError) as error:
            yield lost(error)
            return
        if len(set(columns)) < len(columns):
            yield lost(f"columns of the same name: {', '.join(columns)}")
            return
        yield from _csv_rows(cells, columns)


def _csv_rows(cells: Iterator[list[str]], columns: Sequence[str]) -> Iterator[Row]:
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
        if len(row) == len(columns):
            yield _readable(dict(zip(columns, row, strict=True)))
        elif row:
            yield broken(f"{len(row)} cells in {len(columns)} columns")


def _readable(row: Row) -> Row:
    for text in row.values():
        if BROKEN in (row := written(row, text)):
            return row
    return row


def parquet_rows(path: Path, wanted: Collection[str] | None = None) -> Iterator[Row]:
    """Rows of a Parquet file; of its columns only those `wanted`, where it has any of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            columns = projected(file.schema_arrow.names, wanted)
            for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                yield from batch_rows(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield lost(error)


def arrow_rows(path: Path, wanted: Collection[str] | None = None) -> Iterator[Row]:
    """Rows of an Arrow IPC file or stream, as `datasets` saves them."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            for batch in _ipc_batches(source):
                yield from batch_rows(batch.select(projected(batch.schema.names, wanted)))
    except (pa.ArrowException, OSError, ValueError) as error:
        yield lost(error)


def _ipc_batches(source: Any) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

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
    """The rows of a batch; one that holds what its type does not allow (a text that is no UTF-8) is broken."""
    for start in range(0, batch.num_rows, _BATCH):
        yield from _slice_rows(batch.slice(start, _BATCH))


def _slice_rows(batch: pa.RecordBatch) -> list[Row]:
    import pyarrow as pa

    try:
        # What comes from outside may lie about its own offsets; reading those unchecked could crash the process.
        batch.validate(full=True)
        return batch.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, OSError) as error:
        if batch.num_rows == 1:
            return [broken(error)]
        return [row for i in range(batch.num_rows) for row in _slice_rows(batch.slice(i, 1))]
