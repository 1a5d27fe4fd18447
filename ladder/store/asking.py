"""One SQL query over a whole ladder, for reading: the catalogue, and the logs as they count.

Before there is a catalogue, what was imported and what is in the logs can be asked for, but not what counts of it. What a
query is for is not its business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ladder.errors import BadInput, LadderError
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.sql import View, create_judged, named, parts_sql

if TYPE_CHECKING:
    import duckdb

#: Logs that a query may name as it names tables.
LOGS = ("rollouts", "verdicts", "outcomes")

# A rollout that was stored twice counts once: the first of those whose response stands.
_COUNTED = """
INSERT INTO counted SELECT $pass, outcome, extracted, first.part, first.place FROM (
    SELECT min({part: r.part, place: r.place}) AS first, any_value(j.outcome) AS outcome, any_value(j.extracted) AS extracted
    FROM stored_rollouts r JOIN judged j ON j.item_id = r.item_id AND j."index" = r."index"
        AND j.response IS NOT DISTINCT FROM r.response
    WHERE prompt = $prompt AND model = $model AND sampling = $sampling GROUP BY r.item_id, r."index"
)
"""
_ROLLOUTS = """
CREATE OR REPLACE TEMP VIEW rollouts AS
SELECT c.pass, r.item_id, r."index", r.text, c.outcome, c.extracted, r.tokens, r.finish_reason, r.token_ids, r.logprobs,
    r.seed, r.engine, coalesce(r.trainable, true) AS trainable, r.prompt, r.model, r.sampling
FROM stored_rollouts r JOIN counted c USING (part, place)
"""
_SPLIT = """
CREATE TEMP VIEW split AS
SELECT l.* RENAME (position AS ladder_position), s.file_row_number AS position{own}
FROM {part} s JOIN ladder l USING (id)
"""


def ask(
    store: Store,
    query: str,
    params: Mapping[str, object] | Sequence[object] | None = None,
    split: Path | None = None,
) -> pa.Table:
    """What a query gives. It may name the tables of the catalogue, those of LOGS, and as `split` the rows of a part of a
    split with all that the ladder knows of their items. Whole numbers are 64-bit where they fit.

    `rollouts` are those that count, with their `pass`; `verdicts` and `outcomes` are all that are stored. Raises BadInput
    with DuckDB's own words for a bad query, and where the ladder has not come that far.
    """
    import duckdb

    _check_reads(query)
    with _connected(store) as connection:
        session = _Session(connection, store)
        try:
            if split is not None:
                session.define_split(split)
            return session.over(
                [name for name in LOGS if re.search(rf"\b{name}\b", query, re.I)], query, params
            )
        except duckdb.CatalogException as error:
            if not store.catalogue.is_file():
                raise _unscored(store) from None
            raise _told(error) from None
        except duckdb.Error as error:
            raise _told(error) from None


def _check_reads(query: str) -> None:
    """Raise BadInput for what is not one query that reads, perhaps after settings (SET): COPY would write wherever the user
    may."""
    import duckdb

    try:
        kinds = [str(one.type).rpartition(".")[2] for one in duckdb.extract_statements(query)]
    except duckdb.Error as error:
        raise _told(error) from None
    queries = [kind for kind in kinds if kind not in ("SET", "VARIABLE_SET")]
    if not set(queries) <= {"SELECT", "EXPLAIN", "PRAGMA", "MULTI"}:
        raise BadInput("a ladder is read-only here: ask with SELECT")
    if len(queries) != 1:
        raise BadInput(f"one query at a time, not {len(queries)}: ask with SELECT")


def _told(error: Exception) -> BadInput:
    return BadInput(" ".join(f"{error}".split("\n\nLINE")[0].split()))


def _unscored(store: Store) -> BadInput:
    manifest = store.import_manifest()
    there = f"{manifest['counts']['items']:,} items" if manifest else "no items yet"
    return BadInput(f"{store.path} is not scored yet, it holds {there}: finish its build with `ladder build`")


@contextmanager
def _connected(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalogue, or in its place the last import."""
    import duckdb

    if not store.catalogue.is_file():
        with duckdb.connect() as connection:
            for name, parts, schema in (
                ("items", store.item_parts(), store.items.schema),
                ("rejects", store.reject_parts(), store.rejects.schema),
            ):
                _define(connection, name, parts, schema)
            yield connection
        return
    with catalogue(store) as connection:
        yield connection


