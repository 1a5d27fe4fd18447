"""Drawing a split: from the catalogue to the tables of a training order and of held-out items, and their figures.

Everything is SQL on a connection of the catalogue, in temporary tables, so that what does not fit in memory goes to disk
beside it. What becomes of the split (files, a preview) is left to `files` and `told`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ladder.errors import BadInput
from ladder.splits.held_out import create_apart, held_order_sql
from ladder.splits.quota import apply_quotas, tokens_sql
from ladder.splits.settings import SampleSettings
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.sql import MEMORY
from ladder.strategies import COLUMNS, create_kept, create_placed

if TYPE_CHECKING:
    import duckdb

HELD_OUT = ("probe", "validation")


@dataclass(frozen=True)
class Drawing:
    """A split as it is drawn: a connection with the tables `placed` (the training order), `apart` (id, part) and `scored`,
    and how many items were left out, by reason."""

    connection: duckdb.DuckDBPyConnection
    store: Store
    settings: SampleSettings
    left_out: dict[str, int]
    online: dict[str, Any]

    def held_sql(self, part: str) -> str:
        """A query of the items of a held-out part, in its order, with the columns of a training row."""
        return (
            f"SELECT l.* FROM (SELECT {', '.join(COLUMNS[1:])} FROM ladder) l "
            f"JOIN apart a ON a.id = l.id WHERE a.part = '{part}' ORDER BY {held_order_sql('l.id', 'l.tier')}"
        )

    def count(self, sql: str) -> int:
        """The one number of a query."""
        return int(self.connection.execute(sql).fetchall()[0][0])

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each part, distinct items of the training split, and the tokens that it is expected to generate."""
        parts = {part: self.count(f"SELECT count(*) FROM apart WHERE part = '{part}'") for part in HELD_OUT}
        rows, items, tokens = self.connection.execute(
            f"SELECT count(*), count(DISTINCT id), coalesce(sum({tokens_sql(self.settings)}), 0) FROM placed"
        ).fetchall()[0]
        return {"train": rows, "train_items": items, **parts, "tokens": int(tokens)}


@contextmanager
def drawing(store: Store, settings: SampleSettings) -> Iterator[Drawing]:
    """Draw a split; raises BadInput where nothing is left to train on."""
    with catalogue(store) as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        online = _create_scored(connection, store, settings)
        create_apart(connection, store, settings)
        connection.execute(
            f"CREATE TEMP VIEW trainable AS SELECT {', '.join(COLUMNS)} FROM scored ANTI JOIN apart USING (id)"
        )
        left_out = dict(
            connection.execute(
                "SELECT part, count(*) FROM apart WHERE part NOT IN ('probe', 'validation') GROUP BY 1 ORDER BY 1"
            ).fetchall()
        )
        left_out |= create_kept(connection, settings.strategy)
        left_out |= apply_quotas(connection, settings)
        left_out |= _place(connection, settings)
        found = Drawing(connection, store, settings, left_out, online)
        if not found.count("SELECT count(*) FROM placed"):
            raise BadInput(_nothing(found))
        yield found


def _create_scored(
    connection: duckdb.DuckDBPyConnection, store: Store, settings: SampleSettings
) -> dict[str, Any]:
    if settings.difficulty == "online":
        from ladder.settings import settings_of
        from ladder.splits.online import create_online

        return create_online(connection, store, settings.online, settings_of(store.path).tiers)
    connection.execute("CREATE TEMP VIEW scored AS SELECT position AS place, * FROM ladder")
    return {}


def _place(connection: duckdb.DuckDBPyConnection, settings: SampleSettings) -> dict[str, int]:
    """Make `placed`, and cut it where a budget takes the first; how many items of `kept` are not in it, by reason."""
    create_placed(connection, settings.strategy, settings.seed)
    ((kept,),) = connection.execute("SELECT count(*) FROM kept").fetchall()
    counts = [kept]
    for cut in (None, _first_beyond(connection, settings)):
        if cut is not None:
            connection.execute("DELETE FROM placed WHERE position >= $cut", {"cut": cut})
        counts.append(connection.execute("SELECT count(DISTINCT place) FROM placed").fetchall()[0][0])
    missing = {settings.strategy.surplus: counts[0] - counts[1], "budget": counts[1] - counts[2]}
    return {name: count for name, count in missing.items() if count}


def _first_beyond(connection: duckdb.DuckDBPyConnection, settings: SampleSettings) -> int | None:
    """The first position that a budget does not allow, where it takes the first of the order."""
    if settings.take != "first" or (settings.max_items is None and settings.max_tokens is None):
        return None
    sums = f"SELECT position, sum({tokens_sql(settings)}) OVER (ORDER BY position) AS spent FROM placed"
    spent = connection.execute(
        f"SELECT min(position) FROM ({sums}) WHERE spent > $most OR position >= $items",
        {"most": settings.max_tokens or 2**62, "items": settings.max_items or 2**62},
    ).fetchall()[0][0]
    return None if spent is None else int(spent)


def _nothing(found: Drawing) -> str:
    scored = found.count("SELECT count(*) FROM ladder")
    reasons = ", ".join(f"{name} {count:,}" for name, count in found.left_out.items())
    held = ", ".join(f"{part} {found.counts[part]:,}" for part in HELD_OUT if found.counts[part])
    advice = ""
    if found.left_out.get("evaluation_set"):
        advice = "; --set evaluation_set=true lets items of published evaluation sets take part"
    return (
        f"{found.store.path}: nothing is left to train on under these settings: of {scored:,} items scored are held out: "
        f"{held or 'none'}; left out: {reasons or 'none'}{advice}"
    )
