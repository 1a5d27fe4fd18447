"""The catalogue `ladder.duckdb`: derived from the logs by set-based SQL, built beside and renamed, never held open.

Tables: `ladder` (one row per scored item, in ladder order), `items`, `rejects`, `scores`, `tiers` (their bands of p), `passes`
(counts and rates of each further pass), `doubts` (items whose gold another model contradicts), `grid` (difficulty x
complexity), `runs`, `priors`, `build`. Delete the file and build again: equal.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ladder.errors import BadInput, LadderError
from ladder.identity import gold_digest
from ladder.records import AnswerType, Reference
from ladder.store import Store
from ladder.store.scoring import create_ladder, score_items, score_passes
from ladder.store.sql import View, bounded, forget_spilled, log_sql, parts_sql, spilling
from ladder.store.wanted import create_refused
from ladder.tiers import AnyTiers

if TYPE_CHECKING:
    import duckdb

# Items that the model cannot be asked, and never was.
_REFUSED = """
INSERT INTO rejects BY NAME
SELECT i.source, i.source_id, 'sampling' AS stage, r.reason, r.detail, r.id AS item_id FROM refused r JOIN items i USING (id)
WHERE r.id NOT IN (SELECT id FROM scores)
"""


def build_catalogue(
    store: Store,
    view: View,
    tiers: AnyTiers,
    facts: dict[str, str],
    passes: Mapping[str, View] | None = None,
    first: int | None = None,
) -> None:
    """Derive the catalogue, scored by `view`, with the other `passes` by name; `facts` become its table `build` (key,
    value). pass@j comes from the samples below `first`, all by default: later ones were taken because of what these
    showed."""
    import duckdb

    part = store.path / f".{store.catalogue.name}.tmp"
    try:
        _forget(part)
        forget_spilled(store)
        connection = duckdb.connect(str(part), config=bounded(_spill(part)))
        try:
            _fill(connection, store, view, tiers, facts, passes or {}, first)
            connection.execute("CHECKPOINT")  # closing would do it too, and not tell that it failed
        finally:
            connection.close()
            shutil.rmtree(_spill(part), ignore_errors=True)
        part.replace(store.catalogue)
    except (duckdb.OperationalError, duckdb.FatalException, OSError) as error:
        with suppress(OSError):
            _forget(part)
        raise LadderError(f"cannot write {store.catalogue}: {error}") from None


def _spill(part: Path) -> Path:
    return part.with_name(f"{part.name}.tmp")


def _forget(part: Path) -> None:
    """Delete an unfinished catalogue, and what DuckDB keeps beside it."""
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.wal").unlink(missing_ok=True)
    shutil.rmtree(_spill(part), ignore_errors=True)


@contextmanager
def catalogue(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalogue, open for reading; raises BadInput where the build has not come that far."""
    import duckdb

    if not store.catalogue.is_file():
        raise BadInput(
            f"{store.path} has no {store.catalogue.name} yet: finish its build with `ladder build`"
        )
    # DuckDB spills beside its file, where a reader may have no right to write.
    elsewhere = str(Path(tempfile.gettempdir()) / f"ladder-{os.getpid()}")
    config: dict[str, Any] = {} if os.access(store.path, os.W_OK) else {"temp_directory": elsewhere}
    try:
        connection = duckdb.connect(str(store.catalogue), read_only=True, config=config)
    except duckdb.Error as error:
        raise LadderError(
            f"cannot read {store.catalogue}: delete it, and `ladder build` derives it again: {error}"
        ) from None
    try:
        yield connection
    finally:
        connection.close()


