"""Evaluation on a split: mean@n at the sampling temperature, greedy accuracy and pass@n together, with intervals.

Reinforcement learning often only sharpens: the three together tell. Intervals are 95% bootstrap over items; two
evaluations of the same items are compared by paired differences. Every evaluation samples afresh.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ladder.engines import create_engine, model_of
from ladder.engines.base import Engine, Request, Sampling, drive
from ladder.errors import BadInput
from ladder.progress import Progress, say
from ladder.prompts import template
from ladder.records import Item, Outcome
from ladder.runtime import quiet, tune_allocator
from ladder.sampling import Asked
from ladder.score import pass_at
from ladder.settings import BuildSettings, VerifySettings
from ladder.splits import Split
from ladder.store import Store

RESAMPLES = 2000
_OTHER = 1 << 32  # from a seed that the ladder has used to one that it has not


@dataclass(frozen=True)
class ItemResult:
    """What came of one item: `correct` of `n` samples, whether the greedy answer is right, mean response tokens."""

    id: str
    tier: str
    subject: str
    n: int
    correct: int
    greedy: bool
    tokens: float


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


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
    try:
        sampled = _judged(store, items, asked, n, engine, settings.verify, "evaluating")
        greedy = Asked(source.encoder, asked.template, Sampling(0.0, sampling.max_tokens), fresh)
        best = _judged(store, items, greedy, 1, engine, settings.verify, "greedy")
    finally:
        engine.close()
    results = [
        ItemResult(
            id=row["id"],
            tier=row["tier"],
            subject=row["subject"] or "-",
            n=len(sampled[row["id"]]),
            correct=sum(ok for ok, _ in sampled[row["id"]]),
            greedy=best[row["id"]][0][0],
            tokens=float(np.mean([tokens for _, tokens in sampled[row["id"]]])),
        )
        for row in rows
    ]
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


def _judged(
    store: Store,
    items: Mapping[str, Item],
    asked: Asked,
    n: int,
    engine: Engine,
    judging: VerifySettings,
    name: str,
) -> dict[str, list[tuple[bool, int]]]:
    """(correct, tokens) of each sample of each item; a truncated response is wrong."""
    out: dict[str, list[tuple[bool, int]]] = {item_id: [] for item_id in items}

    def requests() -> Iterator[Request]:
        for item in items.values():
            yield asked.request(store, item, range(n))

    with judging.pool() as verifier, Progress(name, n * len(items), "rollouts") as progress:

        def collect(block: bool) -> None:
            for (item_id, tokens, whole), verdict in verifier.completed(block=block):
                out[item_id].append((verdict.outcome == Outcome.CORRECT and whole, tokens))

        for done in drive(engine, requests()):
            tag = (done.request_id, done.length, done.finish_reason != "length")
            verifier.submit(tag, asked.text(done), items[done.request_id])
            collect(block=False)
            progress.advance()
        collect(block=True)
    if verifier.timeouts:
        say(f"  {name}: {verifier.timeouts:,} responses judged too late, which count as wrong")
    return out


def measures(results: Sequence[ItemResult]) -> dict[str, np.ndarray]:
    """Per item: mean@n, greedy, pass@n (unbiased, from all n samples), and response tokens."""
    return {
        "mean": np.array([r.correct / r.n for r in results]),
        "greedy": np.array([float(r.greedy) for r in results]),
        "pass": np.array([pass_at(r.n, r.correct, r.n) for r in results]),
        "tokens": np.array([r.tokens for r in results]),
    }


def bootstrap(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean and 95% percentile interval over items (N,)."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def summary(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Intervals of every measure for all items, each tier and each subject."""
    return {
        name: {"items": len(part)} | {m: asdict(bootstrap(v)) for m, v in measures(part).items()}
        for name, part in _parts(evaluation.items)
    }


def compare(before: Evaluation, after: Evaluation) -> dict[str, dict[str, Any]]:
    """Paired differences after - before, item by item; raises BadInput where the items differ."""
    theirs = {r.id: r for r in before.items}
    if sorted(theirs) != sorted(r.id for r in after.items):
        raise BadInput("these evaluations are of different items; evaluate both models on the same split")
    rows: dict[str, dict[str, Any]] = {}
    for name, part in _parts(after.items):
        old, new = measures([theirs[r.id] for r in part]), measures(part)
        rows[name] = {"items": len(part)} | {
            m: {
                "before": asdict(bootstrap(old[m])),
                "after": asdict(bootstrap(new[m])),
                "difference": asdict(bootstrap(new[m] - old[m])),
            }
            for m in new
        }
    return rows


def _parts(results: Sequence[ItemResult]) -> list[tuple[str, list[ItemResult]]]:
    groups: dict[str, list[ItemResult]] = {"all": list(results)}
    for axis in ("tier", "subject"):
        for result in sorted(results, key=lambda r: getattr(r, axis)):
            groups.setdefault(f"{axis}:{getattr(result, axis)}", []).append(result)
    return list(groups.items())
