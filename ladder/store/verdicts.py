"""Questions to the verdict log across verifiers: what rollouts there are, and which verdicts differ between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ladder.store import Store
from ladder.store.sql import View, parts_sql

EXAMPLES = 5  # of each change

_KEY = 'item_id, prompt, model, sampling, "index", gold'
_EMPTY = (
    "'' AS item_id, '' AS prompt, '' AS model, '' AS sampling, 0 AS \"index\", '' AS gold, '' AS verifier, "
    "'' AS outcome, '' AS extracted, '' AS reason"
)

# A verdict that came in time stands before one that did not, a later one before an earlier one.
_PAIRS = f"""
CREATE TEMP TABLE pairs AS
WITH stored AS (
    SELECT *, filename AS part, file_row_number AS place FROM {{parts}} SEMI JOIN golds USING (item_id, gold)
    QUALIFY row_number() OVER (PARTITION BY {_KEY}, verifier ORDER BY outcome = 'timeout', part DESC, place DESC) = 1
), other AS (
    SELECT * FROM stored WHERE verifier <> $now
    QUALIFY row_number() OVER (PARTITION BY {_KEY} ORDER BY verifier = $before DESC, part DESC, place DESC) = 1
)
SELECT {_KEY}, o.outcome AS before, n.outcome AS after, o.extracted AS extracted_before, n.extracted,
    o.reason AS reason_before, n.reason
FROM stored n JOIN other o USING ({_KEY}) WHERE n.verifier = $now
"""

_EXAMPLES = f"""
SELECT before, after, item_id AS item, extracted_before, reason_before, extracted, reason FROM pairs
WHERE before <> after
QUALIFY row_number() OVER (PARTITION BY before, after ORDER BY {_KEY}) <= {EXAMPLES}
ORDER BY before, after, {_KEY}
"""


@dataclass(frozen=True)
class Change:
    """How many verdicts went from one outcome to another, and the first few of them."""

    before: str
    after: str
    count: int
    examples: list[dict[str, Any]] = field(default_factory=list)


def stored_views(store: Store, verifier: str) -> list[View]:
    """A view for each combination of prompt, model and sampling that rollouts are stored of, with all of their samples."""
    import duckdb

    rollouts = parts_sql(store.rollouts.paths(), _EMPTY)
    with duckdb.connect() as connection:
        rows = connection.execute(
            f'SELECT prompt, model, sampling, max("index") + 1 FROM {rollouts} GROUP BY ALL ORDER BY ALL'
        ).fetchall()
    return [View(prompt, model, sampling, verifier, k) for prompt, model, sampling, k in rows]


def changes(store: Store, golds: Mapping[str, str], now: str, before: str) -> tuple[int, list[Change]]:
    """How many rollouts have verdicts against the current golds (digest by item id) by the verifier `now` and by an
    earlier one, `before` where it judged them, else the latest; and how those differ, the most frequent first."""
    import duckdb

    current = pa.table({"item_id": list(golds), "gold": list(golds.values())}, _GOLDS)
    paths = store.verdicts.paths()
    with duckdb.connect() as connection:
        connection.register("golds", current)
        parts = parts_sql(paths, f"{_EMPTY}, '' AS filename, 0 AS file_row_number")
        connection.execute(_PAIRS.format(parts=parts), {"now": now, "before": before})
        (compared,) = connection.sql("SELECT count(*) FROM pairs").fetchall()[0]
        counts = connection.sql(
            "SELECT before, after, count(*) FROM pairs WHERE before <> after GROUP BY ALL ORDER BY 3 DESC, 1, 2"
        ).fetchall()
        examples = connection.sql(_EXAMPLES).fetchall()
    names = ("item", "extracted_before", "reason_before", "extracted", "reason")
    return compared, [
        Change(
            old, new, count, [dict(zip(names, e[2:], strict=True)) for e in examples if e[:2] == (old, new)]
        )
        for old, new, count in counts
    ]


_GOLDS = pa.schema([("item_id", pa.string()), ("gold", pa.string())])
