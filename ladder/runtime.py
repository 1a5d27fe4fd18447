"""Process-wide settings: environment, allocator, signals."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_FLUSH_SECONDS = 10.0
_INTERRUPTED = re.compile("interrupt", re.I)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def prepare_environment() -> None:
    """Settings that libraries read when they are first imported; what the user set stays.

    OpenMP's threads spin for milliseconds while they wait for each other, by default: beside one busy process on two
    cores, a training step of the embedded policy was measured at 28 s instead of 2 s. Not to spin at all costs a fifth
    where nothing else runs; to spin for some microseconds costs little in either place.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    quiet()


def quiet() -> None:
    """Keep libraries from drawing progress bars over ours."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def tune_allocator() -> None:
    """Make glibc keep freed memory: a training step frees and takes the same large blocks again and again, and each
    fresh page costs a fault."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    mallopt(_M_TOP_PAD, 64 << 20)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM becomes KeyboardInterrupt as Ctrl-C does, so that both flush what is finished on their way out. Either one
    again, within the seconds that this may take, is not heard: it would cut the flush short."""
    heard = float("-inf")

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal heard
        if time.monotonic() > heard + _FLUSH_SECONDS:
            heard = time.monotonic()
            raise KeyboardInterrupt

    own_interrupt = signal.getsignal(signal.SIGINT) is not signal.default_int_handler  # or it is ignored
    signs = (signal.SIGTERM,) if own_interrupt else (signal.SIGTERM, signal.SIGINT)
    try:
        before = {sign: signal.signal(sign, interrupt) for sign in signs}
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield
        return
    try:
        yield
    except Exception as error:
        if heard == float("-inf") or not _INTERRUPTED.search(str(error)):
            raise
        raise KeyboardInterrupt from error  # DuckDB makes an error of its own of it
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def finishing(seconds: float) -> Iterator[None]:
    """What a stop should not cut in two, if it is short: a signal is heard at the end of the block, or so many seconds later
    where the block takes longer."""
    asked: list[int] = []
    until = float("inf")

    def later(sign: int, frame: FrameType | None) -> None:
        nonlocal until
        if not asked:
            asked.append(sign)
            until = time.monotonic() + seconds
            again.args = (threading.main_thread().ident, sign)
            again.start()
        elif time.monotonic() >= until:
            before[sign](sign, frame)

    again = threading.Timer(seconds, signal.pthread_kill)
    again.daemon = True
    found = {sign: signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)}
    before: dict[int, Callable[..., object]] = {
        s: handler for s, handler in found.items() if callable(handler)
    }
    try:
        for sign in before:
            signal.signal(sign, later)
    except ValueError:  # not the main thread: whoever runs us there handles signals
        before = {}
    try:
        yield
    finally:
        again.cancel()
        for sign, handler in before.items():
            signal.signal(sign, handler)  # type: ignore[arg-type]
        if asked:
            before[asked[0]](asked[0], None)


def unheard() -> None:
    """What is left to do is to end, which takes Python a second: hear no signal that would end it otherwise."""
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, signal.SIG_IGN)  # a handler of ours would not outlive the interpreter's own end
