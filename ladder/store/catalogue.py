"""The catalogue `ladder.duckdb`: derived from the logs by set-based SQL, built beside and renamed, never held open.

Tables: `ladder` (one row per scored item, in ladder order), `items`, `rejects`, `scores`, `passes` (counts and rates of each
further pass), `doubts` (items whose gold another model contradicts), `runs`, `priors`, `build`. Delete the file and build
again: equal.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ladder.errors import BadInput, LadderError
from ladder.identity import gold_digest
from ladder.score import Beta, fit_prior, level
from ladder.store import Store
from ladder.store.sql import View, create_judged, log_sql, parts_sql
from ladder.store.wanted import stored_refusals
from ladder.tiers import TierSettings, tier_of

if TYPE_CHECKING:
    import duckdb

_COUNTS = """
SELECT
    item_id AS id,
    count(*) FILTER (said IN ('correct', 'wrong', 'no_answer'))::INTEGER AS n,
    count(*) FILTER (outcome = 'correct')::INTEGER AS correct,
    count(*) FILTER (said = 'no_answer')::INTEGER AS no_answer,
    count(*) FILTER (said = 'timeout')::INTEGER AS timeouts,
    count(*) FILTER (said = 'unverifiable')::INTEGER AS unverifiable,
    count(*) FILTER (finish_reason = 'length')::INTEGER AS truncated,
    avg(tokens)::DOUBLE AS complexity
FROM judged WHERE said IS NOT NULL GROUP BY item_id
"""

# What a pass answers most where it does not give the gold, and how often: one and the same other answer is a reason to doubt
# the gold.
_PASS = f"""
INSERT INTO passes BY NAME
WITH counts AS ({_COUNTS}), answers AS (
    SELECT item_id AS id, extracted, count(*) AS times FROM judged WHERE said = 'wrong' AND extracted <> '' GROUP BY ALL
), favourites AS (SELECT id, arg_max(extracted, (times, extracted)) AS instead, max(times) AS times FROM answers GROUP BY 1)
SELECT $name AS pass, $model AS model, counts.*, correct / nullif(n, 0) AS pass_rate, instead, times / nullif(n, 0) AS instead_share
FROM counts LEFT JOIN favourites USING (id)
"""
_PASSES = f"CREATE TABLE passes AS SELECT '' AS pass, '' AS model, *, 0::DOUBLE AS pass_rate, '' AS instead, 0::DOUBLE AS instead_share FROM ({_COUNTS}) LIMIT 0"

# A member of the panel that never gives the gold, and half of the time or more one and the same other answer.
_DOUBTS = """
CREATE VIEW doubts AS
SELECT l.position, l.id, l.tier, l.pass_rate, l.answer, p.pass, p.instead, p.instead_share, p.n, l.question, l.source, l.source_id
FROM passes p JOIN ladder l USING (id)
WHERE p.model <> (SELECT value FROM build WHERE key = 'model_fingerprint')
    AND p.n > 1 AND p.correct = 0 AND p.instead_share >= 0.5
ORDER BY p.instead_share DESC, l.position
"""

# Items that the model cannot be asked, and never was.
_REFUSED = """
INSERT INTO rejects BY NAME
SELECT source, source_id, 'sampling' AS stage, r.reason, r.detail, r.id AS item_id FROM refused r JOIN items i USING (id)
WHERE r.id NOT IN (SELECT id FROM scores)
"""

_LADDER = """
CREATE TABLE ladder AS
SELECT
    row_number() OVER (ORDER BY p.difficulty, s.complexity, s.id) - 1 AS position,
    s.id, p.tier, p.tier_probability, p.level, s.correct / s.n AS pass_rate, p.p_mean, p.p_low, p.p_high, p.difficulty,
    s.complexity, s.n, s.correct, s.no_answer, s.timeouts, s.truncated,{rates}
    i.question, i.options, i.gold AS answer, i.answer_type, i.source, i.source_id, i.split, i.subject, coalesce(i.flags, []) AS flags, i.images
