"""Scoring at scale: rollouts and verdicts of millions of items to scores, intervals, tiers, order and neighbour mixing.

    python benchmarks/score_scale.py 1048576 10485760 --pandas 1048576 --data DIR

For each size a ladder's logs are made by DuckDB (eight samples an item, as a build leaves them; not timed), and each job
then runs in a process of its own on two threads: `score` (what the catalogue is derived by, without the items' texts, then
the order of `neuraladder`), `scattered` (the same where an item's samples lie far apart, as after raising k again and
again), `catalogue` (all of `ladder.duckdb`, texts and all), and for the sizes after --pandas the same as `score` in pandas.
Memory is the peak resident set of the process. DIR needs about 300 bytes for each rollout. Writes
benchmarks/results/score_scale.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results import write_result

from ladder.score import fit_prior
from ladder.store import Store
from ladder.store.catalogue import build_catalogue
from ladder.store.scoring import score_items
from ladder.store.sql import View, bounded, parts_sql
from ladder.strategies.base import create_kept, create_placed
from ladder.strategies.neuraladder import NeuraLadder
from ladder.tiers import TierSettings

if TYPE_CHECKING:
    import duckdb

K = 8
VIEW = View(prompt="p" * 16, model="m" * 16, sampling="s" * 16, verifier="v" * 16, k=K)
THREADS = 2
BOUND_SECONDS, BOUND_GIB, BOUND_GROWTH = 60, 2.0, 11.0
_PART = 1 << 20  # items of a part
_NEAR = 512  # items whose samples end in any order
_KEY = f"""'{VIEW.prompt}' AS prompt, '{VIEW.model}' AS model, '{VIEW.sampling}' AS sampling, j::INTEGER AS "index" """

# p is u^2 for uniform u; responses to what is hard are longer.
_ITEMS = """
CREATE OR REPLACE TEMP TABLE made AS
SELECT i, left(md5('item' || i), 24) AS id, left(md5('gold' || i), 16) AS gold, ((hash(i) >> 11) / 2.0 ** 53) AS u FROM range({start}, {stop}) t(i)
"""
_ITEM_PART = """
SELECT id, '<image>What is the value of measurement ' || i || ' in the figure, in centimetres?' AS question, [left(md5('image' || i % 100000), 32)] AS images,
    []::VARCHAR[] AS options, (i % 97)::VARCHAR AS gold, 'integer' AS answer_type, 'source' || i % 7 AS source, i::VARCHAR AS source_id,
    NULL::VARCHAR AS split, 'subject' || i % 23 AS subject, NULL::VARCHAR AS tolerance, NULL::VARCHAR AS unit, []::VARCHAR[] AS flags,
    '{}' AS meta, gold AS gold_digest FROM made ORDER BY i
"""
_ROLLOUT_PART = f"""
SELECT id AS item_id, {_KEY}, CASE WHEN hash(i, j, 1) % 50 = 0 THEN 'length' ELSE 'stop' END AS finish_reason,
    (60 + 400 * (1 - u) + hash(i, j, 2) % 200)::INTEGER AS tokens, (hash(i, j, 3) >> 1)::BIGINT AS response
FROM ({{rows}}) JOIN made USING (i)
"""
_VERDICT_PART = f"""
SELECT id AS item_id, {_KEY}, gold, '{VIEW.verifier}' AS verifier,
    CASE WHEN (hash(i, j) >> 11) / 2.0 ** 53 < u * u THEN 'correct' WHEN hash(i, j, 4) % 40 = 0 THEN 'no_answer' ELSE 'wrong' END AS outcome,
    (hash(i, j) % 97)::VARCHAR AS extracted, 'integer' AS reason, (hash(i, j, 3) >> 1)::BIGINT AS response
