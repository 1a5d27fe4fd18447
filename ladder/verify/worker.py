"""One verifier process: reads cases on stdin, writes verdicts on stdout, a JSON line each. Started by the pool.

It bounds itself by the kernel: an interval timer whose signal keeps its default action ends the process at the
deadline even inside a C call that holds the interpreter's lock, and even if the parent is gone; address space is
limited. It knows expressions only; the pool judges all else itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys

from ladder.records import AnswerType
from ladder.verify.compare import judge
from ladder.verify.expressions import warm_up
from ladder.verify.extract import Extracted

_PARENT_POLL_S = 5.0


def main(deadline: float, memory: int, parent: int) -> None:
    """Serve until stdin ends or the parent dies: `deadline` in seconds per case, `memory` in bytes, `parent` a pid."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CORE, 0)
    replies = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not speak on our line
    warm_up()
    _write(replies, "ready")
    while (line := _read_line(parent)) is not None:
        answer, where, gold = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, deadline)
        verdict = judge(Extracted(answer, where), gold, (), AnswerType.EXPRESSION)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(replies, [verdict.outcome, verdict.extracted, verdict.reason])


def _limit(which: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a stricter limit is in force already
        resource.setrlimit(which, (value, value))


def _write(descriptor: int, value: object) -> None:
    try:
        os.write(descriptor, json.dumps(value).encode() + b"\n")
    except BrokenPipeError:
        sys.exit(0)


def _read_line(parent: int) -> bytes | None:
    """The next line, or None at the end. Looks for the parent too: whoever it forked may hold the pipe open."""
    line = b""
    while not line.endswith(b"\n"):
        while not select.select([0], [], [], _PARENT_POLL_S)[0]:
            if os.getppid() != parent:
                return None
        chunk = os.read(0, 65_536)
        if not chunk:
            return None
        line += chunk
    return line
