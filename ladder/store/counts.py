"""What became of an item's samples, counted: the numbers that every score is made of.

The definition is `EXACT`, over `judged` (one row per rollout, its verdict beside it). To join 80 million rollouts with as
many verdicts costs more than all the rest, so `_PACKED` first puts both logs together by item, each sample one integer,
and is believed where its check sum shows that every rollout has exactly one verdict, on that response and by the item's
present gold. Of the other items (doubled keys, judged too late, not judged, older parts) the definition decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.store import Store
from ladder.store.sql import KEYS, View, create_judged, golds_table, log_sql, read_both

if TYPE_CHECKING:
    import duckdb

#: With more samples of an item than this, only the definition is used.
PACKED_SAMPLES = 64

EXACT = """
SELECT
    item_id AS id,
    count(*)::INTEGER AS samples,
    count(*) FILTER (said IN ('correct', 'wrong', 'no_answer'))::INTEGER AS n,
    count(*) FILTER (outcome = 'correct')::INTEGER AS correct,
    count(*) FILTER (said IN ('correct', 'wrong', 'no_answer') AND "index" < {first})::INTEGER AS first_n,
    count(*) FILTER (outcome = 'correct' AND "index" < {first})::INTEGER AS first_correct,
    count(*) FILTER (said = 'no_answer')::INTEGER AS no_answer,
    count(*) FILTER (said = 'timeout')::INTEGER AS timeouts,
    count(*) FILTER (said = 'unverifiable')::INTEGER AS unverifiable,
    count(*) FILTER (finish_reason = 'length')::INTEGER AS truncated,
    avg(tokens)::DOUBLE AS complexity,
    avg(tokens) FILTER (outcome = 'correct')::DOUBLE AS correct_tokens,
    median(tokens)::DOUBLE AS median_tokens
