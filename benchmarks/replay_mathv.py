"""A ladder of recorded answers: 15 published vision-language models on MATH-Vision, built from what they once said.

    python benchmarks/replay_mathv.py --data DIR [--rows N] [--runs N]

DIR holds `pool_open/mathv` and `rollouts/open/mathv`. Measured are the time of the build, the rank correlation of the
ladder's difficulty with the pool's own `level`, the agreement of our verdicts with the recorded ones, how often the
authors' random baseline is right, and the time and memory that a large file of records takes to start. Writes
benchmarks/results/replay_mathv.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from results import write_result
from scipy.stats import spearmanr
from verifier_agreement import share
from verifier_data import hide_paths

from ladder.engines.replay import recorded_files
from ladder.engines.settings import ReplaySettings
from ladder.store import Store
from ladder.store.catalogue import query

MODELS = ("closed-source/*/*.jsonl", "open-source/*/*.jsonl")
CHANCE = ("Random-Chance.jsonl",)
LIMIT = 60  # seconds that the build may take
ROW_BYTES = 2000
RESAMPLES = 10_000

Figures = dict[str, dict[str, Any]]

_START = """
import sys, time
import numpy
from ladder.engines.replay import ReplayEngine, replay_fingerprint
from ladder.engines.settings import ReplaySettings
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
settings = ReplaySettings(root=sys.argv[1], files=("*.jsonl",))
before, start = peak(), time.perf_counter()
digest = replay_fingerprint(settings)
digested = time.perf_counter()
ReplayEngine(settings, digest)
print(digested - start, time.perf_counter() - digested, peak() - before)
"""


def records_of(data: Path, files: tuple[str, ...]) -> list[Path]:
    """The files of some recorded models, in the order in which they are replayed."""
    return recorded_files(ReplaySettings(root=str(_records(data)), files=files))


def _records(data: Path) -> Path:
    return data / "rollouts" / "open" / "mathv"


def build(data: Path, out: Path) -> tuple[float, float]:
    """Build the ladder of the models, with the random baseline as a pass; returns its seconds, and those of processors."""
    values: dict[str, Any] = {
        "pool.root": str(data / "pool_open" / "mathv"),
        "engine": "replay",
        "replay.name": "15 published models",
        "replay.root": str(_records(data)),
        "replay.files": MODELS,
        "sampling.k": len(records_of(data, MODELS)),
        "passes.chance.replay.files": CHANCE,
        "passes.chance.sampling.k": 1,
    }
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    start, before = time.perf_counter(), _processor_seconds()
    command = [sys.executable, "-m", "ladder.cli", "build", "mathv", "--out", str(out), *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, _processor_seconds() - before


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def build_figures(taken: list[tuple[float, float]]) -> Figures:
    """The builds' seconds; on a busy machine those of its processors say more."""
    seconds, processor = zip(*taken, strict=True)
    middle = statistics.median(seconds)
    return {
        "build": {
            "value": round(middle, 2),
            "unit": "s",
            "against": "limit",
            "against_value": LIMIT,
            "ratio": round(middle / LIMIT, 3),
            "runs": len(taken),
            "all": [round(one, 2) for one in seconds],
            "load": round(os.getloadavg()[1], 1),
        },
        "build: processors": {
            "value": round(statistics.median(processor), 2),
            "unit": "s",
            "runs": len(taken),
        },
    }


def upstream(files: list[Path]) -> dict[tuple[str, int], bool]:
    """The recorded verdicts, by the item's id upstream and the number of the file."""
    found = {}
    for number, path in enumerate(files):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                row = json.loads(line)
                found[row["id"], number] = bool(row["correct"])
    return found


