"""Drafts become items and rejects: what is the same, nearly the same, or asked by a benchmark too, over all pools.

Set-based, in SQL over the drafts and on arrays: no item is an object here, unless its gold is in question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from ladder.audit.checks import conflicts
from ladder.audit.near import near_duplicates
from ladder.audit.overlap import Benchmarks, OverlapSettings
from ladder.audit.settings import AuditSettings
from ladder.images.alike import alike
from ladder.importing.similar import Drafted
from ladder.pools.source import Pool
from ladder.records import Item
from ladder.store import Store
from ladder.store.drafts import DraftRows
from ladder.store.sql import parts_sql
from ladder.verify.pool import VerifierPool

if TYPE_CHECKING:
    import duckdb

_MEMORY = "256MB"
_BATCH = 4096

# A row's place `n` counts over all pools in order. A benchmark's rows come last and become nothing.
_ROWS = """
CREATE TABLE rows AS
SELECT row_number() OVER (ORDER BY p.pool, p.row) - 1 AS n, p.pool, p.row, p.ordinal, p.pool >= $training AS benchmark,
    d.id, d.reason, md5(concat_ws(chr(31), d.gold, d.unit)) AS gold, d.source,
    CASE WHEN d.numbered THEN p.row::VARCHAR ELSE d.source_id END AS source_id
FROM {placed} p JOIN drafts d USING (ordinal)
"""

_SOUND = """
CREATE TABLE problems (n BIGINT, reason VARCHAR, detail VARCHAR);
CREATE TABLE flags (n BIGINT, flag VARCHAR);
CREATE VIEW sound AS
SELECT * FROM rows WHERE NOT benchmark AND reason IS NULL AND n NOT IN (SELECT n FROM problems);
CREATE VIEW asked AS SELECT * FROM rows WHERE benchmark AND reason IS NULL
"""

_TWINS = """
SELECT r.n, d.* FROM rows r JOIN drafts d USING (ordinal)
WHERE NOT r.benchmark AND r.id IN (SELECT id FROM sound GROUP BY id HAVING count(DISTINCT gold) > 1)
AND r.n IN (SELECT n FROM sound) ORDER BY r.n
"""

_CONFLICTS = """
INSERT INTO problems SELECT r.n, 'conflicting_gold', left(d.gold, 200)
FROM sound r JOIN drafts d USING (ordinal) WHERE r.id IN (SELECT unnest($ids::VARCHAR[]))
"""

_DUPLICATES = """
INSERT INTO problems SELECT n, 'duplicate', 'of ' || first FROM (
    SELECT n, row_number() OVER twins AS place, first_value(source || ' ' || source_id) OVER twins AS first
    FROM sound WINDOW twins AS (PARTITION BY id ORDER BY n)
) WHERE place > 1
"""

_NEAR_DUPLICATES = """
INSERT INTO problems SELECT near.n, 'near_duplicate', 'of ' || f.source || ' ' || f.source_id
FROM near JOIN rows f ON f.n = near.first WHERE NOT conflict
"""

_ITEMS = """
SELECT r.ordinal, r.source_id, coalesce(f.flags, []) AS flags
FROM sound r LEFT JOIN (SELECT n, list(DISTINCT flag ORDER BY flag) AS flags FROM flags GROUP BY n) f USING (n)
ORDER BY r.n
"""

_REJECTS = """
SELECT d.source, r.source_id, r.row, coalesce(d.stage, 'audit') AS stage, coalesce(d.reason, p.reason) AS reason,
    coalesce(d.detail, p.detail, '') AS detail, d.id AS item_id, coalesce(d.question, '') AS question,
    coalesce(d.gold, '') AS gold, coalesce(d.images, []) AS images
