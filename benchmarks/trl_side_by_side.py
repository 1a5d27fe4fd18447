"""TRL's GRPOTrainer and Ladder's trainer, side by side on the CPU: the embedded model, the same items in the same order,
groups of 8, 32 prompts a step, one update a step, float32, the same KL weight, rate, threads and allocator, and rollouts by
transformers on both sides.

    python benchmarks/trl_side_by_side.py --pairs 3

Each run is a process of its own, and they alternate. Two measurements: whole steps (`ladder train` beside
`GRPOTrainer.train`, both with Ladder's verifier in a process beside), and the trainer alone, on given responses to prompts of
256 tokens: reference, log-probs, backward pass, optimiser. TRL's own batch layout with the number of rows at once that is
fastest here is what Ladder is compared with; gradient checkpointing, which TRL has on by default, is off. Steps are those
after the second; peak memory is that of the process, without its worker. Neighbours slow down two threads that wait for each
other several times over: where `neighbours`, the cores that they kept busy, are much above 0, rates and ratios say nothing.
TRL's environment: benchmarks/environments.py. Writes benchmarks/results/trl_side_by_side.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from environments import call, environment
from results import write_result
from trl_given import write_given

from ladder.models import resolve_model
from ladder.runtime import prepare_environment
from ladder.splits import Split

THREADS = 2
ROWS_AT_ONCE = {"steps": (256, 128, 64, 32), "update": (64, 32, 16)}  # TRL's per_device_train_batch_size
TOKENS_AT_ONCE = {
    "steps": (2048, 4096, 16_384),
    "update": (2048, 4096, 16_384),
}  # batch.tokens_per_micro_batch
SHARED: dict[str, Any] = {
    "prompts": 32,
    "group": 8,
    "max_tokens": 48,
    "beta": 0.01,
    "learning_rate": 5e-5,
    "beta_2": 0.999,
    "threads": THREADS,
}
Found = dict[str, Any]
Figures = dict[str, dict[str, Any]]


class Side(NamedTuple):
    """A trainer: its interpreter, its scripts, and the setting that trades memory for time."""

    name: str
    python: Path
    scripts: dict[str, str]  # by measurement
    knob: str
    values: Mapping[str, Sequence[int]]  # by measurement


class Measurement(NamedTuple):
    """What is measured, for how many steps a run, with what each side is told."""

    name: str
    steps: int
    told: dict[str, Any]


def main() -> None:
    """Measure both, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="steps of a run, of which two are not counted")
    parser.add_argument(
        "--only", choices=("steps", "update"), help="one measurement, without writing a result"
    )
    for name in ROWS_AT_ONCE:
        told = "rows of TRL and tokens of Ladder at once, without a look for the fastest"
        parser.add_argument(f"--{name}-at-once", type=int, nargs=2, metavar=("ROWS", "TOKENS"), help=told)
    parser.add_argument("--ladder", type=Path, help="a directory to keep the ladder in, or that has it")
    args = parser.parse_args()
    prepare_environment()  # of both sides: it is inherited
    with tempfile.TemporaryDirectory() as folder:
        given = prepared(args.ladder or Path(folder))
        measurements = [Measurement("steps", args.steps, given), Measurement("update", args.steps, given)]
        figures: Figures = {}
        for measurement in measurements:
            if args.only in (None, measurement.name):
                figures |= measure(measurement, args.pairs, getattr(args, f"{measurement.name}_at_once"))
    for name, figure in figures.items():
        print(name, json.dumps(figure), file=sys.stderr)
    if args.only is None:
        write_result("trl_side_by_side", figures)


def prepared(folder: Path) -> dict[str, Any]:
    """A ladder of the embedded pool with a split, its export to TRL, and given responses; where they are."""
    from ladder.build import build
    from ladder.config import load, shipped
    from ladder.export import ExportSettings, export
    from ladder.settings import BuildSettings
    from ladder.splits import SampleSettings, sample
    from ladder.splits.files import open_split
    from ladder.store import Store

    ladder, exported, given = folder / "digits", folder / "trl", folder / "given"
    if not given.is_dir():
        size = [f'pool.root="{folder / "pool"}"', "pool.make.items=660", "pool.make.probe_items=66"]
        build(load(BuildSettings, shipped("pipelines", "digits"), size), ladder)
        split: Split = sample(Store.open(ladder), SampleSettings(), "side-by-side")
        export(split, ExportSettings(to="trl"), exported)
        write_given(split, given, SHARED["prompts"], SHARED["group"], SHARED["max_tokens"])
    return {
        "split": str(open_split(ladder / "splits" / "side-by-side").path),
        "export": str(exported / "train.parquet"),
        "given": str(given),
    }


