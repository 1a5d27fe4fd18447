"""How long a run is, and which part of it a step covers: what schedules of the rate and of the KL weight depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.config import TrainSettings


@dataclass(frozen=True)
class Span:
    """The part of a run that a step or an update covers, both ends in [0, 1]."""

    start: float
    end: float

    def part(self, index: int, count: int) -> Span:
        """The part of the `index`-th of a step's `count` updates."""
        size = (self.end - self.start) / count
        return Span(self.start + index * size, self.start + (index + 1) * size)


@dataclass(frozen=True)
class Plan:
    """A run of so many `steps`, if it was `asked` for them. If it was asked for epochs, their draws end it, and `steps` is the
    most that these can make: groups that a gate refuses, replays that find nothing mastered, and rows that retire make none."""

    steps: int
    asked: bool

    @classmethod
    def of(cls, settings: TrainSettings, most_draws: int | None) -> Plan:
        """The plan of a run whose curriculum makes at most so many draws; None: without end, which needs `steps`."""
        if settings.steps is not None:
            return cls(settings.steps, True)
        if most_draws is None:
            raise ValueError("a run without steps needs a curriculum that ends")
        return cls(math.ceil(most_draws / settings.batch.prompts), False)

    def over(self, done: int) -> bool:
        """Whether the steps asked for are done; epochs end by themselves."""
        return self.asked and done >= self.steps

    def progress(self, done: int, curriculum: float | None) -> float:
        """The share of the run, in [0, 1], that is over after `done` steps: of the steps asked for, else of the curriculum's
        draws, as its supply tells it between two steps."""
        return min(1.0, done / self.steps if self.asked or curriculum is None else curriculum)
