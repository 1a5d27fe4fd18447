"""What is wanted of each item: k samples, or as many as its own verdicts call for (ladder.adaptive).

What an item is asked for depends on its own outcomes in the order of their indices and on nothing else, so a build that
was killed, or ran on many engines, asks for what one undisturbed would. Knows nothing of engines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ladder.records import Outcome

Outcomes = dict[int, Outcome | None]  # by sample index; None: stored, and not judged


class Rule(Protocol):
    """How many samples an item should have, after `correct` of `n` that say something; n where that is enough."""

    def wanted(self, correct: int, n: int) -> int:
        """As told."""


@dataclass
class _Progress:
    outcomes: Outcomes
    target: int
    asked: set[int] = field(default_factory=set)  # indices in flight


class State(NamedTuple):
    """Of the first samples of an item, as many as are wanted by now: those missing, those that are correct, that say
    something, that are stored and not judged. `ends`: no more will be wanted, whatever these come to."""

    missing: int
    correct: int
    n: int
    unjudged: int
    ends: bool


class Plan:
    """The samples still wanted, at most `k` an item; `rule` says more than the first `k0` one by one.

    `next_wanted` gives (item id, indices) that can be sampled now; `record` takes what became of a sample.
    """

    def __init__(
        self,
        ids: Iterable[str],
        stored: Mapping[str, Outcomes],
        k: int,
        rule: Rule | None = None,
        k0: int | None = None,
    ) -> None:
        self._k, self._rule = k, rule
        first = k if rule is None else (k0 or k)
        self._items = {i: _Progress(dict(stored.get(i, {})), first) for i in ids}
        self._fresh = iter(list(self._items))
        self._ready: deque[tuple[str, list[int]]] = deque()

    def next_wanted(self) -> tuple[str, list[int]] | None:
        """Samples to ask for: items that are under way first, so that they end and their prompt is still cached."""
        if self._ready:
            return self._ready.popleft()
        for item_id in self._fresh:
            if indices := self._advance(item_id):
                return item_id, indices
        return None

    def record(self, item_id: str, index: int, outcome: Outcome | None) -> int | None:
        """A sample's outcome, or None where it is stored without one. Returns how many more samples are wanted of the
        item now that all of those asked for have come; None before that."""
        progress = self._items.get(item_id)
        if progress is None:
            return None
        progress.outcomes[index] = outcome
        progress.asked.discard(index)
        if progress.asked:
            return None
        if indices := self._advance(item_id):
            self._ready.append((item_id, indices))
        return len(indices)

    def give_up(self, item_id: str) -> bool:
        """Ask no more of an item; whether something was still wanted of it."""
        return self._items.pop(item_id, None) is not None

    @property
    def under_way(self) -> bool:
        """Whether what is in flight may still call for more."""
        return self._rule is not None and any(p.asked for p in self._items.values())

    def missing(self) -> Iterator[tuple[str, list[int]]]:
        """What is wanted of every item as things stand; nothing is marked as asked for."""
        for item_id in self._items:
            if indices := self._indices(item_id):
                yield item_id, indices

    def states(self) -> Iterator[State]:
        """Where every item stands; nothing is marked as asked for."""
        for item_id, progress in self._items.items():
            missing = len(self._indices(item_id))
            seen = [progress.outcomes[j] for j in range(progress.target) if j in progress.outcomes]
            yield State(
                missing,
                correct=seen.count(Outcome.CORRECT),
                n=len(seen) - seen.count(Outcome.TIMEOUT) - seen.count(None),
                unjudged=seen.count(None),
                ends=self._rule is None or Outcome.UNVERIFIABLE in seen,
            )

    def _advance(self, item_id: str) -> list[int]:
        indices = self._indices(item_id)
        self._items[item_id].asked.update(indices)
        return indices

    def _indices(self, item_id: str) -> list[int]:
        if item_id not in self._items:
            return []
        progress = self._items[item_id]
        while True:
            missing = [j for j in range(progress.target) if j not in progress.outcomes]
            if missing or self._rule is None:
                return missing
            target = self._next_target(progress)
            if target <= progress.target:
                return []
            progress.target = target

    def _next_target(self, progress: _Progress) -> int:
        """How many samples the first `target` outcomes call for; timeouts say nothing, an unjudgeable gold ends it."""
        seen = [progress.outcomes[j] for j in range(progress.target)]
        if self._rule is None or Outcome.UNVERIFIABLE in seen or None in seen:
            return progress.target
        n = sum(outcome != Outcome.TIMEOUT for outcome in seen)
        if not n:  # more of what the verifier could not judge says nothing either
            return progress.target
        wanted = self._rule.wanted(sum(outcome == Outcome.CORRECT for outcome in seen), n)
        return min(self._k, progress.target + wanted - n)
