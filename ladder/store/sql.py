"""The logs as SQL sees them: a list of parts as a table, which rollouts are meant, and what became of those."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ladder.store import Store

if TYPE_CHECKING:
    import duckdb

#: What DuckDB may take; the process takes about half a GiB more.
MEMORY = "1200MiB"
#: Columns of a rollout's key, for `parts_sql` where there is no part.
KEYS = "'' AS item_id, '' AS prompt, '' AS model, '' AS sampling, 0 AS \"index\", 0::BIGINT AS response"


@dataclass(frozen=True)
class View:
    """Which rollouts and verdicts are meant: fingerprints, and at most the first k samples of an item."""

    prompt: str
    model: str
    sampling: str
    verifier: str
    k: int


def parts_sql(paths: Sequence[Path], empty: str, placed: bool = False) -> str:
    """SQL for the rows of some parts; `empty` gives the columns where there is no part. A column that an older part
    lacks is null there, if any has it. `placed` rows have their part and their place in it too, filename and
    file_row_number."""
    if not paths:
        return f"(SELECT {empty}{_NOWHERE if placed else ''} LIMIT 0)"
    names = ", ".join(f"'{str(path).translate(_LITERAL)}'" for path in paths)
    where = ", filename = true, file_row_number = true" if placed else ""
    return f"read_parquet([{names}], union_by_name = true{where})"


_NOWHERE = ", '' AS filename, 0::BIGINT AS file_row_number"
#: A path as an SQL string in which no character is a wildcard.
_LITERAL = str.maketrans({"'": "''", "*": "[*]", "?": "[?]", "[": "[[]"})


def named(view: View, *names: str) -> dict[str, Any]:
    """Some fields of a view as query parameters."""
    return {name: getattr(view, name) for name in names}


def log_sql(paths: Sequence[Path], empty: str, placed: bool = False) -> str:
    """As `parts_sql`, with every column of `empty`, null where no part has it."""
    parts = parts_sql(paths, empty, placed)
    return f"((SELECT {empty} LIMIT 0) UNION ALL BY NAME (SELECT * FROM {parts}))"


_ROLLOUTS = f"{KEYS}, 0 AS tokens, '' AS finish_reason"
_VERDICTS = f"{KEYS}, '' AS gold, '' AS verifier, '' AS outcome, '' AS extracted"

# Of a key that was sampled twice, the response with the smaller digest stands, whichever came first. A verdict belongs to
# the response that it judged; older parts do not say which.
_JUDGED = """
CREATE OR REPLACE TEMP TABLE judged AS
WITH stored AS (
    SELECT item_id, "index", arg_min(tokens, coalesce(response, -1)) AS tokens,
        arg_min(finish_reason, coalesce(response, -1)) AS finish_reason, nullif(min(coalesce(response, -1)), -1) AS response
    FROM {rollouts}
    WHERE prompt = $prompt AND model = $model AND sampling = $sampling AND "index" < $k AND item_id IN (SELECT id FROM {golds})
    GROUP BY ALL
), said AS (
    SELECT v.item_id, v."index", v.response, v.outcome, v.extracted FROM {verdicts} v JOIN {golds} g ON g.id = v.item_id AND g.gold = v.gold
    WHERE prompt = $prompt AND model = $model AND sampling = $sampling AND verifier = $verifier
)
SELECT s.item_id, s."index", any_value(s.response) AS response, any_value(s.tokens) AS tokens, any_value(s.finish_reason) AS finish_reason,
    coalesce(min(v.outcome) FILTER (v.outcome <> 'timeout'), min(v.outcome)) AS said,
    arg_min(v.extracted, (v.outcome = 'timeout', v.outcome, v.extracted)) AS extracted,
    CASE WHEN said = 'correct' AND any_value(s.finish_reason) = 'length' THEN 'wrong' ELSE said END AS outcome
FROM stored s LEFT JOIN said v ON v.item_id = s.item_id AND v."index" = s."index"
    AND (v.response = s.response OR v.response IS NULL OR s.response IS NULL)
GROUP BY s.item_id, s."index"
"""


def create_judged(
    connection: duckdb.DuckDBPyConnection, store: Store, view: View, golds: Mapping[str, str] | str
) -> None:
    """Make the table `judged` (item_id, index, tokens, finish_reason, said, extracted, outcome): one row per stored
    rollout of the view and of the items in `golds`. `said` is the verdict on it, null where there is none, `outcome` what
    it counts as: truncated, never correct. `golds` are digests by id, or the name of a table of them (id, gold)."""
    with golds_table(connection, golds) as name:

        def fill(rollouts: list[Path], verdicts: list[Path]) -> None:
            parts = {"rollouts": log_sql(rollouts, _ROLLOUTS), "verdicts": log_sql(verdicts, _VERDICTS)}
            connection.execute(_JUDGED.format(golds=name, **parts), vars(view))

        read_both(store, fill)


def read_both(store: Store, fill: Callable[[list[Path], list[Path]], None]) -> None:
    """Call `fill` with the parts of rollouts and verdicts; again where other shards merged some of them meanwhile."""
    store.rollouts.read(lambda rollouts: store.verdicts.read(lambda verdicts: fill(rollouts, verdicts)))


@contextmanager
def golds_table(connection: duckdb.DuckDBPyConnection, golds: Mapping[str, str] | str) -> Iterator[str]:
    """The name of a table (id, gold) of the digests, as long as it is needed."""
    if isinstance(golds, str):
        yield golds
        return
    table = pa.table({"id": list(golds), "gold": list(golds.values())}, _GOLDS)
    connection.register("given_golds", table)
    try:
        yield "given_golds"
    finally:
        connection.unregister("given_golds")


@contextmanager
def spilling(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that spills into the ladder's directory, and leaves nothing there."""
    import duckdb

    folder = store.path / f".spill-{os.getpid()}-{next(_NUMBERS)}"
    try:
        with duckdb.connect(config=bounded(folder)) as connection:
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forget_spilled(store: Store) -> None:
    """Delete what killed processes spilled."""
    for folder in store.path.glob(".spill-*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


_NUMBERS = count()
_STALE_SECONDS = 24 * 3600.0


def bounded(folder: Path) -> dict[str, Any]:
    """Settings of a DuckDB connection that takes at most MEMORY, and spills into a folder. The order of rows that no
    ORDER BY gives is not kept: it would cost memory."""
    return {"memory_limit": MEMORY, "temp_directory": str(folder), "preserve_insertion_order": False}


_GOLDS = pa.schema([("id", pa.string()), ("gold", pa.string())])