class _Session:
    """Defines on a connection what a query names."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, store: Store) -> None:
        self._connection, self._store = connection, store
        # else a table that there is not could be a variable of ours
        connection.execute("SET python_enable_replacements = false")

    def over(self, logs: Sequence[str], query: str, params: Any) -> pa.Table:
        """What the query gives over some logs; asked again where others merged their parts meanwhile."""
        if not logs:
            return self._run(query, params)
        name, *rest = logs

        def use(parts: list[Path]) -> pa.Table:
            if name == "rollouts":
                self._define_rollouts(parts)
            else:
                _define(self._connection, name, parts, getattr(self._store, name).schema)
            return self.over(rest, query, params)

        return getattr(self._store, name).read(use)

    def _run(self, query: str, params: Any) -> pa.Table:
        found = self._connection.sql(query, params=params)
        if found is None:
            raise BadInput("the query gives no table: ask with SELECT")
        return _plain(found.to_arrow_table())

    def _define_rollouts(self, parts: list[Path]) -> None:
        if not self._store.catalogue.is_file():
            raise _unscored(self._store)
        run = self._connection.execute
        run("CREATE OR REPLACE TEMP VIEW present AS SELECT id, gold_digest AS gold FROM items")
        run(
            "CREATE OR REPLACE TEMP TABLE counted (pass TEXT, outcome TEXT, extracted TEXT, part TEXT, place BIGINT)"
        )
        _define(self._connection, "stored_rollouts", parts, self._store.rollouts.schema, placed=True)
        for name, view in self._views().items():
            create_judged(self._connection, self._store, view, "present")
            run(_COUNTED, {"pass": name} | named(view, "prompt", "model", "sampling"))
        run(_ROLLOUTS)

    def _views(self) -> dict[str, View]:
        facts = dict(self._connection.execute("SELECT key, value FROM build").fetchall())
        return {
            name: View(**view, verifier=facts["verifier"])
            for name, view in json.loads(facts["views"]).items()
        }

    def define_split(self, path: Path) -> None:
        """Make the view `split`; raises LadderError where the ladder has lost items of it."""
        part = parts_sql([path], "")
        names = self._connection.sql(f"SELECT * FROM {part} LIMIT 0").columns
        known = set(self._connection.sql("FROM ladder LIMIT 0").columns)
        lost = self._connection.execute(
            f"SELECT count(*) FROM {part} ANTI JOIN ladder USING (id)"
        ).fetchall()[0][0]
        if lost:
            raise LadderError(
                f"{path}: the ladder no longer scores {lost:,} of its items; draw the split again"
            )
        own = "".join(f', s."{name}"' for name in names if name not in known)
        self._connection.execute(_SPLIT.format(own=own, part=part))


def _define(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    parts: list[Path],
    schema: pa.Schema,
    placed: bool = False,
) -> None:
    """Make a view of some parts, with all columns of a schema; `placed`: and with each row's part and place."""
    connection.register(f"no_{name}", schema.empty_table())
    nowhere, somewhere = ", '' AS part, 0::BIGINT AS place", ", filename AS part, file_row_number AS place"
    rows = f"SELECT *{nowhere if placed else ''} FROM no_{name}"
    if parts:
        rows += f" UNION ALL BY NAME SELECT *{somewhere if placed else ''} FROM {parts_sql(parts, '1')}"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {rows}")


def _plain(table: pa.Table) -> pa.Table:
    """DuckDB's sums, which are of 128 bits, as 64-bit numbers where they fit; lists as Arrow names their members."""
    return pa.Table.from_arrays([_plain_column(column) for column in table.columns], names=table.column_names)


def _plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        return column.cast(pa.list_(column.type.value_type))
    if column.type == pa.decimal128(38, 0):
        with suppress(pa.ArrowInvalid):
            return column.cast(pa.int64())
    return column
