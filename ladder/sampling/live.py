"""What a reader sees of a run of the sampling stage while it lasts: how much is done, how fast, what was lost, what is left.

One live line on a terminal, else a plain line every ten seconds, also while nothing ends. Only looks at what others count;
what is sampled, and why, is not its business.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from ladder.progress import clock, say

if TYPE_CHECKING:
    from ladder.engines.base import Meter
    from ladder.sampling.recorder import SamplingReport

_LOOK_SECONDS, _PLAIN_SECONDS = 0.5, 10.0
_WINDOW_SECONDS = 30.0  # rates are of this time, so that how it began is forgotten
_WINDOW_ROLLOUTS = 16  # or of a longer one until so many have ended in it: long answers end seldom


@dataclass(frozen=True)
class Ended:
    """What has ended: samples kept and lost (refused, or given up on), items, and tokens of what was kept."""

    kept: int = 0
    lost: int = 0
    items: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Rates:
    """What ends in a second."""

    rollouts: float
    items: float
    tokens: float


class Window:
    """The rates of the recent past; times are monotonic, in seconds."""

    def __init__(self, start: float) -> None:
        self._seen = deque([(start, Ended())])  # one for each look at which something had ended

    def rates(self, now: float, ended: Ended) -> Rates:
        """Of the window that ends now, when so much has ended since the start."""
        if ended != self._seen[-1][1]:
            self._seen.append((now, ended))
        while len(self._seen) > 1 and self._spare(now, ended):
            self._seen.popleft()
        start, before = self._seen[0]
        seconds = max(now - start, 1e-9)
        rollouts = (ended.kept + ended.lost) - (before.kept + before.lost)
        return Rates(
            rollouts / seconds,
            (ended.items - before.items) / seconds,
            (ended.tokens - before.tokens) / seconds,
        )

    def _spare(self, now: float, ended: Ended) -> bool:
        """Whether the window would be large enough without its first look."""
        at, then = self._seen[1]
        since = ended.kept + ended.lost - then.kept - then.lost
        return now - at >= _WINDOW_SECONDS and since >= _WINDOW_ROLLOUTS


class Live:
    """`with Live(rollouts, items, meter, report) as live:` shows a run that is to sample `rollouts` of `items` items.

    What was sampled is read from `report`, which may have counted other runs before; told are items that are done, samples
    that are lost, and samples that turn out to be wanted besides. All may be called by any thread.
    """

    def __init__(self, rollouts: int, items: int, meter: Meter, report: SamplingReport) -> None:
        self._rollouts, self._items, self._meter, self._report = rollouts, items, meter, report
        self._before = (report.sampled, report.tokens, len(report.refused), report.failed)
        self._items_done = self._lost = 0
        self._grows = False
        self._started = self._shown = time.monotonic()
        self._window = Window(self._started)
        self._terminal = sys.stderr.isatty()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live line", daemon=True)

    def item_done(self) -> None:
        """Nothing more is wanted of an item."""
        self._items_done += 1

    def lost(self, samples: int) -> None:
        """So many samples were refused, or given up on."""
        self._lost += samples

    def more(self, samples: int) -> None:
        """So many samples are wanted besides those that were known of."""
        self._rollouts += samples
        self._grows = True

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        now, ended = time.monotonic(), self._ended()
        self._show(self.line(Window(self._started).rates(now, ended), ended, left=False), end="\n")

    def _run(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            now, ended = time.monotonic(), self._ended()
            rates = self._window.rates(now, ended)
            if self._terminal or now - self._shown >= _PLAIN_SECONDS:
                self._shown = now
                self._show(self.line(rates, ended))

    def _ended(self) -> Ended:
        sampled, tokens, _, _ = self._before
        report = self._report
        return Ended(report.sampled - sampled, self._lost, self._items_done, report.tokens - tokens)

    def line(self, rates: Rates, ended: Ended, left: bool = True) -> str:
        """The line to show, on a terminal no wider than that: what matters least is left out first."""
        done = ended.kept + ended.lost
        more = "+" if self._grows and left else ""
        parts = [
            (0, f"{done:,}/{self._rollouts:,}{more} rollouts"),
            (4, f"{ended.items:,}/{self._items:,} items"),
            *((2, text) for text in self._losses(ended)),
            (5, f"{_number(rates.rollouts)} rollouts/s"),
            (6, f"{_number(rates.items)} items/s"),
            (3, f"{_number(rates.tokens)} tokens/s"),
            (7, f"engine waited {self._meter.waiting_share:.0%}"),
        ]
        if left and rates.rollouts and done < self._rollouts:
            parts.append((1, f"{clock((self._rollouts - done) / rates.rollouts)}{more} left"))
        return _fitting("  sampling: ", parts, _columns() if self._terminal else sys.maxsize)

    def _losses(self, ended: Ended) -> list[str]:
        _, _, refused, failed = self._before
        items = len(self._report.refused) - refused
        counts = {
            "kept": ended.kept if ended.lost else 0,
            "item refused" if items == 1 else "items refused": items,
            "failed": self._report.failed - failed,
        }
        return [f"{count:,} {name}" for name, count in counts.items() if count]

    def _show(self, line: str, end: str = "") -> None:
        if self._terminal:
            print(f"\r\x1b[2K{line}", end=end, file=sys.stderr, flush=True)
        else:
            say(line)


def _fitting(head: str, parts: list[tuple[int, str]], width: int) -> str:
    """The parts that fit, in their order; those of the highest rank go first."""
    while len(line := head + ", ".join(text for _, text in parts)) > width and len(parts) > 1:
        parts.remove(max(parts, key=lambda part: part[0]))
    return line[:width]


def _columns() -> int:
    """One less than there are: in the last one some terminals go on to the next line."""
    try:
        return max(os.get_terminal_size(sys.stderr.fileno()).columns - 1, 1)
    except OSError:
        return 79


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 1 or not rate else f"{rate:.2g}"
