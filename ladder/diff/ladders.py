"""What changed between two ladders: settings, items, golds, tiers, pass rates and verdicts, by SQL over both catalogues."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.config import read_toml
from ladder.diff.chance import Shifts, shifts
from ladder.errors import BadInput
from ladder.store import MARKER, Store
from ladder.store.catalogue import catalogue
from ladder.store.sql import bounded, log_sql

if TYPE_CHECKING:
    import duckdb

EXAMPLES = 5  # of each change
_OWN = ("state", "views", "name")  # of the table `build`: no difference of what was measured

Row = dict[str, Any]


@dataclass(frozen=True)
class LadderDiff:
    """What changed from ladder `a` to ladder `b`. Examples are the first few by id."""

    a: str
    b: str
    settings: list[
        Row
    ]  # key, a, b: of build.toml, and the fingerprints of model, prompt, sampling and verifier
    items: Row  # a, b, common; only_a, only_b: count, the reasons for which the other rejected them, examples
    rejects: list[Row]  # reason, a, b: where the counts differ
    golds: Row  # count, examples
    tiers: list[Row]  # a, b, items: tiers of the common items, None where an item has none
    moved: int  # common items of another tier
    pass_rates: Row  # items, a, b (means), difference, standard_error
    shifts: Shifts
    order: float | None  # rank correlation (Spearman) of the common scored items' positions
    verdicts: Row  # compared, changed, same_samples; changes: before, after, gold_changed, count, examples


def compare_ladders(a: Path, b: Path) -> LadderDiff:
    """Compare two ladders; raises BadInput where one is none, or its build did not come to an end."""
    stores = {"a": Store.open(a), "b": Store.open(b)}
    with _both(stores) as connection:
        tiers = _rows(connection, _TIERS)
        counts = connection.sql(_COUNTS).fetchall()
        return LadderDiff(
            str(a),
            str(b),
            settings=_settings(connection, stores),
            items=_items(connection),
            rejects=_rows(connection, _REJECTS),
            golds={"count": _one(connection, _GOLDS_COUNT), "examples": _rows(connection, _GOLDS)},
            tiers=tiers,
            moved=sum(row["items"] for row in tiers if row["a"] != row["b"]),
            pass_rates=_rows(connection, _RATES)[0],
            shifts=shifts(counts),
            order=_one(connection, _ORDER),
            verdicts=_verdicts(connection, stores),
        )


@contextmanager
def _both(stores: Mapping[str, Store]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the catalogues `a` and `b` attached for reading, that spills outside of both ladders."""
    import duckdb

    for store in stores.values():
        with catalogue(store):
            pass  # tells what is wrong with it
    with (
        tempfile.TemporaryDirectory(prefix="ladder-diff-") as spill,
        duckdb.connect(config=bounded(Path(spill))) as connection,
    ):
        for name, store in stores.items():
            path = str(store.catalogue).replace("'", "''")
            connection.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        yield connection


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, *arguments: Any) -> list[Row]:
    found = connection.execute(sql, list(arguments))
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    return connection.sql(sql).fetchall()[0][0]


# --- settings ------------------------------------------------------------------------------------------------


def _settings(connection: duckdb.DuckDBPyConnection, stores: Mapping[str, Store]) -> list[Row]:
    told = {name: flat(read_toml(store.path / MARKER).get("build", {})) for name, store in stores.items()}
    for name, values in told.items():
        facts = connection.execute(f"SELECT key, value FROM {name}.build").fetchall()
        values |= {f"({key})": value for key, value in facts if key not in _OWN and "fingerprint" in key}
        values |= {f"({key})": value for key, value in facts if key in ("verifier", "ladder_version")}
    return differing(told["a"], told["b"])


def differing(a: Row, b: Row) -> list[Row]:
    """The keys whose values differ, with both values; None where one has no such key."""
    rows = [{"key": key, "a": a.get(key), "b": b.get(key)} for key in sorted(a.keys() | b.keys())]
    return [row for row in rows if row["a"] != row["b"]]


def flat(table: Mapping[str, Any], prefix: str = "") -> Row:
    """The leaves of nested tables by their dotted keys."""
    found: Row = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


