"""Process-wide settings: environment, allocator, signals."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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
    """SIGTERM becomes KeyboardInterrupt, so that both flush what is finished on their way out."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
