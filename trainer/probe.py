"""The probe, measured the same way all through training: the policy as it is, on held-out items, at fixed steps.

Seeds are the same at every measurement (common random numbers), so that a difference between two of them is the weights',
and are nobody else's: neither training's nor a ladder's. Which checkpoint is the best is said here; saving it is not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from ladder.config import Settings
from ladder.digest import shuffle_key
from ladder.engines.base import Engine
from ladder.errors import BadInput
from ladder.progress import say
from ladder.sampling import Asked
from ladder.splits import Split
from ladder.store import Store
from ladder.verify.pool import VerifierPool
from trainer.measure import Interval, ItemResult, Measurement, bootstrap, measures, parts
from trainer.parallel.ranks import ALONE, Ranks

_SEEDS = 1 << 61  # ladder.digest.base_seed gives none as large, and with it 64 bits are enough
MEASURED = "probe/all/mean"  # that the best is told by; where it is, the probe was measured


class EvalSettings(Settings):
    """The probe is measured after every `every`-th step (0: never) and after the last, and before the first where `at_start`.

    `samples` responses of each item at the sampling temperature, and a greedy one; of a tier at most `items_per_tier` items,
    always the same. `keep_best` names the measure by which the best checkpoint is kept.
    """

    every: NonNegativeInt = 0
    at_start: bool = True
    samples: PositiveInt = 4
    greedy: bool = True
    items_per_tier: PositiveInt | None = None
    keep_best: Literal["mean", "none"] = "mean"

    def due(self, done: int, last: bool = False) -> bool:
        """Whether to measure after `done` steps, of which the latest is the `last`."""
        if not self.every:
            return False
        return self.at_start if done == 0 else last or done % self.every == 0


@dataclass(frozen=True)
class Probe:
    """The probe of a run: what is measured, and how it is asked."""

    measurement: Measurement

    @classmethod
    def of(cls, split: Split, store: Store, asked: Asked, settings: EvalSettings) -> Probe:
        """The probe of a split, asked as training asks. Raises BadInput where the split has none."""
        rows = chosen(split.probe, settings.items_per_tier)
        if not rows:
            raise BadInput(
                f"{split.path} has no probe to evaluate on: set eval.every=0, or draw a split with one (`ladder sample`)"
            )
        items = {item.id: item for item in store.load_items([row["id"] for row in rows])}
        return cls(Measurement(store, rows, items, asked, settings.samples, settings.greedy, _SEEDS))

    @property
    def rollouts(self) -> int:
        """Responses of one measurement: what it costs, for a forecast."""
        return len(self.measurement.rows) * (self.measurement.samples + self.measurement.greedy)

    def measure(
        self, engine: Engine, verifier: VerifierPool, done: int, ranks: Ranks = ALONE
    ) -> dict[str, float]:
        """The metrics of the present weights after `done` steps, and a line for the reader.

        `probe/all/mean` (with `low` and `high`, 95%), `greedy`, `pass` and `tokens`, the same by tier, `probe/left_out` items
        without a result, and `seconds/probe`. Nothing else may be in flight in the engine. Of several processes each measures its
        share of the items, and all have the metrics of all.
        """
        started = time.monotonic()
        share = self.measurement.of(ranks.share(list(self.measurement.rows)))
        told = ranks.gather(share.take(engine, verifier, f"probe after {done:,} steps"))
        by_id = {result.id: result for part in told for result in part}
        metrics = _metrics([by_id[row["id"]] for row in self.measurement.rows])
        metrics["seconds/probe"] = round(time.monotonic() - started, 4)
        say(_line(metrics, self.measurement.samples, done))
        return metrics


def chosen(rows: Sequence[Mapping[str, Any]], per_tier: int | None) -> list[Mapping[str, Any]]:
    """The rows of each item once, of every tier at most `per_tier`: a shuffle's first, so that another bound keeps them."""
    once = {row["id"]: row for row in rows}
    kept: set[str] = set()
    counts: dict[str, int] = {}
    for item_id in sorted(once, key=lambda i: (shuffle_key(0, i, "probe"), i)):
        tier = once[item_id]["tier"]
        counts[tier] = counts.get(tier, 0) + 1
        if per_tier is None or counts[tier] <= per_tier:
            kept.add(item_id)
    return [row for item_id, row in once.items() if item_id in kept]


def _metrics(results: Sequence[ItemResult]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for part, of in parts(results, axes=("tier",)):
        values = measures(of)
        interval = bootstrap(values.pop("mean"))
        metrics |= {f"probe/{part}/{k}": getattr(interval, k) for k in ("mean", "low", "high")}
        known = {name: value[~np.isnan(value)] for name, value in values.items()}
        metrics |= {f"probe/{part}/{k}": float(v.mean()) for k, v in known.items() if len(v)}
    metrics["probe/left_out"] = sum(not result.n for result in results)
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _line(metrics: Mapping[str, float], samples: int, done: int) -> str:
    """The measurement in one line."""
    none = float("nan")
    whole = Interval(*(metrics.get(f"probe/all/{k}", none) for k in ("mean", "low", "high")))
    said = [f"  probe after {done:,} steps: mean@{samples} {whole}"]
    if "probe/all/greedy" in metrics:
        said.append(f"greedy {metrics['probe/all/greedy']:.3f}")
    tiers = {k: v for k, v in metrics.items() if k.startswith("probe/tier:") and k.endswith("/mean")}
    said += [f"{k.removeprefix('probe/tier:').removesuffix('/mean')} {v:.3f}" for k, v in tiers.items()]
    return f"{', '.join(said)} ({metrics['seconds/probe']:.1f} s)"


class Best:
    """The best measurement so far, by mean@n over all items; of equals the earliest."""

    def __init__(self, done: int | None = None, value: float = -math.inf) -> None:
        self.done, self.value = done, value

    def updated(self, done: int, metrics: Mapping[str, float]) -> Best:
        """The best after one more measurement, after `done` steps: itself, unless that one is better."""
        value = metrics.get(MEASURED, -math.inf)
        return Best(done, value) if value > self.value else self

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"done": self.done, "value": None if self.done is None else self.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.done = state["done"]
        self.value = -math.inf if self.done is None else float(state["value"])