FROM ({{rows}}) JOIN made USING (i)
"""


def make_logs(folder: Path, items: int, scattered: bool) -> None:
    """Write the logs of a ladder of so many items, a multiple of 512."""
    import duckdb

    store = Store.create(folder)
    names = []
    with duckdb.connect(config={"threads": THREADS, "preserve_insertion_order": False}) as connection:
        for number, start in enumerate(range(0, items, _PART)):
            stop = min(items, start + _PART)
            connection.execute(_ITEMS.format(start=start, stop=stop))
            names.append(f"items-{number:06d}.parquet")
            _copy(connection, _ITEM_PART, store.items.folder / names[-1])
            for log, sql, step in (
                (store.rollouts, _ROLLOUT_PART, 2653),
                (store.verdicts, _VERDICT_PART, 1597),
            ):
                rows = _rows(start, stop - start, step, scattered)
                _copy(connection, sql.format(rows=rows), log.folder / f"{log.prefix}-{number:06d}.parquet")
    store.finish_import({"items": names, "rejects": []})


def _rows(start: int, items: int, step: int, scattered: bool) -> str:
    """SQL of (item, sample) in the order of a log: of some hundred items in any order, or one sample of each at a time."""
    if scattered:
        return f"SELECT {start} + r % {items} AS i, r // {items} AS j FROM range({items * K}) t(r)"
    place = f"(r % {_NEAR * K} * {step} % {_NEAR * K})"
    return f"SELECT {start} + r // {_NEAR * K} * {_NEAR} + {place} // {K} AS i, {place} % {K} AS j FROM range({items * K}) t(r)"


def _copy(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 4096)")


class Clock:
    """Seconds of each stage, wall and CPU."""

    def __init__(self) -> None:
        self.stages: dict[str, tuple[float, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a stage."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.stages[name] = (time.perf_counter() - wall, time.process_time() - cpu)


def score(folder: Path, clock: Clock) -> None:
    """Scores, posteriors, tiers and order by the catalogue's own code, and the order of `neuraladder`."""
    import duckdb

    store = Store.open(folder)
    parts = parts_sql(store.item_parts(), "")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        config = bounded(Path(place) / "spill") | {"threads": THREADS}
        with duckdb.connect(str(Path(place) / "scores.duckdb"), config=config) as connection:
            with clock("score, interval, tier, order"):
                connection.execute(f"CREATE TEMP TABLE golds AS SELECT id, gold_digest AS gold FROM {parts}")
                score_items(connection, store, VIEW, "golds", TierSettings())
            with clock("mixing"):
                _mix(connection)


def _mix(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        """CREATE TEMP VIEW trainable AS
        SELECT s.position AS place, s.id, p.tier, p.level, s.correct / s.n AS pass_rate, p.difficulty, s.complexity,
            NULL::VARCHAR AS source, NULL::VARCHAR AS subject, NULL::VARCHAR AS answer_type
        FROM scores s JOIN posteriors p ON p.correct = s.correct AND p.n = s.n"""
    )
    strategy = NeuraLadder()
    left_out = create_kept(connection, strategy)
    create_placed(connection, strategy, seed=0)
    counted = connection.sql(
        "SELECT (SELECT count(*) FROM placed), (SELECT count(*) FROM scores)"
    ).fetchall()[0]
    assert counted[0] + sum(left_out.values()) == counted[1] > 0


def catalogue(folder: Path, clock: Clock) -> None:
    """All of the catalogue, written to disk."""
    store = Store.open(folder)
    with clock("catalogue"):
        build_catalogue(store, VIEW, TierSettings(), {"name": "made"})
    store.catalogue.unlink()


def in_pandas(folder: Path, clock: Clock) -> None:
    """The job of `score` as one would write it in pandas."""
    import numpy as np
    import pandas as pd
    from scipy.special import betaincinv

    with clock("pandas"):
        key = ["item_id", "index"]
        rollouts = pd.read_parquet(
            folder / "rollouts", columns=[*key, "tokens", "finish_reason"]
        ).drop_duplicates(key)
        verdicts = pd.read_parquet(folder / "verdicts", columns=[*key, "outcome"]).drop_duplicates(key)
        judged = rollouts.merge(verdicts, on=key)
        judged["correct"] = (judged.outcome == "correct") & (judged.finish_reason != "length")
        scores = judged.groupby("item_id").agg(
            n=("index", "size"), correct=("correct", "sum"), complexity=("tokens", "mean")
        )
        counts: dict[Any, int] = scores.groupby(["correct", "n"]).size().to_dict()
        prior = fit_prior(counts)
        a, b = prior.a + scores.correct, prior.b + scores.n - scores.correct
        scores["difficulty"] = 1 - a / (a + b)
        scores["p_low"], scores["p_high"] = betaincinv(a, b, 0.025), betaincinv(a, b, 0.975)
        scores["tier"] = np.digitize(a / (a + b), TierSettings().cuts)
        scores = scores.sort_values(["difficulty", "complexity", "item_id"])
        rng = np.random.default_rng(0)
        slot = np.clip(np.rint(8 - 8 * scores.correct / scores.n) + rng.integers(-2, 3, len(scores)), 0, 8)
        placed = scores.assign(slot=slot, key=rng.random(len(scores))).sort_values(["slot", "key"])
        assert len(placed) == len(scores)


