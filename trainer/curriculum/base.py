"""What a curriculum is made of: a sampler chooses items, a gate admits finished groups. Both run on a CPU with a fake policy.

Every draw has a sequence number; the gate decides in that order, whatever order groups finish in. Who rolls out, judges and
trains is left to the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Draw:
    """One item drawn: its place in the whole sequence of draws, and the pass over the items that it belongs to."""

    sequence: int
    item_id: str
    epoch: int
    slot: int


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """What came of a draw's group: counts from verdicts, never a shaped reward. Without any verdict `n` is 0."""

    draw: Draw
    n: int
    correct: int
    mean_tokens: float


class Sampler(Protocol):
    """Chooses items; its state is all that resuming needs."""

    @property
    def passed(self) -> int:
        """Places of the run that are over: those drawn, and those passed by. Replays have none, they come on top."""

    @property
    def places(self) -> int | None:
        """All places of the run; None: without end."""

    @property
    def most_draws(self) -> int | None:
        """How many draws the run makes at most, replays included; None: without end."""

    def next(self) -> Draw | None:
        """The next draw, in O(log N) or better over a pass; None when the epochs asked for are over."""

    def observe(self, outcome: GroupOutcome) -> None:
        """Learn how a draw turned out; once for each draw, in the order of the draws."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next draws depend on, as JSON."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, before anything is drawn; BadInput where it belongs to another split, seed or curriculum."""

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
