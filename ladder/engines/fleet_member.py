"""One member of a fleet: an engine, the orders it gets and what it tells. Leaves out how both travel."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ladder.engines.base import Engine, Event, Request
from ladder.errors import BadInput, LadderError

_BATCH = 256  # messages that travel together at most


@dataclass(frozen=True)
class Ask:
    """An order: sample these."""

    requests: list[Request]


@dataclass(frozen=True)
class Cancel:
    """An order: forget a request."""

    request_id: str


@dataclass(frozen=True)
class Ready:
    """The engine runs; `where` tells people which process that is."""

    engine: str
    capacity: int
    fingerprint: str
    where: str


@dataclass(frozen=True)
class Counted:
    """The engine's counts, from its start on."""

    counts: dict[str, int]


@dataclass(frozen=True)
class Broken:
    """The engine ended. What is the `fault` of input or settings would end every engine."""

    why: str
    fault: type[LadderError] | None = None


@dataclass(frozen=True)
class Gone:
    """The process ended: told by whoever watches it."""

    why: str


Order = Ask | Cancel
Message = Ready | Event | Counted | Broken | Gone


def serve(
    create: Callable[[], Engine], inbox: SimpleQueue[Order | Exception], outbox: SimpleQueue[Message]
) -> None:
    """Run the engine that `create` makes until it is broken; an exception in `inbox` breaks it."""
    engine: Engine | None = None
    try:
        engine = create()
        where = f"process {os.getpid()} on {socket.gethostname()}"
        outbox.put(Ready(engine.name, engine.capacity, engine.fingerprint, where))
        _run(engine, inbox, outbox)
    except LadderError as error:
        outbox.put(Broken(str(error), BadInput if isinstance(error, BadInput) else LadderError))
    except Exception as error:
        traceback.print_exc()
        outbox.put(Broken(f"{type(error).__name__}: {error}"))
    finally:
        if engine is not None:
            engine.close()


def _run(engine: Engine, inbox: SimpleQueue[Order | Exception], outbox: SimpleQueue[Message]) -> None:
    told: dict[str, int] = {}
    while True:
        _follow(engine, inbox.get())
        for event in engine.completed():
            outbox.put(event)
            if engine.counts != told:
                told = dict(engine.counts)
                outbox.put(Counted(told))
            while not inbox.empty():
                _follow(engine, inbox.get())


def _follow(engine: Engine, order: Order | Exception) -> None:
    if isinstance(order, Exception):
        raise order
    if isinstance(order, Cancel):
        engine.cancel(order.request_id)
        return
    for request in order.requests:
        engine.submit(request)


def batch(outbox: SimpleQueue[Message]) -> list[Message]:
    """What there is to tell; waits for the first."""
    messages = [outbox.get()]
    while len(messages) < _BATCH:
        try:
            messages.append(outbox.get_nowait())
        except Empty:
            break
    return messages
