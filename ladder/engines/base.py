"""The engine interface: encoded requests go in, finished single rollouts come out as they end.

Scoring, training and evaluation use the same engines. Token ids in, token ids out, never re-tokenised text. Feeding and
reading interleave (`drive`), because a request may depend on verdicts of earlier ones; what is in flight is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ladder.digest import fingerprint

if TYPE_CHECKING:
    from ladder.encode import Encoded


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
    """Samples wanted of one prompt: sample `indices[i]` is drawn with `seeds[i]`."""

    id: str
    prompt: Encoded
    sampling: Sampling
    indices: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Completion:
    """One finished sample. `logprobs` are those of the distribution that was sampled from."""

    request_id: str
    index: int
    seed: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str  # stop | length


class Engine(Protocol):
    """What samples. `completed` yields finished samples until nothing is in flight; requests may be submitted meanwhile."""

    name: str
    capacity: int  # samples that it can usefully have in flight

    def submit(self, request: Request) -> None:
        """Take a request; raises ValueError where prompt and max_tokens exceed what the engine can hold."""

    def completed(self) -> Iterator[Completion]:
        """Run, and yield samples as they end."""

    def cancel(self, request_id: str) -> None:
        """Forget a request's unfinished samples."""

    def close(self) -> None:
        """Free what the engine holds."""

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint with its weights version: part of every rollout's key."""


class Updatable(Protocol):
    """An engine whose weights training replaces."""

    def load(self, version: str, weights: Mapping[str, Any] | None) -> None:
        """Take new weights (None: they were changed in place) under a version."""

    def sleep(self) -> None:
        """Give memory back until `wake`."""

    def wake(self) -> None:
        """Undo `sleep`."""


class UpdatableEngine(Engine, Updatable, Protocol):
    """What training samples from."""


def drive(
    engine: Engine, requests: Iterable[Request], on_reject: Callable[[Request, str], None] | None = None
) -> Iterator[Completion]:
    """Feed requests, reading as they finish; at most `engine.capacity` samples are in flight.

    A request that the engine refuses goes to `on_reject(request, why)`; without it the ValueError is raised.
    """
    source, in_flight, exhausted = iter(requests), 0, False
    completed: Iterator[Completion] = iter(())
    while True:
        while not exhausted and in_flight < engine.capacity:
            request = next(source, None)
            if request is None:
                exhausted = True
            elif _submitted(engine, request, on_reject):
                in_flight += len(request.indices)
        completion = next(completed, None)
        if completion is None:
            if not in_flight:
                if exhausted:
                    return
                continue
            completed = engine.completed()
            continue
        in_flight -= 1
        yield completion


def _submitted(engine: Engine, request: Request, on_reject: Callable[[Request, str], None] | None) -> bool:
    try:
        engine.submit(request)
    except ValueError as error:
        if on_reject is None:
            raise
        on_reject(request, str(error))
        return False
    return True
