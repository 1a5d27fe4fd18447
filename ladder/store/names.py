"""Names of the parts of a log: who wrote a part, when, and which parts it holds all rows of.

`<prefix>-<ns>-<writer>.parquet` is what one writer appended at a time. `<prefix>-<first ns>+<last ns>-<writer>.parquet` holds
the rows of all parts of that writer from first to last, so that a listing alone tells which parts no longer count. What is in
a part is not its business.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

MERGED = "-merged.parquet"
_PATTERN = re.compile(r".*?-(\d{20})(?:\+(\d{20}))?-([0-9a-z]+)\.parquet")


class Names:
    """Names for the parts of one writer: unlike those of any other on any host, and increasing even where the clock
    steps back. A forked process is another writer."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._lock = threading.Lock()
        self._last = 0
        self._renew()

    def _renew(self) -> None:
        self._process, self.writer = os.getpid(), secrets.token_hex(6)

    def next(self) -> str:
        """The name of a part that is written now."""
        with self._lock:
            if self._process != os.getpid():
                self._renew()
            self._last = max(time.time_ns(), self._last + 1)
            return f"{self.prefix}-{self._last:020d}-{self.writer}.parquet"


@dataclass(frozen=True, slots=True)
class Span:
    """The times in ns from the first to the last part of one writer that a part holds."""

    first: int
    last: int
    writer: str


def span_of(name: str) -> Span | None:
    """What a part's name says; None for one that tells by itself what it holds, or has a name of another kind."""
    found = _PATTERN.fullmatch(name)
    if found is None:
        return None
    first, last, writer = found.groups()
    return Span(int(first), int(last or first), writer)


def range_name(prefix: str, first: str, last: str) -> str:
    """The name of a part that holds one writer's parts from `first` to `last`."""
    start, end = span_of(first), span_of(last)
    if start is None or end is None or start.writer != end.writer:
        raise ValueError(f"{first} and {last} are not of one writer")
    return f"{prefix}-{start.first:020d}+{end.last:020d}-{start.writer}.parquet"


def merged_name(prefix: str, first: str) -> str:
    """A name for a part that holds parts of several writers, `first` before all: its file says which."""
    stamp = re.search(r"\d{20}", first)
    return f"{prefix}-{stamp.group() if stamp else '0' * 20}-{secrets.token_hex(6)}{MERGED}"


def covered(names: Iterable[str]) -> set[str]:
    """Those of some names whose rows a range among them holds."""
    spans = [(span, name) for name in names if (span := span_of(name)) is not None]
    spans.sort(key=lambda pair: (pair[0].first, -pair[0].last))
    found: set[str] = set()
    reach: dict[str, int] = {}
    for span, name in spans:
        if span.last <= reach.get(span.writer, -1):
            found.add(name)
        else:
            reach[span.writer] = span.last
    return found