def query(store: Store, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one SQL query; raises BadInput with DuckDB's own words for a bad one."""
    import duckdb

    with catalogue(store) as connection:
        try:
            result = connection.execute(sql)
            if result is None:
                raise BadInput("the query is empty")
            return [column[0] for column in result.description or ()], result.fetchall()
        except duckdb.Error as error:
            raise BadInput(f"{error}".split("\n\nLINE")[0]) from None


def facts_of(store: Store) -> dict[str, str]:
    """The `build` table of the catalogue; empty where there is none."""
    if not store.catalogue.is_file():
        return {}
    with catalogue(store) as connection:
        return dict(connection.sql("SELECT key, value FROM build").fetchall())


def _fill(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    view: View,
    tiers: AnyTiers,
    facts: dict[str, str],
    passes: Mapping[str, View],
    first: int | None,
) -> None:
    connection.execute(f"CREATE TABLE items AS SELECT * FROM {log_sql(store.item_parts(), _EMPTY_ITEM)}")
    _digest_golds(connection)
    rejects = parts_sql(store.reject_parts(), _EMPTY_REJECT)
    connection.execute(f"CREATE TABLE rejects AS SELECT * FROM {rejects}")
    connection.execute("CREATE TEMP VIEW golds AS SELECT id, gold_digest AS gold FROM items")
    score_items(connection, store, view, "golds", tiers, first)
    create_refused(connection, store, view)
    connection.execute(_REFUSED)
    score_passes(connection, store, passes, "golds")
    runs = log_sql(store.runs.paths(), _EMPTY_RUN)
    connection.execute(f"CREATE TABLE runs AS SELECT * FROM {runs} ORDER BY started, pass")
    connection.execute("CREATE TABLE build (key VARCHAR, value VARCHAR)")
    connection.executemany("INSERT INTO build VALUES (?, ?)", sorted(facts.items()))
    create_ladder(connection, store, view, passes, tiers.grid)


def _digest_golds(connection: duckdb.DuckDBPyConnection) -> None:
    """Compute the digests of golds that older imports did not write."""
    older = connection.execute(
        "SELECT id, gold, options, answer_type, tolerance, unit FROM items WHERE gold_digest IS NULL"
    ).fetchall()
    if not older:
        return
    digests = [
        gold_digest(Reference(gold, tuple(options or ()), AnswerType(kind), tolerance, unit))
        for _, gold, options, kind, tolerance, unit in older
    ]
    table = pa.table({"id": [row[0] for row in older], "digest": pa.array(digests, pa.string())})
    connection.register("older", table)
    connection.execute("UPDATE items SET gold_digest = older.digest FROM older WHERE older.id = items.id")
    connection.unregister("older")


def item_tiers(store: Store, view: View, golds: dict[str, str], tiers: AnyTiers) -> dict[str, str]:
    """The tier of each scored item of `golds` (digest by id), by id, before there is a catalogue."""
    with spilling(store) as connection:
        score_items(connection, store, view, golds, tiers)
        rows = connection.sql("SELECT id, tier FROM scores JOIN posteriors USING (correct, n)").fetchall()
    return dict(rows)


_EMPTY_ITEM = (
    "'' AS id, '' AS question, []::VARCHAR[] AS images, []::VARCHAR[] AS options, '' AS gold, '' AS answer_type, '' AS source, "
    "'' AS source_id, '' AS split, '' AS subject, '' AS tolerance, '' AS unit, []::VARCHAR[] AS flags, '' AS meta, '' AS gold_digest"
)
_EMPTY_RUN = (
    "now()::TIMESTAMP AS started, '' AS pass, '' AS engine, '' AS model, '' AS prompt, '' AS sampling, 0 AS workers, 0 AS sampled, "
    "0 AS tokens, 0 AS truncated, 0 AS refused, 0 AS failed, 0.0::DOUBLE AS seconds, 0.0::DOUBLE AS waiting_share, '' AS counts"
)
_EMPTY_REJECT = (
    "'' AS source, '' AS source_id, 0::BIGINT AS row, '' AS stage, '' AS reason, '' AS detail, '' AS item_id, '' AS question, "
    "'' AS gold, []::VARCHAR[] AS images"
)
