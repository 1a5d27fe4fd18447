"""What the tests of fleets share: settings of the embedded engine, requests to it, and members that are threads here."""

import io
import os
import random
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import psutil

from ladder.encode import Prompt
from ladder.engines import Model, create_engine, model_of
from ladder.engines.base import Completion, Engine, Request, Sampling, drive
from ladder.engines.fleet_member import Message, Order, serve
from ladder.engines.settings import EngineSettings
from ladder.errors import LadderError
from ladder.pools.digits import draw

SETTINGS = EngineSettings.model_validate(
    {
        "model": {"name": "digits", "min_pixels": 196, "max_pixels": 3136, "device": "cpu"},
        "engine": "transformers",
        "transformers": {"slots": 8},
    }
)
SAMPLING = Sampling(temperature=1.0, max_tokens=24)
Samples = dict[tuple[str, int], tuple[int, ...]]


def model() -> Model:
    return model_of(SETTINGS)


def request(number: int, n: int = 4, name: str | None = None) -> Request:
    """A question about a picture of its own."""
    buffer = io.BytesIO()
    draw([number % 10, 3, 4], random.Random(number), probe=True).image.save(buffer, "PNG")
    text = {"type": "text", "text": "Add up all the digits.\nObserve, think, answer."}
    prompt = Prompt([{"role": "user", "content": [{"type": "image"}, text]}], [("h", buffer.getvalue())])
    seeds = tuple((number + 1) * 2**20 + j for j in range(n))
    return Request(name or str(number), prompt, SAMPLING, tuple(range(n)), seeds)


def with_text(text: str, name: str) -> Request:
    return replace(
        request(0, name=name), prompt=Prompt([{"role": "user", "content": [{"type": "text", "text": text}]}])
    )


def busy(fleet: Any) -> int:
    """The process id of a member that has samples in flight; others may still be starting."""
    place = max(fleet._places.values(), key=lambda place: place.load)
    (pid,) = re.findall(r"process (\d+)", place.where)
    return int(pid)


def samples(completions: list[Completion]) -> Samples:
    """Token ids by request and index; each comes once."""
    found = {(c.request_id, c.index): tuple(c.token_ids) for c in completions}
    assert len(found) == len(completions), "no sample comes twice"
    return found


def alone(requests: list[Request]) -> Samples:
    """The samples of one engine in this process."""
    engine = create_engine(SETTINGS, model())
    found = samples(list(drive(engine, requests)))
    engine.close()
    return found


def descendants() -> list[psutil.Process]:
    """The processes that this one started, and those that they did."""
    return psutil.Process(os.getpid()).children(recursive=True)


class Thread:
    """A member whose engine runs in a thread."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.inbox: SimpleQueue[Order | Exception] = SimpleQueue()
        self.orders: list[Order] = []

    def order(self, order: Order) -> None:
        self.orders.append(order)
        self.inbox.put(order)


class Threads:
    """A crew of threads; `create(number)` makes the engine of a place. `late` places start when `begin` is called."""

    def __init__(self, size: int, create: Callable[[int], Engine], late: tuple[int, ...] = ()) -> None:
        self.size, self._create, self._late = size, create, late
        self._said: SimpleQueue[tuple[Thread, Message]] = SimpleQueue()
        self.started: list[Thread] = []
        self.closed = False

    def start(self, number: int) -> Thread:
        member = Thread(number)
        self.started.append(member)
        if number not in self._late:
            self.begin(member)
        return member

    def begin(self, member: Thread) -> None:
        outbox: Any = _Labelled(member, self._said)
        arguments = (lambda: self._create(member.number), member.inbox, outbox)
        threading.Thread(target=serve, args=arguments, daemon=True).start()

    def wait(self) -> list[tuple[Thread, Message]]:
        return [self._said.get()]

    def forget(self, member: Thread) -> None:
        member.inbox.put(LadderError("forgotten"))

    def close(self) -> None:
        self.closed = True
        for member in self.started:
            self.forget(member)


class _Labelled:
    def __init__(self, member: Thread, said: SimpleQueue[tuple[Thread, Message]]) -> None:
        self._member, self._said = member, said

    def put(self, message: Message) -> None:
        self._said.put((self._member, message))
