"""What the two sides of benchmarks/trl_side_by_side.py measure in their own processes, in the same way: seconds by the name
of what was done, when steps ended, and peak memory."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WARM_UP = 2  # steps that are not counted


class Clock:
    """Seconds of each step, whole and by name. What is timed within something timed counts for itself alone."""

    def __init__(self) -> None:
        self._steps: list[dict[str, float]] = []
        self._now: defaultdict[str, float] = defaultdict(float)
        self._inside: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time goes to `name` until the end."""
        self._switch()
        self._inside.append(name)
        try:
            yield
        finally:
            self._switch()
            self._inside.pop()

    def _switch(self) -> None:
        now = time.perf_counter()
        self._now[self._inside[-1] if self._inside else "other"] += now - self._since
        self._since = now

    def wrap(self, owner: Any, method: str, name: str | Callable[..., str]) -> None:
        """Time the calls of a method; its name may depend on its arguments."""
        plain = getattr(owner, method)

        def timed(*args: Any, **named: Any) -> Any:
            with self.timed(name(*args, **named) if callable(name) else name):
                return plain(*args, **named)

        setattr(owner, method, timed)

    def end_step(self) -> None:
        """A step is over."""
        self._switch()
        self._steps.append(dict(self._now))
        self._now.clear()

    def told(self) -> dict[str, Any]:
        """Seconds of each step that counts, and the mean of each name over them."""
        steps = self._steps[WARM_UP:]
        names = sorted({name for step in steps for name in step})
        return {
            "step_seconds": [sum(step.values()) for step in steps],
            "seconds": {name: statistics.mean(step.get(name, 0.0) for step in steps) for name in names},
        }


def told_settings() -> dict[str, Any]:
    """What the measurement wrote for this process."""
    told: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return told


def print_found(clock: Clock, **more: Any) -> None:
    """One line of JSON, with this process's peak of resident memory so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps(clock.told() | {"peak_mib": peak / 1024} | more), flush=True)
