"""What a reward sees of a step: its responses, judged. Nothing here knows how they came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ladder.config import Settings
from ladder.records import Item, Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as a function of the user's sees it; `length` in tokens."""

    text: str
    item: Item
    outcome: Outcome
    correct: bool
    length: int
    truncated: bool


@dataclass(frozen=True)
class Answers:
    """The responses of a step: P groups of G. `items` and `outcomes` are read by rewards of one's own only."""

    correct_PG: torch.Tensor  # 1 where the verdict is `correct` and the response is finished
    lengths_PG: torch.Tensor  # tokens
    truncated_PG: torch.Tensor  # cut off at the token limit
    texts: Sequence[Sequence[str]]
    items: Sequence[Item] = ()
    outcomes: Sequence[Sequence[Outcome]] = ()

    def group(self, p: int) -> list[Answer]:
        """The G responses of a group."""
        columns = (self.correct_PG[p].tolist(), self.lengths_PG[p].tolist(), self.truncated_PG[p].tolist())
        rows = zip(self.texts[p], self.outcomes[p], *columns, strict=True)
        return [
            Answer(text, self.items[p], outcome, bool(correct), int(length), bool(truncated))
            for text, outcome, correct, length, truncated in rows
        ]


class TermSettings(Settings):
    """Base of every term: what it pays is its value times `weight`; with weight 0 it pays, and is logged as, 0."""

    weight: float = 1.0

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """The unweighted value of each response: float64 (P, G)."""
        raise NotImplementedError
