"""What a ladder's logs hold of what a build wants: outcomes by sample, what is still to be judged, what was refused."""

from __future__ import annotations

from collections.abc import Mapping

from ladder.records import Outcome
from ladder.store import Store
from ladder.store.sql import KEYS, View, create_judged, log_sql, named


def stored_outcomes(store: Store, view: View, golds: dict[str, str]) -> dict[str, dict[int, Outcome | None]]:
    """Of each item in `golds` (digest by id) what its stored samples below k came to, by index; None: not judged."""
    import duckdb

    with duckdb.connect() as connection:
        create_judged(connection, store, view, golds)
        rows = connection.sql(
            'SELECT item_id, list("index" ORDER BY "index"), list(outcome ORDER BY "index") FROM judged GROUP BY 1'
        ).fetchall()
    known = {outcome.value: outcome for outcome in Outcome}
    return {
        item_id: {j: known.get(outcome) for j, outcome in zip(indices, outcomes, strict=True)}
        for item_id, indices, outcomes in rows
    }


def unjudged_rollouts(store: Store, view: View, golds: Mapping[str, str]) -> list[tuple[str, int, str, bool]]:
    """(item id, index, text, again) of the rollouts that this verifier has not judged against the current golds, or
    not in time (`again`)."""
    import duckdb

    with duckdb.connect() as connection:
        create_judged(connection, store, view, dict(golds))
        sql = _UNJUDGED.format
        of = named(view, "prompt", "model", "sampling")
        return store.rollouts.read(
            lambda parts: connection.execute(
                sql(rollouts=log_sql(parts, f"{KEYS}, '' AS text")), of
            ).fetchall()
        )


_UNJUDGED = """
SELECT item_id, "index", arg_min(text, coalesce(response, -1)), any_value(said) IS NOT NULL
FROM {rollouts} JOIN judged USING (item_id, "index")
WHERE prompt = $prompt AND model = $model AND sampling = $sampling AND coalesce(said, 'timeout') = 'timeout'
GROUP BY item_id, "index" ORDER BY item_id, "index"
"""


def stored_refusals(store: Store, view: View, limit: int | None) -> dict[str, tuple[str, str]]:
    """(reason, detail) of the items that the view's model cannot be asked, by id. With a `limit` of positions, what
    would fit in it is left out: it may be asked now."""
    import duckdb

    of = named(view, "prompt", "model", "sampling") | {"limit": limit}
    with duckdb.connect() as connection:
        rows = store.refusals.read(
            lambda parts: connection.execute(
                _REFUSED.format(refusals=log_sql(parts, _REFUSALS)), of
            ).fetchall()
        )
    return {item_id: (reason, detail) for item_id, reason, detail in rows}


_REFUSED = """
SELECT item_id, arg_max(reason, coalesce(need, -1)), arg_max(detail, coalesce(need, -1)) FROM {refusals}
WHERE prompt = $prompt AND model = $model AND sampling = $sampling AND (need IS NULL OR $limit IS NULL OR need > $limit)
GROUP BY 1 ORDER BY 1
"""
_REFUSALS = (
    "'' AS item_id, '' AS prompt, '' AS model, '' AS sampling, '' AS reason, '' AS detail, 0::BIGINT AS need"
)
