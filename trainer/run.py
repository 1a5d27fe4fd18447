"""A training run: set everything up, resume from the latest checkpoint, loop, save. The algorithm is in trainer.loop."""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from ladder.config import dump
from ladder.digest import fingerprint
from ladder.encode import Encoder
from ladder.engines import choose_device
from ladder.engines.base import Sampling
from ladder.engines.settings import ModelSettings
from ladder.engines.transformers import TransformersEngine
from ladder.errors import BadInput
from ladder.models import load_model, model_fingerprint, resolve_model
from ladder.progress import Progress, Stopwatch, say
from ladder.prompts import template
from ladder.records import Item
from ladder.runtime import quiet, terminable, tune_allocator
from ladder.sampling import Asked
from ladder.settings import settings_of
from ladder.splits import Split
from ladder.store import Store
from ladder.store.parts import write_text
from ladder.verify.pool import VerifierPool
from trainer.checkpoint import checkpoints, load_state, save_checkpoint, save_model
from trainer.config import OptimSettings, TrainSettings
from trainer.curriculum import Everything, SplitOrder
from trainer.loop import Learner, draw_step, learn
from trainer.policy import Policy
from trainer.rollout import JudgedGroup, roll_out
from trainer.track import JsonlTracker, Tracker


@dataclass(frozen=True)
class RunReport:
    """What a run did; `model` is a Hugging Face directory."""

    model: str
    steps: int
    resumed_at: int
    metrics: dict[str, Any]


@dataclass(frozen=True)
class _World:
    """What a run reads and does not change."""

    store: Store
    items: Mapping[str, Item]
    asked: Asked
    encoder: Encoder
    settings: TrainSettings
    run: str
    out: Path
    source: Path


def train(split: Split, model: ModelSettings, settings: TrainSettings, out: Path) -> RunReport:
    """Train `model` on a split into `out`; goes on where an interrupted run of the same settings stopped.

    Raises BadInput for a directory of another run, or a model that is no VLM.
    """
    quiet()
    tune_allocator()
    store = Store.open(split.ladder)
    source = resolve_model(model.name)
    encoder = Encoder(source, min_pixels=model.min_pixels, max_pixels=model.max_pixels)
    items = {item.id: item for item in store.load_items([row["id"] for row in split.train])}
    _claim(out, split, model, settings)
    sampling = Sampling(settings.response.temperature, settings.response.max_tokens)
    asked = Asked(encoder, template(settings.template), sampling, settings.seed)
    world = _World(
        store, items, asked, encoder, settings, fingerprint("run-1", str(out.resolve())), out, source
    )
    steps = settings.steps or math.ceil(len(split.train) * settings.epochs / settings.batch.prompts)
    latest = next(iter(reversed(checkpoints(out / "checkpoints"))), None)
    learner, first = _learner(world, split, latest)
    if first:
        say(f"  resumed at step {first}")
    metrics: dict[str, Any] = {}
    with (
        terminable(),
        settings_of(split.ladder).verify.pool() as verifier,
        Progress("training", steps, "steps", done=first) as progress,
    ):
        tracker: Tracker = JsonlTracker(out / "metrics.jsonl", first)
        for step in range(first, steps):
            metrics = _step(world, learner, verifier, step, steps)
            tracker.log(step, metrics)
            progress.advance(1, f"correct {metrics['correct']:.2f}, {metrics['tokens']:.1f} tokens")
            if (step + 1) % settings.save_every == 0 or step + 1 == steps:
                _save(world, learner, step + 1)
        tracker.close()
    save_model(learner.policy.model, source, out / "model")
    return RunReport(str(out / "model"), steps, first, metrics)


