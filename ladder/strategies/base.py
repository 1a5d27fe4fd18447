"""What a strategy of `ladder sample` is: SQL over the items that may train. How a split is drawn and kept is left to
ladder.splits.

A strategy reads the relation `trainable`, and for its order the relation `kept`, what is left of it. Both have the columns

| column | meaning |
| --- | --- |
| place | rank by (difficulty, complexity, id), from easy to hard: another for each item, and where keys tie |
| id, tier, source, subject, answer_type | as in the ladder |
| level | 0 ... 8, of the observed pass rate |
| pass_rate | correct / n |
| difficulty, complexity | 1 - posterior mean of the pass rate; mean response tokens |

Nothing depends on the order of rows or the number of threads: places and keys are functions of scores, ids and seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ladder.config import Settings

if TYPE_CHECKING:
    import duckdb

#: Columns of `trainable` and `kept`.
COLUMNS = (
    "place",
    "id",
    "tier",
    "level",
    "pass_rate",
    "difficulty",
    "complexity",
    "source",
    "subject",
    "answer_type",
)


class Curriculum(Settings):
    """Base of every strategy: what it leaves out of `trainable`, and how it orders `kept`."""

    #: Why items of `kept` may be missing in the order.
    surplus: ClassVar[str] = "surplus"

    def reason(self, connection: duckdb.DuckDBPyConnection) -> str:
        """An SQL expression over `trainable`: why an item is left out, or null."""
        del connection
        return "NULL"

    def visits(self, seed: int) -> str:
        """An SQL expression over `kept`: how often an item occurs in the order."""
        del seed
        return "1"

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """A query of the columns of `kept` with `slot` (null: each row is a slot of its own) and `key`: the order is by
        (slot, key, place). Later epochs may shuffle inside a slot."""
        raise NotImplementedError


def create_kept(connection: duckdb.DuckDBPyConnection, strategy: Curriculum) -> dict[str, int]:
    """Make `kept` of `trainable`; how many items the strategy leaves out, by reason."""
    why = strategy.reason(connection)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW kept AS SELECT * FROM trainable WHERE ({why}) IS NULL")
    if why == "NULL":
        return {}
    sql = f"SELECT {why} AS why, count(*) FROM trainable GROUP BY 1 HAVING why IS NOT NULL ORDER BY 1"
    return dict(connection.execute(sql).fetchall())


def create_placed(connection: duckdb.DuckDBPyConnection, strategy: Curriculum, seed: int) -> None:
    """Make the table `placed` of `kept`: its columns, `position` from 0 and `slot`, in training order."""
    columns = ", ".join(COLUMNS)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE placed AS
        SELECT row_number() OVER () - 1 AS position, coalesce(slot, position)::BIGINT AS slot, {columns}
        FROM (SELECT * FROM ({strategy.rows(connection, seed)}) ORDER BY slot, key, place)"""
    )
