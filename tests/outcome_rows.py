"""Outcomes of made-up runs, as a run writes them: shared by the tests of what is shown of outcomes."""

import random
from pathlib import Path
from typing import Any

from helpers import rows_of

from ladder.store import Store


def group(run: str, step: int, item: str, correct: int, n: int = 8, **more: Any) -> dict[str, Any]:
    row = {"run": run, "step": step, "item_id": item, "model": f"other@{step}", "n": n, "correct": correct}
    return row | {"mean_tokens": 20.0, "draw": 0} | more


def scored(ladder: Path) -> list[tuple[str, str, float]]:
    """Id, tier and posterior mean of p of each item, in ladder order."""
    return [tuple(row) for row in rows_of(ladder, "SELECT id, tier, p_mean FROM ladder ORDER BY position")]  # type: ignore[misc]


def model_of(ladder: Path) -> str:
    ((model,),) = rows_of(ladder, "SELECT value FROM build WHERE key = 'model_fingerprint'")
    return str(model)


def written(ladder: Path, run: str, gain: float, steps: int = 9, seed: int = 0) -> list[dict[str, Any]]:
    """A run of the ladder's own model that meets every item in every step and gets better at all of them, by `gain` in
    all; a part for each step."""
    store, rng, rows = Store.open(ladder), random.Random(seed), []
    for step in range(steps):
        model = model_of(ladder) + (f"@{step}" if step else "")
        part = []
        for item, _, p in scored(ladder):
            rate = min(1.0, p + gain * step / (steps - 1))
            part.append(group(run, step, item, sum(rng.random() < rate for _ in range(8)), model=model))
        store.outcomes.append(part)
        rows += part
    return rows
