"""Difficulties as training has seen them: the ladder's posterior, updated by the outcomes that a run wrote back.

Every group of an item is new evidence of a policy that has moved since the one before, so what was known is discounted
by `memory` when a group arrives (the discounted Beta-Bernoulli model of Raj and Kalyani 2017, arXiv
1707.09727). With (c, n) the ladder's own counts of an item
and (c_g, n_g) those of its groups, from old to new,

    (c, n) <- memory * (c, n) + (c_g, n_g)

and the posterior of its pass rate is the ladder's prior after (c, n): a memory of 1 is the full Bayesian update of the
offline posterior, one of 0 the last group alone. The complexity is discounted likewise, weighted by n. Tier, level, pass
rate and order follow from these; items that the run has not met keep their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ladder.errors import BadInput
from ladder.score import Beta, level
from ladder.splits.settings import OnlineSettings
from ladder.store import Store
from ladder.store.sql import log_sql
from ladder.store.tables import read_part
from ladder.tiers import AnyTiers

if TYPE_CHECKING:
    import duckdb

#: The columns of outcomes, for `log_sql`.
OUTCOMES = "'' AS run, 0::BIGINT AS step, '' AS item_id, '' AS model, 0 AS n, 0 AS correct, 0::FLOAT AS mean_tokens, 0 AS draw"

#: Where a row stands among those written: parts are named in the order in which they were.
LAST = "(filename, file_row_number)"

# A step that was done again after a kill may be there twice, off the CPU with other counts: what was written last is what the
# policy that went on has seen. Older outcomes do not tell a step's draws of an item apart.
_GROUPS = """
CREATE OR REPLACE TEMP TABLE met AS
SELECT id, list({{'n': n, 'c': correct, 't': n * tokens}} ORDER BY step, turn) AS groups FROM (
    SELECT item_id AS id, step, coalesce(draw, 0) AS turn, unnest(arg_max({{'n': n, 'correct': correct, 'tokens': mean_tokens::DOUBLE}}, {last}))
    FROM {outcomes} WHERE run = $run AND n > 0 GROUP BY item_id, step, coalesce(draw, 0)
) GROUP BY id
"""

_UPDATED = """
CREATE OR REPLACE TEMP TABLE updated AS
SELECT id, s.n AS n, s.c AS correct, s.t / s.n AS complexity FROM (
    SELECT id, list_reduce(
        list_prepend({'n': l.n::DOUBLE, 'c': l.correct::DOUBLE, 't': l.n * l.complexity}, list_transform(groups,
            lambda g: {'n': g.n::DOUBLE, 'c': g.c::DOUBLE, 't': g.t})),
        lambda known, g: {'n': $memory * known.n + g.n, 'c': $memory * known.c + g.c, 't': $memory * known.t + g.t}
    ) AS s FROM met JOIN ladder l USING (id)
)
"""

_SCORED = """
CREATE OR REPLACE TEMP TABLE scored AS
SELECT row_number() OVER (ORDER BY difficulty, complexity, id) - 1 AS place, * FROM (
    SELECT l.id, coalesce(t.tier, l.tier) AS tier, coalesce(t.level, l.level) AS level,
        coalesce(u.correct / u.n, l.pass_rate) AS pass_rate, coalesce(t.difficulty, l.difficulty) AS difficulty,
        coalesce(u.complexity, l.complexity) AS complexity, l.source, l.subject, l.answer_type
    FROM ladder l LEFT JOIN updated u USING (id) LEFT JOIN tiers_met t ON t.n = u.n AND t.correct = u.correct
)
"""


def create_online(
    connection: duckdb.DuckDBPyConnection, store: Store, settings: OnlineSettings, tiers: AnyTiers
) -> dict[str, Any]:
    """Make `scored`, the ladder's items with their difficulties as a run has left them. Returns {run, groups, items}; raises
    BadInput where no run has written outcomes, or not the one that is named."""
    run = settings.run or latest_run(store)

    def read(paths: list[Any]) -> None:
        connection.execute(
            _GROUPS.format(outcomes=log_sql(paths, OUTCOMES, placed=True), last=LAST), {"run": run}
        )

    store.outcomes.read(read)
    ((items, groups),) = connection.execute(
        "SELECT count(*), coalesce(sum(len(groups)), 0) FROM met SEMI JOIN ladder USING (id)"
    ).fetchall()
    if not items:
        raise BadInput(
            f"online.run: {store.path} has no outcomes of a run {run!r} on items that it still has; "
            f'`ladder sql {store.path} "SELECT DISTINCT run FROM outcomes"` names those that there are'
        )
    connection.execute(_UPDATED, {"memory": settings.memory})
    _tiers(connection, tiers)
    connection.execute(_SCORED)
    return {"run": run, "groups": int(groups), "items": items}


def latest_run(store: Store) -> str:
    """The run whose outcomes are the last of the last part; raises BadInput where there are none."""
    paths = store.outcomes.paths()
    if not paths:
        raise BadInput(
            f"{store.path} has no outcomes of training yet, so its difficulties are the offline ones: train on a split of it "
            "first (`ladder train`), or leave out --difficulty online"
        )
    runs = store.outcomes.read(lambda found: read_part(found[-1], pa.schema([("run", pa.string())])))
    return str(pc.last(runs["run"]).as_py())


def _tiers(connection: duckdb.DuckDBPyConnection, tiers: AnyTiers) -> None:
    """Make `tiers_met`: what follows from the counts, once for each distinct pair. Tiers that are shares of the pool keep
    the cuts of p that they had."""
    prior = Beta(*connection.execute("SELECT a, b FROM priors").fetchall()[0])
    offline = connection.execute("SELECT correct, n, count(*) FROM ladder GROUP BY 1, 2").fetchall()
    tiering = tiers.tiering(prior, {(correct, n): items for correct, n, items in offline})
    pairs = connection.execute("SELECT DISTINCT correct, n FROM updated ORDER BY 1, 2").fetchall()
    rows = [
        {
            "correct": correct,
            "n": n,
            "tier": tiering.of(correct, n)[0],
            "level": level(correct, n),
            "difficulty": 1 - prior.posterior(correct, n).mean,
        }
        for correct, n in pairs
    ]
    connection.register("tiers_rows", pa.Table.from_pylist(rows))
    connection.execute("CREATE OR REPLACE TEMP TABLE tiers_met AS SELECT * FROM tiers_rows")
    connection.unregister("tiers_rows")
