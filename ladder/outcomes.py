"""What training saw of a ladder's items: its runs, and how far the difficulty of each tier has moved in one of them.

Two things make an item look easier or harder without any learning. An item is in a low tier because it was judged wrong
often, part of which was bad luck (regression to the mean): what a run sees is compared with the posterior mean of p at
scoring, never with the observed rate. And a curriculum shows other items late than early: each third of a run is compared
with the scores of the items that were met in it. A fixed probe, measured before and after, remains the sound comparison.

Everything is SQL on a connection of the catalogue. Which tier an item is in after a run is the affair of splits.online.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.errors import BadInput
from ladder.settings import settings_of
from ladder.splits.online import LAST, OUTCOMES, create_online, latest_run
from ladder.splits.settings import OnlineSettings
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.sql import MEMORY, log_sql

if TYPE_CHECKING:
    import duckdb

_RUNS_TOLD = 12

CAVEATS = (
    "a rate is what the run's own samples gave, scored the posterior mean of the same items when the ladder was built: an "
    "observed rate would move to the middle without any learning, for bad luck puts items into low tiers and good luck into "
    "high ones",
    "easier and harder are items whose tier changes once what the run saw is added to their scores; the run has trained on "
    "these items, so whether the model has learnt is told by the probe: ladder eval before and after, then ladder compare",
)


@dataclass(frozen=True)
class Third:
    """The groups of one third of a run's steps: their rate of correct responses, the posterior mean of p of their items at
    scoring, and half of the 95% interval of the difference. None where there is no group, or no two."""

    groups: int
    rate: float | None
    scored: float | None
    margin: float | None

    @property
    def gain(self) -> float | None:
        """How far the rate is above what was scored."""
        return None if self.rate is None or self.scored is None else self.rate - self.scored


@dataclass(frozen=True)
class TierMovement:
    """A tier's items, those that the run has met, and what it saw of them. `silent` is the share of groups all right or
    all wrong; `easier` and `harder` count items that are in another tier with what the run saw of them."""

    tier: str
    items: int
    met: int
    groups: int
    silent: float | None
    first: Third
    last: Third
    easier: int
    harder: int


@dataclass(frozen=True)
class RunOutcomes:
    """What a run wrote: `model` is the fingerprint that it began with, `scored` whether that is the model that the ladder
    was scored with; `correct_first` and `correct_last` are rates in the first and the last third of its steps."""

    run: str
    model: str
    scored: bool
    first_step: int
    last_step: int
    groups: int
    rollouts: int
    items: int
    correct_first: float
    correct_last: float
    silent: float


@dataclass(frozen=True)
class Movement:
    """All runs, and of one of them the tiers from hard to easy, and how many items went from one tier to another.
    `unknown` counts its groups of items that the ladder no longer has."""

    runs: tuple[RunOutcomes, ...]
    run: str
    tiers: tuple[TierMovement, ...]
    moves: dict[str, dict[str, int]]
    unknown: int


def movement(store: Store, run: str | None = None) -> Movement | None:
    """Of a run (by default the one that wrote last; the beginning of its name will do); None where none wrote outcomes.
    Raises BadInput for a run that there is not, and where the ladder is not scored."""
    if not store.outcomes.paths():
        return None
    with catalogue(store) as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        store.outcomes.read(
            lambda paths: connection.execute(
                _SEEN.format(outcomes=log_sql(paths, OUTCOMES, placed=True), last=LAST)
            )
        )
        runs = _runs(connection)
        if not runs:
            return None
        chosen = _chosen(store, run, [each.run for each in runs])
        ((unknown,),) = connection.execute(_UNKNOWN, {"run": chosen}).fetchall()
        moves = _moves(connection, store, chosen) if _met(connection, chosen) else {}
        return Movement(runs, chosen, _tiers(connection, store, chosen, moves), moves, unknown)


# A step that was done again after a kill may be there twice: what was written last counts.
_SEEN = """
CREATE TEMP TABLE seen AS
WITH whole AS (
    SELECT run, item_id AS id, step, unnest(arg_max({{'n': n, 'correct': correct, 'model': model}}, {last}))
    FROM {outcomes} WHERE n > 0 GROUP BY run, item_id, step, coalesce(draw, 0)
), spans AS (SELECT run, min(step) AS first, max(step) - min(step) + 1 AS span FROM whole GROUP BY run)
SELECT run, id, step, n, correct, model, 3 * (step - first) < span AS early, 3 * (step - first + 1) > 2 * span AS late,
    correct = 0 OR correct = n AS silent
FROM whole JOIN spans USING (run)
"""

_RUNS = """
SELECT run, began, first, last, groups, rollouts, items, correct_first, correct_last, silent,
    began = (SELECT value FROM build WHERE key = 'model_fingerprint')
FROM (
    SELECT run, split_part(arg_min(model, step), '@', 1) AS began, min(step) AS first, max(step) AS last, count(*) AS groups,
        sum(n)::BIGINT AS rollouts, sum(correct) FILTER (early) / sum(n) FILTER (early) AS correct_first,
        sum(correct) FILTER (late) / sum(n) FILTER (late) AS correct_last, avg(silent::INT) AS silent
    FROM seen GROUP BY run
) JOIN (SELECT run, count(*) AS items FROM (SELECT DISTINCT run, id FROM seen) GROUP BY run) USING (run) ORDER BY run
"""

_UNKNOWN = "SELECT count(*) FROM seen ANTI JOIN ladder USING (id) WHERE run = $run"

_THIRD = (
    "count(*) FILTER ({0}) AS {0}_groups, avg(rate) FILTER ({0}) AS {0}_rate, avg(p_mean) FILTER ({0}) AS {0}_scored, "
    "1.96 * stddev_samp(rate - p_mean) FILTER ({0}) / sqrt({0}_groups) AS {0}_margin"
)
_TIERS = f"""
SELECT tier, items, coalesce(groups, 0), silent, coalesce(early_groups, 0), early_rate, early_scored, early_margin,
    coalesce(late_groups, 0), late_rate, late_scored, late_margin
