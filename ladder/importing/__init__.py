"""The import stage of a build: pools -> items, rejects and images in the store.

`reading` takes rows one by one and makes drafts of them; `comparing` compares these with each other. An import that finds
nothing changed does nothing; one that finds little changed does little.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from ladder import __version__, verify
from ladder.digest import fingerprint
from ladder.images.album import stamp_of
from ladder.importing.comparing import settle
from ladder.importing.reading import Placed, gather
from ladder.pools.source import Pool
from ladder.settings import BuildSettings
from ladder.store import Store
from ladder.store.drafts import compact, placed_schema
from ladder.store.sql import parts_sql


def pools_of(settings: BuildSettings) -> list[Pool]:
    """The pools that a build's settings name, in order; its benchmarks last."""
    named = [(name, pool, False) for name, pool in settings.sources.items()]
    named += [(name, pool, True) for name, pool in settings.benchmarks.items()]
    return [Pool(pool, name, Path(pool.root).expanduser(), asked_only) for name, pool, asked_only in named]


def import_pools(store: Store, pools: list[Pool], settings: BuildSettings) -> dict[str, Any]:
    """Import and audit the pools if they or what is done with them changed; returns the import's manifest.

    The manifest is written last, so an interrupted import counts for nothing; its images and drafts are used again.
    """
    judge, mark = _marks(pools, settings)
    if (last := _last_if(store, mark, pools)) is not None:
        return last | {"work": {"mapped": 0, "decoded": 0}}
    with settings.verify.pool() as verifier:
        placed = gather(store, pools, settings.images, verifier, judge)
        part = _write(store, placed)
        pa.default_memory_pool().release_unused()  # what reading took shall not add to what comparing takes
        settled = settle(store, part, pools, settings.audit, verifier)
    store.finish_import(
        {
            "fingerprint": mark,
            "rows": sum(source["rows"] for source in settled.counts["sources"].values()),
            "items": [settled.items.name] if settled.items else [],
            "rejects": [settled.rejects.name] if settled.rejects else [],
            "placed": [part.name] if part else [],
            "counts": settled.counts,
            "work": {"mapped": placed.mapped, "decoded": placed.decoded},
            "warnings": placed.warnings,
        }
    )
    compact(store.drafts, placed.ordinal)
    for old in store.placed.paths():
        if old != part:
            old.unlink()
    return store.import_manifest() or {}


def unchanged_import(store: Store, pools: list[Pool], settings: BuildSettings) -> dict[str, Any] | None:
    """The manifest of the last import, where another would find the same; nothing is written."""
    _, mark = _marks(pools, settings)
    return _last_if(store, mark, pools)


def _last_if(store: Store, mark: str, pools: list[Pool]) -> dict[str, Any] | None:
    last = store.import_manifest()
    same = last is not None and last.get("fingerprint") == mark and _unchanged(store, last, pools)
    return last if same else None


def _marks(pools: list[Pool], settings: BuildSettings) -> tuple[str, str]:
    """Fingerprints of who judges golds, and of the pools with all that is done with them."""
    # With more time fewer golds are too late.
    judge = f"{verify.fingerprint(settings.verify.policy)}-{settings.verify.deadline:g}"
    said = [settings.images.said, settings.audit.model_dump(), judge, __version__]
    return judge, fingerprint("import-1", [[pool.fingerprint() for pool in pools], said])


def _write(store: Store, placed: Placed) -> Path | None:
    columns = [pa.array(column) for column in (placed.pool, placed.row, placed.ordinal)]
    table = pa.Table.from_arrays(columns, schema=placed_schema())
    return store.placed.append_table(table) if len(placed.row) else None


def _unchanged(store: Store, manifest: dict[str, Any], pools: list[Pool]) -> bool:
    """Whether the files that images came from are as they were, missing ones still missing, and nothing is to be tried
    again."""
    import duckdb

    placed = [store.placed.folder / name for name in manifest.get("placed", ())]
    if not all(path.is_file() for path in placed):
        return False
    drafts = parts_sql(store.drafts.paths(), _NO_DRAFT)
    used = f"FROM {parts_sql(placed, '0 AS pool, 0 AS ordinal')} JOIN {drafts} USING (ordinal)"
    with duckdb.connect() as connection:
        if connection.execute(f"SELECT 1 {used} WHERE octet_length(key) = 0 LIMIT 1").fetchone():
            return False
        found = connection.execute(f"SELECT DISTINCT pool, unnest(paths), unnest(stamps) {used}")
        while rows := found.fetchmany(10_000):
            if any(path is not None and stamp_of(pools[at].root, path) != stamp for at, path, stamp in rows):
                return False
    return True


_NO_DRAFT = "0 AS ordinal, ''::BLOB AS key, []::VARCHAR[] AS paths, []::BIGINT[] AS stamps"
