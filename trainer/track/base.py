"""The interface of trackers, and a sample rollout as they take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class SampleRow:
    """One response of a training step, to be looked at. `images` are canonical bytes, in the order of the question's
    placeholders; `rewards` are the weighted terms by name, and "total"."""

    item_id: str
    tier: str
    question: str
    images: tuple[bytes, ...]
    gold: str
    response: str
    outcome: str
    correct: bool
    rewards: Mapping[str, float]
    advantage: float
    tokens: int
    truncated: bool


class Tracker(Protocol):
    """Where metrics and samples go. Steps never fall; several calls may have the same one."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Metrics of one step."""

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Some responses of one step."""

    def close(self) -> None:
        """Write what is left."""
