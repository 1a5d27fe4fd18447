"""The engine interface: requests go in; finished single rollouts, refusals and failures come out as they happen.

Scoring, training and evaluation use the same engines. Token ids in, token ids out, never re-tokenised text. Feeding and
reading interleave (`drive`), because a request may depend on verdicts of earlier ones; what is in flight is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

from ladder.digest import fingerprint
from ladder.errors import LadderError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ladder.encode import Prompt


@dataclass(frozen=True)
class Sampling:
    """The sampling specification: temperature 0 is greedy. No top-p or top-k: log-probs are of what was sampled."""

    temperature: float = 1.0
    max_tokens: int = 1024

    @property
    def fingerprint(self) -> str:
        """Digest of the specification: not of n, not of concurrency."""
        return fingerprint("sampling-1", asdict(self))


@dataclass(frozen=True)
class Request:
    """Samples wanted of one prompt: sample `indices[i]` is drawn with `seeds[i]`; consecutive indices have consecutive
    seeds. `id` is unlike those of the requests in flight. `source_id` is the item's name upstream
    (SOURCE/ID where there are several pools), for recorded answers."""

    id: str
    prompt: Prompt
    sampling: Sampling
    indices: tuple[int, ...]
    seeds: tuple[int, ...]
    source_id: str = ""


@dataclass(frozen=True)
class Completion:
    """One finished sample. `logprobs` are those of the distribution that was sampled from.

    An engine that knows no token ids gives the `text`, the number of `tokens`, and `trainable` False; it is False too
    where the ids belong to another prompt than ours.
    """

    request_id: str
    index: int
    seed: int
    token_ids: Sequence[int] | np.ndarray
    logprobs: Sequence[float] | np.ndarray
    finish_reason: str  # stop | length
    text: str | None = None  # None: the token ids are to be decoded
    tokens: int | None = None  # None: as many as there are token ids
    trainable: bool = True

    @property
    def length(self) -> int:
        """Response tokens."""
        return len(self.token_ids) if self.tokens is None else self.tokens


@dataclass(frozen=True)
class Refused:
    """A request that cannot be sampled, now or later: with all of its samples it leaves.

    `reason` is a short code: `too_long` where prompt and answer `need` more positions than the engine has (another limit
    may hold it), `unencodable` where the prompt is none for this model, `not_recorded` where no answer is, `engine_died` where it
    ended engine after engine.
    """

    request_id: str
    indices: tuple[int, ...]
    reason: str
    detail: str
    need: int | None = None


@dataclass(frozen=True)
class Failed:
    """A sample that an engine gave up on, this time: missing, to be asked for again by the next run."""

    request_id: str
    index: int
    why: str


Event = Completion | Refused | Failed


class Engine(Protocol):
    """What samples. `completed` yields what happens until nothing is in flight; requests may be submitted meanwhile."""

    name: str
    capacity: int  # samples that it can usefully have in flight
    background: bool  # works while nobody is inside `completed`
    counts: dict[
        str, int
    ]  # what it did beside sampling (retries, ...), by name; empty where there is nothing to tell

    def submit(self, request: Request) -> None:
        """Take a request; one that cannot be sampled comes back as Refused."""

    def completed(self) -> Iterator[Event]:
        """Run, and yield samples as they end. Raises LadderError where the engine is gone."""

    def cancel(self, request_id: str) -> None:
        """Forget a request's unfinished samples."""

    def close(self) -> None:
        """Free what the engine holds."""

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint with its weights version: part of every rollout's key."""


class Updatable(Protocol):
    """An engine whose weights training replaces, while nothing is in flight."""

    exact: bool  # its log-probs are those of the trainer's forward, but for the order of floating-point sums

    def load(self, version: str, weights: Iterable[tuple[str, torch.Tensor]] | None) -> None:
        """Take new weights under a version: all of the model's tensors by the names of its modules, read to the end and
        once; None: they were changed in place."""

    def sleep(self) -> None:
        """Give memory back until `wake`; `load` may come before that. Again is harmless."""

    def wake(self) -> None:
        """Undo `sleep`; again is harmless."""


class UpdatableEngine(Engine, Updatable, Protocol):
    """What training samples from."""


class Source(Protocol):
    """Where requests come from when they depend on what came of earlier ones."""

    def take(self, idle: bool) -> Request | None:
        """The next request; None: not now. With `idle` nothing is in flight: wait for it; None: there will be none."""


@dataclass
class Meter:
    """Whose time it was: of the engine, or ours while the engine had less than it could hold."""

    started: float = field(default_factory=time.monotonic)
    waited: float = 0.0  # seconds for which the engine waited for us

    @property
    def waiting_share(self) -> float:
        """The share of time for which the engine waited for us."""
        return self.waited / max(time.monotonic() - self.started, 1e-9)


def drive(
    engine: Engine,
    requests: Source | Iterable[Request],
    other: Callable[[Refused | Failed], None] | None = None,
    meter: Meter | None = None,
) -> Iterator[Completion]:
    """Feed requests, reading as they finish; at most `engine.capacity` samples are in flight, or one request.

    What is refused or fails goes to `other`; without it, LadderError is raised.
    """
    source = _Listed(requests) if isinstance(requests, Iterable) else requests
    flow = _Flow(engine, source, meter or Meter())
    while (event := flow.next()) is not None:
        if isinstance(event, Completion):
            yield event
        elif other is not None:
            other(event)
        else:
            raise LadderError(f"item {event.request_id} was not sampled: {_why(event)}")


def _why(event: Refused | Failed) -> str:
    return event.detail if isinstance(event, Refused) else event.why


class _Listed:
    """A source of requests that depend on nothing."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = iter(requests)

    def take(self, idle: bool) -> Request | None:  # noqa: ARG002
        return next(self._requests, None)


class _Flow:
    """Requests into an engine and events out of it, one at a time, with the time that passes between."""

    def __init__(self, engine: Engine, source: Source, meter: Meter) -> None:
        self._engine, self._source, self._meter = engine, source, meter
        self._in_flight = 0
        self._events: Iterator[Event] = iter(())
        self._left = time.monotonic()  # when the engine was left alone

    def next(self) -> Event | None:
        """The next event; None when nothing is in flight and nothing more comes."""
        while True:
            self._feed()
            if not self._in_flight:
                return None
            self._count_waiting()
            event = next(self._events, None)
            self._left = time.monotonic()
            if event is None:
                self._events = self._engine.completed()
                continue
            self._in_flight -= len(event.indices) if isinstance(event, Refused) else 1
            return event

    def _feed(self) -> None:
        while self._in_flight < self._engine.capacity:
            request = self._source.take(idle=not self._in_flight)
            if request is None:
                return
            self._engine.submit(request)
            self._in_flight += len(request.indices)

    def _count_waiting(self) -> None:
        """An engine in this process stands still while we work; one of its own only when it has too little to do."""
        if not self._engine.background or self._in_flight < self._engine.capacity // 2:
            self._meter.waited += time.monotonic() - self._left


def refused_as_too_long(request: Request, need: int, limit: int) -> Refused:
    """The refusal of a request whose prompt and answer need more positions than there are."""
    detail = f"prompt and answer need {need} positions, the model has {limit}"
    return Refused(request.id, request.indices, "too_long", detail, need)


def refused_as_unencodable(request: Request, error: ValueError) -> Refused:
    """The refusal of a request whose prompt the encoder cannot take."""
    return Refused(request.id, request.indices, "unencodable", str(error))
