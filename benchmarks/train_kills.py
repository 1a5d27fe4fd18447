"""Nothing lost in training: a run is killed at random moments, again and again, and must end as one that was not.

    OMP_NUM_THREADS=1 python benchmarks/train_kills.py 20

Kills `ladder train` on the embedded policy with SIGKILL from outside, every fourth time while it starts, else within some
seconds of training, and goes on by the same command; a run that comes to its end is compared with an undisturbed one
(every line of metrics without its times, weights, best, samples, outcomes), and another one is begun. Writes
benchmarks/results/train_kills.json. Leaves out what tests/trainer/test_train_kills.py has: disks, stops, torn files.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from killed_builds import Running
from killed_trains import EVERYTHING, Course, exact_metrics, unlike
from results import write_result
from traced_build import START

from ladder.build import build
from ladder.config import load, shipped
from ladder.settings import BuildSettings
from ladder.splits import ProbeSettings, SampleSettings, Split, sample
from ladder.store import Store

_STARTING = 4  # each so many kills one while it starts
_WINDOW_S = 8.0  # of training in which the others come


@dataclass
class Found:
    """What kills did."""

    phases: Counter[str] = field(default_factory=Counter)
    repeated: list[int] = field(default_factory=list)  # steps that were logged and had to be done again
    differing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    lines: int = 0
    runs: int = 0

    @property
    def kills(self) -> int:
        """How many there were."""
        return self.phases.total()


def split_in(root: Path) -> Split:
    """A small ladder of the embedded pool, and a split of it."""
    pool = [f'pool.root="{root / "pool"}"', "pool.make.items=110", "pool.make.probe_items=33", "sampling.k=4"]
    build(load(BuildSettings, shipped("pipelines", "digits"), pool), root / "ladder")
    return sample(Store.open(root / "ladder"), SampleSettings(probe=ProbeSettings(per_tier=4)), "small")


def begins(run: Running) -> bool:
    """Wait until a run trains; whether it does."""
    while run.runs and run.stage() in (START, "load"):
        time.sleep(0.02)
    return run.runs


def logged(out: Path) -> int:
    """The last step in the metrics."""
    with suppress(OSError, ValueError, IndexError):
        return int(exact_metrics(out)[-1]["step"])
    return 0


def saved(out: Path) -> int:
    """The step of the latest checkpoint."""
    names = [path.name for path in (out / "checkpoints").glob("step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def kill(course: Course, name: str, starting: float | None, rng: random.Random, found: Found) -> bool:
    """Kill a run, within `starting` seconds of its start or while it trains; whether it had ended before."""
    run = course.start(name)
    if starting is None:
        begins(run)
    with suppress(TimeoutExpired):
        run.process.wait(rng.uniform(0.0, _WINDOW_S if starting is None else starting))
    hit = run.runs
    run.send(signal.SIGKILL)
    code = run.end()
    if not hit and code:
        raise RuntimeError(f"{name} failed: {run.said}")
    found.left += run.left()
    if hit:
        found.phases[run.stage()] += 1
        found.repeated.append(max(0, logged(course.root / name) - saved(course.root / name)))
    return not hit


def compare(course: Course, name: str, ladder: Path, found: Found) -> None:
    """A run that has ended with the one that nobody killed."""
    found.differing += unlike(course.root / "whole", course.root / name, ladder)
    found.lines += len(exact_metrics(course.root / name))
    found.runs += 1


def killed(course: Course, kills: int, starting: float, ladder: Path) -> Found:
    """So many kills, in one run after the other; each is compared."""
    found, rng = Found(), random.Random(0)
    while found.kills < kills:
        name = f"killed-{found.runs}"
        ended = False
        while found.kills < kills and not ended:
            early = found.kills % _STARTING == _STARTING - 1
            ended = kill(course, name, starting if early else None, rng, found)
            print(f"{name}: {found.kills} kills, at step {logged(course.root / name)}", file=sys.stderr)
        if not ended:
            course.finish(name)
        compare(course, name, ladder, found)
    return found


def figures_of(found: Found, threads: str) -> dict[str, dict[str, Any]]:
    """What the kills did, as figures."""
    phases = ", ".join(f"{phase} {n}" for phase, n in found.phases.most_common())
    return {
        "kills of a training run": {
            "value": found.kills,
            "unit": "kills",
            "in phase": phases,
            "threads": threads,
        },
        "runs that ended after kills": {"value": found.runs, "unit": "runs"},
        "lines of metrics compared": {"value": found.lines, "unit": "lines"},
        "differences from a run that nobody killed": {"value": len(found.differing), "unit": "differences"},
        "most steps done again after a kill": {"value": max(found.repeated), "unit": "steps"},
        "steps done again, all kills": {"value": sum(found.repeated), "unit": "steps"},
        "processes left": {"value": len(found.left), "unit": "processes"},
    }


def main() -> None:
    """Kill, compare, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", type=int, nargs="?", default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--name", default="train_kills", help="of the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        split = split_in(root)
        course = Course(root / "runs", split.path, (f"steps={options.steps}", *EVERYTHING))
        course.root.mkdir()
        run = course.start("whole")
        started = time.monotonic()
        begins(run)
        starting = time.monotonic() - started
        if run.end():
            raise RuntimeError(run.said)
        found = killed(course, options.kills, starting, split.ladder)
    write_result(options.name, figures_of(found, os.environ.get("OMP_NUM_THREADS", "all")))
    if found.differing or found.left:
        sys.exit(f"{len(found.differing)} differences: {found.differing[:5]}; left: {found.left[:5]}")


if __name__ == "__main__":
    main()
