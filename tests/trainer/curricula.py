"""What the curriculum's tests need: splits of a few items, and a fake policy whose p rises with practice."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ladder.digest import digest
from trainer.curriculum import CurriculumSettings, Draw, GroupOutcome, ItemSampler, Rows

Outcomes = Callable[[Draw], GroupOutcome]
TIERS = ("easy", "medium", "hard")


def rows_of(count: int, pass_rates: Sequence[float | None] = (0.5,), slots: int = 4) -> Rows:
    """Items in slots, from easy to hard, with the pass rates in turn."""
    ids = [f"item-{i:03d}" for i in range(count)]
    numbers = [i * slots // count for i in range(count)]
    tiers = [TIERS[i * 3 // count] for i in range(count)]
    return Rows.of_columns(ids, numbers, tiers, [pass_rates[i % len(pass_rates)] for i in range(count)])


def sampler_of(
    rows: Rows, settings: dict[str, Any], seed: int = 3, epochs: float | None = None
) -> ItemSampler:
    """The sampler that `[curriculum.sampler]` of a recipe would give."""
    return CurriculumSettings.model_validate({"sampler": settings}).sampler.build(rows, seed, epochs)


def draws_of(sampler: ItemSampler, count: int) -> list[Draw]:
    """So many draws, or as many as there are."""
    found = (sampler.next() for _ in range(count))
    return [draw for draw in found if draw is not None]


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    """A state as a checkpoint gives it back."""
    return json.loads(json.dumps(state))


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    return int(digest("test-chance", *map(str, parts))[:8], 16) / 2**32


@dataclass
class Learner:
    """A policy that starts at `start` and closes `gain` of what is missing whenever it meets an item."""

    start: Callable[[str], float]
    gain: float = 0.0
    n: int = 8
    met: Counter[str] = field(default_factory=Counter)

    def p(self, item: str) -> float:
        """The true p of an item, now."""
        return 1 - (1 - self.start(item)) * (1 - self.gain) ** self.met[item]

    def __call__(self, draw: Draw) -> GroupOutcome:
        p = self.p(draw.item_id)
        self.met[draw.item_id] += 1
        correct = sum(chance("rollout", draw.sequence, j) < p for j in range(self.n))
        return GroupOutcome(draw, self.n, correct, 100.0)


def trained(sampler: ItemSampler, policy: Outcomes, draws: int, step: int = 8) -> list[Draw]:
    """The draws of a training of steps: each step is drawn, then observed."""
    found: list[Draw] = []
    while len(found) < draws and (drawn := draws_of(sampler, min(step, draws - len(found)))):
        found += drawn
        for draw in drawn:
            sampler.observe(policy(draw))
    return found
