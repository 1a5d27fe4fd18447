"""What changed between two splits: settings, which items they hold, and the order in which they train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.diff.ladders import differing, flat
from ladder.splits import Split, open_split

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]


@dataclass(frozen=True)
class SplitDiff:
    """What changed from split `a` to split `b`."""

    a: str
    b: str
    settings: list[Row]  # key, a, b
    same: bool  # of the same fingerprint
    parts: dict[str, Row]  # train, validation, probe: a, b, common, only_a, only_b (items)
    same_until: int | None  # rows at the start of both orders that are the same; None: all
    order: float | None  # rank correlation (Spearman) of the common items' first places in the order


def compare_splits(a: Path, b: Path) -> SplitDiff:
    """Compare two splits; raises BadInput where one is none."""
    import duckdb

    splits = {"a": open_split(a), "b": open_split(b)}
    with duckdb.connect() as connection:
        parts = {part: _part(connection, splits, part) for part in ("validation", "probe", "train")}
        (same_until,) = connection.sql(_SAME).fetchall()[0]
        (order,) = connection.sql(_ORDER).fetchall()[0]
    return SplitDiff(
        str(a),
        str(b),
        settings=_settings(splits),
        same=splits["a"].facts.get("fingerprint") == splits["b"].facts.get("fingerprint"),
        parts=parts,
        same_until=same_until,
        order=order,
    )


def _settings(splits: dict[str, Split]) -> list[Row]:
    told = {
        name: flat({k: v for k, v in split.facts.items() if k in ("settings", "ladder", "self_contained")})
        for name, split in splits.items()
    }
    return differing(told["a"], told["b"])


def _part(connection: duckdb.DuckDBPyConnection, splits: dict[str, Split], part: str) -> Row:
    """Counts of a part; leaves its ids in the tables `ids_a` and `ids_b`, with their places."""
    for name, split in splits.items():
        connection.register("part", split.table(part).select(["id"]))
        connection.execute(
            f"CREATE OR REPLACE TABLE ids_{name} AS SELECT id, row_number() OVER () - 1 AS place FROM part"
        )
        connection.unregister("part")
    found = connection.sql(_COUNTS)
    return dict(zip(found.columns, found.fetchall()[0], strict=True))


_COUNTS = """
SELECT count(x.id) AS a, count(y.id) AS b, count(*) FILTER (x.id = y.id) AS common,
    count(*) FILTER (y.id IS NULL) AS only_a, count(*) FILTER (x.id IS NULL) AS only_b
FROM (SELECT DISTINCT id FROM ids_a) x FULL JOIN (SELECT DISTINCT id FROM ids_b) y ON x.id = y.id
"""
_SAME = """
SELECT min(coalesce(x.place, y.place)) FROM ids_a x FULL JOIN ids_b y USING (place) WHERE x.id IS DISTINCT FROM y.id
"""
_ORDER = """
SELECT CASE WHEN count(*) > 1 THEN corr(first, second) END FROM (
    SELECT row_number() OVER (ORDER BY x.place) AS first, row_number() OVER (ORDER BY y.place) AS second
    FROM (SELECT id, min(place) AS place FROM ids_a GROUP BY 1) x JOIN (SELECT id, min(place) AS place FROM ids_b GROUP BY 1) y USING (id)
)
"""
