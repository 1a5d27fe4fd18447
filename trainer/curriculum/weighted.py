"""A stream by current p: what the policy can learn most from comes most often, and nothing is forgotten.

The weights are those of MMR1 (arXiv 2509.21268, p(1-p)), of Kimi k1.5 (2501.12599, 1-p) and of the filters that keep a band.
None of them guarantees that an item ever comes. Here every item does, at least once in every `coverage` x N draws.

**How.** An item is due `window` = floor(coverage x N) draws after its last one. Two items are never due at once: the last
draws of two items differ, and at the start the items' deadlines are spread evenly over the first window, one place each.
So it is enough to look at the item drawn longest ago: if it is due now it is drawn, else the draw is free, and by weight.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from typing import Annotated, Any, Literal, TypeVar, cast

import numpy as np
from pydantic import Field

from ladder.config import Settings
from ladder.digest import shuffle_key
from trainer.curriculum.base import GroupOutcome
from trainer.curriculum.drawn import Band, ByDraws
from trainer.curriculum.rows import Bools, Floats, Ints, elements
from trainer.curriculum.sampler import Pick, SamplerSettings, World
from trainer.curriculum.trees import Recency, SumTree, chance_below, exact

_UNIT = 2.0**30  # weights are integers in this unit: their sums are exact, and the same on every platform
_LONGEST = 2**62  # items x window: places in a window are computed in int64
P = TypeVar("P", float, Floats)


class _Weight(Settings):
    @abstractmethod
    def of(self, p: P) -> P | Bools | bool:
        """The weight of an item, or of many, between 0 and 1."""


class Learnability(_Weight):
    """p(1-p): the variance of a rollout's outcome."""

    kind: Literal["learnability"] = "learnability"

    def of(self, p: P) -> P:
        """p(1-p)."""
        return p * (1.0 - p)


class Difficulty(_Weight):
    """1-p: the harder, the more often."""

    kind: Literal["difficulty"] = "difficulty"

    def of(self, p: P) -> P:
        """1-p."""
        return 1.0 - p


class InBand(Band, _Weight):
    """The same for all items with `low` <= p <= `high`, nothing for others."""

    kind: Literal["band"] = "band"

    def of(self, p: P) -> Bools | bool:
        """Whether p lies in the band."""
        return (self.low <= p) & (p <= self.high)


Weight = Annotated[Learnability | Difficulty | InBand, Field(discriminator="kind")]


class WeightedSettings(SamplerSettings):
    """Items are drawn with a probability that follows their current p. Every item comes at least once in every `coverage` x
    N draws of the stream (N items; replays not counted), and none by its weight within `rest` x N draws after its last."""

    kind: Literal["weighted"] = "weighted"
    weight: Weight = Learnability()
    coverage: float = Field(4.0, ge=1)
    rest: float = Field(0.25, ge=0, lt=1)

    def stream(self, world: World) -> Weighted:
        """The stream over items; an item's slot is that of its first row."""
        return Weighted(world, self)


class Weighted(ByDraws):
    """Draws by weight, with a deadline for every item. O(log N)."""

    def __init__(self, world: World, settings: WeightedSettings) -> None:
        count = world.rows.item_count
        super().__init__(count, world.epochs)
        self._world, self._settings = world, settings
        self._window = min(math.floor(exact(settings.coverage) * count), _LONGEST // count)
        self._rest = math.floor(exact(settings.rest) * count)
        self._last_N = self._spread()
        self._start(0, 0, [])

    def next(self) -> Pick | None:
        """What is due; then what was forgotten after it had retired; then by weight; then what was drawn longest ago."""
        if self._clock == self._limit:
            return None
        self._wake()
        item = self._choose()
        if item is None:
            return None
        self._recency.use(item)
        self._last[item] = self._clock
        self._tree[item] = 0
        self._resting.append((self._clock, item))
        self._clock += 1
        return Pick(int(self._world.rows.first[item]), (self._clock - 1) // self._count)

    def observe(self, item: int, outcome: GroupOutcome) -> None:
        """The item's weight follows its p, once it has rested."""
        del outcome
        if not self._retired[item] and not self._rests(item) and item in self._recency:
            self._tree[item] = self._weight(item)

    def retire(self, item: int) -> None:
        """Out of all that is drawn from."""
        self._tree[item] = 0
        self._recency.discard(item)
        if item in self._returned:
            self._returned.remove(item)

    def restore(self, item: int) -> None:
        """It comes with the next free draws, which are at most `window` draws away, and has a deadline from then on."""
        self._returned.append(item)

    def state_dict(self) -> dict[str, Any]:
        """When each item was drawn last; those not drawn yet have their deadlines by the seed."""
        items = np.flatnonzero(self._last_N >= 0)
        return {
            "clock": self._clock,
            "due": self._due,
            "items": items.tolist(),
            "last": self._last_N[items].tolist(),
            "returned": list(self._returned),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: lists and weights are functions of it."""
        self._last_N = self._spread()
        self._last_N[np.asarray(state["items"], np.int64)] = state["last"]
        self._start(state["clock"], state["due"], state["returned"])

    def metrics(self) -> dict[str, float]:
        """How many draws were due, rather than chosen by weight."""
        return {"due": float(self._due)}

    def _choose(self) -> int | None:
        item = self._recency.oldest
        if item is not None and self._last[item] + self._window <= self._clock:
            self._due += 1
            return item
        if self._returned:
            return self._returned.popleft()
        if total := self._tree.total:
            return self._tree.find(chance_below(total, self._world.seed, "weighted", self._clock))
        return item

    def _spread(self) -> Ints:
        """Virtual last draws (all negative and different) that spread the first deadlines evenly, in a seeded order."""
        rows = self._world.rows
        keys = (shuffle_key(self._world.seed, rows.ids[row], "coverage") for row in rows.first)
        order = np.argsort(np.fromiter(keys, np.int64, self._count), kind="stable")
        last_N = np.empty(self._count, np.int64)
        last_N[order] = (np.arange(1, self._count + 1) * self._window) // self._count - 1 - self._window
        return last_N

    def _start(self, clock: int, due: int, returned: list[int]) -> None:
        """Set up everything that follows from the last draws, the history and what is retired."""
        self._clock, self._due, self._returned = clock, due, deque(returned)
        self._last, self._retired = elements(self._last_N), elements(self._world.retired_N)
        away_N = self._world.retired_N.copy()
        away_N[returned] = True
        order = np.argsort(self._last_N, kind="stable")
        self._recency = Recency(self._count, order[~away_N[order]])
        weights_N = np.asarray(self._settings.weight.of(self._world.history.p_N) * _UNIT, np.int64)
        resting_N = (self._last_N >= 0) & (self._last_N + self._rest >= clock)
        weights_N[away_N | resting_N] = 0
        self._tree = SumTree(weights_N)
        self._resting = deque((self._last[i], i) for i in order[resting_N[order]].tolist())

    def _weight(self, item: int) -> int:
        return int(cast(float, self._settings.weight.of(self._world.history.p(item))) * _UNIT)

    def _rests(self, item: int) -> bool:
        return bool(self._last[item] >= 0 and self._last[item] + self._rest >= self._clock)

    def _wake(self) -> None:
        """Items that have rested get their weight back, unless they were drawn again or have left."""
        while self._resting and self._resting[0][0] + self._rest < self._clock:
            drawn, item = self._resting.popleft()
            if self._last[item] == drawn and item in self._recency:
                self._tree[item] = self._weight(item)
