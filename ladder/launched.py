"""A command that torchrun started as several processes: which of them this one is, and that they speak with one voice.

What the processes compute together is trainer.parallel's affair. Nothing heavy is imported until there is something to
tell the others.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

_PAUSE_S = 0.2


def count() -> int:
    """How many processes torchrun started; 1 where it did not."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def index() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def place() -> int:
    """Which of those on this machine it is, from 0."""
    return int(os.environ["LOCAL_RANK"]) if count() > 1 else 0


def beside() -> int:
    """How many of them are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if count() > 1 else 1


@contextmanager
def one_voice() -> Iterator[None]:
    """Only the first process writes to stdout and stderr. An error that is not expected is told by the process that it meets
    first; the others end without a word."""
    if count() == 1:
        yield
        return
    try:
        if index() == 0:
            yield
            return
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    except Exception:
        if not first_to_fail():
            sys.exit(1)
        raise


def first_to_fail() -> bool:
    """Whether no other process has failed yet: who is the first tells why, aloud. Asked once, at the end of a process."""
    if count() == 1:
        return True
    try:
        return bool(store().add("failed", 1) == 1)
    except Exception:  # torchrun is gone: nobody else will tell
        return True


def leave() -> None:
    """End one of several processes that has done its work, without taking the interpreter down: gloo's threads may still hold
    tensors of the last exchange, and end the process with SIGABRT where they free them meanwhile (pytorch/pytorch#179291)."""
    if count() == 1:
        return
    threading._shutdown()  # type: ignore[attr-defined]  # all that comes before an interpreter is taken down
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def done(what: str) -> None:
    """Let the others know that what they wait for is done."""
    if count() > 1:
        store().set(f"done/{what}", "")


def wait_for(what: str) -> None:
    """Wait until the first process says that it is done, however long that takes; torchrun ends us where it fails."""
    while not store().check([f"done/{what}"]):
        time.sleep(_PAUSE_S)


@cache
def store() -> Any:
    """What torchrun keeps for its processes: names and values. It outlives each of them, and is fresh where it starts them
    all again."""
    from torch.distributed import PrefixStore, TCPStore

    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    made = TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=not kept and index() == 0
    )
    return PrefixStore(f"ladder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", made)
