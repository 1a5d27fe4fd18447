"""Feeding an engine and reading from it, with an engine whose events are written down in the test."""

import time
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from ladder.encode import Prompt
from ladder.engines.base import Completion, Event, Failed, Meter, Refused, Request, Sampling, drive
from ladder.errors import LadderError


class Scripted:
    """Answers a request, in order, as `answer` says; counts what it holds."""

    name = "scripted"
    background = False
    fingerprint = "f"

    def __init__(self, capacity: int, answer: Callable[[Request], list[Event]]) -> None:
        self.capacity, self._answer = capacity, answer
        self._events: deque[Event] = deque()
        self.held = self.most = 0
        self.counts: dict[str, int] = {}

    def submit(self, request: Request) -> None:
        self._events += self._answer(request)
        self.held += len(request.indices)
        self.most = max(self.most, self.held)

    def completed(self) -> Iterator[Event]:
        while self._events:
            event = self._events.popleft()
            self.held -= len(event.indices) if isinstance(event, Refused) else 1
            yield event

    def cancel(self, request_id: str) -> None:
        raise AssertionError(request_id)

    def close(self) -> None:
        self._events.clear()


def request(name: str, n: int = 2) -> Request:
    return Request(name, Prompt([]), Sampling(), tuple(range(n)), tuple(range(n)))


def answered(asked: Request) -> list[Event]:
    return [
        Completion(asked.id, j, s, (1,), (0.0,), "stop")
        for j, s in zip(asked.indices, asked.seeds, strict=True)
    ]


def test_everything_comes_out_and_what_is_in_flight_is_bounded() -> None:
    engine = Scripted(5, answered)
    found = [(c.request_id, c.index) for c in drive(engine, (request(str(i)) for i in range(20)))]
    assert sorted(found) == sorted((str(i), j) for i in range(20) for j in range(2))
    assert engine.most <= 6
    assert engine.held == 0


def test_a_request_larger_than_the_engine_goes_in_alone() -> None:
    engine = Scripted(3, answered)
    assert len(list(drive(engine, [request("a", 8), request("b", 8)]))) == 16
    assert engine.most <= 10


def test_what_is_refused_or_fails_is_told_and_the_rest_comes() -> None:
    def answer(asked: Request) -> list[Event]:
        if asked.id == "long":
            return [Refused(asked.id, asked.indices, "too_long", "too long", 9)]
        first, second = answered(asked)
        return [Failed(asked.id, 0, "lost"), second] if asked.id == "lost" else [first, second]

    told: list[Refused | Failed] = []
    found = list(drive(Scripted(4, answer), [request(n) for n in ("a", "long", "lost", "b")], told.append))
    assert [(c.request_id, c.index) for c in found] == [("a", 0), ("a", 1), ("lost", 1), ("b", 0), ("b", 1)]
    assert [type(event).__name__ for event in told] == ["Refused", "Failed"]


def test_without_anybody_to_tell_a_refusal_is_an_error() -> None:
    engine = Scripted(4, lambda r: [Refused(r.id, r.indices, "too_long", "needs 9 positions", 9)])
    with pytest.raises(LadderError, match="item a was not sampled: needs 9 positions"):
        list(drive(engine, [request("a")]))


class Chain:
    """A source whose next request depends on the last answer."""

    def __init__(self, length: int) -> None:
        self.left, self.answers = length, 0
        self.asked_idle: list[bool] = []

    def take(self, idle: bool) -> Request | None:
        self.asked_idle.append(idle)
        if not idle or not self.left:
            return None
        self.left -= 1
        return request(str(self.left), 1)


def test_a_source_that_waits_for_answers_is_asked_again_when_nothing_is_in_flight() -> None:
    source = Chain(3)
    assert [c.request_id for c in drive(Scripted(4, answered), source)] == ["2", "1", "0"]
    assert source.asked_idle[-1] is True


def test_an_engine_in_this_process_waits_while_we_work_and_one_of_its_own_only_when_it_runs_dry() -> None:
    def spent(background: bool, capacity: int) -> float:
        engine, meter = Scripted(capacity, answered), Meter()
        engine.background = background
        for _ in drive(engine, [request(str(i), 1) for i in range(8)], meter=meter):
            time.sleep(0.004)
        return meter.waited

    assert spent(background=False, capacity=1) > 0.024
    assert spent(background=True, capacity=1) == 0
