"""What a ladder's logs tell of the cost of sampling: lengths of responses, bytes on disk, tokens per second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ladder.store import Store
from ladder.store.sql import KEYS, View, log_sql, named
from ladder.store.tables import open_part

_LONG = ("text", "token_ids", "logprobs")  # columns that grow with a response


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of so many responses."""

    rollouts: int
    tokens: float


@dataclass(frozen=True)
class Bytes:
    """What rollouts take on disk, with their verdicts: for each one, and for each token besides."""

    per_rollout: float
    per_token: float


@dataclass(frozen=True)
class Speed:
    """Tokens per second over so many runs of the sampling stage."""

    runs: int
    tokens: float


def response_lengths(store: Store, view: View) -> tuple[Lengths, Lengths]:
    """Of the view's rollouts, and of all that the ladder holds."""
    import duckdb

    sql = """SELECT count(*) FILTER (own), coalesce(avg(tokens) FILTER (own), 0), count(*), coalesce(avg(tokens), 0) FROM
        (SELECT tokens, prompt = $prompt AND model = $model AND sampling = $sampling AS own FROM {})"""

    def ask(parts: list[Path]) -> tuple[Lengths, Lengths]:
        rollouts = log_sql(parts, f"{KEYS}, 0 AS tokens")
        with duckdb.connect() as connection:
            values = named(view, "prompt", "model", "sampling")
            own, own_tokens, all_, tokens = connection.execute(sql.format(rollouts), values).fetchall()[0]
        return Lengths(own, float(own_tokens)), Lengths(all_, float(tokens))

    return store.rollouts.read(ask)


def rollout_bytes(store: Store, tokens: float) -> Bytes | None:
    """Of the rollouts that are stored, `tokens` long on average, once their parts are merged; None where none is."""
    rows, long, total = store.rollouts.read(_sizes)
    judged, _, more = store.verdicts.read(_sizes)
    if not rows:
        return None
    per_token = long / (rows * tokens) if tokens else 0.0
    return Bytes((total - long) / rows + (more / judged if judged else 0.0), per_token)


def _sizes(parts: Sequence[Path]) -> tuple[int, int, int]:
    """Rows, bytes of the columns that grow with a response, and bytes in all, of the parts that are compressed: the
    others are small, and soon merged."""
    rows = long = total = 0
    for path in parts:
        with open_part(path) as file:
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        if not columns or columns[0].compression == "UNCOMPRESSED":
            continue
        rows += sum(group.num_rows for group in groups)
        long += sum(c.total_compressed_size for c in columns if c.path_in_schema.split(".")[0] in _LONG)
        total += path.stat().st_size
    return rows, long, total


def measured_speed(store: Store, engine: str, model: str) -> Speed | None:
    """Of earlier runs of this engine with this model; None where there is none that says something."""
    import duckdb

    empty = "'' AS engine, '' AS model, 0 AS tokens, 0.0::DOUBLE AS seconds"

    def ask(parts: list[Path]) -> Speed | None:
        with duckdb.connect() as connection:
            runs, tokens, seconds = connection.execute(
                f"SELECT count(*), sum(tokens), sum(seconds) FROM {log_sql(parts, empty)} "
                "WHERE engine = $engine AND model = $model AND tokens > 0 AND seconds > 0",
                {"engine": engine, "model": model},
            ).fetchall()[0]
        return Speed(runs, float(tokens) / seconds) if runs else None

    return store.runs.read(ask)
