"""`ladder diff` at scale: two ladders of a million items and eight verdicts each.

    python benchmarks/diff_scale.py 131072 1048576 --data DIR

The logs of the first are made by DuckDB, those of the second are these with one verdict of fifty changed, one gold of a
hundred corrected and other tier cuts (none of it timed). The comparison runs in a process of its own; memory is its peak
resident set. DIR needs about 500 bytes for each rollout. Writes benchmarks/results/diff_scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from results import write_result
from score_scale import VIEW, make_logs

from ladder.diff import diff
from ladder.store import MARKER, Store
from ladder.store.catalogue import build_catalogue
from ladder.tiers import TierSettings

BOUND_SECONDS, BOUND_GIB = 60, 2.5
_ITEMS = """
SELECT * REPLACE (CASE WHEN hash(id) % 100 = 0 THEN 'corrected' ELSE gold_digest END AS gold_digest) FROM read_parquet('{part}')
"""
_VERDICTS = """
SELECT * REPLACE (
    CASE WHEN hash(item_id) % 100 = 0 THEN 'corrected' ELSE gold END AS gold,
    CASE WHEN hash(item_id, "index") % 50 = 0 THEN 'wrong' ELSE outcome END AS outcome
) FROM read_parquet('{part}')
"""


def make_pair(folder: Path, items: int) -> tuple[Path, Path]:
    """Two ladders of so many items with their catalogues."""
    import duckdb

    first, second = folder / "first", folder / "second"
    make_logs(first, items, scattered=False)
    store = Store.create(second)
    with duckdb.connect() as connection:
        for part in first.glob("*/*.parquet"):
            place = second / part.relative_to(first)
            place.parent.mkdir(exist_ok=True)
            sql = {"items": _ITEMS, "verdicts": _VERDICTS}.get(part.parent.name)
            if sql is None:
                os.link(part, place)
            else:
                connection.execute(f"COPY ({sql.format(part=part)}) TO '{place}' (FORMAT parquet)")
    names = sorted(path.name for path in (second / "items").glob("*.parquet"))
    store.finish_import({"items": names, "rejects": []})
    views = {"main": {name: value for name, value in asdict(VIEW).items() if name != "verifier"}}
    facts = {"views": json.dumps(views), "verifier": VIEW.verifier, "state": "made"}
    for path, tiers in ((first, TierSettings()), (second, TierSettings(cuts=(0.1, 0.3, 0.7, 0.9)))):
        build_catalogue(Store.open(path), VIEW, tiers, facts)
        (path / MARKER).write_text((path / MARKER).read_text() + "[build]\nname = 'made'\n")
    return first, second


def measured(first: Path, second: Path) -> dict[str, Any]:
    """The comparison in a process of its own."""
    command = [sys.executable, __file__, "--run", str(first), str(second)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(out.strip(), file=sys.stderr, flush=True)
    result: dict[str, Any] = json.loads(out)
    return result


def _run(first: Path, second: Path) -> None:
    start = time.perf_counter()
    found, _ = diff(first, second)
    told = {"seconds": time.perf_counter() - start}
    told |= {"gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    told |= {
        "golds": found["golds"]["count"],
        "moved": found["moved"],
        "changed": found["verdicts"]["changed"],
    }
    print(json.dumps(told | {"compared": found["verdicts"]["compared"]}))


def main() -> None:
    """Measure and write the result; `--run` is the comparison that is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sizes", type=int, nargs="*", default=[1 << 20])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--run", type=Path, nargs=2)
    told = parser.parse_args()
    if told.run:
        _run(*told.run)
        return
    figures: dict[str, dict[str, Any]] = {}
    for size in told.sizes:
        with tempfile.TemporaryDirectory(prefix=f"diff-{size}-", dir=told.data) as folder:
            result = measured(*make_pair(Path(folder), size))
        assert result["compared"] == 8 * size
        for name, unit, bound in (("seconds", "s", BOUND_SECONDS), ("gib", "GiB", BOUND_GIB)):
            against = {
                "against": "the bound",
                "against_value": bound,
                "ratio": round(result[name] / bound, 3),
            }
            value = {"value": round(result[name], 2), "unit": unit}
            figures[f"{size:,} items: {name}"] = value | (against if size >= 10**6 else {})
    write_result("diff_scale", figures)


if __name__ == "__main__":
    main()
