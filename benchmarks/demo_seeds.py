"""The demo for several seeds: what moves, with paired 95% intervals, and what it costs. Not by luck.

    python benchmarks/demo_seeds.py 0 1 2

Runs `ladder demo` once per seed in a process of its own and writes benchmarks/results/demo_seeds.json.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import write_result


def run(seed: int) -> dict[str, Any]:
    """One demo: its comparison, tiers and seconds, and the wall time of the whole process."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "demo"
        start = time.monotonic()
        command = [sys.executable, "-m", "ladder.cli", "demo", "--out", str(out), "--seed", str(seed)]
        subprocess.run(command, check=True)
        return json.loads((out / "demo.json").read_text()) | {"wall": time.monotonic() - start}


def figures(seed: int, result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of one seed, by name."""
    rows, items = result["comparison"], sum(result["tiers"].values())
    found: dict[str, dict[str, Any]] = {
        f"seed {seed}: wall time": {"value": round(result["wall"], 1), "unit": "s"},
        f"seed {seed}: smallest tier": {
            "value": min(result["tiers"].values()) / items,
            "unit": "share of items",
        },
        f"seed {seed}: probe items": {"value": rows["all"]["items"], "unit": "items"},
    }
    for measure in ("mean", "greedy", "pass", "tokens"):
        part = rows["all"][measure]
        found[f"seed {seed}: {measure}"] = {
            "value": part["after"]["mean"],
            "unit": "tokens" if measure == "tokens" else "share",
            "against": "before training",
            "against_value": part["before"]["mean"],
            "difference": part["difference"],
        }
    for name, row in rows.items():
        if name.startswith("subject:"):
            found[f"seed {seed}: mean, {name}"] = {
                "value": row["mean"]["after"]["mean"],
                "unit": "share",
                "against": "before training",
                "against_value": row["mean"]["before"]["mean"],
                "difference": row["mean"]["difference"],
            }
    return found


def main(seeds: list[int]) -> None:
    """Run the seeds, one after the other."""
    all_figures: dict[str, dict[str, Any]] = {}
    for seed in seeds:
        all_figures |= figures(seed, run(seed))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    all_figures["peak memory of the largest process"] = {"value": round(peak, 2), "unit": "GiB"}
    write_result("demo_seeds", all_figures)


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [0, 1, 2])
