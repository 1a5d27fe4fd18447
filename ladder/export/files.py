"""Rows become the files of an export, as they come; each is written beside and renamed, and the same rows give the same
bytes. Images that are already canonical are kept, not encoded again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ladder.errors import LadderError
from ladder.export.base import IMAGES, Family, Picture, Row
from ladder.store.parts import write_file

_ROW_GROUP = 100  # what the Hub's viewer reads at once where there are images


def write_rows(family: Family, rows: Iterable[Row], path: Path) -> Path:
    """Write rows in a family's format; raises LadderError where the disk refuses."""
    writers = {"parquet": _parquet, "jsonl": _lines, "json": _list}
    return write_file(path, lambda file: writers[family.suffix](family, rows, file))


def _parquet(family: Family, rows: Iterable[Row], file: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert family.features is not None
    schema = family.features().arrow_schema
    left = iter(rows)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(left, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _lines(_: Family, rows: Iterable[Row], file: BinaryIO) -> None:
    for row in rows:
        file.write(f"{_json(row)}\n".encode())


def _list(_: Family, rows: Iterable[Row], file: BinaryIO) -> None:
    file.write(b"[")
    for number, row in enumerate(rows):
        file.write(f"{',' if number else ''}\n{_json(row)}".encode())
    file.write(b"\n]\n")


def _json(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False)


class ImageFiles:
    """The image files of an export, each written once. They are on disk for certain after `sync`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._there: set[str] = set()

    def keep(self, picture: Picture) -> None:
        """Write an image unless it is there; raises LadderError where the disk refuses."""
        if picture.hash in self._there:
            return
        path = self._folder / picture.name
        part = path.with_name(f".{path.name}.tmp")
        try:
            (self._folder / IMAGES).mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != picture.data:
                part.write_bytes(picture.data)
                part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise LadderError(f"cannot write {path}: {error.strerror or error}") from None
        self._there.add(picture.hash)

    def sync(self) -> None:
        """Before a file that names them is renamed: one call, for one of each would take longer than all else."""
        if self._there:
            os.sync()