FROM judged WHERE said IS NOT NULL GROUP BY item_id
"""

# A sample is tokens * 8 + 4 if truncated + its verdict: 0 wrong, 1 correct, 2 no answer, 3 unverifiable. The rollout gives
# the upper bits, the verdict the lower two. The check sum of an item whose logs agree is rows * hash(id, gold): what is
# doubled, missing, of another response, gold or item (their hashes may be equal) changes it, but for chances of 2^-64.
_PACKED = """
CREATE OR REPLACE TEMP TABLE packed AS
SELECT item, count(*) FILTER (rollout) AS rows, sum(mark) AS mark, {samples}
FROM (
    SELECT hash(item_id) AS item, "index", true AS rollout,
        CASE WHEN tokens BETWEEN 0 AND 1 << 27 THEN tokens * 8 + CASE finish_reason WHEN 'length' THEN 4 ELSE 0 END END AS sample,
        -hash(response, "index")::HUGEINT AS mark
    FROM {rollouts} WHERE prompt = $prompt AND model = $model AND sampling = $sampling AND "index" < $k
    UNION ALL
    SELECT hash(item_id), "index", false,
        CASE outcome WHEN 'wrong' THEN 0 WHEN 'correct' THEN 1 WHEN 'no_answer' THEN 2 WHEN 'unverifiable' THEN 3 END,
        hash(response, "index")::HUGEINT + hash(item_id, gold)
    FROM {verdicts} WHERE prompt = $prompt AND model = $model AND sampling = $sampling AND "index" < $k AND verifier = $verifier
        AND outcome <> 'timeout'
) GROUP BY item
"""

_COUNTED = """
CREATE OR REPLACE TEMP TABLE counts AS
SELECT g.id, c.* EXCLUDE (item, mark, single), c.single AND c.mark = c.samples * hash(g.id, g.gold)::HUGEINT AS agree
FROM {golds} g JOIN (
    SELECT item, mark, len(s) = rows AS single, rows::INTEGER AS samples,
        len(list_filter(s, lambda x: x & 3 < 3))::INTEGER AS n,
        len(list_filter(s, lambda x: x & 7 = 1))::INTEGER AS correct, {firsts},
        len(list_filter(s, lambda x: x & 3 = 2))::INTEGER AS no_answer, 0 AS timeouts,
        len(list_filter(s, lambda x: x & 3 = 3))::INTEGER AS unverifiable,
        len(list_filter(s, lambda x: x & 4 = 4))::INTEGER AS truncated,
        list_avg(list_transform(s, lambda x: x >> 3)) AS complexity,
        list_avg(list_transform(list_filter(s, lambda x: x & 7 = 1), lambda x: x >> 3)) AS correct_tokens,
        list_median(list_transform(s, lambda x: x >> 3))::DOUBLE AS median_tokens
    FROM (SELECT *, list_filter({all}, lambda x: x IS NOT NULL) AS s FROM packed)
) c ON c.item = hash(g.id)
"""
_ALL_ARE_FIRST = "n AS first_n, correct AS first_correct"
_FIRSTS = """
        len(list_filter({first}, lambda x: x & 3 < 3))::INTEGER AS first_n,
        len(list_filter({first}, lambda x: x & 7 = 1))::INTEGER AS first_correct"""
_OTHERS = """
CREATE OR REPLACE TEMP TABLE others AS
SELECT id, gold FROM {golds} WHERE id IN (SELECT id FROM counts WHERE NOT agree)
"""

_ROLLOUTS = f"{KEYS}, 0 AS tokens, '' AS finish_reason"
_VERDICTS = f"{KEYS}, '' AS gold, '' AS verifier, '' AS outcome"


def create_counts(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    view: View,
    golds: Mapping[str, str] | str,
    first: int | None = None,
) -> None:
    """Make the table `counts`, one row per item of `golds` (digests by id, or the name of a table (id, gold) of them) that
    has a judged rollout in the view.

    Columns: id, samples (judged rollouts), n (those that count), correct, first_n and first_correct (the same of the
    samples below `first`, all by default), no_answer, timeouts, unverifiable, truncated, and the response tokens:
    complexity (mean), correct_tokens (mean of the correct ones, null without one), median_tokens.
    """
    first = min(first or view.k, view.k)
    with golds_table(connection, golds) as name:
        if view.k <= PACKED_SAMPLES:
            _count_packed(connection, store, view, name, first)
            _count_others(connection, store, view, name, first)
        else:
            create_judged(connection, store, view, name)
            connection.execute(f"CREATE OR REPLACE TEMP TABLE counts AS {EXACT.format(first=first)}")
            connection.execute("DROP TABLE judged")


def _count_packed(
    connection: duckdb.DuckDBPyConnection, store: Store, view: View, golds: str, first: int
) -> None:
    """Make `counts`, with a column `agree` besides: whether the item's logs do."""
    columns = [f"s{j}" for j in range(view.k)]
    samples = ", ".join(f'bit_or(sample) FILTER ("index" = {j}) AS s{j}' for j in range(view.k))

    def fill(rollouts: list[Path], verdicts: list[Path]) -> None:
        parts = {"rollouts": log_sql(rollouts, _ROLLOUTS), "verdicts": log_sql(verdicts, _VERDICTS)}
        connection.execute(_PACKED.format(samples=samples, **parts), vars(view))

    read_both(store, fill)
    firsts = _FIRSTS.format(first=f"[{', '.join(columns[:first])}]") if first < view.k else _ALL_ARE_FIRST
    connection.execute(_COUNTED.format(all=f"[{', '.join(columns)}]", firsts=firsts, golds=golds))
    connection.execute("DROP TABLE packed")


def _count_others(
    connection: duckdb.DuckDBPyConnection, store: Store, view: View, golds: str, first: int
) -> None:
    """Count the items of which the logs do not agree anew, by the definition."""
    ((others,),) = connection.execute("SELECT count(*) FROM counts WHERE NOT agree").fetchall()
    if others:
        connection.execute(_OTHERS.format(golds=golds))
        connection.execute("DELETE FROM counts WHERE NOT agree")
        create_judged(connection, store, view, "others")
        connection.execute(f"INSERT INTO counts BY NAME {EXACT.format(first=first)}")
        connection.execute("DROP TABLE judged")
        connection.execute("DROP TABLE others")
    connection.execute("ALTER TABLE counts DROP COLUMN agree")
