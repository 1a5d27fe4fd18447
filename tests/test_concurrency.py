"""A build, a training run's outcomes, queries and reports at one time, in processes of their own: no error, nothing torn."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from helpers import ROOT, K, digits_overrides, ladder_command, part_rows, rows_of, run_ladder

import ladder as ladder_package
from ladder.store import Store

# Each ends when its standard input does, and then tells how often it did its work.
_LOOP = """
import json, sys, threading, time
from pathlib import Path
path = Path(sys.argv[1])
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
def repeat(work):
    times = 0
    while times == 0 or not ended.is_set():
        work(times)
        times += 1
        if times == 1:
            print("works", flush=True)
        time.sleep(0.3)
    print(times, flush=True)
"""

# What the trainer does at the end of each step.
TRAINS = f"""{_LOOP}
import pyarrow as pa
from ladder.store import Store
store = Store.open(path)
def step(times):
    rows = [{{"run": "r", "step": times, "item_id": f"i{{i}}", "model": "m", "n": 8, "correct": 3, "mean_tokens": 1.0}} for i in range(4)]
    store.outcomes.append_table(pa.Table.from_pylist(rows, schema=store.outcomes.schema))
repeat(step)
"""

# A whole catalogue has k samples of every item, for the k that it says; rollouts are at least those that it counts.
ASKS = f"""{_LOOP}
import ladder
seen = set()
def ask(times):
    lad = ladder.open(path)
    ((k, items, samples, positions),) = lad.sql(
        "SELECT (SELECT value FROM build WHERE key = 'k')::INT, count(*), sum(n), max(position) + 1 FROM ladder"
    ).rows
    assert items == positions and samples == k * items, (k, items, samples, positions)
    ((counted, without, copies),) = lad.sql(
        "SELECT count(*), count(*) FILTER (outcome IS NULL), count(*) - count(DISTINCT (item_id, index)) FROM rollouts"
    ).rows
    assert counted >= samples and copies == 0, (counted, samples, copies)
    groups = lad.sql("SELECT run, step, count(*) FROM outcomes GROUP BY ALL").rows
    assert all(count == 4 for _, _, count in groups), groups
    assert len(lad.items) == items and len(lad.verdicts) >= samples
    seen.add(k)
repeat(ask)
print(json.dumps(sorted(seen)))
"""

READS_SQL = f"""{_LOOP}
import io
from contextlib import redirect_stdout
from ladder.cli import main
def ask(times):
    sys.argv = ["ladder", "sql", str(path), "SELECT count(*) AS items, sum(n) % count(*) AS rest FROM ladder", "--json"]
    out = io.StringIO()
    with redirect_stdout(out):
        main()
    assert json.loads(out.getvalue()) == [{{"items": 55, "rest": 0}}], out.getvalue()
repeat(ask)
"""

REPORTS = f"""{_LOOP}
from ladder.report import write_report
from ladder.settings import settings_of
from ladder.store import Store
store = Store.open(path)
def write(times):
    write_report(store, settings_of(path))
    assert (path / "report.html").read_text().rstrip().endswith("</html>")
