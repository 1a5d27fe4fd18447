"""What a ladder's logs hold of what a build wants: outcomes by sample, what is still to be judged, what was refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.records import Outcome
from ladder.store import Store
from ladder.store.sql import KEYS, View, create_judged, log_sql, named, spilling

if TYPE_CHECKING:
    import duckdb


def stored_outcomes(store: Store, view: View, golds: dict[str, str]) -> dict[str, dict[int, Outcome | None]]:
    """Of each item in `golds` (digest by id) what its stored samples below k came to, by index; None: not judged."""
    with spilling(store) as connection:
        create_judged(connection, store, view, golds)
        rows = connection.sql(
            'SELECT item_id, list("index" ORDER BY "index"), list(outcome ORDER BY "index") FROM judged GROUP BY 1'
        ).fetchall()
    known = {outcome.value: outcome for outcome in Outcome}
    return {
        item_id: {j: known.get(outcome) for j, outcome in zip(indices, outcomes, strict=True)}
        for item_id, indices, outcomes in rows
    }


def count_unjudged(store: Store, view: View, golds: Mapping[str, str]) -> int:
    """How many rollouts `unjudged_rollouts` will give."""
    with spilling(store) as connection:
        create_judged(connection, store, view, golds)
        late = "SELECT count(*) FROM judged WHERE coalesce(said, 'timeout') = 'timeout'"
        return int(connection.sql(late).fetchall()[0][0])


def unjudged_rollouts(
    store: Store, view: View, golds: Mapping[str, str]
) -> Iterator[tuple[str, int, str, bool]]:
    """(item id, index, text, again) of the rollouts that this verifier has not judged against the current golds, or
    not in time (`again`); a part's at a time."""
    import duckdb

    given: set[tuple[str, int]] = set()
    with spilling(store) as connection:
        create_judged(connection, store, view, golds)
        while True:
            parts = store.rollouts.paths()
            try:
                for row in _unjudged(connection, parts, view):
                    if row[:2] not in given:
                        given.add(row[:2])
                        yield row
                return
            except duckdb.Error:
                if all(path.exists() for path in parts):  # else another shard merged them: once more
                    raise


def _unjudged(
    connection: duckdb.DuckDBPyConnection, parts: list[Path], view: View
) -> Iterator[tuple[str, int, str, bool]]:
    sql = _UNJUDGED.format(rollouts=log_sql(parts, f"{KEYS}, '' AS text"))
    cursor = connection.execute(sql, named(view, "prompt", "model", "sampling"))
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        yield from rows


_ROWS_AT_ONCE = 1024
_UNJUDGED = """
SELECT r.item_id, r."index"::INTEGER, r.text, j.said IS NOT NULL
FROM {rollouts} r JOIN judged j ON j.item_id = r.item_id AND j."index" = r."index"
    AND j.response IS NOT DISTINCT FROM r.response
WHERE prompt = $prompt AND model = $model AND sampling = $sampling AND coalesce(j.said, 'timeout') = 'timeout'
"""


def stored_refusals(store: Store, view: View, limit: int | None) -> dict[str, tuple[str, str]]:
    """(reason, detail) of the items that the view's model cannot be asked, by id. With a `limit` of positions, what
    would fit in it is left out: it may be asked now."""
    import duckdb

    with duckdb.connect() as connection:
        create_refused(connection, store, view, limit)
        rows = connection.sql("SELECT * FROM refused ORDER BY id").fetchall()
    return {item_id: (reason, detail) for item_id, reason, detail in rows}


def create_refused(
    connection: duckdb.DuckDBPyConnection, store: Store, view: View, limit: int | None = None
) -> None:
    """Make the table `refused` (id, reason, detail) of what `stored_refusals` tells."""
    of = named(view, "prompt", "model", "sampling") | {"limit": limit}
    store.refusals.read(
        lambda parts: connection.execute(_REFUSED.format(refusals=log_sql(parts, _REFUSALS)), of)
    )


_REFUSED = """
CREATE OR REPLACE TEMP TABLE refused AS
SELECT item_id AS id, arg_max(reason, coalesce(need, -1)) AS reason, arg_max(detail, coalesce(need, -1)) AS detail
FROM {refusals}
WHERE prompt = $prompt AND model = $model AND sampling = $sampling AND (need IS NULL OR $limit IS NULL OR need > $limit)
GROUP BY 1
"""
_REFUSALS = (
    "'' AS item_id, '' AS prompt, '' AS model, '' AS sampling, '' AS reason, '' AS detail, 0::BIGINT AS need"
)
