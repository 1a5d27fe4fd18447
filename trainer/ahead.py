"""Work beside training: the next step's groups are sampled and judged while this one is learnt from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do some work in a thread while the block runs, and wait for it at the end; what it raises is raised then. A block that
    fails does not wait."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # it is raised where the block ends
            failed.append(error)

    thread = threading.Thread(target=run, name="rollouts", daemon=True)
    thread.start()
    yield
    while thread.is_alive():
        thread.join(0.2)  # a signal is heard between
    if failed:
        raise failed[0]