FROM (SELECT tier, count(*) AS items FROM ladder GROUP BY tier) LEFT JOIN (
    SELECT tier, count(*) AS groups, avg(silent::INT) AS silent, {_THIRD.format("early")}, {_THIRD.format("late")}
    FROM (
        SELECT tier, p_mean, s.correct / s.n AS rate, silent, early, late FROM seen s JOIN ladder USING (id) WHERE run = $run
    ) GROUP BY tier
) USING (tier)
"""

_MOVES = """
SELECT l.tier, s.tier, count(*) FROM met JOIN ladder l USING (id) JOIN scored s USING (id) GROUP BY 1, 2
"""


def _runs(connection: duckdb.DuckDBPyConnection) -> tuple[RunOutcomes, ...]:
    rows = connection.execute(_RUNS).fetchall()
    return tuple(RunOutcomes(run, model, bool(own), *rest) for run, model, *rest, own in rows)


def _chosen(store: Store, wanted: str | None, runs: list[str]) -> str:
    if wanted is None:
        latest = latest_run(store)  # it may have begun since `seen` was read
        return latest if latest in runs else runs[-1]
    wanted = _id_in(Path(wanted)) or wanted
    found = [run for run in runs if run == wanted] or [
        run for run in runs if wanted and run.startswith(wanted)
    ]
    if len(found) != 1:
        said = "is the beginning of several" if found else "has written no outcomes"
        raise BadInput(f"--run {wanted}: {said}; there are {', '.join(map(repr, runs[:_RUNS_TOLD]))}")
    return found[0]


def _id_in(out: Path) -> str | None:
    """What outcomes call the run in a directory, where it is one."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        return str(json.loads((out / "run.json").read_text(encoding="utf-8"))["id"])
    return None


def _met(connection: duckdb.DuckDBPyConnection, run: str) -> bool:
    sql = "SELECT count(*) FROM (SELECT 1 FROM seen SEMI JOIN ladder USING (id) WHERE run = $run LIMIT 1)"
    return bool(connection.execute(sql, {"run": run}).fetchall()[0][0])


def _moves(connection: duckdb.DuckDBPyConnection, store: Store, run: str) -> dict[str, dict[str, int]]:
    """Items by the tier that they were in and the one that they are in now."""
    create_online(connection, store, OnlineSettings(run=run), settings_of(store.path).tiers)
    moves: dict[str, dict[str, int]] = {}
    for before, after, items in connection.execute(_MOVES).fetchall():
        moves.setdefault(before, {})[after] = items
    return moves


def _tiers(
    connection: duckdb.DuckDBPyConnection, store: Store, run: str, moves: dict[str, dict[str, int]]
) -> tuple[TierMovement, ...]:
    names = settings_of(store.path).tiers.names
    rows = {row[0]: row[1:] for row in connection.execute(_TIERS, {"run": run}).fetchall()}
    return tuple(_tier(name, rows[name], names, moves.get(name, {})) for name in names if name in rows)


def _tier(name: str, row: tuple[Any, ...], names: tuple[str, ...], moved: dict[str, int]) -> TierMovement:
    items, groups, silent, *thirds = row
    first, last = Third(*thirds[:4]), Third(*thirds[4:])
    above = names[names.index(name) + 1 :]
    met, stayed = sum(moved.values()), moved.get(name, 0)
    easier = sum(moved.get(to, 0) for to in above)
    return TierMovement(name, items, met, groups, silent, first, last, easier, met - stayed - easier)


# --- in words ------------------------------------------------------------------------------------------------------


TIER_HEADS = (
    "tier", "items", "met", "first third", "scored", "last third", "scored", "gain", "without signal", "easier", "harder",
)  # fmt: skip


def notes(found: Movement) -> list[str]:
    """What is odd about a run."""
    chosen = next(each for each in found.runs if each.run == found.run)
    said = []
    if not chosen.scored:
        said.append(
            "the run began with another model than the ladder was scored with, so that what was scored is another's rate"
        )
    if found.unknown:
        said.append(f"{found.unknown:,} groups are of items that the ladder no longer has")
    return said


def tier_row(tier: TierMovement) -> list[str]:
    """The cells of a tier's row."""
    ends = [cell for third in (tier.first, tier.last) for cell in (shown(third.rate), shown(third.scored))]
    counts = [f"{tier.items:,}", f"{tier.met:,}"]
    return [
        tier.tier, *counts, *ends, _gain(tier.last), shown(tier.silent), f"{tier.easier:,}", f"{tier.harder:,}",
    ]  # fmt: skip


def shown(value: float | None) -> str:
    """A rate in text."""
    return "-" if value is None else f"{value:.3f}"


def _gain(third: Third) -> str:
    margin = "" if third.margin is None else f" ±{third.margin:.3f}"
    return "-" if third.gain is None else f"{third.gain:+.3f}{margin}"
