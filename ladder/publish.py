"""What a ladder shows the world, derived from its catalogue: tier files, data card, report.

Tier files carry the ladder's fingerprint in their names, because `datasets` caches a local directory by its basename
and the card's YAML, and would otherwise serve old rows after a rebuild. The card is written when its files are there;
files that it no longer names are deleted last.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ladder.cards import ladder_fingerprint, write_card
from ladder.records import tier_features
from ladder.report import write_report
from ladder.settings import BuildSettings
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.parts import write_parquet

_ROWS_PER_FILE = 2000
_ROW_GROUP = 100  # what the Hub's viewer reads at once where there are images


def outputs_missing(store: Store) -> bool:
    """True where a derived file is gone."""
    return not all((store.path / name).is_file() for name in ("ladder.duckdb", "README.md", "report.html"))


def publish(store: Store, settings: BuildSettings) -> None:
    """Write tiers, card and report from the catalogue."""
    mark = ladder_fingerprint(store)
    files = {tier: _write_tier(store, tier, mark) for tier in settings.tiers.names}
    write_card(store, settings, mark)
    write_report(store, settings)
    kept = {path for paths in files.values() for path in paths}
    for path in (store.path / "tiers").glob("*/*.parquet"):
        if path not in kept:
            path.unlink()
    for folder in (store.path / "tiers").glob("*/"):
        if folder.name not in files and not any(folder.iterdir()):
            folder.rmdir()


def _write_tier(store: Store, tier: str, mark: str) -> list[Path]:
    folder = store.path / "tiers" / tier
    return [
        write_parquet(table, folder / f"{mark}-{number:05d}.parquet", row_group=_ROW_GROUP)
        for number, table in enumerate(_tier_tables(store, tier))
    ]


def _tier_tables(store: Store, tier: str) -> Iterator[pa.Table]:
    """A tier's rows in ladder order, with their images, some thousand at a time."""
    schema = tier_features().arrow_schema
    columns = ", ".join(f'"{name}"' for name in schema.names if name != "images")
    with catalogue(store) as connection:
        rows = connection.sql(
            f"SELECT {columns}, images FROM ladder WHERE tier = $tier ORDER BY position",
            params={"tier": tier},
        )
        for batch in rows.to_arrow_reader(_ROWS_PER_FILE):
            if batch.num_rows:
                yield _with_images(store, batch, schema)


def _with_images(store: Store, batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    names = batch.schema.names
    hashes = batch.column(names.index("images")).to_pylist()
    images = [[{"bytes": store.image_reader.read(h), "path": f"{h}.png"} for h in row] for row in hashes]
    columns = [
        pa.array(images, schema.field("images").type)
        if name == "images"
        else batch.column(names.index(name)).cast(schema.field(name).type)
        for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)
