"""Verify many responses beside other work: worker processes with a hard deadline for each case.

Only expressions need a process; all other types are bounded by construction and judged in `submit`. A worker is a
fresh interpreter that imports neither torch nor the caller's main module and is never forked from this process, which
may hold threads and locks. Batching, retries and the storing of verdicts are left to the caller.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import ladder
from ladder.errors import LadderError
from ladder.records import AnswerType, Item, Outcome, Verdict
from ladder.verify.compare import MAX_ANSWER, judge
from ladder.verify.expressions import MAX_EXPRESSION
from ladder.verify.extract import extract

WORKER_MEMORY = 1 << 30  # bytes of address space; an idle worker uses about 70 MB
_GRACE_S = 1.0  # after which a worker that outlived its own timer (stopped, say) is killed from here
_STARTUP_S = 120.0  # imports on a busy machine or a network disk
_STARTUP_TRIES = 3

# Only ladder itself is found by the inserted path: whatever lies beside it must not shadow other modules.
_MAIN = (
    "import sys; sys.path.insert(0, sys.argv[1]); import ladder; del sys.path[0]; "
    "from ladder.verify.worker import main; main(float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))"
)


class _Case(NamedTuple):
    tag: Any
    message: bytes
    answer: str


class _Worker:
    """A process, the case that it is at, and when that (or its start) is overdue."""

    def __init__(self, deadline: float) -> None:
        root = str(Path(ladder.__file__).parent.parent)
        arguments = [root, str(deadline), str(WORKER_MEMORY), str(os.getpid())]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-c", _MAIN, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONHASHSEED": "0"},
            process_group=0,  # Ctrl-C on the terminal is for the parent
        )
        self.patience = deadline + _GRACE_S
        self.ready = False
        self.case: _Case | None = None
        self.overdue = time.monotonic() + _STARTUP_S
        self.buffer = b""

    @property
    def output(self) -> int:
        """The descriptor of its replies."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    @property
    def waited_for(self) -> bool:
        return self.case is not None or not self.ready

    def send(self, case: _Case) -> None:
        """Give it a case; BrokenPipeError if it has died. Never blocks: a case is smaller than a pipe."""
        assert self.process.stdin is not None
        self.process.stdin.write(case.message)
        self.case = case
        self.overdue = time.monotonic() + self.patience

    def replies(self) -> list[Any] | None:
        """What it said since the last call; None if it has died."""
        chunk = os.read(self.output, 65_536)
        if not chunk:
            return None
        *lines, self.buffer = (self.buffer + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def kill(self) -> int:
        """End it, whatever it is at; its return code."""
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        return self.process.wait()


class VerifierPool:
    """Judges (response, item) cases: `submit` them, then take verdicts from `completed` in the order they are ready.

    `workers` processes judge at a time, and one more stands by for whichever is killed; none starts before the first
    expression. `deadline` is in seconds from the start of a case; a case that exceeds it, or takes more than
    WORKER_MEMORY, gets Outcome.TIMEOUT and is counted in `timeouts`. Use it from one thread at a time, any thread.
    LadderError is raised if workers cannot start.
    """

    def __init__(self, workers: int = 1, deadline: float = 2.0) -> None:
        self.timeouts = 0
        self._size = max(1, workers)
        self._deadline = deadline
        self._workers: list[_Worker] = []
        self._queue: deque[_Case] = deque()
        self._done: deque[tuple[Any, Verdict]] = deque()
        self._failed_starts = 0
        self._selector = selectors.DefaultSelector()

    @property
    def pending(self) -> int:
        """Cases submitted of which `completed` has not yet given the verdict."""
        return len(self._queue) + len(self._done) + self._busy

    @property
    def _busy(self) -> int:
        return sum(worker.case is not None for worker in self._workers)

    def submit(self, tag: Any, response: str, item: Item) -> None:
        """Take a case; `tag` comes back with its verdict."""
        found = extract(response)
        if item.answer_type is not AnswerType.EXPRESSION:
            self._done.append((tag, judge(found, item.gold, item.options, item.answer_type)))
            return
        # One character over the limits is as good as all: both make the verdict that an over-long text gets.
        answer = None if found.answer is None else found.answer[: MAX_ANSWER + 1]
        message = json.dumps([answer, found.where, item.gold[: MAX_EXPRESSION + 1]]).encode() + b"\n"
        self._queue.append(_Case(tag, message, (answer or "")[:MAX_ANSWER]))
        self._advance(0)

    def completed(self, block: bool = False) -> Iterator[tuple[Any, Verdict]]:
        """The finished cases as (tag, verdict); with `block`, until nothing is pending."""
        self._advance(0)
        while self._done or (block and self.pending):
            if self._done:
                yield self._done.popleft()
            else:
                self._advance(self._patience())

    def close(self) -> None:
        """End the workers; cases without a verdict are dropped."""
        for worker in self._workers:
            self._selector.unregister(worker.output)
            worker.kill()
        self._workers.clear()
        self._queue.clear()
        self._selector.close()

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self, wait: float) -> None:
        """One round: start, feed, hear and, if need be, kill workers. Waits up to `wait` seconds for a reply."""
        if not self._queue and not self._workers:
            return
        self._start()
        self._feed()
        for key, _ in self._selector.select(wait):
            self._hear(key.data)
        for worker in [w for w in self._workers if w.waited_for and time.monotonic() > w.overdue]:
            self._bury(worker, overdue=True)
        self._start()
        self._feed()

    def _patience(self) -> float:
        due = [worker.overdue for worker in self._workers if worker.waited_for]
        return max(0.0, min(due, default=0.0) - time.monotonic()) + 0.01

    def _start(self) -> None:
        # The spare starts after the others: until then it would only slow them.
        wanted = self._size + any(worker.ready for worker in self._workers)
        while len(self._workers) < wanted:
            worker = _Worker(self._deadline)
            self._workers.append(worker)
            self._selector.register(worker.output, selectors.EVENT_READ, worker)

    def _feed(self) -> None:
        idle = [worker for worker in self._workers if not worker.waited_for]
        while self._queue and idle and self._busy < self._size:
            worker = idle.pop()
            try:
                worker.send(self._queue[0])
            except BrokenPipeError:
                self._bury(worker)
            else:
                self._queue.popleft()

    def _hear(self, worker: _Worker) -> None:
        replies = worker.replies()
        if replies is None:
            self._bury(worker)
        for reply in replies or ():
            if not worker.ready:
                worker.ready = True
                self._failed_starts = 0
            elif worker.case is not None:
                outcome, extracted, reason = reply
                self._finish(worker, Verdict(Outcome(outcome), extracted, reason))

    def _finish(self, worker: _Worker, verdict: Verdict) -> None:
        assert worker.case is not None
        self.timeouts += verdict.outcome is Outcome.TIMEOUT
        self._done.append((worker.case.tag, verdict))
        worker.case = None

    def _bury(self, worker: _Worker, overdue: bool = False) -> None:
        """Drop a worker that died or must; its case becomes a timeout, never wrong."""
        self._workers.remove(worker)
        self._selector.unregister(worker.output)
        code = worker.kill()
        if worker.case is not None:
            reason = "deadline" if overdue or code == -signal.SIGALRM else "crash"
            self._finish(worker, Verdict(Outcome.TIMEOUT, worker.case.answer, reason))
        elif not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTUP_TRIES:
                raise LadderError(
                    f"verifier workers do not start (exit code {code}); try: {sys.executable} -c 'import math_verify'"
                )
