"""Which item comes next: a sampler chooses, a gate admits finished groups. Both run on a CPU with a fake policy.

Every draw has a sequence number; the gate decides in that order, whatever order groups finish in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ladder.digest import shuffle_key
from ladder.errors import BadInput


@dataclass(frozen=True, slots=True)
class Draw:
    """One item drawn: its place in the whole sequence of draws."""

    sequence: int
    item_id: str
    epoch: int
    slot: int


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """What came of a draw's group: counts from verdicts."""

    draw: Draw
    n: int
    correct: int
    mean_tokens: float


class Sampler(Protocol):
    """Chooses items; its state is all that resuming needs."""

    def next(self) -> Draw:
        """The next draw; O(log N) or better."""

    def observe(self, outcome: GroupOutcome) -> None:
        """Learn how a draw turned out."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next draws depend on, as JSON."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; raises BadInput where it belongs to another split."""

    def metrics(self) -> dict[str, float]:
        """What the sampler has to tell about itself."""


class Gate(Protocol):
    """Admits groups to the update."""

    def admit(self, outcome: GroupOutcome) -> bool:
        """Whether the group trains; asked in the order of the draws."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, as JSON."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""

    def metrics(self) -> dict[str, float]:
        """Counts of what was admitted and what not."""


class SplitOrder:
    """The split's own order, epoch after epoch: slot by slot, from easy to hard.

    After the first epoch items keep their slots and are shuffled anew inside them, so that the same neighbours do not
    meet in every step; epoch 0 is exactly the split.
    """

    def __init__(self, ids: Sequence[str], slots: Sequence[int], seed: int) -> None:
        if not ids:
            raise BadInput("the split has no training items")
        self._rows, self._seed = list(zip(slots, ids, strict=True)), seed  # an item may have several rows
        self._drawn = self._observed = self._correct = self._samples = 0
        self._order, self._epoch = self._rows, 0

    def next(self) -> Draw:
        """The next item of the order."""
        epoch, place = divmod(self._drawn, len(self._rows))
        if epoch != self._epoch:
            self._order, self._epoch = self._shuffled(epoch), epoch
        slot, item = self._order[place]
        draw = Draw(self._drawn, item, epoch, slot)
        self._drawn += 1
        return draw

    def observe(self, outcome: GroupOutcome) -> None:
        """Count."""
        self._observed += 1
        self._correct += outcome.correct
        self._samples += outcome.n

    def state_dict(self) -> dict[str, Any]:
        """Position and counts, and the digest of the order that they belong to."""
        return {
            "order": self._mark(),
            "drawn": self._drawn,
            "observed": self._observed,
            "correct": self._correct,
            "samples": self._samples,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same split and seed."""
        if state["order"] != self._mark():
            raise BadInput("the checkpoint belongs to another split or seed; start a new run directory")
        self._drawn, self._observed = state["drawn"], state["observed"]
        self._correct, self._samples = state["correct"], state["samples"]
        self._epoch = (self._drawn - 1) // len(self._rows) if self._drawn else 0
        self._order = self._shuffled(self._epoch) if self._epoch else self._rows

    def metrics(self) -> dict[str, float]:
        """Draws, and the share of the split seen."""
        seen = min(1.0, self._drawn / len(self._rows))
        return {"drawn": self._drawn, "epoch": self._drawn / len(self._rows), "coverage": seen}

    def _shuffled(self, epoch: int) -> list[tuple[int, str]]:
        mixed = self._seed * 1_000_003 + epoch
        return sorted(self._rows, key=lambda row: (row[0], shuffle_key(mixed, row[1])))

    def _mark(self) -> str:
        from ladder.digest import digest

        return digest("split-order", str(self._seed), *(item for _, item in self._rows))


class Everything:
    """The gate of Observe-R1: every group passes; one without signal has weight 0 and is counted."""

    def __init__(self) -> None:
        self._admitted = self._silent = 0

    def admit(self, outcome: GroupOutcome) -> bool:
        """True."""
        self._admitted += 1
        self._silent += outcome.correct in (0, outcome.n)
        return True

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"admitted": self._admitted, "silent": self._silent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self._admitted, self._silent = state["admitted"], state["silent"]

    def metrics(self) -> dict[str, float]:
        """Groups admitted, and those all right or all wrong."""
        return {"admitted": self._admitted, "without_signal": self._silent}
