"""A split's files: `train.parquet` in training order, `probe.parquet`, perhaps `validation.parquet`, `split.toml` with its
parentage, and a `README.md` by which `datasets` finds them.

Parts hold ids and scores; self-contained ones the items themselves with their images, in the columns of tier files. The
same split is the same bytes. A directory is written beside and renamed as a whole: nothing half-written is ever seen.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ladder.config import read_toml
from ladder.errors import BadInput, LadderError
from ladder.records import tier_features
from ladder.splits.drawn import HELD_OUT, Drawing
from ladder.store import Store
from ladder.store.parts import write_file, write_text
from ladder.store.tables import read_part
from ladder.store.versions import MARKER, check_version
from ladder.strategies import COLUMNS

TOML = "split.toml"
_ROWS = 1 << 16  # of a row group
_ROWS_WITH_IMAGES = 4096  # whose images are held at once
_GROUP_WITH_IMAGES = 100  # what the Hub's viewer reads at once

_TYPES = {"level": pa.int32()} | dict.fromkeys(("pass_rate", "difficulty", "complexity"), pa.float64())
_HELD = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS[1:]])
_TRAIN = pa.schema([("position", pa.int64()), ("slot", pa.int64()), *_HELD])


@dataclass(frozen=True)
class Split:
    """A split as it lies on disk. Rows have an `id` and scores; those of `train` are in training order, with `position` and
    `slot`, and an item may have several (`stages`)."""

    path: Path
    ladder: Path
    facts: dict[str, Any]

    @cached_property
    def train(self) -> list[dict[str, Any]]:
        """The rows to train on, in order."""
        return self.table("train").to_pylist()

    @cached_property
    def probe(self) -> list[dict[str, Any]]:
        """The rows of the probe."""
        return self.table("probe").to_pylist()

    @cached_property
    def validation(self) -> list[dict[str, Any]]:
        """The rows of the validation split; none where there is none."""
        return self.table("validation").to_pylist()

    def table(self, part: str) -> pa.Table:
        """A part (train, probe, validation) without what only self-contained ones have; raises BadInput where it is torn."""
        schema = _TRAIN if part == "train" else _HELD
        path = self.path / f"{part}.parquet"
        if part == "validation" and not path.exists():
            return schema.empty_table()
        try:
            return read_part(path, schema)
        except (OSError, LadderError, pa.ArrowException) as error:
            raise BadInput(
                f"{self.path} is not a whole split, draw it again with `ladder sample`: {error}"
            ) from None


def open_split(path: Path) -> Split:
    """Read a split's directory; raises BadInput where it is none, or one of an older format version."""
    if not (path / TOML).is_file():
        raise BadInput(f"{path} is not a split: it has no {TOML} (`ladder sample LADDER` makes one)")
    split = Split(path, path.absolute().parent.parent, read_toml(path / TOML))
    if (split.ladder / MARKER).is_file():
        check_version(split.ladder)
    for part in ("train", *HELD_OUT):
        try:
            if part != "validation" or (path / f"{part}.parquet").exists():
                pq.read_metadata(path / f"{part}.parquet")
        except (OSError, pa.ArrowException) as error:
            raise BadInput(
                f"{path} is not a whole split, draw it again with `ladder sample`: {error}"
            ) from None
    return split


