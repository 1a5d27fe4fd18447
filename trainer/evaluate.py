"""Evaluation on a split: mean@n at the sampling temperature, greedy accuracy and pass@n together, with intervals.

Reinforcement learning often only sharpens: the three together tell. Intervals are 95% bootstrap over items; two
evaluations of the same items are compared by paired differences. Every evaluation samples afresh. How one item is measured
is in trainer.measure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ladder.engines import create_engine, model_of
from ladder.engines.base import Sampling
from ladder.errors import BadInput, LadderError
from ladder.prompts import template
from ladder.runtime import quiet, tune_allocator
from ladder.sampling import Asked
from ladder.settings import BuildSettings
from ladder.splits import Split
from ladder.store import Store
from trainer.measure import Interval, ItemResult, Measurement, bootstrap, measures, parts

__all__ = [
    "Evaluation",
    "Interval",
    "ItemResult",
    "bootstrap",
    "compare",
    "evaluate",
    "measures",
    "summary",
]

_OTHER = 1 << 32  # from a seed that the ladder has used to one that it has not


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of one model on one split."""

    model: str
    split: str
    n: int
    temperature: float
    seed: int
    items: list[ItemResult]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Read what `save` wrote; raises BadInput for anything else."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return cls(**raw | {"items": [ItemResult(**row) for row in raw["items"]]})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadInput(f"{path} is no evaluation (`ladder eval --out` writes one): {error}") from None


def evaluate(
    split: Split, rows: Sequence[dict[str, Any]], model: str, settings: BuildSettings, n: int, seed: int
) -> Evaluation:
    """Sample n responses and a greedy one for each item of a split, as the ladder was built, and judge them.

    The responses are fresh whatever the seed: those that put an item in its tier would show a change where there is none,
    for an item is in an end tier partly by luck (regression to the mean).
    """
    rows = list({row["id"]: row for row in rows}.values())
    if not rows:
        raise BadInput(f"{split.path} has no items to evaluate on")
    quiet()
    tune_allocator()
    store = Store.open(split.ladder)
    asking = _asking(settings, model)
    source = model_of(asking)
    engine = create_engine(asking, source)
    items = {item.id: item for item in store.load_items([row["id"] for row in rows])}
    sampling = Sampling(settings.sampling.temperature or 1.0, settings.sampling.max_tokens)
    fresh = seed if seed != settings.sampling.seed else seed + _OTHER
    asked = Asked(source.encoder, template(settings.prompt.template), sampling, fresh)
    measurement = Measurement(store, rows, items, asked, n)
    try:
        with settings.verify.pool() as verifier:
            results = measurement.take(engine, verifier, "evaluating")
    finally:
        engine.close()
    if not any(result.n for result in results):
        raise LadderError(
            f"no sample of the {len(rows):,} items of {split.path} counts: nothing was measured"
        )
    return Evaluation(model, str(split.path), n, sampling.temperature, seed, results)


def _asking(settings: BuildSettings, model: str) -> BuildSettings:
    """The settings under which a model is evaluated: as the ladder was scored, but where its server serves another model,
    or its answers were recorded, the model runs here. Raises BadInput where there is none to run."""
    same = model == settings.model.name
    if same and settings.engine == "replay":
        raise BadInput("this ladder was scored by recorded answers: say which model to evaluate with --model")
    elsewhere = settings.engine == "replay" or (settings.engine == "server" and not same)
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"name": model}),
            "engine": "auto" if elsewhere else settings.engine,
        }
    )


def summary(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Intervals of every measure for all items, each tier and each subject; `left_out` items have no sample that counts."""
    return {
        name: {"items": len(part), "left_out": sum(not r.n for r in part)}
        | {m: _row(v) for m, v in measures(part).items()}
        for name, part in parts(evaluation.items)
    }


def compare(before: Evaluation, after: Evaluation) -> dict[str, dict[str, Any]]:
    """Paired differences after - before, item by item, over those that both have; raises BadInput where the items differ."""
    theirs = {r.id: r for r in before.items}
    if sorted(theirs) != sorted(r.id for r in after.items):
        raise BadInput("these evaluations are of different items; evaluate both models on the same split")
    rows: dict[str, dict[str, Any]] = {}
    for name, part in parts(after.items):
        old, new = measures([theirs[r.id] for r in part]), measures(part)
        rows[name] = {"items": len(part)} | {m: _paired(old[m], new[m]) for m in new}
    return rows


def _paired(old: np.ndarray, new: np.ndarray) -> dict[str, Any]:
    """Before, after and difference, all three of the items (N,) that have both."""
    difference = new - old
    missing = np.isnan(difference)
    sides = {"before": np.where(missing, np.nan, old), "after": np.where(missing, np.nan, new)}
    return {name: _row(values) for name, values in (sides | {"difference": difference}).items()}


def _row(values: np.ndarray) -> dict[str, float | None]:
    """The interval for JSON, which has no NaN: null where there is nothing."""
    return {k: None if math.isnan(v) else v for k, v in asdict(bootstrap(values)).items()}