FROM rows r JOIN drafts d USING (ordinal) LEFT JOIN problems p USING (n)
WHERE NOT r.benchmark AND coalesce(d.reason, p.reason) IS NOT NULL ORDER BY r.n
"""


class Settled(NamedTuple):
    """The parts written, and what is to be told of them."""

    items: Path | None
    rejects: Path | None
    counts: dict[str, Any]


def settle(
    store: Store, placed: Path | None, pools: Sequence[Pool], audit: AuditSettings, verifier: VerifierPool
) -> Settled:
    """Compare the placed rows with each other and with benchmarks; write items and rejects."""
    training = sum(not pool.mapping.asked_only for pool in pools)
    with _connected(store) as connection:
        drafts = parts_sql(store.drafts.paths(), _NO_DRAFT)
        connection.execute(f"CREATE VIEW drafts AS SELECT * FROM {drafts}")
        rows = parts_sql([placed] if placed else [], "0 AS pool, 0 AS row, 0 AS ordinal")
        connection.execute(_ROWS.format(placed=rows), {"training": training})
        connection.execute(_SOUND)
        _same(connection, verifier)
        _near(connection, store, audit, verifier)
        if training < len(pools):
            _overlap(connection, store, pools, audit.overlap, verifier)
        _flag_evaluation_sets(connection, pools[:training])
        items = store.items.append_batches(_items(connection, store))
        rejects = store.rejects.append_batches(connection.sql(_REJECTS).to_arrow_reader(_BATCH))
        return Settled(items, rejects, _counts(connection, pools))


def _items(connection: duckdb.DuckDBPyConnection, store: Store) -> Iterator[pa.RecordBatch]:
    """The sound items, in order: they are looked up, for sorting them would take as much memory as they do."""
    own = {"source_id", "flags"}
    drafts = DraftRows(store.drafts, [name for name in store.items.schema.names if name not in own])
    found = connection.sql(_ITEMS).to_arrow_table()
    for start in range(0, found.num_rows, _BATCH):
        some = found.slice(start, _BATCH)
        table = drafts.take(some["ordinal"].to_numpy())
        for name in sorted(own):
            table = table.append_column(name, some[name])
        yield from table.combine_chunks().to_batches()


def _same(connection: duckdb.DuckDBPyConnection, verifier: VerifierPool) -> None:
    """Rejects all items of which the gold is in conflict, and of the others all but the first of each."""
    twins: dict[Any, list[Item]] = {}
    found = connection.execute(_TWINS)
    names = [column[0] for column in found.description or ()]
    for row in found.fetchall():
        item = Item.from_row(dict(zip(names, row, strict=True)))
        twins.setdefault(item.id, []).append(item)
    connection.execute(_CONFLICTS, {"ids": sorted(map(str, conflicts(twins, verifier)))})
    connection.execute(_DUPLICATES)


def _drafted(
    connection: duckdb.DuckDBPyConnection, store: Store, view: str, verifier: VerifierPool
) -> tuple[np.ndarray, Drafted]:
    """The places of a view's rows, in order, and their drafts."""
    found = connection.execute(f"SELECT n, ordinal FROM {view} ORDER BY n").fetchnumpy()
    places, ordinals = (np.asarray(found[name]) for name in ("n", "ordinal"))
    return places, Drafted(store, ordinals, verifier)


def _near(
    connection: duckdb.DuckDBPyConnection, store: Store, audit: AuditSettings, verifier: VerifierPool
) -> None:
    """Rejects or flags what is nearly an item before it, and flags both where only the golds differ."""
    places, drafted = _drafted(connection, store, "sound", verifier)
    found = near_duplicates(drafted.prints(), drafted.lookups(), audit.near)
    if not found:
        return
    table = pa.table(
        {
            "n": places[[near.item for near in found]],
            "first": places[[near.of for near in found]],
            "conflict": pa.array([near.conflict for near in found], pa.bool_()),
        }
    )
    connection.register("near", table)
    if audit.near.action == "reject":
        connection.execute(_NEAR_DUPLICATES)
    else:
        connection.execute("INSERT INTO flags SELECT n, 'near_duplicate' FROM near WHERE NOT conflict")
    connection.execute(
        "INSERT INTO flags SELECT unnest([n, first]), 'near_conflict' FROM near WHERE conflict"
    )
    connection.unregister("near")


