"""Mastered items come back: a share of the draws goes to items that the policy gets right, so that they are not forgotten,
and they may leave the main stream for it.

Leaving is open-instruct's `no_resampling_pass_rate`, and what POLARIS does between stages and SRPO (arXiv 2504.14286) between
epochs; there an item that has left never comes back.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from ladder.config import Settings
from trainer.curriculum.rows import Bools
from trainer.curriculum.trees import Recency, SumTree, chance_below, exact


class ReplaySettings(Settings):
    """`share` of all draws goes to items whose observed p is at least `mastered`, evenly spread, as long as there are any:
    the one seen longest ago, or a random one. With `retire` they come from replay alone until they are forgotten."""

    share: float = Field(0.05, gt=0, le=0.5)
    mastered: float = Field(0.9, gt=0, le=1)
    order: Literal["oldest", "random"] = "oldest"
    retire: bool = False


class Replay:
    """The mastered items that are not being rolled out right now, and which of all are retired (`retired_N`)."""

    def __init__(self, settings: ReplaySettings, count: int, seed: int) -> None:
        self.settings, self.replayed = settings, 0
        self.retired_N: Bools = np.zeros(count, np.bool_)
        self._seed, self._share = seed, exact(settings.share)
        self._fill(count, [])

    def turn(self, sequence: int) -> int | None:
        """The item to replay as this draw; None where the main stream has its turn."""
        turns = (sequence + 1) * self._share.numerator // self._share.denominator
        if turns == sequence * self._share.numerator // self._share.denominator or not self._members.total:
            return None
        self.replayed += 1
        if self.settings.order == "oldest":
            return self._recency.oldest
        return self._members.find(chance_below(self._members.total, self._seed, "replay", sequence))

    def drawn(self, item: int) -> None:
        """An item that is being rolled out is not replayed beside it."""
        self._members[item] = 0
        self._recency.discard(item)

    def observed(self, item: int, mastered: bool) -> bool | None:
        """Take an item in, if it is mastered. True where it retires by this, False where it returns, else None."""
        if mastered:
            self._members[item] = 1
            self._recency.use(item)
        else:
            self.drawn(item)
        if not self.settings.retire or mastered == bool(self.retired_N[item]):
            return None
        self.retired_N[item] = mastered
        return mastered

    def state_dict(self) -> dict[str, Any]:
        """The mastered items by age, and those retired."""
        return {
            "members": list(self._recency),
            "retired": np.flatnonzero(self.retired_N).tolist(),
            "replayed": self.replayed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.replayed = state["replayed"]
        self.retired_N[:] = False
        self.retired_N[state["retired"]] = True
        self._fill(len(self.retired_N), state["members"])

    def metrics(self) -> dict[str, float]:
        """Draws that were replays; mastered items at hand; items retired."""
        retired = float(np.count_nonzero(self.retired_N))
        return {"replayed": self.replayed, "mastered": self._members.total, "retired": retired}

    def _fill(self, count: int, members: list[int]) -> None:
        weights_N = np.zeros(count, np.int64)
        weights_N[members] = 1
        self._members, self._recency = SumTree(weights_N), Recency(count, np.asarray(members, np.int64))
