"""The log of runs: what each run of the sampling stage did, however it ended. Forecasts read its rates."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ladder.engines.base import Engine, Meter
from ladder.errors import LadderError
from ladder.sampling.recorder import SamplingReport
from ladder.store import Store
from ladder.store.sql import View


@contextmanager
def logged(
    store: Store,
    name: str,
    view: View,
    engine: Engine,
    report: SamplingReport,
    counted: Mapping[str, int] | None = None,
) -> Iterator[Meter]:
    """Log what `report` counts meanwhile as a run of the pass `name`, and add to it what the engine counts; to be given
    the meter of the run. `counted` is what the engine had counted before: nothing, where it is a new one.

    Raises LadderError where the log cannot be written, unless the run itself ends with an error.
    """
    started, meter = datetime.now(UTC).replace(tzinfo=None), Meter()
    before, counted = replace(report, refused=dict(report.refused)), dict(counted or {})

    def end() -> None:
        counts = {key: count - counted.get(key, 0) for key, count in engine.counts.items()}
        for key, count in counts.items():
            report.engine[key] = report.engine.get(key, 0) + count
        own = {"started": started, "pass": name, "engine": engine.name, "workers": _workers(engine)}
        asked = {"model": view.model, "prompt": view.prompt, "sampling": view.sampling}
        time_ = {"seconds": time.monotonic() - meter.started, "waiting_share": meter.waiting_share}
        store.runs.append([own | asked | _since(before, report) | time_ | {"counts": json.dumps(counts)}])

    try:
        yield meter
    except BaseException:
        with suppress(LadderError):  # what ended the run is the better thing to tell
            end()
        raise
    end()


def _workers(engine: Engine) -> int:
    return int(getattr(engine, "workers", 1))


def _since(before: SamplingReport, after: SamplingReport) -> dict[str, Any]:
    names = ("sampled", "tokens", "truncated", "failed")
    counts = {name: getattr(after, name) - getattr(before, name) for name in names}
    return counts | {"refused": len(after.refused) - len(before.refused)}