# --- items, golds and tiers ----------------------------------------------------------------------------------

_ITEMS = """
SELECT (SELECT count(*) FROM a.items) AS a, (SELECT count(*) FROM b.items) AS b, count(*) AS common
FROM a.items SEMI JOIN b.items USING (id)
"""
_ONLY = """
SELECT id, source, source_id, question, other.reason FROM {this}.items ANTI JOIN {that}.items USING (id)
LEFT JOIN (SELECT item_id AS id, min(stage || '.' || reason) AS reason FROM {that}.rejects GROUP BY 1) other USING (id)
"""


def _items(connection: duckdb.DuckDBPyConnection) -> Row:
    (found,) = _rows(connection, _ITEMS)
    for this, that in (("a", "b"), ("b", "a")):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE alone AS {_ONLY.format(this=this, that=that)}")
        found[f"only_{this}"] = {
            "count": _one(connection, "SELECT count(*) FROM alone"),
            "rejected": dict(connection.sql(_WHY).fetchall()),
            "examples": _rows(connection, f"SELECT * FROM alone ORDER BY id LIMIT {EXAMPLES}"),
        }
    return found


_WHY = "SELECT reason, count(*) FROM alone WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
_REJECTS = """
SELECT coalesce(x.reason, y.reason) AS reason, coalesce(x.rows, 0) AS a, coalesce(y.rows, 0) AS b
FROM (SELECT stage || '.' || reason AS reason, count(*) AS rows FROM a.rejects GROUP BY 1) x
FULL JOIN (SELECT stage || '.' || reason AS reason, count(*) AS rows FROM b.rejects GROUP BY 1) y ON x.reason = y.reason
WHERE x.rows IS DISTINCT FROM y.rows ORDER BY 1
"""
_CHANGED_GOLDS = "FROM a.items x JOIN b.items y USING (id) WHERE x.gold_digest <> y.gold_digest"
_GOLDS_COUNT = f"SELECT count(*) {_CHANGED_GOLDS}"
_GOLDS = f"""
SELECT id, x.gold AS a, y.gold AS b, x.answer_type AS type_a, y.answer_type AS type_b, x.source, x.source_id
{_CHANGED_GOLDS} ORDER BY id LIMIT {EXAMPLES}
"""
_TIERS = """
WITH means AS (SELECT tier, avg(p_mean) AS mean FROM (FROM a.ladder UNION ALL BY NAME FROM b.ladder) GROUP BY 1)
SELECT x.tier AS a, y.tier AS b, count(*) AS items
FROM a.items i JOIN b.items USING (id) LEFT JOIN a.ladder x USING (id) LEFT JOIN b.ladder y USING (id)
LEFT JOIN means m ON m.tier = x.tier LEFT JOIN means o ON o.tier = y.tier
WHERE x.tier IS NOT NULL OR y.tier IS NOT NULL
GROUP BY ALL ORDER BY any_value(m.mean) NULLS LAST, any_value(o.mean) NULLS LAST, 1, 2
"""

# --- pass rates ----------------------------------------------------------------------------------------------

_SCORED = "FROM a.ladder x JOIN b.ladder y USING (id)"
_COUNTS = f"SELECT x.correct, x.n, y.correct, y.n, count(*) {_SCORED} GROUP BY ALL ORDER BY ALL"
_RATES = f"""
SELECT count(*) AS items, avg(x.pass_rate) AS a, avg(y.pass_rate) AS b, avg(y.pass_rate - x.pass_rate) AS difference,
    stddev_samp(y.pass_rate - x.pass_rate) / sqrt(count(*)) AS standard_error {_SCORED}
"""
_ORDER = f"""
SELECT CASE WHEN count(*) > 1 THEN corr(first, second) END FROM (
    SELECT row_number() OVER (ORDER BY x.position) AS first, row_number() OVER (ORDER BY y.position) AS second {_SCORED}
)
"""

# --- verdicts ------------------------------------------------------------------------------------------------

