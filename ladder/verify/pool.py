"""Verify many responses beside other work, from threads, asyncio and Ray alike, with a hard deadline for each case.

Most cases are judged where they are submitted, because that is bounded by construction. The others go to worker
processes (ladder.verify.dispatcher): expressions that only symbolic work can compare, and each gold that has to be
parsed once to know whether it can be. Nothing has to be driven: verdicts are made while the caller does other things.
Retries and the storing of verdicts are left to the caller.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakSet, finalize

from ladder.errors import LadderError
from ladder.records import AnswerType, Item, Outcome, Reference, Verdict
from ladder.verify.compare import MAX_ANSWER, quick
from ladder.verify.dispatcher import WORKER_MEMORY, Case, Closed, Dispatcher
from ladder.verify.extract import Extracted, extract
from ladder.verify.policy import DEFAULT, Policy

__all__ = ["WORKER_MEMORY", "VerifierPool"]

_REMEMBERED = 8192  # golds, and verdicts
_AHEAD = 4096  # cases with the workers beyond which `submit` waits

_Key = tuple[Reference, str | None, str]
_Sink = Callable[[Verdict | LadderError], None]
_V = TypeVar("_V")


class _Recent(Generic[_V]):
    """The values of the keys used last."""

    def __init__(self, size: int) -> None:
        self._size, self._values = size, OrderedDict[Hashable, _V]()

    def get(self, key: Hashable) -> _V | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Hashable, value: _V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)


class VerifierPool:
    """Judges (response, item) cases; any thread may use it, several at a time.

    `verify` waits for one verdict, `averify` awaits it, `future` promises it; or `submit` cases and take verdicts from
    `completed` in the order in which they are ready. `workers` processes judge at a time, and one more stands by; none
    starts before the first case that needs one. `deadline` is in seconds from the start of a case: one that exceeds it,
    or takes more than WORKER_MEMORY, gets Outcome.TIMEOUT. `counts` tells what was submitted, judged at once (`quick`),
    shared with an equal case (`shared`) and sent to workers (`sent`), and there: `timeouts`, `crashes` and `restarts`.
    Where workers cannot start, or the pool was closed, a LadderError is raised. A pickled or forked pool is a new one of
    the same settings.
    """

    def __init__(
        self, workers: int = 1, deadline: float = 2.0, policy: Policy = DEFAULT, *, window: int = 16
    ) -> None:
        self.policy = policy
        self._size, self._deadline, self._window = max(1, workers), deadline, max(1, window)
        self._counts = dict.fromkeys(
            ("submitted", "quick", "shared", "sent", "timeouts", "crashes", "restarts"), 0
        )
        self._closed = False
        self._begin()
        _POOLS.add(self)

    def _begin(self) -> None:
        """The state that does not survive a fork."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._dispatcher: Dispatcher | None = None
        self._golds = _Recent[str](_REMEMBERED)  # parsed before: "" where that worked, else why it did not
        self._verdicts = _Recent[Verdict](_REMEMBERED)
        self._flight: dict[_Key, list[_Sink]] = {}  # with the workers, and who waits for it
        self._done: deque[tuple[Any, Verdict]] = deque()
        self._pending = 0
        self._failed: LadderError | None = None

    def __reduce__(self) -> Any:
        return partial(VerifierPool, window=self._window), (self._size, self._deadline, self.policy)

    # --- one case -------------------------------------------------------------------------------------------

    def verify(self, response: str, item: Item) -> Verdict:
        """The verdict on a response; waits for it."""
        return self.future(response, item).result()

    async def averify(self, response: str, item: Item) -> Verdict:
        """The verdict on a response; the event loop goes on meanwhile."""
        from asyncio import wrap_future

        return await wrap_future(self.future(response, item))

    def future(self, response: str, item: Item) -> Future[Verdict]:
        """A promise of the verdict on a response; never waits."""
        future: Future[Verdict] = Future()
        self._take(response, item, partial(_fulfil, future))
        return future

    # --- a stream of cases ----------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Cases submitted of which `completed` has not yet given the verdict."""
        return self._pending

    def submit(self, tag: Any, response: str, item: Item) -> None:
        """Take a case; `tag` comes back with its verdict. Waits where the workers are thousands of cases behind."""
        with self._lock:
            while len(self._flight) >= _AHEAD:
                self._changed.wait()
            self._pending += 1
        try:
            self._take(response, item, partial(self._complete, tag))
        except BaseException:
            with self._lock:
                self._pending -= 1
            raise

    def completed(self, block: bool = False) -> Iterator[tuple[Any, Verdict]]:
        """The finished cases as (tag, verdict); with `block`, until nothing is pending."""
        while True:
            with self._lock:
                while block and self._pending and not self._done and self._failed is None:
                    self._changed.wait()
                if not self._done:
                    if self._pending and self._failed is not None:
                        raise self._failed
                    return
                ready = self._done.popleft()
                self._pending -= 1
                self._changed.notify_all()  # another reader may now be through
            yield ready

    def _complete(self, tag: Any, told: Verdict | LadderError) -> None:
        with self._lock:
            if isinstance(told, Verdict):
                self._done.append((tag, told))
            else:
                self._failed = told
            self._changed.notify_all()

    # --- all cases ------------------------------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        """What was submitted, and what became of it."""
        return dict(self._counts)

    @property
    def timeouts(self) -> int:
        """Cases that a worker exceeded the deadline or its memory with, or died at."""
        return self._counts["timeouts"]

    def close(self) -> None:
        """End the workers; whoever waits for a verdict is told that there will be none."""
        with self._lock:
            self._closed = True
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.close()

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, response: str, item: Item, sink: _Sink) -> None:
        """Have the case judged and `sink` told, perhaps at once."""
        found, reference = extract(response, self.policy), item.reference
        with self._lock:
            if self._closed:
                raise Closed("the verifier pool is closed")
            self._counts["submitted"] += 1
            parsed = self._golds.get(reference)
        if parsed:
            verdict: Verdict | None = Verdict(Outcome.UNVERIFIABLE, _kept(found), parsed)
        else:
            verdict = quick(found, reference, self.policy, known=parsed is not None)
        if verdict is None:
            verdict = self._ask(found, reference, sink)
        else:
            self._count("quick")
        if verdict is not None:
            sink(verdict)

    def _ask(self, found: Extracted, reference: Reference, sink: _Sink) -> Verdict | None:
        """The verdict on an equal case if there was one; else the case goes to a worker, or shares one that is there."""
        # One character over the limit is as good as all: both make the verdict that an over-long answer gets.
        answer = None if found.answer is None else found.answer[: MAX_ANSWER + 1]
        key = (reference, answer, found.where)
        with self._lock:
            known = self._verdicts.get(key)
            waiting = self._flight.get(key)
            if known is not None or waiting is not None:
                self._counts["shared"] += 1
                if waiting is not None:
                    waiting.append(sink)
                return known
            self._flight[key] = [sink]
            self._counts["sent"] += 1
            dispatcher = self._started()
        dispatcher.put(Case(_message(key), _kept(found), partial(self._settle, key)))
        return None

    def _started(self) -> Dispatcher:
        if self._dispatcher is None:
            self._dispatcher = Dispatcher(self._size, self._deadline, self.policy, self._window, self._counts)
            finalize(self, self._dispatcher.stop).atexit = False
        return self._dispatcher

    def _settle(self, key: _Key, told: Verdict | LadderError) -> None:
        """Tell all who wait for a case; remember what holds for later ones."""
        with self._lock:
            sinks = self._flight.pop(key)
            self._changed.notify_all()
            if isinstance(told, Verdict) and told.outcome is not Outcome.TIMEOUT:
                self._verdicts.put(key, told)
                self._golds.put(key[0], told.reason if told.outcome is Outcome.UNVERIFIABLE else "")
        for sink in sinks:
            sink(told)

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _in_child(self) -> None:
        """After a fork: the parent's workers, and what it waits for, are the parent's."""
        if self._dispatcher is not None:
            self._dispatcher.abandon()
        self._begin()


def _message(key: _Key) -> bytes:
    """A case as a worker reads it. Options go with option golds only, and those hardly ever come here."""
    gold, answer, where = key
    options = gold.options if gold.answer_type is AnswerType.OPTION else ()
    fields = [answer, where, gold.gold, options, gold.answer_type, gold.tolerance, gold.unit]
    return json.dumps(fields).encode() + b"\n"


def _kept(found: Extracted) -> str:
    return (found.answer or "")[:MAX_ANSWER]


def _fulfil(future: Future[Verdict], told: Verdict | LadderError) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(told, Verdict):
        future.set_result(told)
    else:
        future.set_exception(told)


_POOLS: WeakSet[VerifierPool] = WeakSet()


def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()


def _renew_all() -> None:
    for pool in list(_POOLS):
        pool._in_child()


atexit.register(_close_all)  # the dispatcher's thread ends with the interpreter, but its processes would not
os.register_at_fork(after_in_child=_renew_all)
