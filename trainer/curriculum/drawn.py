"""What streams by draws share: a clock of draws over N items, and bands of the pass rate."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from ladder.config import Settings
from trainer.curriculum.trees import exact


class Band(Settings):
    """From `low` to `high`, both included."""

    low: float = Field(0.1, ge=0, le=1)
    high: float = Field(0.9, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Band:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


class ByDraws:
    """A stream that counts its draws: `epochs` x N of them, rounded up, and without end where that is None."""

    def __init__(self, count: int, epochs: float | None) -> None:
        self._count, self._clock = count, 0
        self._limit = None if epochs is None else math.ceil(exact(epochs) * count)

    @property
    def epoch(self) -> float:
        """Draws, in passes."""
        return self._clock / self._count

    @property
    def passed(self) -> int:
        """Draws."""
        return self._clock

    @property
    def places(self) -> int | None:
        """The draws asked for; None: without end."""
        return self._limit