# What a ladder counts: the verdict of its verifier on a sample of one of its passes, against the item's present gold. One
# that came in time stands before one that did not.
_SAID = """
CREATE TEMP TABLE said_{name} AS
SELECT v.item_id, w.place, v."index", v.response, any_value(v.gold) AS gold,
    coalesce(min(v.outcome) FILTER (v.outcome <> 'timeout'), min(v.outcome)) AS outcome, min(v.extracted) AS extracted
FROM {verdicts} v
JOIN {name}.items i ON i.id = v.item_id AND i.gold_digest = v.gold
JOIN views_{name} w ON w.prompt = v.prompt AND w.model = v.model AND w.sampling = v.sampling AND v."index" < w.k
WHERE v.verifier = (SELECT value FROM {name}.build WHERE key = 'verifier')
GROUP BY ALL
"""
_PAIRS = """
CREATE TEMP TABLE pairs AS
SELECT x.item_id, x."index", x.outcome AS before, y.outcome AS after, x.gold <> y.gold AS gold_changed,
    x.extracted AS extracted_before, y.extracted
FROM said_a x JOIN said_b y ON x.item_id = y.item_id AND x.place = y.place AND x."index" = y."index"
    AND x.response IS NOT DISTINCT FROM y.response
"""
_VERDICTS = (
    "'' AS item_id, '' AS prompt, '' AS model, '' AS sampling, 0 AS \"index\", '' AS gold, '' AS verifier, "
    "'' AS outcome, '' AS extracted, 0::BIGINT AS response"
)
_CHANGES = """
SELECT before, after, gold_changed, count(*) AS count FROM pairs WHERE before <> after GROUP BY ALL
ORDER BY 4 DESC, 1, 2, 3
"""
_CHANGE_EXAMPLES = f"""
SELECT p.item_id AS item, p."index", y.gold, p.extracted_before, p.extracted
FROM pairs p JOIN b.items y ON y.id = p.item_id WHERE before = ? AND after = ? AND gold_changed = ?
ORDER BY 1, 2 LIMIT {EXAMPLES}
"""


def _verdicts(connection: duckdb.DuckDBPyConnection, stores: Mapping[str, Store]) -> Row:
    """Verdicts on the same samples. Of a copy, or of a ladder that was built on, all are the same; of two builds, those
    that the same seeds made again."""
    places: dict[tuple[str, ...], int] = {}
    for name, store in stores.items():
        _create_said(connection, name, store, places)
    connection.execute(_PAIRS)
    changes = _rows(connection, _CHANGES)
    for change in changes:
        key = change["before"], change["after"], change["gold_changed"]
        change["examples"] = _rows(connection, _CHANGE_EXAMPLES, *key)
    compared = _one(connection, "SELECT count(*) FROM pairs")
    larger = _one(connection, "SELECT greatest((SELECT count(*) FROM said_a), (SELECT count(*) FROM said_b))")
    return {
        "compared": compared,
        "same_samples": compared / larger if larger else 0.0,
        "changed": sum(change["count"] for change in changes),
        "changes": changes,
    }


def _create_said(
    connection: duckdb.DuckDBPyConnection, name: str, store: Store, places: dict[tuple[str, ...], int]
) -> None:
    """Make the table `said_NAME`; equal views of both ladders get the same place."""
    stored = connection.execute(f"SELECT value FROM {name}.build WHERE key = 'views'").fetchone()
    if stored is None:
        raise BadInput(f"{store.path} was derived by an older Ladder: run `ladder build` again")
    views = list(json.loads(stored[0]).values())
    keys = [(view["prompt"], view["model"], view["sampling"]) for view in views]
    rows = [
        (*key, places.setdefault(key, len(places)), view["k"]) for key, view in zip(keys, views, strict=True)
    ]
    connection.execute(
        f"CREATE TEMP TABLE views_{name} (prompt VARCHAR, model VARCHAR, sampling VARCHAR, place INTEGER, k INTEGER)"
    )
    connection.executemany(f"INSERT INTO views_{name} VALUES (?, ?, ?, ?, ?)", rows)
    store.verdicts.read(
        lambda parts: connection.execute(_SAID.format(name=name, verdicts=log_sql(parts, _VERDICTS)))
    )
