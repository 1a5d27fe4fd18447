"""Any OpenAI-compatible server as an engine: `vllm serve`, SGLang, a gateway.

This side is called by whoever samples; calls are made by an event loop in a thread of its own (`server_calls`). Images go
as data URIs. Leaves out streaming; how a vLLM server is sent weights is in `server_weights`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ladder import launched
from ladder.digest import fingerprint
from ladder.engines import Model, local_model
from ladder.engines.base import (
    Completion,
    Event,
    Failed,
    Refused,
    Request,
    refused_as_too_long,
    refused_as_unencodable,
)
from ladder.engines.server_wire import messages_of
from ladder.errors import BadInput, LadderError

if TYPE_CHECKING:
    import torch

    from ladder.engines.server_calls import Call
    from ladder.engines.settings import EngineSettings

_CLOSE_SECONDS = 5.0
_HOPELESS = 8  # requests given up before any sample came
_COLDEST = 0.01  # vLLM raises lower temperatures, but for 0, silently


def served_model(settings: EngineSettings) -> Model:
    """The model behind a server. Where `model.name` is shipped or a directory it is that model, and its rollouts are those of
    any other engine; else all that is known is its name and `server.revision`. Fetches nothing."""
    from ladder.models import shipped_models

    server, name = settings.server, settings.model.name
    served = server.model in (None, name)  # else what the server calls otherwise may be another model
    if served and (name in shipped_models() or Path(name).expanduser().is_dir()):
        model = local_model(settings.model)
    else:
        model = Model(None, None, fingerprint("served-1", [server.model or name, server.revision]))
    if server.extra:  # may change what is asked and how it is answered
        model = replace(model, fingerprint=fingerprint("served-extra-1", [model.fingerprint, server.extra]))
    return model


@dataclass(eq=False)
class _Job:
    """A request in flight: the indices that nothing was heard of yet, and its calls."""

    left: set[int]
    calls: list[Call] = field(default_factory=list)


class ServerEngine:
    """Samples from the server that `settings.server` names; waits for it at most `patience` seconds. With a directory
    `exchange`, which the server must see too, a vLLM server can be sent weights, and nothing but what training can use is taken
    from it.

    Raises BadInput where it does not serve the model, LadderError where it is not there or wants another API key, and for
    training where its samples are none to train on.
    """

    name = "server"
    background = True
    exact = False

    def __init__(self, settings: EngineSettings, model: Model, exchange: Path | None = None) -> None:
        from ladder.engines.server_calls import Caller
        from ladder.engines.server_weights import ServerWeights

        self._settings, self._model = settings.server, model
        self._twice = 2 * self._settings.concurrency  # so that a finished call is followed by another at once
        self.capacity = self._twice * (self._settings.n or 1)
        self._jobs: dict[str, _Job] = {}
        self._refused: deque[Refused] = deque()
        self._events: SimpleQueue[tuple[_Job, Event] | BaseException] = SimpleQueue()
        self._error: BaseException | None = None
        self._answered = False
        self._given_up: set[str] = set()
        key = os.environ.get(self._settings.api_key_env, "").strip()
        if not key.isascii() or not key.isprintable():
            raise BadInput(
                f"the API key in {self._settings.api_key_env} holds characters that no header can have"
            )
        name = self._settings.model or settings.model.name
        self._version = ""
        self._weights = None if exchange is None else ServerWeights(self._settings, key, exchange)
        if self._weights is not None and launched.index() == 0:  # of several, the first one sends them
            self._weights.begin()
        self._caller = Caller(self._settings, name, model.encoder, key, for_training=exchange is not None)
        self.counts = self._caller.counts
        self._loop = asyncio.new_event_loop()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self.close()
            raise

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint, with the weights version once training has replaced the weights."""
        base = self._model.fingerprint
        return f"{base}@{self._version}" if self._version else base

    def load(self, version: str, weights: Iterable[tuple[str, torch.Tensor]] | None) -> None:
        """Send new weights under a version. Raises LadderError where the server does not take them."""
        if weights is None or self._weights is None:
            raise ValueError("a server has weights of its own, and takes others through `exchange` only")
        if self._jobs or self._refused:
            raise RuntimeError("weights cannot change while samples are in flight")
        self._weights.load(version, weights)
        self._version = version

    def follow(self, version: str) -> None:
        """Another process has sent the server the weights of a version."""
        self._version = version

    def sleep(self) -> None:
        """Nothing: a server's memory is not the trainer's."""

    def wake(self) -> None:
        """Make sure that the server still has the weights that it was sent. Raises LadderError where it does not."""
        if self._weights is not None:
            self._weights.check()

    def submit(self, request: Request) -> None:
        """Take a request; where the model's files are at hand, what it cannot take comes back as Refused unsent."""
        encoder, limit = self._model.encoder, self._caller.dialect.limit
        if self._caller.dialect.kind == "vllm" and 0 < request.sampling.temperature < _COLDEST:
            raise BadInput(
                f"vLLM samples at temperature 0 or from {_COLDEST}, not at {request.sampling.temperature}"
            )
        try:
            messages = messages_of(request.prompt, encoder)
        except ValueError as error:
            self._refused.append(refused_as_unencodable(request, error))
            return
        if encoder is not None and limit is not None:
            need = len(request.prompt.encoded(encoder).prompt_ids) + request.sampling.max_tokens
            if need > limit:
                self._refused.append(refused_as_too_long(request, need, limit))
                return
        self._send(request, messages)

    def completed(self) -> Iterator[Event]:
        """Yield what happens until nothing is in flight. Raises LadderError where the server is gone."""
        while self._refused or self._jobs:
            if self._refused:
                yield self._refused.popleft()
            elif (event := self._next()) is not None:
                yield event

    def cancel(self, request_id: str) -> None:
        """Forget a request's unfinished samples, and hang up on them."""
        job = self._jobs.pop(request_id, None)
        for call in job.calls if job is not None else ():
            call.cancelled = True
            if call.work is not None:
                with suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(call.work.cancel)

    def close(self) -> None:
        """Hang up; again is harmless."""
        self._jobs.clear()
        self._refused.clear()
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._caller.end)
        self._thread.join(_CLOSE_SECONDS)
        if self._weights is not None:
            self._weights.close()

    def _send(self, request: Request, messages: list[dict[str, object]]) -> None:
        from ladder.engines.server_calls import Call

        job = _Job(set(request.indices))
        self._jobs[request.id] = job
        single = self._caller.dialect.one_by_one(request.sampling)
        for part in _parts(request, 1 if single else self._settings.n):
            self.capacity = max(self.capacity, self._twice * len(part))
            call = Call(request, messages, deque(part), lambda event: self._events.put((job, event)))
            job.calls.append(call)
            with suppress(RuntimeError):  # the loop has ended, and `_next` tells of what
                self._loop.call_soon_threadsafe(self._caller.calls.put_nowait, call)

    def _next(self) -> Event | None:
        """Wait for what happens next; None where it is about a request that was cancelled."""
        if self._error is not None:
            raise self._error
        heard = self._events.get()
        if isinstance(heard, BaseException):
            self._error = heard
            raise heard
        job, event = heard
        if self._jobs.get(event.request_id) is not job:
            return None
        job.left.difference_update(event.indices if isinstance(event, Refused) else (event.index,))
        if not job.left:
            del self._jobs[event.request_id]
        self._judge(event)
        return event

    def _judge(self, event: Event) -> None:
        """Stop where nothing but failures comes: each of the items would fail."""
        if isinstance(event, Completion):
            self._answered = True
        elif isinstance(event, Failed) and not self._answered:
            self._given_up.add(event.request_id)
            unanswered = not self._caller.answered
            if unanswered and (len(self._given_up) >= _HOPELESS or not self._jobs):
                raise LadderError(f"the server at {self._settings.url} answered no request: {event.why}")

    def _serve(self, started: Future[None]) -> None:
        """The thread: calls are made until `close`."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._caller.run(lambda: started.set_result(None)))
            except BaseException as error:
                if started.done():
                    self._events.put(error)  # nobody reads it after `close`
                else:
                    started.set_exception(error)


def _parts(request: Request, most: int) -> Iterator[list[tuple[int, int]]]:
    """The samples as (index, seed) in runs of consecutive ones, each at most `most` long (0: as long as it is)."""
    part: list[tuple[int, int]] = []
    for index, seed in zip(request.indices, request.seeds, strict=True):
        follows = part and (index, seed) == (part[-1][0] + 1, part[-1][1] + 1)
        if part and (not follows or len(part) == most):
            yield part
            part = []
        part.append((index, seed))
    if part:
        yield part