def write_split(
    drawing: Drawing, name: str, facts: dict[str, Any], self_contained: bool, force: bool
) -> Split:
    """Write what is drawn as the split `name`; `facts` go to `split.toml`, with the split's fingerprint.

    Raises BadInput where another split has that name, unless `force`: a run that was interrupted would not go on with it.
    """
    folder = drawing.store.path / "splits"
    made = folder / f".{name}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(made, ignore_errors=True)
        mark = hashlib.blake2b(digest_size=8, person=b"split-2")
        for part in ("train", *HELD_OUT):
            if part != "validation" or drawing.settings.validation.per_tier:
                _write_part(drawing, part, made / f"{part}.parquet", self_contained, mark)
        facts = {"fingerprint": mark.hexdigest()} | facts
        _write_texts(made, drawing, name, facts)
        _put(made, folder / name, facts, force)
    except OSError as error:
        raise LadderError(f"cannot write {folder / name}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Split(folder / name, drawing.store.path, facts)


def described(facts: dict[str, Any]) -> str:
    """What the description of a split's config says. `datasets` knows a local data set by its name and its card alone: a
    split of other rows, of a ladder of other contents or in other columns must say something else."""
    ladder = facts.get("ladder", {}).get("fingerprint")
    whole = ", self-contained" if facts.get("self_contained") else ""
    return f"fingerprint {facts.get('fingerprint')}, of ladder {ladder}{whole}"


def _put(made: Path, path: Path, facts: dict[str, Any], force: bool) -> None:
    """Give a directory its name. What is there stays where it is the same, or another split and not to be replaced."""
    if path.exists() and not force and not _is_same(path, facts):
        raise BadInput(
            f"{path} is another split, and a run that trains on it could not be resumed: choose another --name, or replace it "
            "with --force"
        )
    old = made.with_suffix(".old")
    with suppress(FileNotFoundError):
        path.rename(old)
    made.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _is_same(path: Path, facts: dict[str, Any]) -> bool:
    """Whether the split that is there has the same items in the same order; a self-contained one also the same contents."""
    try:
        there = read_toml(path / TOML)
    except BadInput:
        return False
    if any(there.get(key) != facts[key] for key in ("fingerprint", "self_contained")):
        return False
    return not facts["self_contained"] or described(there) == described(facts)


def _write_texts(made: Path, drawing: Drawing, name: str, facts: dict[str, Any]) -> None:
    import tomli_w

    parts = [part for part in ("train", *HELD_OUT) if _has_rows(made / f"{part}.parquet")]
    files = "".join(f"  - split: {part}\n    path: {part}.parquet\n" for part in parts)
    config = f"- config_name: default\n  description: {described(facts)}\n  data_files:\n{files}"
    front = f"---\nconfigs:\n{config}---\n"
    ladder = drawing.store.path.absolute().name
    write_text(
        f"{front}\nThe split {name} of the ladder {ladder}; {TOML} says how it was drawn.\n",
        made / "README.md",
    )
    write_text(tomli_w.dumps(facts), made / TOML)


def _has_rows(path: Path) -> bool:
    """Whether a part is there and not empty; `datasets` refuses one of no rows."""
    return path.exists() and pq.read_metadata(path).num_rows > 0


def _write_part(drawing: Drawing, part: str, path: Path, self_contained: bool, mark: Any) -> None:
    """Write a part; its ids and slots enter the `mark`."""
    rows = _ROWS_WITH_IMAGES if self_contained else _ROWS
    schema = _items_schema() if self_contained else (_TRAIN if part == "train" else _HELD)
    sql = _items_sql(drawing, part, schema) if self_contained else _ids_sql(drawing, part, schema)
    batches = drawing.connection.sql(sql).to_arrow_reader(rows)

    def fill(file: BinaryIO) -> None:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in _regrouped(batches, rows):
                _marked(mark, part, table)
                filled = _with_images(drawing.store, table, schema) if self_contained else table.cast(schema)
                writer.write_table(filled, _GROUP_WITH_IMAGES if self_contained else _ROWS)

    write_file(path, fill)


def _ids_sql(drawing: Drawing, part: str, schema: pa.Schema) -> str:
    source = "SELECT * FROM placed ORDER BY position" if part == "train" else drawing.held_sql(part)
    return f"SELECT {', '.join(schema.names)} FROM ({source})"


def _items_sql(drawing: Drawing, part: str, schema: pa.Schema) -> str:
    """As `_ids_sql`, with all that the ladder has of an item. Its `position` is that in the split."""
    rows = "SELECT * FROM placed"
    if part != "train":
        rows = f"SELECT row_number() OVER () - 1 AS position, NULL AS slot, * FROM ({drawing.held_sql(part)})"
    own = {"position", "slot", *COLUMNS[1:]}
    columns = [f'{"p" if name in own else "l"}."{name}"' for name in schema.names]
    return f"SELECT {', '.join(columns)} FROM ({rows}) p JOIN ladder l ON l.id = p.id ORDER BY p.position"


def _items_schema() -> pa.Schema:
    import datasets as hf

    return hf.Features({"slot": hf.Value("int64")} | tier_features()).arrow_schema


def _regrouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows as tables of so many: how batches come depends on the number of threads."""
    held: list[pa.RecordBatch] = []
    many = 0
    for batch in batches:
        held.append(batch)
        many += batch.num_rows
        while many >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows).combine_chunks()
            held, many = table.slice(rows).to_batches(), many - rows
    if many:
        yield pa.Table.from_batches(held).combine_chunks()


def _marked(mark: Any, part: str, table: pa.Table) -> None:
    slots = table["slot"].to_pylist() if part == "train" else [""] * table.num_rows
    lines = (f"{part} {i} {s}\n" for i, s in zip(table["id"].to_pylist(), slots, strict=True))
    mark.update("".join(lines).encode())


def _with_images(store: Store, table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Image hashes replaced by canonical bytes."""
    rows = table["images"].to_pylist()
    data = store.image_reader.read_many(h for row in rows for h in row)
    images = [[{"bytes": data[h], "path": f"{h}.png"} for h in row] for row in rows]
    columns = [
        pa.chunked_array([pa.array(images, field.type)])
        if field.name == "images"
        else table[field.name].cast(field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
