"""Worker processes behind one daemon thread: cases go in from any thread, each one's verdict is told exactly once.

A worker is a fresh interpreter that imports neither torch nor the caller's main module and is never forked from this
process, which may hold threads and locks. Workers get several cases at a write; one that dies at a case gives that one
up, and the others of its batch go to the next worker. Which cases need a process, what verdicts are remembered and who
waits for them is left to `ladder.verify.pool`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ladder
from ladder.errors import LadderError
from ladder.records import Outcome, Verdict
from ladder.verify.policy import Policy

WORKER_MEMORY = 1 << 30  # bytes of address space; an idle worker uses about 70 MB
_GRACE_S = 1.0  # after which a worker that outlived its own timer (stopped, say) is killed from here
_STARTUP_S = 120.0  # imports on a busy machine or a network disk
_STARTUP_TRIES = 3
_CLOSE_S = 10.0

# Only ladder itself is found by the inserted path: whatever lies beside it must not shadow other modules.
_MAIN = (
    "import sys; sys.path.insert(0, sys.argv[1]); import ladder; del sys.path[0]; "
    "from ladder.verify.worker import main; "
    "main(float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])"
)


class Closed(LadderError):
    """The pool was closed before this case had a verdict."""


@dataclass(eq=False, slots=True)
class Case:
    """What a worker is sent, the answer that a verdict made here keeps, and who is told the verdict or the failure."""

    message: bytes
    answer: str
    settle: Callable[[Verdict | LadderError], None]


class _Worker:
    """A process, the cases that it has, and when it (or its start) is overdue with the first of them."""

    def __init__(self, deadline: float, policy: Policy) -> None:
        root = str(Path(ladder.__file__).parent.parent)
        arguments = [root, str(deadline), str(WORKER_MEMORY), str(os.getpid()), json.dumps(asdict(policy))]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-c", _MAIN, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONHASHSEED": "0"},
            process_group=0,  # Ctrl-C on the terminal is for the parent
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        # A pipe holds less than its 64 KiB where a user has many: no write may ever wait for a worker.
        os.set_blocking(self.input, False)
        os.set_blocking(self.output, False)
        self.patience = deadline + _GRACE_S
        self.overdue = time.monotonic() + _STARTUP_S
        self.ready = self.spent = False
        self.cases: deque[Case] = deque()
        self.unsent = self._heard = b""

    @property
    def waited_for(self) -> bool:
        return bool(self.cases) or not self.ready

    def send(self, cases: list[Case]) -> None:
        """Give it cases; those that do not fit into the pipe now are written by later calls of `flush`."""
        if not self.cases:
            self.overdue = time.monotonic() + self.patience
        self.cases.extend(cases)
        self.unsent += b"".join(case.message for case in cases)
        self.flush()

    def flush(self) -> None:
        """Write what is not yet sent, as far as the pipe takes it. That it died is seen where it is read from."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self.unsent:
                self.unsent = self.unsent[os.write(self.input, self.unsent) :]

    def replies(self) -> tuple[list[Any], bool]:
        """What it said since the last call, and whether it has died."""
        died = False
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.output, 65_536):
                self._heard += chunk
            died = True
        *lines, self._heard = self._heard.split(b"\n")
        return [json.loads(line) for line in lines], died

    def kill(self) -> int:
        """End it, whatever it is at; its return code."""
        self.process.kill()
        self.close()
        return self.process.wait()

    def close(self) -> None:
        """Close this side of its pipes."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Dispatcher:
    """`size` worker processes judge at a time, and one more stands by for whichever is killed.

    `put` may be called from any thread, and never waits. Every case is settled once, on the dispatcher's thread: by its
    verdict, by Outcome.TIMEOUT where a worker exceeded `deadline` (seconds from the start of that case) or died at it,
    or by a LadderError once workers cannot start or `close` was called. `window` bounds how many cases a worker has at
    once; it narrows while workers die, so that a hostile case delays few. `counts` is added to.
    """

    def __init__(
        self, size: int, deadline: float, policy: Policy, window: int, counts: dict[str, int]
    ) -> None:
        self._size, self._deadline, self._policy = size, deadline, policy
        self._widest, self._window = window, 1
        self._counts = counts
        self._workers: list[_Worker] = []
        self._queue: deque[Case] = deque()
        self._failed_starts = 0
        # Guards the two below and the wake pipe's life. Reentrant, for `stop` may be called by the garbage collector.
        self._lock = threading.RLock()
        self._inbox: deque[Case] = deque()
        self._ended: LadderError | None = None
        self._stopping = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="verifier", daemon=True)
        self._thread.start()

    # --- any thread -----------------------------------------------------------------------------------------

    def put(self, case: Case) -> None:
        """Take a case; after the end it is settled at once with the error that ended it."""
        with self._lock:
            ended = self._ended
            if ended is None:
                self._inbox.append(case)
                self._notify()
        if ended is not None:
            case.settle(ended)

    def stop(self) -> None:
        """Have it end soon; may be called in any thread at any moment."""
        self._stopping = True
        with self._lock:
            if self._ended is None:
                self._notify()

    def close(self) -> None:
        """End the workers; cases without a verdict are settled with Closed."""
        self.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)

    def abandon(self) -> None:
        """In a forked child, where the thread is not: let go of the parent's workers without touching them."""
        self._lock = threading.RLock()  # whoever held it is not here
        for worker in self._workers:
            worker.process.returncode = 0  # another's child, not to be waited for
            worker.close()
        if self._ended is None:
            self._close_own()
            self._ended = Closed("this verifier pool belongs to the parent process")

    def _notify(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full: whoever reads it will wake
            os.write(self._wake, b"!")

    def _close_own(self) -> None:
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    # --- the dispatcher's thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        error: LadderError = Closed("the verifier pool was closed before this case had a verdict")
        try:
            while not self._stopping:
                self._round()
        except LadderError as failure:
            error = failure
        except Exception as failure:
            error = LadderError(f"the verifier pool failed: {failure!r}")
            error.__cause__ = failure
        self._end(error)

    def _end(self, error: LadderError) -> None:
        with self._lock:
            self._ended = error
            self._close_own()
        left = [case for worker in self._workers for case in worker.cases] + [*self._queue, *self._inbox]
        for worker in self._workers:
            worker.kill()
        for case in left:
            case.settle(error)
        self._workers.clear()
        self._queue.clear()
        self._inbox.clear()

    def _round(self) -> None:
        """Start, feed, hear and, if need be, kill workers; then sleep until there is something to do."""
        while self._inbox:
            self._queue.append(self._inbox.popleft())
        self._start()
        self._feed()
        for key, events in self._selector.select(self._patience()):
            worker = key.data
            if worker is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
            elif worker in self._workers and events & selectors.EVENT_READ:
                self._hear(worker)
            elif worker in self._workers:
                self._flush(worker)
        for worker in [w for w in self._workers if w.waited_for and time.monotonic() > w.overdue]:
            self._hear(worker)  # this process, and not the worker, may have been held up
            if worker in self._workers and worker.waited_for and time.monotonic() > worker.overdue:
                self._bury(worker, "deadline")

    def _patience(self) -> float | None:
        due = [worker.overdue for worker in self._workers if worker.waited_for]
        return max(0.0, min(due) - time.monotonic()) + 0.01 if due else None

    def _start(self) -> None:
        if not self._queue and not self._workers:
            return
        # The spare starts after the others: until then it would only slow them.
        ready = any(worker.ready for worker in self._workers)
        while len(self._workers) < self._size + ready:
            if self._failed_starts >= _STARTUP_TRIES and ready:
                return  # the machine is at a limit; those that there are go on
            try:
                worker = _Worker(self._deadline, self._policy)
            except OSError as error:
                self._note_failed_start(str(error))
                continue
            self._workers.append(worker)
            self._selector.register(worker.output, selectors.EVENT_READ, worker)

    def _note_failed_start(self, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _STARTUP_TRIES and not any(worker.ready for worker in self._workers):
            raise LadderError(
                f"verifier workers do not start ({why}); try: {sys.executable} -c 'import math_verify'"
            )

    def _feed(self) -> None:
        """Hand out what is queued, a fair share each; a worker that still has half of what it may have can wait."""
        while self._queue and (worker := self._next_worker()) is not None:
            share = -(-len(self._queue) // self._size)
            wanted = min(share, self._window - len(worker.cases), len(self._queue))
            worker.send([self._queue.popleft() for _ in range(max(1, wanted))])
            if worker.unsent:
                self._selector.register(worker.input, selectors.EVENT_WRITE, worker)

    def _next_worker(self) -> _Worker | None:
        usable = [worker for worker in self._workers if worker.ready and not worker.unsent]
        busy = [worker for worker in self._workers if worker.cases]
        if len(busy) >= self._size:
            usable = [worker for worker in usable if worker.cases]
        worker = min(usable, key=lambda w: len(w.cases), default=None)
        return worker if worker is not None and len(worker.cases) <= self._window // 2 else None

    def _flush(self, worker: _Worker) -> None:
        worker.flush()
        if not worker.unsent:
            self._selector.unregister(worker.input)

    def _hear(self, worker: _Worker) -> None:
        replies, died = worker.replies()
        for reply in replies:
            if not worker.ready:
                worker.ready, self._failed_starts = True, 0
                continue
            outcome, extracted, reason, worker.spent = reply
            verdict = Verdict(Outcome(outcome), extracted, reason)
            worker.overdue = time.monotonic() + worker.patience
            self._window = min(self._window + 1, self._widest)
            self._finish(worker.cases.popleft(), verdict)
            if worker.spent:
                break
        if died or worker.spent:
            self._bury(worker, None)

    def _finish(self, case: Case, verdict: Verdict) -> None:
        self._counts["timeouts"] += verdict.outcome is Outcome.TIMEOUT
        case.settle(verdict)

    def _bury(self, worker: _Worker, why: str | None) -> None:
        """Drop a worker that died, must die (`why`) or is spent. The case it died at becomes a timeout, never wrong;
        what else it had comes first again."""
        self._workers.remove(worker)
        self._selector.unregister(worker.output)
        if worker.unsent:
            self._selector.unregister(worker.input)
        code = worker.kill()
        if not worker.ready:
            return self._note_failed_start(f"exit code {code}")
        self._counts["restarts"] += 1
        culprit = None
        if worker.cases and not worker.spent:
            why = why or ("deadline" if code == -signal.SIGALRM else "crash")
            self._counts["crashes"] += why == "crash"
            self._window = 1
            culprit = worker.cases.popleft()
        self._queue.extendleft(reversed(worker.cases))
        if culprit is not None:
            self._finish(culprit, Verdict(Outcome.TIMEOUT, culprit.answer, why or ""))
        return None
