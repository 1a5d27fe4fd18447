"""Scores, order and ladder as set-based SQL: from what `ladder.store.counts` counted to the tables of the catalogue.

What depends on an item's (correct, n) alone is computed once for each pair, in Python, and joined. No row of an item or a
rollout passes through Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ladder.score import Beta, fit_prior, level, pass_at
from ladder.store import Store
from ladder.store.counts import EXACT, create_counts
from ladder.store.sql import View, create_judged, parts_sql
from ladder.tiers import AnyTiers, Tiering

if TYPE_CHECKING:
    import duckdb

# Position is the ladder's order; items without a pass rate have none.
_SCORES = """
CREATE TABLE scores AS
SELECT CASE WHEN c.n > 0 THEN row_number() OVER (ORDER BY c.n = 0, p.difficulty, c.complexity, c.id) - 1 END AS position, c.*
FROM counts c LEFT JOIN posteriors p ON p.correct = c.correct AND p.n = c.n
"""

# What a pass answers most where it does not give the gold, and how often: one and the same other answer is a reason to doubt
# the gold.
_PASS = f"""
INSERT INTO passes BY NAME
WITH counts AS ({EXACT}), answers AS (
    SELECT item_id AS id, extracted, count(*) AS times FROM judged WHERE said = 'wrong' AND extracted <> '' GROUP BY ALL
), favourites AS (SELECT id, arg_max(extracted, (times, extracted)) AS instead, max(times) AS times FROM answers GROUP BY 1)
SELECT $name AS pass, $model AS model, counts.* EXCLUDE (first_n, first_correct), correct / nullif(n, 0) AS pass_rate, instead,
    times / nullif(n, 0) AS instead_share
FROM counts LEFT JOIN favourites USING (id)
"""
_PASSES = """
CREATE TABLE passes AS
SELECT '' AS pass, '' AS model, * EXCLUDE (position, first_n, first_correct), 0::DOUBLE AS pass_rate, '' AS instead, 0::DOUBLE AS instead_share
FROM scores LIMIT 0
"""

# A member of the panel that never gives the gold, and half of the time or more one and the same other answer.
_DOUBTS = """
CREATE VIEW doubts AS
SELECT l.position, l.id, l.tier, l.pass_rate, l.answer, p.pass, p.instead, p.instead_share, p.n, l.question, l.source, l.source_id
FROM passes p JOIN ladder l USING (id)
WHERE p.model <> (SELECT value FROM build WHERE key = 'model_fingerprint')
    AND p.n > 1 AND p.correct = 0 AND p.instead_share >= 0.5
ORDER BY p.instead_share DESC, l.position
"""

_PIXELS = """
CREATE TEMP TABLE sizes AS
SELECT i.id, sum(p.pixels)::BIGINT AS pixels FROM (SELECT id, unnest(images) AS hash FROM items) i
JOIN (SELECT hash, max(width::BIGINT * height) AS pixels FROM {images} GROUP BY hash) p USING (hash) GROUP BY i.id
"""

_LADDER = """
CREATE TABLE ladder AS
SELECT
    s.position, i.id, p.tier, p.tier_probability, p.level, s.correct / s.n AS pass_rate, p.p_mean, p.p_low, p.p_high, p.difficulty,
    s.complexity, s.n, s.correct, s.no_answer, s.timeouts, s.truncated, f.* EXCLUDE (first_correct, first_n),
    CASE WHEN len(i.options) > 1 THEN 1 / len(i.options) ELSE 0.0::DOUBLE END AS guess_floor,
    greatest(0, (s.correct / s.n - guess_floor) / (1 - guess_floor)) AS corrected_rate,
    s.truncated / s.samples AS truncation_rate, s.no_answer / s.n AS no_answer_rate, s.correct_tokens, s.median_tokens,
    length(i.question) AS question_chars, len(i.images) AS image_count, coalesce(z.pixels, 0) AS pixels,{rates}
    i.question, i.options, i.gold AS answer, i.answer_type, i.source, i.source_id, i.split, i.subject, coalesce(i.flags, []) AS flags, i.images
FROM items i JOIN scores s ON s.id = i.id JOIN posteriors p ON p.correct = s.correct AND p.n = s.n
    JOIN firsts f ON f.first_correct = s.first_correct AND f.first_n = s.first_n LEFT JOIN sizes z ON z.id = i.id{passes}
WHERE s.n > 0
ORDER BY s.position
"""

# Bands of equal shares of the items; items of equal difficulty or complexity stay together.
_GRID = """
CREATE VIEW grid AS
WITH cuts AS (SELECT {difficulty} AS difficulties, {complexity} AS complexities FROM ladder), banded AS (
    SELECT 1 + len(list_filter(difficulties, lambda cut: difficulty > cut)) AS difficulty_band,
        1 + len(list_filter(complexities, lambda cut: complexity > cut)) AS complexity_band, ladder.* FROM ladder, cuts
)
SELECT difficulty_band, complexity_band, count(*) AS items, avg(pass_rate) AS pass_rate,
    min(difficulty) AS difficulty_low, max(difficulty) AS difficulty_high,
    min(complexity) AS complexity_low, max(complexity) AS complexity_high
