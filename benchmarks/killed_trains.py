"""Training runs that are killed while they run, and how what is then found differs from a run that was not: for
train_kills.py and the tests.

A run goes through traced_train.py in a session of its own. Leaves out which runs are killed when.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from killed_builds import Running

from ladder.store import Store
from trainer.claim import run_id

_SCRIPT = Path(__file__).with_name("traced_train.py")

#: What a run of a few steps can have that the next step depends on: refills, surplus groups, weights by p, replays, several
#: updates a step, a KL weight that follows the divergence, a guard, probes, samples.
EVERYTHING = (
    "save.every=2",
    "batch.prompts=4",
    "batch.group=4",
    "batch.responses_per_update=8",
    "response.max_tokens=24",
    "eval.every=2",
    "eval.samples=2",
    "eval.items_per_tier=1",
    "track.samples_every=2",
    "curriculum.gate.kind=signal",
    "curriculum.oversample=2",
    "curriculum.max_draws=30",
    "curriculum.sampler.kind=weighted",
    "curriculum.sampler.replay.share=0.2",
    "curriculum.sampler.replay.mastered=0.5",
    'kl.weight={kind="adaptive", value=0.01, target=0.001, horizon=100}',
    "optim.spike=50.0",
)


def exact_metrics(out: Path) -> list[dict[str, Any]]:
    """Each line of metrics.jsonl without its times."""
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if not k.startswith("seconds/")} for row in rows]


def temporary(out: Path) -> list[str]:
    """What killed writers left."""
    return [str(path) for path in sorted(out.rglob(".*.tmp"))]


def outcome_rows(ladder: Path, out: Path) -> Counter[tuple[Any, ...]]:
    """What a run wrote to the ladder's outcomes, and how often each of it."""
    run = run_id(out)
    table = Store.open(ladder).outcomes.table()
    names = [name for name in table.schema.names if name != "run"]
    return Counter(tuple(row[name] for name in names) for row in table.to_pylist() if row["run"] == run)


def unlike(whole: Path, other: Path, ladder: Path) -> list[str]:
    """In what a finished run differs from one that nobody killed: nothing, as it must be."""
    found = []
    ours, theirs = exact_metrics(other), exact_metrics(whole)
    if len(ours) != len(theirs):
        found.append(f"{len(ours)} lines of metrics, not {len(theirs)}")
    for row, wanted in zip(ours, theirs, strict=False):
        keys = sorted(key for key in row.keys() | wanted.keys() if row.get(key) != wanted.get(key))
        found += [f"step {wanted['step']}: {', '.join(keys)}"] if keys else []
    names = {p.relative_to(run) for run in (whole, other) for p in run.glob("samples/*.parquet")}
    names |= {Path("model/model.safetensors"), Path("best/model.safetensors")}
    found += [str(name) for name in sorted(names) if _bytes(whole / name) != _bytes(other / name)]
    paths = sorted(whole.glob("checkpoints/*/trainer_state.json"))
    for path, same in ((path, other / path.relative_to(whole)) for path in paths):
        gone = path != paths[-1] and not same.is_file()  # one of a stop has taken its place
        found += [] if gone or (same.is_file() and _state(path) == _state(same)) else [str(same)]
    if outcome_rows(ladder, whole).keys() != outcome_rows(ladder, other).keys():
        found.append("outcomes")
    return found + temporary(other)


def _state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    metrics = {k: v for k, v in state["metrics"].items() if not k.startswith("seconds/")}
    return state | {"metrics": metrics, "surplus": _bytes(path.with_name("surplus.jsonl"))}


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


@dataclass
class Course:
    """Runs over one split with the same settings, each into a directory of its own below `root`."""

    root: Path
    split: Path
    settings: tuple[str, ...]
    _number: int = field(default=0)

    def start(self, name: str, kill: str = "") -> Running:
        """Start the run `name`, or go on with it; `kill` says where it ends itself (see traced_train.py)."""
        self._number += 1
        arguments = [str(self.split), "--out", str(self.root / name), "--seed", "5"]
        arguments += [f"--set={setting}" for setting in self.settings]
        trace = self.root / f"{self._number:03d}.trace"
        return Running(trace, arguments, ["env", f"LADDER_KILL={kill}"], script=_SCRIPT, verb="train")

    def finish(self, name: str) -> Running:
        """Let the run come to its end; RuntimeError with what it said where that fails."""
        run = self.start(name)
        if run.end():
            raise RuntimeError(f"{name} failed: {run.said}")
        return run

    def kill(self, name: str, moment: str) -> Running:
        """Let the run kill itself at a moment; RuntimeError where it never met it."""
        run = self.start(name, moment)
        if run.end() != -signal.SIGKILL:
            raise RuntimeError(f"{name} did not meet {moment}: {run.said}")
        return run


def wait_for(run: Running, condition: Callable[[], bool]) -> None:
    """Wait for a condition; RuntimeError where the run ends before."""
    while not condition():
        if not run.runs:
            raise RuntimeError(run.said)
        time.sleep(0.005)
