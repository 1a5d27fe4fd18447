"""Nothing lost: builds are killed and stopped at random moments, again and again, and must end as if they had not been.

    python benchmarks/kills.py 30

Kills `ladder build` with SIGKILL so many times with each engine, at moments uniform over what is left of its life, three
times at most before it may end; compares with an undisturbed build: keys, parts, and with the transformers engine all
that is derived. Stops others with SIGTERM and Ctrl-C, and kills one beside an answer of 2,000 tokens. A sample that had
ended and is not stored is sampled again: how long before the kill the first of those had ended is what is repeated.
Writes benchmarks/results/kills.json. Leaves out full and read-only disks (tests/test_disk.py).
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from killed_builds import (
    SIGNALS,
    Beside,
    Found,
    Place,
    Stopped,
    Variant,
    at_any_time,
    kill_beside_a_long_answer,
    stop,
    wait_until,
)
from rambler import write_rambler
from results import write_result

LONG = 2000
CHAIN = 3
TRANSFORMERS = ("transformers.slots=16",)
VLLM = ("vllm.args.max_model_len=256", "vllm.args.max_num_seqs=16")
PLAIN = Variant("plain", "transformers", TRANSFORMERS)
VARIANTS = {
    "transformers": [
        PLAIN,
        Variant(
            "adaptive",
            "transformers",
            (*TRANSFORMERS, "sampling.k=4", "sampling.adaptive.k_max=16"),
        ),
        Variant("passes", "transformers", (*TRANSFORMERS, "passes.blind.prompt.template=brief-blind")),
        Variant("workers", "transformers", TRANSFORMERS, ("--workers", "2"), like=PLAIN),
        Variant("shards", "transformers", TRANSFORMERS, shards=2, like=PLAIN),
    ],
    "vllm": [
        Variant("vllm", "vllm", VLLM, exact=False),
        Variant("vllm-workers", "vllm", VLLM, ("--workers", "2"), exact=False),
    ],
}


def killed(place: Place, engine: str, kills: int, rng: random.Random) -> Found:
    """So many kills of running builds, over the engine's variants in turn."""
    found = Found()
    for variant in itertools.cycle(VARIANTS[engine]):
        if found.kills >= kills:
            return found
        life, _ = place.whole(variant)
        moments = [at_any_time(life)] * min(CHAIN, kills - found.kills)
        place.killed(variant, moments, rng, found)
        told = f"{found.kills} kills, {max(found.repeated_seconds):.1f} s repeated at most"
        print(f"{engine}, {variant.name}: {told}{'' if found.sound else ' UNSOUND'}", file=sys.stderr)
    raise AssertionError


def stopped(place: Place, variant: Variant, rounds: int, rng: random.Random) -> list[Stopped]:
    """Builds that are stopped at random samples, by each way in turn."""
    life, _ = place.whole(variant)
    ends: list[Stopped] = []
    stored = 0
    for number, signs in enumerate(list(SIGNALS.values()) * rounds):
        name = f"stopped-{number if stored > life.samples // 2 else 0}"
        (run,) = place.start(variant, name)
        sample = rng.randrange(life.samples // 4)
        wait_until(run, lambda run=run, sample=sample: len(run.moments()) > sample)  # type: ignore[misc]
        pauses = (rng.uniform(0.0, 0.5) for _ in itertools.count())
        ends.append(stop(run, place.root / name, signs, pauses))
        stored = len(ends[-1].disk.stored)
    return ends


def beside(root: Path, engine: str) -> Beside:
    """A build that is killed beside an answer of LONG tokens."""
    settings = (f'model.name="{write_rambler(root / "rambler")}"', f"sampling.max_tokens={LONG}")
    own = (f"vllm.args.max_model_len={LONG + 500}",) if engine == "vllm" else ()
    return kill_beside_a_long_answer(Place(root, items=4), Variant("beside", engine, (*settings, *own)))


def kill_figures(engine: str, found: Found) -> dict[str, dict[str, Any]]:
    """What the kills did."""
    runs = len(found.repeated_seconds)
    stages = ", ".join(f"{stage} {n}" for stage, n in found.stages.most_common())
    repeated = {"value": round(max(found.repeated_seconds), 2), "unit": "s", "runs": runs}
    figures: dict[str, dict[str, Any]] = {
        "kills of a running build": {"value": found.kills, "unit": "kills", "in stage": stages},
        "most sampling repeated after a kill": repeated | {"against": "promised", "against_value": 5.0},
        "sampling repeated, all kills": {"value": round(sum(found.repeated_seconds), 2), "unit": "s"},
        "samples repeated, all kills": {"value": sum(found.repeated_samples), "unit": "rollouts"},
        "builds ended after kills": {"value": found.builds, "unit": "builds"},
        "doubled keys": {"value": found.doubled, "unit": "rollouts"},
        "torn files": {"value": found.torn, "unit": "files"},
        "stored rollouts lost": {"value": found.lost, "unit": "rollouts"},
        "stored rollouts sampled again after a kill": {"value": found.again, "unit": "rollouts"},
        "rollouts that are not as wanted": {"value": found.wrong, "unit": "rollouts"},
        "tables unlike an undisturbed build's": {"value": len(found.differing), "unit": "tables"},
        "processes left": {"value": len(found.left), "unit": "processes"},
    }
    return {f"{engine}: {name}": figure for name, figure in figures.items()}


def other_figures(engine: str, ends: list[Stopped], by: Beside) -> dict[str, dict[str, Any]]:
    """How builds stopped, and what was left beside a long answer."""
    seconds = max(end.seconds for end in ends)
    figures: dict[str, dict[str, Any]] = {
        "longest stop": {"value": round(seconds, 2), "unit": "s", "against": "promised", "against_value": 10.0},
        "stops that were orderly": {
            "value": sum(end.orderly for end in ends), "unit": "stops", "against": "all", "against_value": len(ends),
        },
        "finished rollouts lost by stops": {"value": sum(end.unstored for end in ends), "unit": "rollouts"},
        f"siblings kept beside {by.longest:,} tokens": {
            "value": by.siblings, "unit": "rollouts", "against": "finished", "against_value": 7,
        },
        "siblings sampled again": {"value": by.again, "unit": "rollouts"},
    }  # fmt: skip
    return {f"{engine}: {name}": figure for name, figure in figures.items()}


def main() -> None:
    """Kill, stop, compare, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", type=int, nargs="?", default=30, help="of builds with each engine")
    parser.add_argument("--items", type=int, default=400)
    options = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {}
    sound = True
    for engine in VARIANTS:
        if engine == "vllm" and find_spec("vllm") is None:
            print("vLLM is not installed: its builds are not killed", file=sys.stderr)
            continue
        rng = random.Random(0)
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
            place = Place(Path(folder), options.items)
            found = killed(place, engine, options.kills, rng)
            ends = stopped(place, VARIANTS[engine][0], max(1, options.kills // 10), rng)
            by = beside(Path(other), engine)
        figures |= kill_figures(engine, found) | other_figures(engine, ends, by)
        kept = by.siblings == 7 and not by.again and by.complete
        sound = sound and found.sound and kept and all(end.orderly for end in ends)
        for end in ends:
            if not end.orderly:
                print(end, file=sys.stderr)
    write_result("kills", figures)
    if not sound:
        sys.exit("lost, doubled, torn or left: see benchmarks/results/kills.json")


if __name__ == "__main__":
    main()