def _overlap(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    pools: Sequence[Pool],
    settings: OverlapSettings,
    verifier: VerifierPool,
) -> None:
    """Rejects or flags what a benchmark asks too."""
    _, tests = _drafted(connection, store, "asked", verifier)
    names = connection.execute("SELECT pool FROM asked ORDER BY n").fetchnumpy()["pool"].tolist()
    benchmarks = Benchmarks(settings)
    for number, text, phashes in zip(names, tests.texts(), tests.phashes(), strict=True):
        benchmarks.add(pools[number].name, text, phashes)
    places, ours = _drafted(connection, store, "sound", verifier)

    def confirm(place: int, which: int, test: int, other: int) -> bool:
        return alike(ours.image(place, which), tests.image(test, other))

    problems: list[dict[str, Any]] = []
    flags: list[dict[str, Any]] = []
    found = benchmarks.finish().look_all(ours.texts(), ours.phashes(), confirm)
    for n, overlap in zip(places.tolist(), found, strict=True):
        if overlap.rejects(settings):
            detail = f"of {overlap.both or overlap.text or overlap.image}"
            problems.append({"n": n, "reason": "benchmark_overlap", "detail": detail})
            continue
        for flag in ("text", "image"):
            if getattr(overlap, flag) is not None:
                flags.append({"n": n, "flag": f"overlap_{flag}"})
    for name, rows in (("problems", problems), ("flags", flags)):
        if rows:
            connection.register("found", pa.Table.from_pylist(rows))
            connection.execute(f"INSERT INTO {name} SELECT * FROM found")
            connection.unregister("found")


def _flag_evaluation_sets(connection: duckdb.DuckDBPyConnection, pools: Sequence[Pool]) -> None:
    for number, pool in enumerate(pools):
        splits = pool.settings.evaluation
        if splits:
            connection.execute(
                "INSERT INTO flags SELECT r.n, 'evaluation_set' FROM sound r JOIN drafts d USING (ordinal) "
                "WHERE r.pool = $pool AND ($splits IS NULL OR d.split IN (SELECT unnest($splits::VARCHAR[])))",
                {"pool": number, "splits": None if isinstance(splits, bool) else list(splits)},
            )


def _counts(connection: duckdb.DuckDBPyConnection, pools: Sequence[Pool]) -> dict[str, Any]:
    by_pool = dict.fromkeys(range(len(pools)), (0, 0))
    by_pool |= {
        pool: (rows, items)
        for pool, rows, items in connection.execute(
            "SELECT pool, count(*), count(*) FILTER (n IN (SELECT n FROM sound)) FROM rows GROUP BY pool"
        ).fetchall()
    }
    benchmarks, sources = {}, {}
    for number, pool in enumerate(pools):
        rows, items = by_pool[number]
        if pool.mapping.asked_only:
            benchmarks[pool.name] = {"rows": rows, "rejects": _tally(connection, _BENCHMARK_REJECTS, number)}
        else:
            sources[pool.name] = {"rows": rows, "items": items, "rejects": rows - items}
    (images,) = connection.execute(
        "SELECT count(DISTINCT image) FROM (SELECT unnest(d.images) AS image FROM sound JOIN drafts d USING (ordinal))"
    ).fetchone() or (0,)
    return {
        "items": sum(source["items"] for source in sources.values()),
        "rejects": _tally(connection, f"SELECT reason, count(*) FROM ({_REJECTS}) GROUP BY 1"),
        "flags": _tally(connection, "SELECT flag, count(DISTINCT n) FROM flags GROUP BY 1"),
        "answer_types": _tally(connection, _ANSWER_TYPES),
        "images": {"unique": images},
        "sources": sources,
        "benchmarks": benchmarks,
    }


_ANSWER_TYPES = "SELECT d.answer_type, count(*) FROM sound JOIN drafts d USING (ordinal) GROUP BY 1"
_BENCHMARK_REJECTS = "SELECT reason, count(*) FROM rows WHERE pool = $1 AND reason IS NOT NULL GROUP BY 1"


def _tally(connection: duckdb.DuckDBPyConnection, sql: str, *arguments: Any) -> dict[str, int]:
    return dict(sorted(connection.execute(sql, list(arguments)).fetchall()))


_NO_DRAFT = (
    "0::BIGINT AS ordinal, false AS numbered, '' AS stage, '' AS reason, '' AS detail, '' AS id, '' AS question, "
    "[]::VARCHAR[] AS images, []::VARCHAR[] AS options, '' AS gold, '' AS answer_type, '' AS source, '' AS source_id, "
    "'' AS split, '' AS subject, '' AS tolerance, '' AS unit, []::VARCHAR[] AS flags, '' AS meta"
)


@contextmanager
def _connected(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that spills into the ladder's directory."""
    import duckdb

    settings: dict[str, Any] = {"memory_limit": _MEMORY, "temp_directory": str(store.path / ".spill")}
    with duckdb.connect(config=settings) as connection:
        yield connection
