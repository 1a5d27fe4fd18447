"""One verifier process: reads cases on stdin, writes verdicts on stdout, a JSON line each. Started by the dispatcher.

It bounds itself by the kernel: an interval timer whose signal keeps its default action ends the process at a case's
deadline even inside a C call that holds the interpreter's lock, and even if the parent is gone; address space is
limited. Which cases need a process is decided before (ladder.verify.pool).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from ladder.records import AnswerType, Outcome, Reference, Verdict
from ladder.verify.compare import decided
from ladder.verify.expressions import warm_up
from ladder.verify.extract import Extracted
from ladder.verify.policy import Policy

_PARENT_POLL_S = 5.0
_LOADED = "ready"


def main(deadline: float, memory: int, parent: int, policy: str) -> None:
    """Serve until stdin ends or the parent dies: `deadline` in seconds per case, `memory` in bytes, `parent` a pid,
    `policy` as JSON."""
    # Masks and ignored signals are inherited, and a timer that is not delivered bounds nothing.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CORE, 0)
    replies = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not speak on our line
    judging = Policy(**json.loads(policy))
    warm_up()
    _write(replies, _LOADED)
    for line in _lines(parent):
        verdict = _judged(line, judging, deadline)
        _write(replies, [verdict.outcome, verdict.extracted, verdict.reason, _spent(verdict, memory)])


def _judged(line: bytes, policy: Policy, deadline: float) -> Verdict:
    answer, where, gold, options, answer_type, tolerance, unit = json.loads(line)
    reference = Reference(gold, tuple(options), AnswerType(answer_type), tolerance, unit)
    signal.setitimer(signal.ITIMER_REAL, deadline)
    verdict = decided(Extracted(answer, where), reference, policy)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return verdict


def _spent(verdict: Verdict, memory: int) -> bool:
    """Whether the next case should have a fresh process: no verdict may depend on what earlier cases left behind."""
    return verdict.outcome is Outcome.TIMEOUT or _address_space() > memory // 2


def _address_space() -> int:
    """Bytes taken now; 0 where the system does not tell. Not the peak: Linux counts the parent's in, up to the exec."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _limit(which: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a stricter limit is in force already
        resource.setrlimit(which, (value, value))


def _write(descriptor: int, value: object) -> None:
    try:
        os.write(descriptor, json.dumps(value).encode() + b"\n")
    except BrokenPipeError:
        sys.exit(0)


def _lines(parent: int) -> Iterator[bytes]:
    """The lines of stdin until it ends. Looks for the parent too: whoever it forked may hold the pipe open."""
    rest = b""
    while True:
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if os.getppid() != parent:
                return
            yield line
        while not select.select([0], [], [], _PARENT_POLL_S)[0]:
            if os.getppid() != parent:
                return
        chunk = os.read(0, 65_536)
        if not chunk:
            return
        rest += chunk