def verdicts(ladder: Path) -> dict[tuple[str, int], bool]:
    """Ours of the ladder's own pass: whether each answer is correct, as `upstream` has it."""
    model = query(Store.open(ladder), "SELECT value FROM build WHERE key = 'model_fingerprint'")[1][0][0]
    with duckdb.connect(str(ladder / "ladder.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            f"""SELECT i.source_id, v."index", v.outcome = 'correct' FROM items i
            JOIN read_parquet('{ladder}/verdicts/verdicts-*.parquet') v ON v.item_id = i.id WHERE v.model = ?""",
            [model],
        ).fetchall()
    return {(name, index): correct for name, index, correct in rows}


def correlation(difficulty: np.ndarray, level: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Spearman's rank correlation of two columns [items], with a bootstrap 95% interval (percentiles, items resampled)."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(level), (RESAMPLES, len(level)))
    found = [spearmanr(difficulty[rows], level[rows]).statistic for rows in drawn]
    low, high = np.percentile(found, [2.5, 97.5])
    value = spearmanr(difficulty, level).statistic
    return {
        "value": round(float(value), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "unit": "rank correlation",
        "items": len(level),
    }


def measure_ladder(data: Path, ladder: Path) -> Figures:
    """What the ladder says, beside what its records and its pool say."""
    rows = query(
        Store.open(ladder),
        "SELECT l.source_id, l.difficulty, (i.meta ->> '$.level')::INTEGER FROM ladder l JOIN items i USING (id) ORDER BY 1",
    )[1]
    names, difficulty, level = (np.array(column) for column in zip(*rows, strict=True))
    said, ours = upstream(records_of(data, MODELS)), verdicts(ladder)
    graded = [
        1 - statistics.mean(correct for (item, _), correct in said.items() if item == name) for name in names
    ]
    theirs = correlation(np.array(graded), level)
    tiers = query(
        Store.open(ladder), "SELECT tier, count(*), avg(pass_rate) FROM ladder GROUP BY 1 ORDER BY 3"
    )[1]
    agreed = sum(ours[key] == correct for key, correct in said.items())
    return {
        "items": {"value": len(rows), "unit": "items"},
        "responses": {"value": len(ours), "unit": "responses", "models": len(records_of(data, MODELS))},
        "difficulty and upstream's level": correlation(difficulty, level)
        | {"against": "difficulty by upstream's verdicts", "against_value": theirs["value"]},
        "difficulty by upstream's verdicts and its level": theirs,
        "verdicts that agree with upstream's": share(agreed, len(said)),
        "pass rate": share(sum(ours.values()), len(ours))
        | {"against": "upstream's verdicts", "against_value": round(statistics.mean(said.values()), 5)},
        "tiers": {"value": len(tiers), "unit": "tiers", "table": {name: n for name, n, _ in tiers}},
    } | measure_chance(data, ladder)


def measure_chance(data: Path, ladder: Path) -> Figures:
    """How often the authors' random baseline is right."""
    said = upstream(records_of(data, CHANCE))
    right, n = query(Store.open(ladder), "SELECT sum(correct), sum(n) FROM passes WHERE pass = 'chance'")[1][
        0
    ]
    figure = share(int(right), int(n))
    return {
        "pass rate of the random baseline": figure
        | {"against": "upstream's verdicts", "against_value": round(statistics.mean(said.values()), 5)}
    }


def measure_start(folder: Path, rows: int) -> Figures:
    """Time and memory that many records take before the first is replayed."""
    filler = "".join(chr(97 + i % 26) if i % 7 else " " for i in range(ROW_BYTES - 60))
    with (folder / "records.jsonl").open("w", encoding="utf-8") as file:
        for i in range(rows):
            file.write(json.dumps({"id": str(i // 10), "response": f"{filler} {i}"}) + "\n")
    told = subprocess.run(
        [sys.executable, "-c", _START, str(folder)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    digest, index, memory = map(float, told.split())
    of = {"rows": rows, "gigabytes": round((folder / "records.jsonl").stat().st_size / 1e9, 2)}
    return {
        "start: digest of the files": {"value": round(digest, 2), "unit": "s"} | of,
        "start: index of the rows": {"value": round(index, 2), "unit": "s"} | of,
        "start: memory": {"value": round(memory, 1), "unit": "MiB"} | of,
    }


def main() -> None:
    """Build, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="directory with pool_open and rollouts/open")
    parser.add_argument("--rows", type=int, default=1_000_000, help="records of the large file")
    parser.add_argument("--runs", type=int, default=3, help="builds that are timed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        taken = [build(asked.data, root / f"ladder-{run}") for run in range(asked.runs)]
        figures = build_figures(taken)
        figures |= measure_ladder(asked.data, root / "ladder-0")
        (root / "large").mkdir()
        figures |= measure_start(root / "large", asked.rows)
    hide_paths(asked.data)
    write_result("replay_mathv", figures)
    for name, figure in figures.items():
        print(f"{name}: {figure['value']} {figure['unit']} {figure.get('interval', '')}")


if __name__ == "__main__":
    main()
