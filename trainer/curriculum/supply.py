"""The supply of a step's groups: draws what is missing, lets the gate decide in the order of the draws, refills from the next
draws, and keeps what is left over for the next step.

Nothing depends on the order in which groups finish, and no admitted group is ever thrown away. Who samples and judges them
is the caller's affair:

    while draws := supply.round():
        supply.offer(groups of the draws, in any order)
    groups = supply.take()
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from ladder.config import Settings
from ladder.errors import BadInput, LadderError
from ladder.progress import say
from trainer.curriculum.base import Draw, Gate, GroupOutcome, Sampler
from trainer.curriculum.trees import exact


class Judged(Protocol):
    """A finished group, whatever else the trainer keeps of it."""

    @property
    def outcome(self) -> GroupOutcome:
        """What the curriculum needs of it."""


T = TypeVar("T", bound=Judged)
_NEARER = (
    "train on a split nearer to what the model can do, widen curriculum.gate, draw by curriculum.sampler.kind=weighted, or "
    "raise curriculum.max_draws"
)
_SHORTER = (
    "empty are groups without samples, because prompt and response.max_tokens exceed what the model can hold, or whose verdicts "
    "never came: lower response.max_tokens or the model's max_pixels"
)
_TELL = 10  # of so many steps that stay short one is told, and the first of all


class SupplySettings(Settings):
    """`oversample` draws are made for each group that is missing. A step makes at most `max_draws` x prompts draws (DAPO: 10);
    when they do not fill it, it trains on what there is, or the run stops (`on_shortage`).

    A step draws only where the surplus does not fill it, and takes the oldest first: a group trains at most ceil(oversample) - 1
    steps after the one that it was sampled in, nor more than ceil(max_draws); so late only where a gate admits nearly all of
    a round.
    """

    oversample: float = Field(1.0, ge=1)
    max_draws: float = Field(10.0, ge=1)
    on_shortage: Literal["train", "stop"] = "train"


class Supply(Generic[T]):
    """Groups of `prompts` items a step. Its state holds the sampler's and the gate's; the groups themselves lie in `surplus`."""

    def __init__(self, sampler: Sampler, gate: Gate, settings: SupplySettings, prompts: int) -> None:
        self._sampler, self._gate, self._settings, self._prompts = sampler, gate, settings, prompts
        self._limit = math.floor(exact(settings.max_draws) * prompts)
        self._open: deque[Draw] = deque()  # drawn and not decided yet, in order
        self._arrived: dict[int, T] = {}  # finished, but not all before them are
        self._ready: deque[T] = deque()  # admitted
        self._places: dict[int, int] = {}  # of open and ready groups: how many places were passed before each
        self._behind = 0  # places that the groups taken stand for
        self._short = 0  # steps so far
        self._over = False
        self._draws = self._rounds = 0
        self._told = {"step_draws": 0.0, "step_rounds": 0.0}
        self._before = gate.metrics()

    def round(self) -> list[Draw]:
        """The draws still to be rolled out for this step; none when it has enough, or nothing more comes.

        While a round is not finished, it is what is missing of that round.
        """
        if not self._open:
            self._draw(math.ceil((self._prompts - len(self._ready)) * exact(self._settings.oversample)))
        return [draw for draw in self._open if draw.sequence not in self._arrived]

    def offer(self, groups: Iterable[T]) -> None:
        """Take finished groups of the round, in any order; ValueError for one that is not missing."""
        missing = {draw.sequence for draw in self._open} - self._arrived.keys()
        for group in groups:
            sequence = group.outcome.draw.sequence
            if sequence not in missing:
                raise ValueError(f"group {sequence} is not a missing one of this round")
            missing.remove(sequence)
            self._arrived[sequence] = group
        while self._open and self._open[0].sequence in self._arrived:
            self._decide(self._arrived.pop(self._open.popleft().sequence))

    def take(self) -> list[T]:
        """The groups of the step, in the order of their draws; fewer where the draws' limit or the data's end is reached, none
        when nothing is left. ValueError while a round is not finished.

        Raises LadderError where the limit leaves no group, or fewer than a step's and `on_shortage` is "stop".
        """
        if self._open:
            raise ValueError(f"{len(self.round())} groups of the round are still missing")
        if len(self._ready) < self._prompts and not self._over:
            self._shortage()
        taken = [self._ready.popleft() for _ in range(min(self._prompts, len(self._ready)))]
        for group in taken:
            del self._places[group.outcome.draw.sequence]
        self._behind = min(self._places.values(), default=self._sampler.passed)
        self._told = {"step_draws": float(self._draws), "step_rounds": float(self._rounds)}
        self._draws = self._rounds = 0
        self._before = self._gate.metrics()
        return taken

    @property
    def progress(self) -> float | None:
        """The share of the run, in [0, 1], that the steps taken stand for; None where it has no end. Surplus is still to come,
        what a gate refused or the sampler passed by is over. Below 1 as long as there may be a step; it ends below 1 where
        all rows that are left retire."""
        places = self._sampler.places
        return None if places is None else self._behind / places

    @property
    def most_draws(self) -> int | None:
        """How many draws the run makes at most; None where it has no end."""
        return self._sampler.most_draws

    @property
    def surplus(self) -> list[T]:
        """The groups that a checkpoint must keep beside the state: admitted ones, then those not decided yet."""
        return [*self._ready, *(self._arrived[sequence] for sequence in sorted(self._arrived))]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the groups, as JSON."""
        return {
            "sampler": self._sampler.state_dict(),
            "gate": self._gate.state_dict(),
            "open": [astuple(draw) for draw in self._open],
            "ready": [group.outcome.draw.sequence for group in self._ready],
            "arrived": sorted(self._arrived),
            "places": sorted(self._places.items()),
            "behind": self._behind,
            "short": self._short,
            "over": self._over,
            "draws": self._draws,
            "rounds": self._rounds,
            "told": self._told,
            "before": self._before,
        }

    def load_state_dict(self, state: Mapping[str, Any], surplus: Iterable[T] = ()) -> None:
        """Go on from a state and the `surplus` that was saved with it, else BadInput."""
        groups = {group.outcome.draw.sequence: group for group in surplus}
        if sorted(groups) != sorted([*state["ready"], *state["arrived"]]):
            raise BadInput(
                "the checkpoint's surplus groups are not those of its curriculum; remove that checkpoint"
            )
        self._sampler.load_state_dict(state["sampler"])
        self._gate.load_state_dict(state["gate"])
        self._open = deque(Draw(*fields) for fields in state["open"])
        self._ready = deque(groups[sequence] for sequence in state["ready"])
        self._arrived = {sequence: groups[sequence] for sequence in state["arrived"]}
        self._places, self._behind, self._short = dict(state["places"]), state["behind"], state["short"]
        self._over, self._draws, self._rounds = state["over"], state["draws"], state["rounds"]
        self._told, self._before = dict(state["told"]), dict(state["before"])

    def metrics(self) -> dict[str, float]:
        """The sampler's and the gate's; draws and rounds of the latest step; groups kept for the next one; steps that stayed
        short."""
        told = self._sampler.metrics() | self._gate.metrics() | self._told
        return told | {"surplus": float(len(self._ready)), "short_steps": float(self._short)}

    def _draw(self, wanted: int) -> None:
        wanted = min(wanted, self._limit - self._draws)
        while len(self._open) < wanted and not self._over:
            passed, draw = self._sampler.passed, self._sampler.next()
            if draw is None:
                self._over = True
            else:
                self._open.append(draw)
                self._places[draw.sequence] = passed
        self._draws += len(self._open)
        self._rounds += bool(self._open)

    def _decide(self, group: T) -> None:
        self._sampler.observe(group.outcome)
        if self._gate.admit(group.outcome):
            self._ready.append(group)
        else:
            del self._places[group.outcome.draw.sequence]

    def _shortage(self) -> None:
        now = self._gate.metrics()
        refused = {
            name: int(now[name] - self._before.get(name, 0)) for name in now if name.startswith("refused")
        }
        reasons = ", ".join(
            f"{many:,} {name.removeprefix('refused_')}" for name, many in refused.items() if many
        )
        advice = _NEARER if 2 * refused.get("refused_empty", 0) < sum(refused.values()) else _SHORTER
        message = (
            f"curriculum: {self._draws:,} draws gave {len(self._ready):,} of {self._prompts:,} groups "
            f"(refused: {reasons or 'none'}); {advice}"
        )
        if not self._ready or self._settings.on_shortage == "stop":
            raise LadderError(message)
        self._short += 1
        if self._short == 1 or self._short % _TELL == 0:
            say(f"  {message}" + (f"; so far {self._short:,} steps stayed short" if self._short > 1 else ""))