_JOBS: dict[str, Callable[[Path, Clock], None]] = {
    "score": score,
    "catalogue": catalogue,
    "pandas": in_pandas,
}


def measured(job: str, folder: Path) -> dict[str, Any]:
    """A job in a process of its own: seconds of its stages, and its peak memory in GiB."""
    command = [sys.executable, __file__, "--run", job, "--data", str(folder)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(f"{folder.name} {job}: {out.strip()}", file=sys.stderr, flush=True)
    result: dict[str, Any] = json.loads(out)
    return result


def _run(job: str, folder: Path) -> None:
    clock = Clock()
    _JOBS[job](folder, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"stages": clock.stages, "gib": peak}))


def _figures(told: str, result: dict[str, Any], bound: bool) -> dict[str, dict[str, Any]]:
    stages = result["stages"]
    wall, cpu = (sum(stage[at] for stage in stages.values()) for at in (0, 1))
    limits = [
        {"against": "the bound", "against_value": b, "ratio": round(v / b, 3)}
        for v, b in ((wall, BOUND_SECONDS), (result["gib"], BOUND_GIB))
    ]
    seconds, memory = limits if bound else ({}, {})
    figures = {
        f"{told}: seconds": {"value": round(wall, 2), "unit": "s"} | seconds,
        f"{told}: CPU seconds": {"value": round(cpu, 2), "unit": "s"},
        f"{told}: peak memory": {"value": round(result["gib"], 3), "unit": "GiB"} | memory,
    }
    if len(stages) > 1:
        figures |= {f"{told}: {name}": {"value": round(s[0], 2), "unit": "s"} for name, s in stages.items()}
    return figures


def _growth(sizes: list[int], seconds: dict[int, float]) -> dict[str, dict[str, Any]]:
    if len(sizes) < 2:
        return {}
    growth, bound = seconds[sizes[-1]] / seconds[sizes[0]], BOUND_GROWTH * sizes[-1] / sizes[0] / 10
    name = f"{sizes[0]:,} to {sizes[-1]:,} items: score takes so many times as long"
    told = {"against": "the bound", "against_value": round(bound, 2), "ratio": round(growth / bound, 3)}
    return {name: {"value": round(growth, 2), "unit": "times"} | told}


def main() -> None:
    """Measure and write the result; `--run` is one job, for the processes that are measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sizes", type=int, nargs="*", default=[1 << 20])
    parser.add_argument("--pandas", type=int, nargs="*", default=[])
    parser.add_argument("--scattered", type=int, nargs="*", default=[])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--run", choices=[*_JOBS])
    told = parser.parse_args()
    if told.run:
        _run(told.run, told.data)
        return
    figures: dict[str, dict[str, Any]] = {}
    seconds: dict[int, float] = {}
    for size in told.sizes:
        with _made(told.data, size, False) as folder:
            result = measured("score", folder)
            seconds[size] = sum(stage[0] for stage in result["stages"].values())
            figures |= _figures(f"{size:,} items", result, bound=size >= 10**7)
            figures |= _figures(
                f"{size:,} items, whole catalogue", measured("catalogue", folder), bound=False
            )
            if size in told.pandas:
                figures |= _figures(f"{size:,} items, pandas", measured("pandas", folder), bound=False)
        if size in told.scattered:
            with _made(told.data, size, True) as folder:
                figures |= _figures(f"{size:,} items, scattered", measured("score", folder), bound=False)
    write_result("score_scale", figures | _growth(told.sizes, seconds))


@contextmanager
def _made(data: Path, items: int, scattered: bool) -> Iterator[Path]:
    """The logs of so many items, made anew and deleted afterwards."""
    with tempfile.TemporaryDirectory(
        prefix=f"{items}-{'scattered' if scattered else 'near'}-", dir=data
    ) as folder:
        make_logs(Path(folder) / "ladder", items, scattered)
        yield Path(folder) / "ladder"


if __name__ == "__main__":
    main()
