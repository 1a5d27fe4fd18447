"""What a model does on some items: fresh samples and a greedy one of each, judged, counted, with intervals over items.

`trainer.evaluate` (a model on a split) and `trainer.probe` (the policy while it trains) measure with this. Timeouts and
samples that no engine gave are missing, never wrong: what was judged too late is judged once more, and what is missing still
is left out of n, and told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ladder.engines.base import Completion, Engine, Failed, Refused, Request, Sampling, drive
from ladder.progress import Progress, say
from ladder.records import Item, Outcome, Verdict
from ladder.sampling import Asked
from ladder.score import pass_at
from ladder.store import Store
from ladder.verify.pool import VerifierPool

RESAMPLES = 2000
_DRAWN_AT_ONCE = 1 << 18  # items of resamples: a few megabytes
_KEPT = 512  # items of which all resamples are kept: 8 MB
_COUNTED = (Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER)
_NAMED = 3  # items without a result that a message names


@dataclass(frozen=True)
class ItemResult:
    """What came of one item: `correct` of the `n` samples that count, whether the greedy answer is right (None: not asked,
    or missing), mean response tokens (None: nothing was sampled)."""

    id: str
    tier: str
    subject: str
    n: int
    correct: int
    greedy: bool | None
    tokens: float | None


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% bootstrap interval; all three are NaN where there is no value."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass
class _Answer:
    """A sampled response, with the promise of its verdict."""

    item_id: str
    greedy: bool
    completion: Completion
    text: str
    verdict: Future[Verdict]


@dataclass
class _Tally:
    """What is known of one item."""

    counted: list[bool] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    greedy: bool | None = None


@dataclass(frozen=True)
class Measurement:
    """Which items are measured and how: `rows` of a split (id, tier, subject), their items, and how these are asked.

    `samples` responses of each at `asked`'s temperature, and a greedy one where that is wanted. `seeds_from` is added to every
    seed. Taken again with the same weights it gives the same results (common random numbers), as far as the engine is
    reproducible.
    """

    store: Store
    rows: Sequence[Mapping[str, Any]]
    items: Mapping[str, Item]
    asked: Asked
    samples: int
    greedy: bool = True
    seeds_from: int = 0

    def of(self, rows: Sequence[Mapping[str, Any]]) -> Measurement:
        """The same of some of its rows."""
        return replace(self, rows=rows, items={row["id"]: self.items[row["id"]] for row in rows})

    def take(self, engine: Engine, verifier: VerifierPool, name: str) -> list[ItemResult]:
        """Sample and judge, in the order of the rows; nothing else may be in flight in the engine. `name` is for the reader."""
        judging = _Judging(self, verifier)
        with Progress(name, len(self.items) * (self.samples + self.greedy), "rollouts") as progress:
            for completion in drive(engine, self._requests(), other=judging.left_out):
                judging.take(completion)
                progress.advance()
        judging.finish()
        results = [_result(row, judging.tallies[row["id"]]) for row in self.rows]
        judging.tell(name, results)
        return results

    def _requests(self) -> Iterator[Request]:
        for item in self.items.values():
            request = self.asked.request(self.store, item, range(self.samples))
            yield self._renamed(request, item, greedy=False)
            if self.greedy:
                sampling = Sampling(0.0, self.asked.sampling.max_tokens)
                yield self._renamed(replace(request, sampling=sampling), item, greedy=True)

    def _renamed(self, request: Request, item: Item, greedy: bool) -> Request:
        count = 1 if greedy else self.samples
        return replace(
            request,
            id=f"{_GREEDY}{item.id}" if greedy else item.id,
            indices=request.indices[:count],
            seeds=tuple(seed + self.seeds_from for seed in request.seeds[:count]),
        )


_GREEDY = "greedy "  # before the item's id, in a request's


class _Judging:
    """The verdicts on the responses of one measurement, as they come."""

    def __init__(self, measurement: Measurement, verifier: VerifierPool) -> None:
        self.tallies = {item_id: _Tally() for item_id in measurement.items}
        self._items, self._asked, self._verifier = measurement.items, measurement.asked, verifier
        self._waiting: deque[_Answer] = deque()
        self._late: list[_Answer] = []
        self._too_late = self._unsampled = 0
        self._why = ""

    def left_out(self, event: Refused | Failed) -> None:
        self._unsampled += len(event.indices) if isinstance(event, Refused) else 1
        self._why = event.detail if isinstance(event, Refused) else event.why

    def take(self, completion: Completion) -> None:
        greedy = completion.request_id.startswith(_GREEDY)
        item_id = completion.request_id.removeprefix(_GREEDY)
        text = self._asked.text(completion)
        verdict = self._verifier.future(text, self._items[item_id])
        self._waiting.append(_Answer(item_id, greedy, completion, text, verdict))
        while self._waiting and self._waiting[0].verdict.done():
            self._settle(self._waiting.popleft())

    def finish(self) -> None:
        """Wait for all verdicts; what was judged too late is judged once more, now that nothing else runs."""
        for answer in self._waiting:
            self._settle(answer)
        again, self._late = self._late, []
        for answer in again:
            answer.verdict = self._verifier.future(answer.text, self._items[answer.item_id])
        for answer in again:
            self._settle(answer)
        self._too_late = len(self._late)

    def _settle(self, answer: _Answer) -> None:
        outcome = answer.verdict.result().outcome
        if outcome == Outcome.TIMEOUT:
            self._late.append(answer)
            return
        if outcome in _COUNTED:
            tally = self.tallies[answer.item_id]
            right = outcome == Outcome.CORRECT and answer.completion.finish_reason != "length"
            if answer.greedy:
                tally.greedy = right
            else:
                tally.counted.append(right)
                tally.tokens.append(answer.completion.length)

    def tell(self, name: str, results: Sequence[ItemResult]) -> None:
        """Nothing is left out silently."""
        if self._too_late:
            say(f"  {name}: {self._too_late:,} responses were judged too late, twice, and are left out")
        if self._unsampled:
            say(f"  {name}: {self._unsampled:,} samples were not to be had, and are left out: {self._why}")
        empty = [result.id for result in results if not result.n]
        if empty:
            named = ", ".join(empty[:_NAMED]) + (", ..." if len(empty) > _NAMED else "")
            say(
                f"  {name}: no sample of {len(empty):,} items counts, and the means are without them: {named}"
            )


def _result(row: Mapping[str, Any], tally: _Tally) -> ItemResult:
    return ItemResult(
        id=row["id"],
        tier=row["tier"],
        subject=row["subject"] or "-",
        n=len(tally.counted),
        correct=sum(tally.counted),
        greedy=tally.greedy,
        tokens=float(np.mean(tally.tokens)) if tally.tokens else None,
    )


def measures(results: Sequence[ItemResult]) -> dict[str, np.ndarray]:
    """Per item (N,): mean@n, greedy, pass@n (unbiased, from all n samples), and response tokens; NaN where one is missing."""
    none = float("nan")
    return {
        "mean": np.array([r.correct / r.n if r.n else none for r in results]),
        "greedy": np.array([none if r.greedy is None else float(r.greedy) for r in results]),
        "pass": np.array([pass_at(r.n, r.correct, r.n) if r.n else none for r in results]),
        "tokens": np.array([none if r.tokens is None else r.tokens for r in results]),
    }


def bootstrap(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean and 95% percentile interval over items (N,), without those that are NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(*[float("nan")] * 3)
    drawn = _kept_resamples if len(values) <= _KEPT else _resamples
    means = np.concatenate([weights_SN @ values for weights_SN in drawn(len(values), seed)])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def _resamples(items: int, seed: int) -> Iterator[np.ndarray]:
    """The weights of the items in each resample: RESAMPLES rows in all, some at a time (S, N)."""
    rng, at_once = np.random.default_rng(seed), max(1, _DRAWN_AT_ONCE // items)
    for done in range(0, RESAMPLES, at_once):
        rows = min(at_once, RESAMPLES - done)
        places = rng.integers(0, items, (rows, items)) + items * np.arange(rows)[:, None]
        yield np.bincount(places.ravel(), minlength=rows * items).reshape(rows, items) / items


@lru_cache(maxsize=4)
def _kept_resamples(items: int, seed: int) -> list[np.ndarray]:
    """The same, for the measures of one part, which are all of as many items."""
    return list(_resamples(items, seed))


def parts(
    results: Sequence[ItemResult], axes: Sequence[str] = ("tier", "subject")
) -> list[tuple[str, list[ItemResult]]]:
    """The results as "all", and by the values of each axis as "tier:hard"."""
    groups: dict[str, list[ItemResult]] = {"all": list(results)}
    for axis in axes:
        for result in sorted(results, key=lambda r: getattr(r, axis)):
            groups.setdefault(f"{axis}:{getattr(result, axis)}", []).append(result)
    return list(groups.items())
