"""When a server may be called: bounded concurrency, pauses that it asks for, and a circuit breaker.

A server that cannot be reached, or fails several times in a row, is left alone but for one question at a time, whether it
is there; when it is, work goes on. One that gives no sample for `patience` seconds counts as gone. Sends nothing itself;
belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable

from ladder.engines.settings import ServerSettings
from ladder.errors import LadderError
from ladder.progress import say

_STREAK = 5  # failures in a row at which the breaker opens
_REQUESTS = 8  # failing requests from which it is the server's fault, not theirs
_LONGEST_PAUSE = 30.0  # seconds, of our own choice
_GRANTED = 10  # times `patience` may be spent on pauses that the server asks for
_EASE = 1.0  # seconds within which several calls are told the same "too many"


class Gate:
    """`enter` before a call and `leave` after it; `succeeded` or `failed` says what became of it.

    `there()` asks the server for a sign of life, whatever it is. Failures: `unreachable`, `http_429`, and others.
    """

    def __init__(self, settings: ServerSettings, there: Callable[[], Awaitable[bool]]) -> None:
        self._settings, self._there = settings, there
        self._limit = float(settings.concurrency)
        self._busy = 0
        self._resume = 0.0  # when calls may go on
        self._eased = 0.0
        self._changed = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None  # while the breaker is open
        self._gone: Exception | None = None
        self._since: float | None = None  # first failure after the last sample
        self._streak = 0
        self._failing: set[str] = set()
        self._granted = 0.0
        self._told = False  # that it is waited for

    async def enter(self) -> None:
        """Wait until a call may be made; raises LadderError where the server is gone."""
        while True:
            if self._gone is not None:
                raise self._gone
            if (pause := self._resume - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            elif self._asking is None and self._busy < max(int(self._limit), 1):
                break
            else:
                await self._changed.wait()
        self._busy += 1

    def leave(self) -> None:
        """A call has ended."""
        self._busy -= 1
        self._wake()

    def succeeded(self) -> None:
        """The server gave a sample: it is well, and may get a little more at once."""
        self._since, self._streak, self._granted = None, 0, 0.0
        self._failing.clear()
        self._limit = min(self._limit + 1 / self._limit, self._settings.concurrency)
        self._close()

    def failed(self, why: str, reason: str, request_id: str, wait: float = 0.0) -> None:
        """A call failed, for a kind of reason that may pass; the server asked for `wait` seconds. Raises LadderError
        where this is the end of patience."""
        now = time.monotonic()
        self._since = self._since if self._since is not None else now
        self._failing.add(request_id)
        if why == "http_429":
            self._ease(now)
        else:
            self._streak += 1
        self._pause(now, wait)
        unreachable = why == "unreachable"
        if self._impatient(now) and (unreachable or why == "http_429" or len(self._failing) >= _REQUESTS):
            self._give_up(reason)
        if unreachable or self._streak >= _STREAK:
            self._open(reason)
        if self._gone is not None:
            raise self._gone

    def pause(self, tries: int) -> float:
        """Seconds before the next of several tries: exponential, jittered, short beside `patience`."""
        most = min(_LONGEST_PAUSE, self._settings.patience / 8)
        return min(0.5 * 2 ** min(tries, 16), most) * random.uniform(0.5, 1.0)

    def _impatient(self, now: float) -> bool:
        return self._since is not None and now - self._since - self._granted >= self._settings.patience

    def _ease(self, now: float) -> None:
        """Half as much at once; several calls that are told the same count once."""
        if now - self._eased > _EASE:
            self._limit = max(self._limit / 2, 1.0)
            self._eased = now

    def _pause(self, now: float, wait: float) -> None:
        wait = min(wait, max(self._settings.patience, 2 * _LONGEST_PAUSE))
        resume = max(self._resume, now + wait)
        longer = resume - max(self._resume, now)
        self._granted = min(self._granted + longer, _GRANTED * self._settings.patience)
        self._resume = resume

    def _open(self, reason: str) -> None:
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(reason))

    def _close(self) -> None:
        asking, self._asking = self._asking, None
        if asking is None:
            return
        asking.cancel()
        if self._told:
            say(f"  the server at {self._settings.url} is back")
        self._streak, self._told = 0, False
        self._wake()

    async def _ask(self, reason: str) -> None:
        """Ask for a sign of life until there is one, or patience ends."""
        try:
            for tries in itertools.count():
                await asyncio.sleep(self.pause(tries))
                if await self._there():
                    self._close()
                    return
                if self._impatient(time.monotonic()):
                    self._give_up(reason)
                    return
                self._tell(reason)
        except Exception as error:  # nobody awaits this task: who enters is told
            self._gone = error
            self._wake()

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            say(
                f"  the server at {self._settings.url} does not answer ({reason}): waiting for it, "
                f"at most {self._settings.patience:g} s"
            )

    def _give_up(self, reason: str) -> None:
        waited = 0.0 if self._since is None else time.monotonic() - self._since
        self._gone = LadderError(
            f"the server at {self._settings.url} is gone: no answer for {waited:.0f} s, the last failure was: {reason}; "
            f"what was finished is stored, and the same command goes on from there"
        )
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