FROM scores s JOIN posteriors p USING (correct, n) JOIN items i USING (id){passes}
WHERE s.n > 0
ORDER BY position
"""


def build_catalogue(
    store: Store,
    view: View,
    tiers: TierSettings,
    facts: dict[str, str],
    passes: Mapping[str, View] | None = None,
) -> None:
    """Derive the catalogue, scored by `view`, with the other `passes` by name; `facts` become its table `build` (key,
    value)."""
    import duckdb

    part = store.path / f".{store.catalogue.name}.tmp"
    try:
        _forget(part)
        connection = duckdb.connect(str(part))
        try:
            _fill(connection, store, view, tiers, facts, passes or {})
            connection.execute("CHECKPOINT")  # closing would do it too, and not tell that it failed
        finally:
            connection.close()
        part.replace(store.catalogue)
    except (duckdb.OperationalError, duckdb.FatalException, OSError) as error:
        with suppress(OSError):
            _forget(part)
        raise LadderError(f"cannot write {store.catalogue}: {error}") from None


def _forget(part: Path) -> None:
    """Delete an unfinished catalogue, and what DuckDB keeps beside it."""
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.wal").unlink(missing_ok=True)
    shutil.rmtree(part.with_name(f"{part.name}.tmp"), ignore_errors=True)


@contextmanager
def catalogue(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalogue, open for reading; raises BadInput where the build has not come that far."""
    import duckdb

    if not store.catalogue.is_file():
        raise BadInput(
            f"{store.path} has no {store.catalogue.name} yet: finish its build with `ladder build`"
        )
    connection = duckdb.connect(str(store.catalogue), read_only=True)
    try:
        yield connection
    finally:
        connection.close()


def query(store: Store, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one SQL query; raises BadInput with DuckDB's own words for a bad one."""
    import duckdb

    with catalogue(store) as connection:
        try:
            result = connection.execute(sql)
            if result is None:
                raise BadInput("the query is empty")
            return [column[0] for column in result.description or ()], result.fetchall()
        except duckdb.Error as error:
            raise BadInput(f"{error}".split("\n\nLINE")[0]) from None


def facts_of(store: Store) -> dict[str, str]:
    """The `build` table of the catalogue; empty where there is none."""
    if not store.catalogue.is_file():
        return {}
    with catalogue(store) as connection:
        return dict(connection.sql("SELECT key, value FROM build").fetchall())


def _fill(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    view: View,
    tiers: TierSettings,
    facts: dict[str, str],
    passes: Mapping[str, View],
) -> None:
    items = store.load_items()
    digests = [gold_digest(item) for item in items]
    golds = pa.table({"id": [item.id for item in items], "gold_digest": digests}, _GOLDS)
    connection.register("golds", golds)
    parts = parts_sql(store.item_parts(), _EMPTY_ITEM)
    connection.execute(f"CREATE TABLE items AS SELECT * FROM {parts} JOIN golds USING (id)")
    rejects = parts_sql(store.reject_parts(), _EMPTY_REJECT)
    connection.execute(f"CREATE TABLE rejects AS SELECT * FROM {rejects}")
    gold_of = {item.id: digest for item, digest in zip(items, digests, strict=True)}
    create_judged(connection, store, view, gold_of)
    connection.execute(f"CREATE TABLE scores AS {_COUNTS}")
    _refused(connection, store, view)
    _posteriors(connection, tiers)
    connection.execute(_PASSES)
    for name, other in passes.items():
        create_judged(connection, store, other, gold_of)
        connection.execute(_PASS, {"name": name, "model": other.model})
    connection.execute(_ladder(passes))
    runs = log_sql(store.runs.paths(), _EMPTY_RUN)
    connection.execute(f"CREATE TABLE runs AS SELECT * FROM {runs} ORDER BY started, pass")
    connection.execute("CREATE TABLE build (key VARCHAR, value VARCHAR)")
    connection.executemany("INSERT INTO build VALUES (?, ?)", sorted(facts.items()))
    connection.execute(_DOUBTS)
    connection.unregister("golds")


def _ladder(passes: Mapping[str, View]) -> str:
    """SQL of the ladder, with the pass rate of each further pass as a column of its own."""
    rates = "".join(f' "pass {name}".pass_rate AS "{name}_rate",' for name in passes)
    joins = "".join(
        f""" LEFT JOIN (SELECT id, pass_rate FROM passes WHERE pass = '{name}') "pass {name}" ON "pass {name}".id = s.id"""
        for name in passes
    )
    return _LADDER.format(rates=rates, passes=joins)


def _refused(connection: duckdb.DuckDBPyConnection, store: Store, view: View) -> None:
    found = [(i, reason, detail) for i, (reason, detail) in stored_refusals(store, view, None).items()]
    columns = zip(*found, strict=True) if found else ([], [], [])
    names = ("id", "reason", "detail")
    table = pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})
    connection.register("refused", table)
    connection.execute(_REFUSED)
    connection.unregister("refused")


