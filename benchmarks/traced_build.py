"""`ladder` as it is, telling when each sample ended: what the stored parts are compared with after a kill.

    python benchmarks/traced_build.py TRACE build digits --out my-ladder

Appends a line of JSON to TRACE when a stage of the build begins, and for each finished sample before anything is done to
store it. Leaves out when samples were begun.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

START, IMPORT, ENGINE, SAMPLING, FLUSH, COMPACT, DERIVE = STAGES = (
    "start",
    "import",
    "engine",
    "sampling",
    "flush",
    "compact",
    "derive",
)
Tell = Callable[..., None]


def teller(path: str) -> Tell:
    """What appends a line to the trace, whole whatever happens next."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(**what: Any) -> None:
        with suppress(OSError):  # a disk that refuses is to be met by the build
            os.write(handle, json.dumps({"time": time.monotonic()} | what).encode() + b"\n")

    return tell


def watch(tell: Tell) -> None:
    """Have the build tell its stages and samples."""
    from ladder import build
    from ladder.sampling.recorder import Recorder
    from ladder.store import Store

    def staged(owner: Any, name: str, stage: str, after: str = "") -> None:
        real = getattr(owner, name)

        def told(*args: Any, **more: Any) -> Any:
            tell(stage=stage)
            result = real(*args, **more)
            if after:
                tell(stage=after)
            return result

        setattr(owner, name, told)

    staged(build, "import_stage", IMPORT)
    staged(build._Engines, "of", ENGINE)
    staged(build, "sample_missing", SAMPLING, FLUSH)
    staged(Store, "compact", COMPACT)
    staged(build, "derive", DERIVE)
    rollout = Recorder.rollout

    def told_rollout(self: Recorder, completion: Any, text: str, engine: str) -> None:
        view = self._view
        key = [view.prompt, view.model, view.sampling, completion.request_id, completion.index]
        tell(key=key, tokens=completion.length)
        rollout(self, completion, text, engine)

    Recorder.rollout = told_rollout  # type: ignore[method-assign]


if __name__ == "__main__":
    from ladder.cli import main

    own = teller(sys.argv.pop(1))
    own(stage=START)
    watch(own)
    main()
