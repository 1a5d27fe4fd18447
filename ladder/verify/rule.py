"""What an answer type has to provide, and how it says that a gold cannot be used. It compares nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ladder.records import Reference
from ladder.verify.policy import Policy

Options = Sequence[str]


class UnverifiableGold(Exception):
    """The gold is empty or not of its type; the message is a reason code."""


class Judgement(NamedTuple):
    """Whether an answer is right, and a short code of how that was found out."""

    right: bool
    how: str


class Rule(NamedTuple):
    """An answer type, in two halves: what is bounded in time by construction, and what may need a deadline.

    `read` makes of a gold what the others are given as such, once, whatever the answer is; it is bounded and raises
    UnverifiableGold. `judge` is bounded too; it is given a non-empty answer, never raises, and returns None where only
    symbolic work can tell. `check` and `decide` do that work: `check` raises UnverifiableGold for a gold that cannot be
    parsed, `decide` judges an answer for which `judge` returned None. Whether a gold is unverifiable depends on the gold
    only, never on the answer: an item is verifiable for all of its rollouts or for none.
    """

    read: Callable[[Reference, Policy], Any]
    judge: Callable[[str, Any, Policy], Judgement | None]
    check: Callable[[Any], None] | None = None
    decide: Callable[[str, Any, Policy], Judgement] | None = None