def item_tiers(store: Store, view: View, golds: dict[str, str], settings: TierSettings) -> dict[str, str]:
    """The tier of each scored item of `golds` (digest by id), by id, before there is a catalogue."""
    import duckdb

    with duckdb.connect() as connection:
        create_judged(connection, store, view, golds)
        connection.execute(f"CREATE TABLE scores AS {_COUNTS}")
        _posteriors(connection, settings)
        rows = connection.sql("SELECT id, tier FROM scores JOIN posteriors USING (correct, n)").fetchall()
    return dict(rows)


_GOLDS = pa.schema([("id", pa.string()), ("gold_digest", pa.string())])
_EMPTY_ITEM = (
    "'' AS id, '' AS question, []::VARCHAR[] AS images, []::VARCHAR[] AS options, '' AS gold, '' AS answer_type, "
    "'' AS source, '' AS source_id, '' AS split, '' AS subject, []::VARCHAR[] AS flags, '' AS meta"
)
_EMPTY_RUN = (
    "now()::TIMESTAMP AS started, '' AS pass, '' AS engine, '' AS model, '' AS prompt, '' AS sampling, 0 AS workers, 0 AS sampled, "
    "0 AS tokens, 0 AS truncated, 0 AS refused, 0 AS failed, 0.0::DOUBLE AS seconds, 0.0::DOUBLE AS waiting_share, '' AS counts"
)
_EMPTY_REJECT = (
    "'' AS source, '' AS source_id, 0::BIGINT AS row, '' AS stage, '' AS reason, '' AS detail, '' AS item_id"
)


def _posteriors(connection: duckdb.DuckDBPyConnection, tiers: TierSettings) -> None:
    """Everything that depends on (correct, n) alone, once per distinct pair."""
    counts = {
        (c, n): items
        for c, n, items in connection.execute(
            "SELECT correct, n, count(*) FROM scores WHERE n > 0 GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
    }
    prior = fit_prior(counts)
    rows = [_posterior_row(prior, tiers, c, n) for c, n in counts]
    table = pa.Table.from_pylist(rows, schema=_POSTERIOR_SCHEMA)
    connection.register("posterior_rows", table)
    connection.execute("CREATE TABLE posteriors AS SELECT * FROM posterior_rows")
    connection.unregister("posterior_rows")
    connection.execute("CREATE TABLE priors AS SELECT ?::DOUBLE AS a, ?::DOUBLE AS b", [prior.a, prior.b])


_POSTERIOR_SCHEMA = pa.schema(
    [
        ("correct", pa.int32()),
        ("n", pa.int32()),
        ("tier", pa.string()),
        ("tier_probability", pa.float64()),
        ("level", pa.int32()),
        ("p_mean", pa.float64()),
        ("p_low", pa.float64()),
        ("p_high", pa.float64()),
        ("difficulty", pa.float64()),
    ]
)


def _posterior_row(prior: Beta, tiers: TierSettings, correct: int, n: int) -> dict[str, Any]:
    posterior = prior.posterior(correct, n)
    tier, probability = tier_of(prior, correct, n, tiers)
    low, high = posterior.interval()
    return {
        "correct": correct,
        "n": n,
        "tier": tier,
        "tier_probability": probability,
        "level": level(correct, n),
        "p_mean": posterior.mean,
        "p_low": low,
        "p_high": high,
        "difficulty": 1 - posterior.mean,
    }