def _step(world: _World, learner: Learner, verifier: VerifierPool, step: int, steps: int) -> dict[str, Any]:
    settings, timer = world.settings, Stopwatch()
    draws = draw_step(learner, settings)
    groups = roll_out(
        draws,
        world.items,
        world.store,
        world.asked,
        world.encoder,
        settings.batch.group,
        learner.engine,
        verifier,
    )
    timer.lap("rollout")
    per_step = math.ceil(settings.batch.prompts * settings.batch.group / settings.batch.responses_per_update)
    model = learner.engine.fingerprint
    metrics = learn(learner, groups, settings, steps * per_step)
    timer.lap("learn")
    _write_outcomes(world, groups, step, model)
    slots = [draw.slot for draw in draws]
    curriculum = {"slot_first": slots[0], "slot_last": slots[-1], "epoch": draws[-1].epoch}
    told = learner.sampler.metrics() | learner.gate.metrics()
    return (
        metrics
        | {f"curriculum/{k}": v for k, v in (curriculum | told).items()}
        | {f"seconds/{k}": v for k, v in timer.seconds.items()}
    )


def _learner(world: _World, split: Split, latest: Path | None) -> tuple[Learner, int]:
    """Everything that learns, fresh or from a checkpoint; and the first step to do."""
    settings = world.settings
    device = choose_device(settings.device)
    model = load_model(latest or world.source, dtype="float32", device=device)
    autocast = settings.dtype == "bfloat16"
    temperature = settings.response.temperature
    policy = Policy(model, world.encoder, temperature=temperature, autocast=autocast)
    reference = None
    if settings.kl.weight > 0:
        start = load_model(world.source, dtype="float32", device=device) if latest else copy.deepcopy(model)
        reference = Policy(start, world.encoder, temperature=temperature, autocast=autocast)
        reference.requires_grad_(False)
    optimizer = _optimizer(policy, settings.optim)
    ids, slots = [r["id"] for r in split.train], [r["slot"] for r in split.train]
    engine = TransformersEngine(
        model, world.encoder, model_fingerprint(world.source), slots=settings.slots, autocast=autocast
    )
    learner = Learner(
        policy, reference, optimizer, SplitOrder(ids, slots, settings.seed), Everything(), engine
    )
    if latest is None:
        return learner, 0
    state = load_state(latest, optimizer)
    learner.sampler.load_state_dict(state["sampler"])
    learner.gate.load_state_dict(state["gate"])
    learner.updates = state["updates"]
    engine.load(str(learner.updates), None)
    return learner, state["step"]


def _optimizer(policy: Policy, optim: OptimSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [p for p in policy.parameters() if p.requires_grad],
        lr=optim.learning_rate,
        betas=optim.betas,
        weight_decay=optim.weight_decay,
        fused=True,
    )


def _save(world: _World, learner: Learner, step: int) -> None:
    state = {
        "sampler": learner.sampler.state_dict(),
        "gate": learner.gate.state_dict(),
        "updates": learner.updates,
    }
    folder = world.out / "checkpoints"
    save_checkpoint(folder, step, learner.policy.model, world.source, learner.optimizer, state)


def _write_outcomes(world: _World, groups: list[JudgedGroup], step: int, model: str) -> None:
    """The step's outcomes go back to the ladder: how difficulty moves while the policy learns."""
    draws: defaultdict[str, Iterator[int]] = defaultdict(count)
    rows = [
        {
            "run": world.run,
            "step": step,
            "item_id": g.item.id,
            "model": model,
            "n": g.outcome.n,
            "correct": g.outcome.correct,
            "mean_tokens": g.outcome.mean_tokens,
            "draw": next(draws[g.item.id]),
        }
        for g in groups
    ]
    world.store.outcomes.append_table(pa.Table.from_pylist(rows, schema=world.store.outcomes.schema))


def _claim(out: Path, split: Split, model: ModelSettings, settings: TrainSettings) -> None:
    """Make the run's directory, or check that it is this run's: runs never share one."""
    claim = {
        "split": split.facts["fingerprint"],
        "model": model.model_dump(),
        "settings": settings.model_dump(),
    }
    mark = fingerprint("run-settings-1", json.loads(json.dumps(claim, default=str)))
    file = out / "run.json"
    if file.is_file():
        if json.loads(file.read_text(encoding="utf-8"))["mark"] != mark:
            raise BadInput(f"{out} holds a run with other settings; choose another --out")
        return
    if out.is_dir() and any(out.iterdir()):
        raise BadInput(f"{out} is not empty and holds no run; choose another --out")
    write_text(dump(settings), out / "train.toml")
    write_text(json.dumps({"mark": mark, "split": str(split.path), "model": model.name}, indent=2), file)