def sides() -> tuple[Side, Side]:
    """Ladder and TRL."""
    ours = {"steps": "ladder_train.py", "update": "ladder_update.py"}
    theirs = {"steps": "trl_train.py", "update": "trl_update.py"}
    return (
        Side("Ladder", Path(sys.executable), ours, "tokens_at_once", TOKENS_AT_ONCE),
        Side("TRL", environment("trl"), theirs, "at_once", ROWS_AT_ONCE),
    )


def measure(measurement: Measurement, pairs: int, at_once: Sequence[int] | None) -> Figures:
    """Both sides in turn, each with what is fastest for it."""
    ours, theirs = sides()
    figures: Figures = {}
    chosen = {theirs.name: at_once[0], ours.name: at_once[1]} if at_once else {}
    for side in (ours, theirs):
        if side.name not in chosen:
            tried = {value: run(side, measurement, value, steps=5) for value in side.values[measurement.name]}
            chosen[side.name] = min(tried, key=lambda value: seconds(tried[value]))
            figures[f"{measurement.name}_{side.name}_{side.knob}"] = settings_figure(
                side, tried, chosen[side.name]
            )
    runs: dict[str, list[Found]] = {ours.name: [], theirs.name: []}
    for _ in range(pairs):
        for side in (ours, theirs):
            runs[side.name].append(run(side, measurement, chosen[side.name], measurement.steps))
    return figures | compared(measurement.name, runs[ours.name], runs[theirs.name])


def run(side: Side, measurement: Measurement, value: int, steps: int) -> Found:
    """One process of a side."""
    told = (
        SHARED | measurement.told | {"steps": steps, "model": str(resolve_model("digits")), side.knob: value}
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.json"
        file.write_text(json.dumps(told), encoding="utf-8")
        with neighbours() as told_of_them:
            found = call(side.python, side.scripts[measurement.name], [file], threads=THREADS)
    found |= told_of_them
    print(side.name, measurement.name, value, json.dumps(found), file=sys.stderr, flush=True)
    return found


@contextmanager
def neighbours() -> Iterator[Found]:
    """How many cores others keep busy meanwhile, as `neighbours`, when it is over."""
    told: Found = {}
    start, busy, own = time.monotonic(), _busy(), _own()
    yield told
    others = (_busy() - busy) - (_own() - own)
    told["neighbours"] = max(0.0, others / (time.monotonic() - start))


def _busy() -> float:
    """Seconds for which the machine's cores were busy since it started."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    user, nice, system, _idle, _wait, interrupts, soft = map(int, first[:7])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Seconds of this process and of those that it has waited for."""
    of = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in of)


def seconds(found: Found) -> float:
    """Of a step."""
    return statistics.median(found["step_seconds"])


def settings_figure(side: Side, tried: dict[int, Found], chosen: int) -> dict[str, Any]:
    """What the setting that trades memory for time does to a side."""
    return {
        "value": chosen,
        "unit": f"{side.knob} of {side.name}: the fastest",
        "seconds": {str(value): round(seconds(found), 3) for value, found in tried.items()},
        "peak_mib": {str(value): round(found["peak_mib"]) for value, found in tried.items()},
        "runs": 1,
    }


def compared(name: str, ours: list[Found], theirs: list[Found]) -> Figures:
    """Rates, peaks and where the time went."""
    rate = figure(f"{name}/s", [1 / seconds(f) for f in ours], [1 / seconds(f) for f in theirs])
    peak = figure("MiB at the peak", [f["peak_mib"] for f in ours], [f["peak_mib"] for f in theirs])
    figures = {f"{name}_rate": rate, f"{name}_peak_memory": peak}
    for part in sorted({part for found in (*ours, *theirs) for part in found["seconds"]}):
        spent = [[found["seconds"].get(part, 0.0) for found in of] for of in (ours, theirs)]
        figures[f"{name}_seconds_{part}"] = figure("s a step", *spent)
    figures[f"{name}_tokens"] = figure(
        "tokens a response", *([mean(f["tokens"]) for f in of] for of in (ours, theirs))
    )
    beside = ([f["neighbours"] for f in of] for of in (ours, theirs))
    figures[f"{name}_neighbours"] = figure("cores that others kept busy meanwhile", *beside)
    if name == "update":
        losses = [[f["losses"][-1] for f in of] for of in (ours, theirs)]
        figures["update_loss"] = figure("loss after the same updates", *losses)
    return figures


def mean(values: float | Sequence[float]) -> float:
    """Of one value or of many."""
    return values if isinstance(values, float) else statistics.mean(values)


def figure(unit: str, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Medians over the runs, and their ratio; with that of each pair."""
    value, against = statistics.median(ours), statistics.median(theirs)
    return {
        "value": round(value, 4),
        "unit": unit,
        "against": "TRL 1.16.0",
        "against_value": round(against, 4),
        "ratio": round(value / against, 3) if against else None,
        "pairs": [round(a / b, 3) for a, b in zip(ours, theirs, strict=True) if b],
        "runs": len(ours),
    }


if __name__ == "__main__":
    main()
