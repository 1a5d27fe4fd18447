"""The items of a split in its order, as they are asked, a few at a time: never all of them, nor all images, in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ladder.errors import BadInput, LadderError
from ladder.export.base import FACTS, Asked, Pair, Picture
from ladder.prompts import Template
from ladder.records import Item
from ladder.store import Store
from ladder.store.catalogue import catalogue

if TYPE_CHECKING:
    import duckdb

_BATCH = 128  # items at once, with their images
_NAME = re.compile(r"[0-9a-f]{1,64}")
_ITEM = [name for name in Item.__slots__ if name != "flags"]
_READ = f"""
SELECT w.n, {", ".join(f'i."{name}"' for name in _ITEM)}, {", ".join(f"l.{name}" for name in FACTS)}
FROM wanted w JOIN items i USING (id) JOIN ladder l USING (id) ORDER BY w.n
"""


def asked_items(
    store: Store,
    ids: Sequence[str],
    part: str,
    template: Template,
    folder: Path,
    pairs: Mapping[str, tuple[Pair, ...]],
    first: int = 0,
) -> Iterator[Asked]:
    """The items of some ids in that order, at the positions from `first` on; `folder` is the export's, `pairs` are those of
    some items by id. Raises BadInput where the ladder has not all of them any more."""
    with catalogue(store) as connection:
        table = pa.table(
            {"n": pa.array(range(first, first + len(ids)), pa.int64()), "id": pa.array(ids, pa.string())}
        )
        connection.register("wanted", table)
        _check(connection, store, part, len(ids))
        for batch in connection.sql(_READ).to_arrow_reader(_BATCH):
            for row in batch.to_pylist():
                yield _asked(store, row, part, template, folder, pairs)


def _check(connection: duckdb.DuckDBPyConnection, store: Store, part: str, count: int) -> None:
    found = connection.execute("SELECT count(*) FROM wanted JOIN ladder USING (id)").fetchall()
    missing = count - found[0][0]
    if missing:
        raise BadInput(
            f"{store.path} has no longer {missing:,} of the {count:,} items of the split's {part}: draw the split again with "
            "`ladder sample`"
        )


def _asked(
    store: Store,
    row: dict[str, Any],
    part: str,
    template: Template,
    folder: Path,
    pairs: Mapping[str, tuple[Pair, ...]],
) -> Asked:
    item = Item.from_row(row)
    pictures = tuple(_picture(store, image, folder) for image in item.images)
    facts = {name: row[name] for name in FACTS}
    return Asked(item, template, pictures, facts, part, row["n"], pairs.get(item.id, ()))


def _picture(store: Store, image: str, folder: Path) -> Picture:
    if not _NAME.fullmatch(image):  # it becomes a file's name, and a ladder may come from elsewhere
        raise LadderError(f"{store.path} has an image whose hash is none: {image[:60]!r}")
    return Picture(image, store.image_reader.read(image), folder)
