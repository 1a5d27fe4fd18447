"""What a draw costs at a million items: each sampler, a draw and an observation timed apart, and the state.

    python benchmarks/curriculum_draws.py [--items 1000000] [--draws 200000]

Steps of 128 draws are made and then observed, as the trainer does, by a fake policy whose p rises with practice. Each sampler
runs in a process of its own, once; a draw's time is the mean over all draws, passes' sorting included, and the largest step
is told apart. Memory is what Python and numpy allocate for a sampler beside the split's columns, after its first draw and at
its peak while it is built.
The limit is 50 us a draw. Writes benchmarks/results/curriculum_draws.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import numpy as np
from results import write_result

from ladder.config import validate
from trainer.curriculum import CurriculumSettings, Draw, GroupOutcome, ItemSampler, Rows

LIMIT_US = 50.0
STEP = 128
ROLLOUTS = 8
TIERS = ("unsolved", "hard", "medium", "easy", "solved")
CUTS = (1 / 16, 5 / 16, 11 / 16, 15 / 16)
SAMPLERS: dict[str, dict[str, Any]] = {
    "order": {"kind": "order"},
    "shuffled": {"kind": "shuffled"},
    "stages": {"kind": "stages"},
    "weighted": {"kind": "weighted"},
    "weighted_replay_oldest": {"kind": "weighted", "replay": {"retire": True}},
    "weighted_replay_random": {"kind": "weighted", "replay": {"order": "random"}},
    "target": {"kind": "target"},
}


def columns(items: int) -> Rows:
    """A split of so many items from easy to hard, in slots of a thousand, scored by 8 rollouts."""
    p = np.sort(np.random.default_rng(0).beta(0.5, 0.5, items))[::-1]
    ids = [f"{i:024x}" for i in range(items)]
    tiers = [TIERS[i] for i in np.searchsorted(CUTS, p, side="right")]
    return Rows.of_columns(ids, np.arange(items) // 1000, tiers, np.round(p * ROLLOUTS) / ROLLOUTS)


def outcome(draw: Draw, chance: np.random.Generator, practice: dict[str, int]) -> GroupOutcome:
    """A group of a policy that gets better at an item whenever it meets it."""
    practice[draw.item_id] = seen = practice.get(draw.item_id, 0) + 1
    p = 1 - 0.7 ** (seen * (int(draw.item_id, 16) % 5))
    return GroupOutcome(draw, ROLLOUTS, int(chance.binomial(ROLLOUTS, p)), 100.0)


def measured(name: str, items: int, draws: int) -> dict[str, float]:
    """One sampler: microseconds, megabytes and seconds."""
    rows = columns(items)
    sampler, build = _timed(lambda: _sampler(name, rows))
    chance, practice = np.random.default_rng(1), dict[str, int]()
    drawing = observing = largest = 0.0
    for _ in range(draws // STEP):
        start = time.perf_counter()
        drawn = [draw for _ in range(STEP) if (draw := sampler.next()) is not None]
        spent = time.perf_counter() - start
        outcomes = [outcome(draw, chance, practice) for draw in drawn]
        drawing, largest, start = drawing + spent, max(largest, spent), time.perf_counter()
        for each in outcomes:
            sampler.observe(each)
        observing += time.perf_counter() - start
    done = draws // STEP * STEP
    text, saving = _timed(lambda: json.dumps(sampler.state_dict()))
    _, loading = _timed(lambda: _sampler(name, rows).load_state_dict(json.loads(text)))
    held, peak = _memory(name, rows)
    return {
        "draw_us": drawing / done * 1e6,
        "observe_us": observing / done * 1e6,
        "largest_step_ms": largest * 1e3,
        "memory_mb": held,
        "memory_peak_mb": peak,
        "build_s": build,
        "state_mb": len(text) / 1e6,
        "save_s": saving,
        "build_and_load_s": loading,
    }


def _sampler(name: str, rows: Rows) -> ItemSampler:
    settings = validate(CurriculumSettings, {"sampler": dict(SAMPLERS[name])})
    return settings.sampler.build(rows, seed=0, epochs=None)


def _timed(job: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return job(), time.perf_counter() - start


def _memory(name: str, rows: Rows) -> tuple[float, float]:
    """Megabytes that a sampler holds in a pass of its own, and their peak."""
    tracemalloc.start()
    sampler = _sampler(name, rows)
    sampler.next()
    return tuple(size / 1e6 for size in tracemalloc.get_traced_memory())  # type: ignore[return-value]


def main() -> None:
    """Measure each sampler in a process of its own and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=200_000)
    parser.add_argument("--one", choices=SAMPLERS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(arguments.one, arguments.items, arguments.draws)))
        return
    figures: dict[str, dict[str, Any]] = {"load": _figure(os.getloadavg()[0], "processes before the run")}
    for name in SAMPLERS:
        figures |= _figures(name, arguments.items, arguments.draws)
    print(write_result("curriculum_draws", figures))


def _figures(name: str, items: int, draws: int) -> dict[str, dict[str, Any]]:
    command = [sys.executable, __file__, "--one", name, "--items", str(items), "--draws", str(draws)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(name, {key: round(value, 2) for key, value in told.items()}, file=sys.stderr, flush=True)
    limits = {"draw_us": LIMIT_US, "observe_us": LIMIT_US}
    return {
        f"{name}_{key}": _figure(value, key.rpartition("_")[2], limits.get(key))
        for key, value in told.items()
    }


def _figure(value: float, unit: str, limit: float | None = None) -> dict[str, Any]:
    figure: dict[str, Any] = {"value": round(value, 3), "unit": unit, "runs": 1}
    if limit is not None:
        figure |= {"against": "limit", "against_value": limit, "ratio": round(value / limit, 3)}
    return figure


if __name__ == "__main__":
    main()