repeat(write)
"""


class Beside:
    """A script that repeats its work beside something else."""

    def __init__(self, script: str, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=path.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def works(self) -> bool:
        """Wait until the work was done once."""
        assert self._process.stdout is not None
        return self._process.stdout.readline() == "works\n"

    def end(self) -> list[str]:
        """What it printed last; fails with its traceback where it failed."""
        out, err = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, err[-3000:]
        return out.split("\n")

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def beside(path: Path, *scripts: str) -> Iterator[list[Beside]]:
    running = [Beside(script, path) for script in scripts]
    try:
        for each in running:
            if not each.works():
                each.end()
        yield running
    finally:
        for each in running:
            each.kill()


def test_a_build_training_queries_and_reports_work_on_one_ladder_at_once(
    ladder: Path, digits_pool: Path
) -> None:
    """The build samples twice as much, merges parts, and replaces catalogue, tiers, card and report; the second derives from fewer samples."""
    with beside(ladder, TRAINS, ASKS, READS_SQL, REPORTS) as running:
        for k in (2 * K, K + 1):
            command = ladder_command("build", "digits", "--out", str(ladder))
            settings = [f"--set={each}" for each in digits_overrides(digits_pool, sampling__k=k)]
            done = subprocess.run(
                [*command, *settings], capture_output=True, text=True, timeout=200, check=False
            )
            assert done.returncode == 0, done.stderr
        said = [each.end() for each in running]
    steps, asked = int(said[0][0]), json.loads(said[1][1])
    assert len(asked) > 1, "readers saw several catalogues"
    with duckdb.connect() as connection:
        found = connection.sql(
            f"SELECT count(*), count(DISTINCT step) FROM read_parquet('{ladder}/outcomes/*.parquet')"
        )
        assert found.fetchall() == [(4 * steps, steps)]
    keys = part_rows(ladder, "rollouts", 'item_id, "index"')
    assert len(keys) == len(set(keys)) == 2 * K * 55


def test_a_reader_keeps_the_catalogue_that_it_opened(ladder: Path, digits_pool: Path) -> None:
    query = "SELECT id, n, p_mean FROM ladder ORDER BY position"
    before = rows_of(ladder, query)
    with duckdb.connect(str(ladder / "ladder.duckdb"), read_only=True) as reader:
        first = reader.execute(query).fetchmany(5)
        run = run_ladder(
            "build", "digits", "--out", str(ladder),
            *(f"--set={each}" for each in digits_overrides(digits_pool, sampling__k=K + 1)),
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert reader.execute(query).fetchall() == before
        assert first == before[:5]
    assert {n for _, n, _ in rows_of(ladder, query)} == {K + 1}


def test_a_query_that_began_before_parts_were_merged_is_answered(
    ladder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(ladder)
    rows = store.rollouts.table().to_pylist()
    for path in store.rollouts.paths():
        path.unlink()
    for row in rows:
        store.rollouts.append([row])
    expected = ladder_package.open(ladder).rollouts.read().rows
    opened = ladder_package.open(ladder)
    log = opened._store.rollouts
    listed = log.paths
    seen: list[list[Path]] = []

    def merged_once_listed() -> list[Path]:
        seen.append(listed())
        if len(seen) == 1:
            assert store.compact() > 0
            assert not any(path.exists() for path in seen[0])
        return seen[-1]

    monkeypatch.setattr(log, "paths", merged_once_listed)
    assert opened.rollouts.read().rows == expected
    assert len(seen) > 1


DERIVES = """
import sys
from pathlib import Path
import duckdb
from ladder.derive import derive, derived_views
from ladder.settings import settings_of
from ladder.store import Store
store = Store.open(Path(sys.argv[1]))
settings = settings_of(store.path)
views = derived_views(store, settings)
connect = duckdb.connect
def limited(*arguments, **more):
    connection = connect(*arguments, **more)
    connection.execute(f"SET threads = {sys.argv[2]}")
    return connection
duckdb.connect = limited
store.catalogue.unlink()
assert derive(settings, store, views, store.import_manifest())
"""


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_deleted_and_derived_again_the_catalogue_is_equal_table_by_table(
    ladder: Path, built: Path, threads: int
) -> None:
    subprocess.run([sys.executable, "-c", DERIVES, str(ladder), str(threads)], check=True)
    tables = [name for (name,) in rows_of(built, "SHOW TABLES")]
    assert {"ladder", "items", "rejects", "scores", "posteriors", "priors", "passes", "runs", "build"} <= set(
        tables
    )
    for table in tables:
        order = "" if table == "ladder" else " ORDER BY ALL"
        assert rows_of(ladder, f"FROM {table}{order}") == rows_of(built, f"FROM {table}{order}"), table
    mine, original = (
        {file.relative_to(path): file.read_bytes() for file in (path / "tiers").rglob("*.parquet")}
        for path in (ladder, built)
    )
    assert mine == original
