"""The processes of a run: which one this is, what they tell each other, and how they stop together.

Everything but tensors is the same in all of them: supply, seeds, settings, judged groups, metrics. Leaves out tensors
(trainer.parallel.shard).
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ladder import launched
from ladder.errors import BadInput, LadderError
from ladder.runtime import terminable

_PATIENCE = timedelta(minutes=20)  # with another process, whose rollouts may be longer
_MEETING_S, _PAUSE_S = 5.0, 0.1
_LOST = re.compile(r"gloo|nccl|process ?group|connection (closed|reset|refused)|broken pipe", re.I)
_runs = count()  # what was said of an earlier run of a process is still in the store
T = TypeVar("T")


@dataclass(eq=False)
class Ranks:
    """The processes of one run. `alone` where there is one, and everything here costs nothing."""

    index: int = 0
    count: int = 1
    device: str | None = None  # of this process; None: as the settings say
    group: Any = None  # over which objects go, on the CPU
    other: Any = None  # another such group, for a thread beside
    run: int = 0  # of this process, which may train again
    _asked: bool = field(default=False, repr=False)

    @property
    def alone(self) -> bool:
        """Whether this is the only one."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes: files, metrics, and to the terminal."""
        return self.index == 0

    @property
    def beside(self) -> Ranks:
        """The same processes, for what a thread of each does: what they tell each other does not mix with what the others do."""
        return Ranks(self.index, self.count, self.device, self.other, run=self.run)

    def share(self, things: list[T]) -> list[T]:
        """This process' share of what all of them have in the same order."""
        return things[self.index :: self.count]

    def gather(self, value: T) -> list[T]:
        """Everyone's value, in the order of the processes; every process must ask. Where one is gone torch raises,
        and `started` tells it."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values

    def by_first(self, act: Callable[[], T]) -> T:
        """What the first process comes to, in all of them; a LadderError that it meets is raised in all."""
        if self.alone:
            return act()
        told: list[Any] = [None]
        if self.first:
            try:
                told = [(act(), None)]
            except LadderError as error:
                told = [(None, error)]
        dist.broadcast_object_list(told, src=0, group=self.group)
        value, refusal = told[0]
        if refusal is not None:
            raise refusal
        return value  # type: ignore[no-any-return]

    def first_has(self, make: Callable[[], T], others: T) -> T:
        """What the first process alone has; the others have what does nothing in its place. Its LadderError is raised in all."""
        made: list[T] = []
        self.by_first(lambda: made.append(make()))
        return made[0] if made else others

    def after_first(self, make: Callable[[], T]) -> T:
        """What each process makes for itself, the first one before the others; its LadderError is raised in all. None goes on
        before all have theirs."""
        made: list[T] = []
        self.by_first(lambda: made.append(make()))
        if not made:
            made.append(make())
        self.gather(None)
        return made[0]

    def holding(self, held: AbstractContextManager[Any]) -> AbstractContextManager[None]:
        """What only one process can hold is held by the first; a refusal is everyone's."""
        return _holding(self, held)

    def meet(self, at: str) -> bool:
        """Whether all processes have come to this place within some seconds, by an error that all met or a stop: then what needs
        all can still be done."""
        if self.alone:
            return True
        name, end = f"met/{self.run}/{at}", time.monotonic() + _MEETING_S
        launched.store().add(name, 1)
        while launched.store().add(name, 0) < self.count:
            if time.monotonic() > end:
                return False
            time.sleep(_PAUSE_S)
        return True

    def stoppable(self) -> AbstractContextManager[None]:
        """Alone, a signal stops a run where it is. Several stop together, at the end of a step: see `stop_together`."""
        return terminable() if self.alone else self._heeding()

    def stop_together(self) -> None:
        """Raises KeyboardInterrupt in all of several processes, where one has been told to stop; every process must ask."""
        if not self.alone and any(self.gather(self._asked)):
            raise KeyboardInterrupt

    @contextmanager
    def _heeding(self) -> Iterator[None]:
        def heed(_signal: int, _frame: FrameType | None) -> None:
            self._asked = True

        before = {sign: signal.signal(sign, heed) for sign in (signal.SIGTERM, signal.SIGINT)}
        yield  # after an error the handlers stay: torchrun ends us when another process has died, and we have yet to tell why
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def _holding(ranks: Ranks, held: AbstractContextManager[Any]) -> Iterator[None]:
    ranks.by_first(lambda: held.__enter__() and None)
    try:
        yield
    finally:
        if ranks.first:
            held.__exit__(None, None, None)


@contextmanager
def started(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, each with a GPU of its own on a machine that has them, or this one alone. `device`
    is what one process would take. Raises BadInput where there are more processes than GPUs, and LadderError where a
    process is lost on the way."""
    if launched.count() == 1:
        yield Ranks()
        return
    here = _own(device)
    cuda, run = here.startswith("cuda"), next(_runs)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=dist.PrefixStore(f"run/{run}", launched.store()),
        rank=launched.index(),
        world_size=launched.count(),
        timeout=_PATIENCE,
    )
    try:
        group, other = (dist.new_group(backend="gloo", timeout=_PATIENCE) for _ in range(2))
        yield Ranks(launched.index(), launched.count(), here, group, other, run)
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        why = next(iter(str(error).splitlines()), "")
        raise LadderError(
            f"another process of this run ended, or did not answer ({why}): the same command goes on from the latest "
            "checkpoint"
        ) from None
    dist.destroy_process_group()  # not after an error: others may wait for us, and must see us end


def _own(device: str) -> str:
    """The device of this process on its machine."""
    if not device.startswith("cuda"):
        return "cpu"
    place, there = launched.place(), torch.cuda.device_count()
    if place >= there:
        raise BadInput(
            f"torchrun started more processes than this machine has GPUs ({there}): give --nproc-per-node {there}"
        )
    torch.cuda.set_device(place)
    return f"cuda:{place}"


ALONE = Ranks()
