"""A stream that follows a target difficulty: AdaRFT (arXiv 2504.05520).

T moves by eta tanh(alpha (mean correct - beta)) and the items come whose difficulty 1-p, as the split has it, is nearest to
T. There the same items come again and again; here none comes twice in a pass, and every one comes in each.
"""

from __future__ import annotations

import math
from collections.abc import MutableSequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ladder.digest import shuffle_key
from trainer.curriculum.base import GroupOutcome
from trainer.curriculum.drawn import ByDraws
from trainer.curriculum.rows import Bools, elements
from trainer.curriculum.sampler import Pick, SamplerSettings, World


class TargetSettings(SamplerSettings):
    """AdaRFT, with difficulties in [0, 1] where its paper has 0 ... 100. T moves after every `groups` outcomes."""

    kind: Literal["target"] = "target"
    start: float = Field(0.0, ge=0, le=1)
    eta: float = Field(0.5, gt=0)
    alpha: float = Field(2.0, gt=0)
    beta: float = Field(0.5, ge=0, le=1)
    groups: PositiveInt = 128

    def stream(self, world: World) -> Target:
        """The stream over items; an item's slot is that of its first row."""
        return Target(world, self)

    def moved(self, target: float, correct: float) -> float:
        """The next T. Rounded, so that it is the same where another platform's tanh differs in its last bit."""
        step = self.eta * math.tanh(self.alpha * (correct - self.beta))
        return round(min(1.0, max(0.0, target + step)), 9)


class Target(ByDraws):
    """The nearest item of those still to come, in O(log N): items lie in the order of their difficulty (ties by a seeded
    key), and those that came are skipped by links that grow shorter when walked."""

    def __init__(self, world: World, settings: TargetSettings) -> None:
        count = world.rows.item_count
        super().__init__(count, world.epochs)
        self._world, self._settings, self._target = world, settings, settings.start
        self._retired = elements(world.retired_N)
        self._pass = self._correct = self._rollouts = self._groups = 0
        rows, first = world.rows, world.rows.first
        keys = np.fromiter(
            (shuffle_key(world.seed, rows.ids[row], "target") for row in first), np.int64, count
        )
        difficulty_N = 1.0 - np.nan_to_num(rows.pass_rates[first], nan=0.5)
        self._order = np.lexsort((keys, difficulty_N))
        self._difficulty = difficulty_N[self._order]
        self._reset(np.zeros(count, np.bool_))

    def next(self) -> Pick | None:
        """The item nearest to T that has not come in this pass; of two at one distance the easier."""
        for _ in range(self._count + 1):
            if self._clock == self._limit:
                break
            if self._clock == (self._pass + 1) * self._count:
                self._pass += 1
                self._reset(np.zeros(self._count, np.bool_))
            place = self._nearest()
            self._used[place] = True
            self._up[place], self._down[place + 1] = place + 1, place
            self._clock += 1
            item = int(self._order[place])
            if not self._retired[item]:
                return Pick(int(self._world.rows.first[item]), self._pass)
        return None

    def observe(self, item: int, outcome: GroupOutcome) -> None:
        """T moves after so many groups, by their share of correct rollouts."""
        del item
        self._correct, self._rollouts = self._correct + outcome.correct, self._rollouts + outcome.n
        self._groups += 1
        if self._groups == self._settings.groups:
            if self._rollouts:
                self._target = self._settings.moved(self._target, self._correct / self._rollouts)
            self._correct = self._rollouts = self._groups = 0

    def retire(self, item: int) -> None:
        """It is passed by from now on."""

    def restore(self, item: int) -> None:
        """It comes in the next pass."""

    def state_dict(self) -> dict[str, Any]:
        """T, what has gathered for its next move, and which places came in this pass: a bit each, in hex."""
        return {
            "target": self._target,
            "gathered": [self._correct, self._rollouts, self._groups],
            "clock": self._clock,
            "pass": self._pass,
            "used": np.packbits(self._used).tobytes().hex(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._target, self._clock, self._pass = state["target"], state["clock"], state["pass"]
        self._correct, self._rollouts, self._groups = state["gathered"]
        bits = np.frombuffer(bytes.fromhex(state["used"]), np.uint8)
        self._reset(np.unpackbits(bits, count=self._count).astype(np.bool_))

    def metrics(self) -> dict[str, float]:
        """T."""
        return {"target": self._target}

    def _nearest(self) -> int:
        at = int(np.searchsorted(self._difficulty, self._target))
        above, below = _walk(self._up, at), _walk(self._down, at) - 1
        if above == self._count:
            return below
        if below < 0:
            return above
        nearer = self._target - self._difficulty[below] <= self._difficulty[above] - self._target
        return below if nearer else above

    def _reset(self, used: Bools) -> None:
        """Links: from each place up to the first that is still to come, and from behind it down to the last."""
        self._used, places = used, np.arange(self._count + 1)
        up = np.where(np.append(used, False), self._count, places)
        down = np.where(np.append(False, used), 0, places)
        self._up = elements(np.ascontiguousarray(np.minimum.accumulate(up[::-1])[::-1]))
        self._down = elements(np.maximum.accumulate(down))


def _walk(links: MutableSequence[int], place: int) -> int:
    """The end of the links from a place; what is walked is halved."""
    while links[place] != place:
        links[place] = links[links[place]]
        place = links[place]
    return place