FROM banded GROUP BY ALL ORDER BY ALL
"""


def score_items(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    view: View,
    golds: Mapping[str, str] | str,
    tiers: AnyTiers,
    first: int | None = None,
) -> None:
    """Make the tables `scores`, `posteriors`, `firsts`, `priors` and `tiers`, from the view's rollouts of the items in
    `golds` (see ladder.store.counts); pass@j comes from the samples below `first`."""
    create_counts(connection, store, view, golds, first)
    tiering = _posteriors(connection, tiers)
    _firsts(connection, min(first or view.k, view.k))
    connection.execute(_SCORES)
    connection.execute("DROP TABLE counts")
    rows = [
        {"number": at, "tier": t, "p_from": low, "p_to": high}
        for at, (t, low, high) in enumerate(tiering.bands())
    ]
    _create(connection, "tiers", rows, _TIERS)


def score_passes(
    connection: duckdb.DuckDBPyConnection, store: Store, passes: Mapping[str, View], golds: str
) -> None:
    """Make the table `passes`: counts and rates of each further pass."""
    connection.execute(_PASSES)
    for name, view in passes.items():
        create_judged(connection, store, view, golds)
        connection.execute(_PASS.format(first=view.k), {"name": name, "model": view.model})
        connection.execute("DROP TABLE judged")


def create_ladder(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    view: View,
    passes: Mapping[str, View],
    grid: tuple[int, int],
) -> None:
    """Make the table `ladder` of `items` and their scores, and the views `doubts` and `grid`."""
    images = parts_sql(store.images.paths(), "'' AS hash, 0 AS width, 0 AS height")
    connection.execute(_PIXELS.format(images=images))
    connection.execute(_ladder(view, passes))
    connection.execute("DROP TABLE sizes")
    connection.execute(_DOUBTS)
    bands = {name: _shares(name, many) for name, many in zip(("difficulty", "complexity"), grid, strict=True)}
    connection.execute(_GRID.format(**bands))


def _ladder(view: View, passes: Mapping[str, View]) -> str:
    """SQL of the ladder, with the pass rate of each further pass, and how much higher it is than the ladder's own, as
    columns; and of the passes by other models the mean."""
    rates = "".join(
        f' "pass {name}".pass_rate AS "{name}_rate", "{name}_rate" - s.correct / s.n AS "{name}_gain",'
        for name in passes
    )
    panel = [f'"pass {name}".pass_rate' for name, other in passes.items() if other.model != view.model]
    rates += f" list_avg([{', '.join(panel)}]::DOUBLE[]) AS panel_mean,"
    joins = "".join(
        f""" LEFT JOIN (SELECT id, pass_rate FROM passes WHERE pass = '{name}') "pass {name}" ON "pass {name}".id = i.id"""
        for name in passes
    )
    return _LADDER.format(rates=rates, passes=joins)


def _shares(column: str, bands: int) -> str:
    cuts = ", ".join(str(at / bands) for at in range(1, bands))
    return f"quantile_disc({column}, [{cuts}])" if cuts else "any_value([]::DOUBLE[])"


def _posteriors(connection: duckdb.DuckDBPyConnection, tiers: AnyTiers) -> Tiering:
    """Everything that depends on (correct, n) alone, once per distinct pair."""
    counts = {
        (c, n): items
        for c, n, items in connection.execute(
            "SELECT correct, n, count(*) FROM counts WHERE n > 0 GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
    }
    prior = fit_prior(counts)
    tiering = tiers.tiering(prior, counts)
    _create(connection, "posteriors", [_posterior_row(prior, tiering, c, n) for c, n in counts], _POSTERIORS)
    connection.execute("CREATE TABLE priors AS SELECT ?::DOUBLE AS a, ?::DOUBLE AS b", [prior.a, prior.b])
    return tiering


def _firsts(connection: duckdb.DuckDBPyConnection, first: int) -> None:
    """pass@j for j = 1, 2, 4, ... as far as there are first samples, once per distinct (first_correct, first_n); null
    where too few of them count."""
    js = [2**power for power in range(first.bit_length())]
    pairs = connection.execute(
        "SELECT DISTINCT first_correct, first_n FROM counts WHERE n > 0 ORDER BY ALL"
    ).fetchall()
    rows = [
        {"first_correct": c, "first_n": n} | {f"pass_{j}": pass_at(n, c, j) for j in js if j <= n}
        for c, n in pairs
    ]
    fields = [
        ("first_correct", pa.int32()),
        ("first_n", pa.int32()),
        *((f"pass_{j}", pa.float64()) for j in js),
    ]
    _create(connection, "firsts", rows, pa.schema(fields))


def _create(
    connection: duckdb.DuckDBPyConnection, name: str, rows: list[dict[str, Any]], schema: pa.Schema
) -> None:
    connection.register("given_rows", pa.Table.from_pylist(rows, schema=schema))
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given_rows")
    connection.unregister("given_rows")


_POSTERIORS = pa.schema(
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
_TIERS = pa.schema(
    [("number", pa.int32()), ("tier", pa.string()), ("p_from", pa.float64()), ("p_to", pa.float64())]
)


def _posterior_row(prior: Beta, tiering: Tiering, correct: int, n: int) -> dict[str, Any]:
    posterior = prior.posterior(correct, n)
    tier, probability = tiering.of(correct, n)
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
