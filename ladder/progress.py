"""Progress on stderr: one live line on a terminal, plain lines otherwise. Data never goes here."""

from __future__ import annotations

import sys
import time
from types import TracebackType

_PLAIN_SECONDS = 10.0


def say(text: str) -> None:
    """One line for the reader, on stderr."""
    print(text, file=sys.stderr, flush=True)


def stage_lines(stage: str, step: int, steps: int, loss: float) -> None:
    """A line now and then for work in stages: what `trainer.warmup` reports to."""
    if step == steps or step % 100 == 0:
        say(f"  {stage}: {step:,}/{steps:,} steps, loss {loss:.3f}")


class Progress:
    """`with Progress("sampling", total) as p: p.advance(1, note)`; the rate and time left are its own."""

    def __init__(self, name: str, total: int, unit: str = "", done: int = 0) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = self._before = done  # what an earlier run did counts towards the total, not the rate
        self._live = sys.stderr.isatty()
        self._start = self._last = time.monotonic()
        self._note = ""

    def __enter__(self) -> Progress:
        return self

    def advance(self, by: int = 1, note: str = "") -> None:
        """Count work done; `note` is shown after the rate."""
        self.done += by
        self._note = note or self._note
        now = time.monotonic()
        if now - self._last > (0.2 if self._live else _PLAIN_SECONDS):
            self._last = now
            self._show()

    def _show(self, end: bool = False) -> None:
        elapsed = max(time.monotonic() - self._start, 1e-9)
        rate = (self.done - self._before) / elapsed
        left = f", {clock((self.total - self.done) / rate)} left" if rate and not end else ""
        note = f", {self._note}" if self._note else ""
        line = f"  {self.name}: {self.done:,}/{self.total:,} {self.unit}, {rate:,.1f}/s{note}{left}"
        if self._live:
            print(f"\r\x1b[2K{line}", end="\n" if end else "", file=sys.stderr, flush=True)
        else:
            say(line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.total:
            self._show(end=True)


class Count:
    """As Progress, for work of which nobody knows how much there is: `with Count("importing", "rows") as c`."""

    def __init__(self, name: str, unit: str) -> None:
        self.name, self.unit, self.done = name, unit, 0
        self._live = sys.stderr.isatty()
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Count:
        return self

    def advance(self, by: int = 1, note: str = "") -> None:
        """Count work done."""
        self.done += by
        now = time.monotonic()
        if now - self._last > (0.2 if self._live else _PLAIN_SECONDS):
            self._last = now
            self._show(note)

    def _show(self, note: str = "") -> None:
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        line = f"  {self.name}: {self.done:,} {self.unit}, {rate:,.1f}/s{f', {note}' if note else ''}"
        print(
            f"\r\x1b[2K{line}" if self._live else line,
            end="" if self._live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._last > self._start:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


class Stopwatch:
    """Seconds of the parts of a job, added up over laps of the same name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Close the part that began at the last lap."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 4)
        self._last = now


def clock(seconds: float) -> str:
    """A span of time in its two largest units, from days to seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
