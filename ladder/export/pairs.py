"""Preference pairs: a right against a wrong response to the same item, by the model that the ladder was scored with.

As MMPR makes them where answers can be verified (arXiv 2411.10442, section 3.1): by the verdicts alone. A response that was
truncated is never the chosen one, whatever it says.
"""

from __future__ import annotations

from collections.abc import Sequence

from ladder.export.base import Pair
from ladder.export.settings import PairSettings
from ladder.settings import MAIN
from ladder.store import Store
from ladder.store.asking import ask

# Right and wrong responses in their orders; pairs first join the i-th of the ones with the i-th of the others, going round,
# and a combination comes only once.
_PAIRS = """
WITH told AS (
    SELECT item_id, text, min(tokens) AS tokens, md5(concat_ws(' ', 'pair-1', $seed, item_id, text)) AS key,
        bool_or(outcome = 'correct') AS ours,
        bool_and(outcome IN ('wrong', 'no_answer') AND ($truncated OR finish_reason <> 'length')) AS theirs
    FROM rollouts WHERE pass = $main AND item_id IN (SELECT unnest($ids)) AND trim(text) <> ''
    GROUP BY item_id, text
), chosen AS (
    SELECT item_id, text, row_number() OVER (
        PARTITION BY item_id ORDER BY CASE WHEN $shortest THEN tokens ELSE 0 END, key, text) - 1 AS c
    FROM told WHERE ours
), rejected AS (
    SELECT item_id, text, row_number() OVER (PARTITION BY item_id ORDER BY key, text) - 1 AS r,
        count(*) OVER (PARTITION BY item_id) AS many
    FROM told WHERE theirs
)
SELECT item_id, c.text AS chosen, r.text AS rejected,
    row_number() OVER (PARTITION BY item_id ORDER BY (r - c % many + many) % many, c) AS number
FROM chosen c JOIN rejected r USING (item_id)
QUALIFY number <= $pairs
ORDER BY item_id, number
"""


def preference_pairs(store: Store, ids: Sequence[str], settings: PairSettings) -> dict[str, tuple[Pair, ...]]:
    """The pairs of some items by id, in their order; items without one are left out."""
    values = {
        "main": MAIN,
        "ids": list(ids),
        "seed": str(settings.seed),
        "shortest": settings.chosen == "shortest",
        "truncated": settings.rejected == "any",
        "pairs": settings.per_item,
    }
    found: dict[str, tuple[Pair, ...]] = {}
    for row in ask(store, _PAIRS, values).to_pylist():
        pair = Pair(row["chosen"], row["rejected"])
        found[row["item_id"]] = (*found.get(row["item_id"], ()), pair)
    return found
