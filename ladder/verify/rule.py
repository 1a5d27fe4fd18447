"""What an answer type has to provide, and how it says that a gold cannot be used. It compares nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Options = Sequence[str]


class UnverifiableGold(Exception):
    """The gold is empty or not of its type; the message is a reason code."""


class Judgement(NamedTuple):
    """Whether an answer is right, and a short code of how that was found out."""

    right: bool
    how: str


class Rule(NamedTuple):
    """An answer type: read the gold (once, whatever the answer is), then judge an answer against it.

    `read` raises UnverifiableGold; whether it does may depend on the gold and the options only, so that an item is
    either verifiable for all of its rollouts or for none. `judge` is given a non-empty answer and never raises.
    """

    read: Callable[[str, Options], Any]
    judge: Callable[[str, Any, Options], Judgement]
