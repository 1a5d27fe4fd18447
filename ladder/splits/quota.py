"""Quotas and budgets: which of the items that a strategy keeps take part, where there are too many of a kind.

A share is one of the training items, whose number depends on what is left out because of shares: the largest split in
which every quota and budget holds is approached from above. Which items stay is a seeded draw, so that a budget takes
items of all levels, and a smaller one takes some of those that a larger one takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladder.config import did_you_mean
from ladder.digest import shuffle_key_sql
from ladder.errors import BadInput
from ladder.splits.settings import Quota, SampleSettings

if TYPE_CHECKING:
    import duckdb


def apply_quotas(connection: duckdb.DuckDBPyConnection, settings: SampleSettings) -> dict[str, int]:
    """Make `kept` smaller by the quotas and, where they are to be spread, the budgets; how many items each leaves out.

    Raises BadInput for a kind that nothing is of, and where shares cannot be met but by nothing.
    """
    spread = settings.take == "spread" and (settings.max_items or settings.max_tokens)
    quotas = {name: caps for name in ("source", "subject", "answer_type") if (caps := _caps(settings, name))}
    if not spread and not quotas:
        return {}
    for name, caps in quotas.items():
        _check_kinds(connection, name, caps)
    _number(connection, settings)
    ((before,),) = connection.execute("SELECT count(*) FROM numbered").fetchall()
    total, left = before, -1
    while left != total:
        total = left if left >= 0 else total
        left = _choose(connection, settings, quotas, total, bool(spread))
    if before and not left:
        raise BadInput(_nothing_fits(connection))
    return _reasons(connection, [*quotas, "budget"])


def tokens_sql(settings: SampleSettings) -> str:
    """An SQL expression of the tokens that a row of the training split is expected to generate: whole ones, so that sums
    do not depend on their order."""
    return f"ceil(complexity * {settings.group})::BIGINT"


def _caps(settings: SampleSettings, name: str) -> dict[str, Quota]:
    return getattr(settings.quota, name)


def _nothing_fits(connection: duckdb.DuckDBPyConnection) -> str:
    budget, least = connection.execute(
        "SELECT count(*) FILTER (why = 'budget'), min(tokens) FROM chosen"
    ).fetchall()[0]
    if budget:
        return f"the budget is less than one item takes (the least: {least:,} tokens)"
    return (
        "quota: no split meets these shares: where every kind has one, they must add up to at least 1, also where there is "
        "but one kind (or name numbers of items)"
    )


def _check_kinds(connection: duckdb.DuckDBPyConnection, name: str, caps: dict[str, Quota]) -> None:
    kinds = f"SELECT DISTINCT coalesce({name}, '-') AS kind FROM trainable ORDER BY kind"
    there = [kind for (kind,) in connection.execute(kinds).fetchall()]
    for kind in caps:
        if kind != "*" and kind not in there:
            raise BadInput(
                f"quota.{name}: no item that may train has the {name} {kind!r}{did_you_mean(kind, there)} "
                f"(there are {len(there):,}, such as {', '.join(map(repr, there[:5]))})"
            )


def _number(connection: duckdb.DuckDBPyConnection, settings: SampleSettings) -> None:
    """Make `numbered` of `kept`: what quotas ask about each item, in the order in which they take them."""
    visits = settings.strategy.visits(settings.seed)
    key = shuffle_key_sql(settings.seed, use="quota")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE numbered AS
        SELECT place, row_number() OVER () AS turn, source, subject, answer_type, visits, tokens
        FROM (SELECT place, {key} AS key, coalesce(source, '-') AS source, coalesce(subject, '-') AS subject,
            coalesce(answer_type, '-') AS answer_type, {visits} AS visits, visits * {tokens_sql(settings)} AS tokens
            FROM kept ORDER BY key, place)"""
    )


def _choose(
    connection: duckdb.DuckDBPyConnection,
    settings: SampleSettings,
    quotas: dict[str, dict[str, Quota]],
    total: int,
    spread: bool,
) -> int:
    """Make `chosen` (place, why) under shares of `total` items: why is null for what takes part. Returns how many do."""
    chosen = "SELECT *, NULL::VARCHAR AS why FROM numbered"
    for name, caps in quotas.items():
        rank = f"row_number() OVER (PARTITION BY {name}, why IS NULL ORDER BY turn)"
        over = f"why IS NULL AND {rank} > {_cap_sql(name, caps, total)}"
        chosen = f"SELECT * REPLACE (CASE WHEN {over} THEN '{name}' ELSE why END AS why) FROM ({chosen})"
    chosen = f"SELECT * REPLACE (CASE WHEN why IS NULL AND ({_spent(settings, spread)}) THEN 'budget' ELSE why END AS why) FROM ({chosen})"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE chosen AS {chosen}")
    ((left,),) = connection.execute("SELECT count(*) FROM chosen WHERE why IS NULL").fetchall()
    return left


def _cap_sql(name: str, caps: dict[str, Quota], total: int) -> str:
    """An SQL expression of how many items of a kind there may be among `total`."""
    numbers = {kind: int(cap * total + 1e-9) if isinstance(cap, float) else cap for kind, cap in caps.items()}
    other = numbers.pop("*", total)
    cases = "".join(
        f"WHEN '{kind.replace(chr(39), chr(39) * 2)}' THEN {cap} " for kind, cap in numbers.items()
    )
    return f"CASE {name} {cases}ELSE {other} END" if cases else str(other)


def _spent(settings: SampleSettings, spread: bool) -> str:
    """An SQL condition: what comes before in its turn, and itself, is more than a budget allows."""
    so_far = "OVER (PARTITION BY why IS NULL ORDER BY turn ROWS UNBOUNDED PRECEDING)"
    budgets = {"visits": settings.max_items, "tokens": settings.max_tokens}
    over = [f"sum({name}) {so_far} > {most}" for name, most in budgets.items() if most is not None]
    return " OR ".join(over) if spread and over else "false"


def _reasons(connection: duckdb.DuckDBPyConnection, names: list[str]) -> dict[str, int]:
    """Narrow `kept`; what was left out by each."""
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW kept AS "
        "SELECT * FROM trainable SEMI JOIN (SELECT place FROM chosen WHERE why IS NULL) USING (place)"
    )
    counts = dict(
        connection.execute("SELECT why, count(*) FROM chosen WHERE why IS NOT NULL GROUP BY 1").fetchall()
    )
    told = {name: "budget" if name == "budget" else f"quota_{name}" for name in names}
    return {told[name]: counts[name] for name in names if name in counts}
