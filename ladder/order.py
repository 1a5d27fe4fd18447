"""Orders of a ladder for training: pure functions from scored items to a sequence of them. Knows nothing of models.

Every order is a function of (scores, seed): keys for shuffling are a named digest of (seed, id), ties end in the id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from ladder.config import Settings
from ladder.digest import shuffle_key
from ladder.score import LEVELS


@dataclass(frozen=True, slots=True)
class Scored:
    """What orders need of an item."""

    id: str
    level: int  # 0/8 ... 8/8 by observed pass rate
    difficulty: float
    complexity: float


@dataclass(frozen=True, slots=True)
class Placed:
    """An item in its slot: slot 0 comes first and is the easiest."""

    item: Scored
    slot: int


class NeuraLadder(Settings):
    """The order of Observe-R1 (arXiv 2505.12432, section 3), with every choice it leaves open a setting.

    Sort by (difficulty, complexity); drop what the model always solves with little thought; leave what it never solves to
    human review; then mix each level from its neighbours within two. The paper does not say whether a level itself takes
    part, with which weights, or how a slot is ordered.
    """

    strategy: Literal["neuraladder"] = "neuraladder"
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)  # of the level offsets -2, -1, 0, +1, +2
    within_slot: Literal["shuffled", "sorted"] = "shuffled"
    drop_unsolved: bool = True  # level 0: to human review, not to training
    drop_solved_share: float = Field(0.5, ge=0, le=1)  # of level 8, those of lowest complexity

    @model_validator(mode="after")
    def _odd(self) -> NeuraLadder:
        if len(self.weights) % 2 == 0 or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError(
                "weights are for the offsets -n ... +n: an odd number of them, none negative, not all 0"
            )
        return self

    def arrange(self, items: Sequence[Scored], seed: int) -> list[Placed]:
        """The items kept, in training order."""
        kept = _trainable(items, self.drop_unsolved, self.drop_solved_share)
        present = {LEVELS - item.level for item in kept}
        placed = [Placed(item, self._slot(item, present, seed)) for item in kept]
        if self.within_slot == "sorted":
            return sorted(placed, key=lambda p: p.slot)  # stable: (difficulty, complexity, id) inside
        return sorted(placed, key=lambda p: (p.slot, shuffle_key(seed, p.item.id)))

    def _slot(self, item: Scored, present: set[int], seed: int) -> int:
        """The slot that an item goes to: its own level's place moved by an offset drawn from the weights, truncated and
        renormalised to the levels that there are. So every item occurs once, at most `len(weights) // 2` levels off."""
        reach = len(self.weights) // 2
        own = LEVELS - item.level
        choices = [(own + o, w) for o, w in zip(range(-reach, reach + 1), self.weights, strict=True)]
        choices = [(slot, w) for slot, w in choices if slot in present and w > 0] or [(own, 1.0)]
        left = int(shuffle_key(seed, f"slot:{item.id}")[:13], 16) / 16**13 * sum(w for _, w in choices)
        for slot, weight in choices:
            left -= weight
            if left < 0:
                return slot
        return choices[-1][0]


class Shuffled(Settings):
    """The control: the same kept items in random order."""

    strategy: Literal["shuffled"] = "shuffled"
    drop_unsolved: bool = True
    drop_solved_share: float = Field(0.5, ge=0, le=1)

    def arrange(self, items: Sequence[Scored], seed: int) -> list[Placed]:
        """The items that NeuraLadder keeps under the same settings, shuffled."""
        kept = _trainable(items, self.drop_unsolved, self.drop_solved_share)
        return [Placed(item, 0) for item in sorted(kept, key=lambda i: shuffle_key(seed, i.id))]


Strategy = NeuraLadder | Shuffled


def _trainable(items: Sequence[Scored], drop_unsolved: bool, drop_solved_share: float) -> list[Scored]:
    """What any strategy trains on, from easy to hard: (difficulty, complexity, id)."""
    solved = sorted((i for i in items if i.level == LEVELS), key=lambda i: (i.complexity, i.id))
    dropped = {i.id for i in solved[: math.floor(len(solved) * drop_solved_share)]}
    kept = [i for i in items if i.id not in dropped and not (drop_unsolved and i.level == 0)]
    return sorted(kept, key=lambda i: (i.difficulty, i.complexity, i.id))
