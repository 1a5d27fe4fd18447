"""Rows as Arrow tables of a schema, from Python and from Parquet. Where files lie, and who writes them, is left to `parts`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ladder.errors import LadderError

_GROUP_BYTES = 16 * 2**20


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; a field that a row lacks is null. Lists may be lists, tuples or one-dimensional numpy arrays."""
    columns = [_column([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if not _is_numbers(kind) or not all(v is None or isinstance(v, np.ndarray) for v in values):
        return pa.array(values, kind)
    flat = np.concatenate([v for v in values if v is not None] or [np.zeros(0, np.int8)])
    ends = np.cumsum([0, *(0 if v is None else len(v) for v in values)], dtype=np.int32)
    nulls = pa.array([v is None for v in values], pa.bool_())
    return pa.ListArray.from_arrays(_numbers(ends), _numbers(flat).cast(kind.value_type), mask=nulls)


def _numbers(values: np.ndarray) -> pa.Array:
    """As pa.array, which would import pandas for it; within a list, that takes arrays one number at a time."""
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def repeating(schema: pa.Schema) -> bool | list[str]:
    """The columns, as Parquet names them, that get a dictionary; True: all. One of token ids or log-probs would cost
    twice the time of writing and take more place."""
    if not any(_is_numbers(field.type) for field in schema):
        return True
    return [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in schema
        if not _is_numbers(field.type)
    ]


def _is_numbers(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and (
        pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)
    )


def open_part(path: Path) -> pq.ParquetFile:
    """A part, open for reading; raises LadderError where it is none."""
    try:
        return pq.ParquetFile(path)  # pq.read_table would import pandas
    except pa.ArrowInvalid as error:
        raise LadderError(f"cannot read {path}: {error}") from None


def read_part(path: Path, wanted: pa.Schema) -> pa.Table:
    """The columns of a schema in a part, null where an older version did not write them."""
    with open_part(path) as file:
        return _fitted(file, wanted, range(file.num_row_groups))


def row_groups(parts: Iterable[Path], wanted: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The rows of some parts in order, as tables of about so many rows, or of fewer where these are large."""
    held: list[pa.Table] = []
    many = size = 0
    for path in parts:
        with open_part(path) as file:
            for group in range(file.num_row_groups):
                table = _fitted(file, wanted, [group])
                held.append(table)
                many, size = many + table.num_rows, size + table.nbytes
                if many >= rows or size >= _GROUP_BYTES:
                    yield pa.concat_tables(held)
                    held, many, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)


def _fitted(file: pq.ParquetFile, wanted: pa.Schema, groups: Sequence[int]) -> pa.Table:
    """Row groups of a part as a table of a schema."""
    there = set(file.schema_arrow.names)
    table = file.read_row_groups(groups, columns=[name for name in wanted.names if name in there])
    columns = [
        table[field.name].cast(field.type) if field.name in there else pa.nulls(table.num_rows, field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)
