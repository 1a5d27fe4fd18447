"""`ladder demo`: the main job on the embedded pool and policy, narrated; what it shows is measured as it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ladder import launched
from ladder.build import build
from ladder.config import load, shipped
from ladder.errors import BadInput
from ladder.progress import Stopwatch, say
from ladder.settings import BuildSettings
from ladder.splits import SampleSettings, open_split, sample
from ladder.store import Store
from trainer.evaluate import Evaluation, compare, evaluate
from trainer.run import train
from trainer.setup import settings_for
from trainer.tables import comparison_table

_SAMPLES = 8
_SPLIT = "neuraladder"
_READY = "the demo's split"


def demo(out: Path, seed: int, building: Sequence[str] = (), training: Sequence[str] = ()) -> dict[str, Any]:
    """Build, sample, evaluate, train, evaluate again and compare below `out`; returns the figures shown.

    The seed moves the sampling, the curriculum's shuffling and the training; the pool stays. Interrupted, it goes on.
    `building` and `training` are overrides of the pipeline's and the recipe's settings. Under torchrun the first process does
    all of that, and the others train with it.
    """
    if launched.index():
        return _follow(out, [f"seed={seed}", *training])
    _claim(out, seed)
    clock = Stopwatch()
    pool, ladder = out / "digits-pool", out / "digits"
    overrides = [f"pool.root={json.dumps(str(pool))}", f"sampling.seed={seed}", *building]
    settings = load(BuildSettings, shipped("pipelines", "digits"), overrides)

    say(
        "1. Build: a raw pool of canvases with real handwritten digits becomes a ladder. The embedded model answers every"
    )
    say(
        f"   question {settings.sampling.k} times; a verifier judges; how often it is right puts a question in its tier."
    )
    built = build(settings, ladder)
    clock.lap("build")
    for tier, count in (built.tiers or {}).items():
        say(f"     {tier:<10} {count:>6,} items  {'#' * round(60 * count / built.items)}")

    say(
        "2. Sample: the NeuraLadder order, from easy to hard, each level mixed from its neighbours; and a probe that is"
    )
    say("   held out by item and by near-identical image.")
    split = sample(Store.open(ladder), SampleSettings(seed=seed), _SPLIT)
    say(f"     {len(split.train):,} items to train on, {len(split.probe):,} in the probe")
    clock.lap("sample")

    say(
        "3. Evaluate before training, with fresh rollouts (those that put an item in its tier would flatter it)."
    )
    before = _evaluated(out / "before.json", split, settings.model.name, settings, seed)
    clock.lap("evaluate")

    say("4. Train: progressive GRPO on that order, with the Observe-R1 recipe.")
    launched.done(_READY)
    chosen = settings_for(split, None, None, [f"seed={seed}", *training])
    run = train(split, chosen.model, chosen.settings, out / "run")
    clock.lap("train")

    say("5. Evaluate again.")
    after = _evaluated(out / "after.json", split, run.model, settings, seed)
    clock.lap("evaluate")

    rows = compare(before, after)
    result = {"tiers": built.tiers, "comparison": rows, "seconds": clock.seconds, "seed": seed}
    (out / "demo.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _show(rows, clock, ladder)
    return result


def _follow(out: Path, training: Sequence[str]) -> dict[str, Any]:
    launched.wait_for(_READY)
    split = open_split(out / "digits" / "splits" / _SPLIT)
    chosen = settings_for(split, None, None, training)
    train(split, chosen.model, chosen.settings, out / "run")
    return {}


def _evaluated(path: Path, split: Any, model: str, settings: BuildSettings, seed: int) -> Evaluation:
    """Evaluate, or read what an interrupted demo already evaluated."""
    if path.is_file():
        return Evaluation.read(path)
    evaluation = evaluate(split, split.probe, model, settings, _SAMPLES, seed=1000 + seed)
    evaluation.save(path)
    return evaluation


def _show(rows: dict[str, dict[str, Any]], clock: Stopwatch, ladder: Path) -> None:
    say("")
    say(f"The probe ({rows['all']['items']} items, {_SAMPLES} samples each), 95% intervals:")
    say("")
    say(comparison_table(rows, _SAMPLES))
    say("")
    whole = sum(clock.seconds.values())
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in clock.seconds.items())
    say(f"Time: {whole:.0f} s ({parts}).")
    say("Where to look next:")
    say(f'  ladder sql {ladder} "SELECT tier, count(*), avg(pass_rate) FROM ladder GROUP BY 1"')
    say(f"  open {ladder / 'report.html'} and {ladder / 'README.md'}")
    say("With a GPU, your own pool and a real model:")
    say(
        "  ladder build pool.toml --out my-ladder --set model.name=Qwen/Qwen2.5-VL-3B-Instruct --set model.dtype=bfloat16"
    )
    say("  ladder sample my-ladder && ladder train my-ladder/splits/neuraladder --recipe observe-r1")


def _claim(out: Path, seed: int) -> None:
    """A directory of its own, of one seed."""
    mark = out / "demo-seed"
    if mark.is_file():
        if mark.read_text(encoding="utf-8").strip() != str(seed):
            raise BadInput(f"{out} holds a demo with another seed; choose another --out")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} holds something else; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{seed}\n", encoding="utf-8")
