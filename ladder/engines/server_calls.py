"""Calls to an OpenAI-compatible server: sent, tried again where that may help, and turned into events.

Runs in one event loop; what is sent and what an answer means is for `server_wire`, when for `server_gate`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx2

from ladder.encode import Encoder
from ladder.engines.base import Completion, Event, Failed, Refused, Request
from ladder.engines.server_gate import Gate
from ladder.engines.server_wire import (
    RESHAPING,
    Answer,
    Choice,
    Dialect,
    Malformed,
    bad_image,
    cleaned,
    complaint_of,
    read_answer,
    read_models,
    too_long,
)
from ladder.engines.server_wire import retry_after as seconds_after
from ladder.engines.settings import ServerSettings
from ladder.errors import BadInput, LadderError
from ladder.progress import say

_CONNECT_SECONDS = 10.0
_MOST_BYTES = 2**28  # of one answer
_MESSAGE = {"role": "user", "content": "Say a word."}
_EXACT = 1e-3
_NOT_OURS = ("unreachable", "http_429")  # failures that say nothing of the request
#: What `ServerEngine.counts` counts: calls for samples and those that were repeated, then what went wrong with calls.
COUNTS = (
    "requests",
    "retries",
    "http_429",
    "http_5xx",
    "timeouts",
    "dropped",
    "unreachable",
    "malformed",
    "short",  # answers with fewer samples than asked for
    "surplus",  # samples beyond those asked for, left alone
    "rejected",  # calls answered with another error: not repeated
    "unforeseen",  # errors of ours with an answer
    "other_prompt",  # samples of other prompt ids than ours, or of none that are known: not for training
)


@dataclass(eq=False)
class Call:
    """Samples to be got of one request: (index, seed), consecutive."""

    request: Request
    messages: list[dict[str, Any]]
    wanted: deque[tuple[int, int]]
    deliver: Callable[[Event], None]
    work: asyncio.Task[None] | None = None
    cancelled: bool = False


@dataclass(eq=False)
class _Passing(Exception):
    """A failure that may pass: its name in `COUNTS`, the reason in words, the seconds that the server asks for."""

    why: str
    reason: str
    wait: float = 0.0


@dataclass(eq=False)
class _Rejected(Exception):
    """The server does not take this request: what it says, the fields that it names, and those that were sent."""

    status: int
    complaint: str
    named: list[str]
    sent: frozenset[str]


class Caller:
    """Works off `calls` by `settings.concurrency` at once; `key` goes into a header and nowhere else.

    `encoder` is that of the model, where its files are at hand. Where samples are `for_training`, one that cannot be trained on
    ends all.
    """

    def __init__(
        self,
        settings: ServerSettings,
        model: str,
        encoder: Encoder | None,
        key: str,
        for_training: bool = False,
    ) -> None:
        self._settings, self._model, self._encoder, self._key = settings, model, encoder, key
        self._for_training = for_training
        self._url = settings.url.rstrip("/")
        self.counts = dict.fromkeys(COUNTS, 0)
        self.dialect = Dialect()
        self.answered = False  # a request for samples, with anything that is no error
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self._gate = Gate(settings, self._there)
        self._task: asyncio.Task[None] | None = None
        self._told_untrainable = False
        self._short = 0  # answers with one choice instead of several, in a row

    async def run(self, ready: Callable[[], None]) -> None:
        """Find out what the server is, say so to `ready`, and work until `end`; raises what ends all."""
        self._task = asyncio.current_task()
        seconds = self._settings.timeout
        timeout = httpx2.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds))
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self._settings.concurrency)
        async with httpx2.AsyncClient(
            timeout=timeout, limits=limits, headers=self._headers()
        ) as self._client:
            await self._meet()
            ready()
            workers = [asyncio.create_task(self._work()) for _ in range(self._settings.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:  # before the client closes: what ends one of them ends all, and is what is told
                for worker in workers:
                    worker.cancel()

    def end(self) -> None:
        """Stop working."""
        if self._task is not None:
            self._task.cancel()

    def _headers(self) -> dict[str, str]:
        told = {"User-Agent": "neuraladder", "Accept-Encoding": "identity"}
        return told | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

    async def _meet(self) -> None:
        """Learn what the server is and that it serves the model; raises BadInput where it does not."""
        status, body = await self._steadily("GET", "/models")
        models = read_models(body) if status == 200 else None
        if models is None:  # a gateway need not have such a list
            self.dialect = Dialect(self._kind("other"))
            self._refuse_other_servers()
            return
        served = [card.id for card in models.data]
        if served and self._model not in served:
            raise BadInput(self._not_served(served))
        self.dialect = models.dialect(self._model)
        self.dialect.kind = self._kind(self.dialect.kind)
        self._refuse_other_servers()
        if self._encoder is not None and self.dialect.kind == "vllm":
            self.dialect.exact = await self._is_exact(self._encoder)
            if not self.dialect.exact:
                told = (
                    f"the server at {self._url} gives log-probs of another distribution than it samples from, so its rollouts "
                    f"are not for training: start vLLM with --logprobs-mode processed_logprobs (docs/servers.md)"
                )
                if self._for_training:
                    raise LadderError(told)
                say(f"  {told}")

    def _refuse_other_servers(self) -> None:
        if self._for_training and self.dialect.kind != "vllm":
            raise LadderError(
                f"the server at {self._url} is no vLLM, and no other can be sent weights: train with rollout.engine = 'vllm' "
                "or 'transformers', or set rollout.server.kind = 'vllm' where a gateway stands before one"
            )

    def _kind(self, found: str) -> str:
        return found if self._settings.kind == "auto" else self._settings.kind

    def _not_served(self, served: list[str]) -> str:
        from difflib import get_close_matches

        close = get_close_matches(self._model, served, n=1, cutoff=0.5)
        hint = f", did you mean {close[0]!r}?" if close else ""
        names = cleaned(", ".join(served), self._key)
        return f"the server at {self._url} does not serve {self._model!r}{hint}; it serves {names}: set server.model"

    async def _steadily(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, bytes]:
        """(status, body) of what is asked before work begins, as soon as the server answers."""
        tries = 0
        while True:
            await self._gate.enter()
            try:
                status, answered = await self._exchange(method, path, body)
                self._refuse_for_good(status, answered)
                return status, answered
            except _Passing as failure:
                self._gate.failed(failure.why, failure.reason, path, failure.wait)
                tries += failure.why not in _NOT_OURS
                if tries > self._settings.retries:
                    raise LadderError(f"the server at {self._url} does not work: {failure.reason}") from None
                await asyncio.sleep(self._gate.pause(tries))
            finally:
                self._gate.leave()

    async def _there(self) -> bool:
        """Whether the server gives any sign of life but a failure."""
        patience = min(_CONNECT_SECONDS, self._settings.patience)
        try:
            async with asyncio.timeout(patience):
                await self._exchange("GET", "/models")
        except _Passing as failure:
            return failure.why == "http_429"
        except TimeoutError:
            return False
        except LadderError:  # the next call meets it too
            return True
        return True

    async def _is_exact(self, encoder: Encoder) -> bool:
        """Whether log-probs are of the distribution sampled from: a token that a bias of 100 makes certain has a log-prob
        of 0 there. Tried with two tokens, of which at most one could be certain by itself."""
        banned = {*encoder.banned, *encoder.stop_ids}
        plain = [i for i in range(len(banned) + 2) if i not in banned][:2]
        for token in plain:
            body = {"model": self._model, "messages": [_MESSAGE], "max_tokens": 1, "temperature": 1.0}
            body |= {"logprobs": True, "logit_bias": {str(token): 100.0}, "ignore_eos": True}
            _, answered = await self._steadily("POST", "/chat/completions", body)
            try:
                logprobs = read_answer(answered).choices[0].token_logprobs
            except Malformed:
                return False
            if not logprobs or abs(logprobs[0]) > _EXACT:
                return False
        return True

    async def _work(self) -> None:
        while True:
            call = await self.calls.get()
            if call.cancelled:
                continue
            call.work = asyncio.create_task(self._finish(call))
            try:
                await asyncio.wait({call.work})
            finally:
                call.work.cancel()
            if not call.work.cancelled() and (error := call.work.exception()) is not None:
                if isinstance(error, LadderError):
                    raise error
                self.counts["unforeseen"] += 1  # an answer that nobody thought of costs itself only
                self._drop(call, f"{type(error).__name__}: {cleaned(str(error), self._key)}")

    async def _finish(self, call: Call) -> None:
        """Get all samples of a call, in as many requests as that takes."""
        tries = failures = 0
        sampling = call.request.sampling
        while call.wanted:
            part = _first(call.wanted, self.dialect.one_by_one(sampling))
            try:
                await self._attempt(call, part, again=failures > 0)
                tries = failures = 0
            except _Passing as failure:
                failures += 1
                tries += failure.why not in _NOT_OURS
                if tries > self._settings.retries:
                    self._drop(call, f"given up after {tries} tries, the last: {failure.reason}")
                    return
                await asyncio.sleep(self._gate.pause(failures))
            except _Rejected as rejection:
                if not self._understood(call, rejection):
                    return

    async def _attempt(self, call: Call, part: list[tuple[int, int]], again: bool) -> None:
        """One request; delivers what it gives. What fails is told to the gate, which may end all."""
        await self._gate.enter()
        self.counts["requests"] += 1
        self.counts["retries"] += again
        try:
            answer = await self._ask(call, part)
            self._deliver(call, part, answer)
            self._gate.succeeded()
        except _Passing as failure:
            self.counts[failure.why] += 1
            self._gate.failed(failure.why, failure.reason, call.request.id, failure.wait)
            raise
        finally:
            self._gate.leave()

    async def _ask(self, call: Call, part: list[tuple[int, int]]) -> Answer:
        sampling, (_, seed) = call.request.sampling, part[0]
        body = self.dialect.body(self._model, call.messages, sampling, len(part), seed, self._encoder)
        status, answered = await self._exchange("POST", "/chat/completions", body | self._settings.extra)
        self._refuse_for_good(status, answered)
        if status != 200:
            raise _Rejected(status, *complaint_of(answered, self._key), frozenset(body))
        try:
            answer = read_answer(answered)
            self.answered = True
            return answer
        except Malformed as error:
            raise _Passing("malformed", f"no answer that can be read: {error}") from None

    async def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, bytes]:
        """(status, body) of the server's response; raises _Passing for what may pass."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._received(method, path, body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise _Passing("unreachable", cleaned(str(error) or type(error).__name__, self._key)) from None
        except (TimeoutError, httpx2.TimeoutException):
            raise _Passing("timeouts", f"no answer within {time.monotonic() - began:.0f} s") from None
        except httpx2.HTTPError as error:
            told = cleaned(str(error) or type(error).__name__, self._key)
            raise _Passing("dropped", f"the connection broke: {told}") from None

    async def _received(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        async with self._client.stream(method, f"{self._url}{path}", json=body) as response:
            received = bytearray()
            async for piece in response.aiter_bytes():
                received += piece
                if len(received) > _MOST_BYTES:
                    raise _Passing("malformed", f"an answer of more than {_MOST_BYTES} bytes")
        status = response.status_code
        if status in (408, 425, 429) or status >= 500:
            why = {408: "timeouts", 425: "http_5xx", 429: "http_429"}.get(status, "http_5xx")
            said = complaint_of(bytes(received), self._key)[0]
            wait = seconds_after(response.headers.get("retry-after"))
            raise _Passing(why, f"HTTP {status}{f': {said}' if said else ''}", wait)
        if response.is_redirect:
            to = cleaned(response.headers.get("location", "somewhere else"), self._key)
            raise BadInput(
                f"the server at {self._url} sends its callers to {to}: set server.url to where it is"
            )
        return status, bytes(received)

    def _refuse_for_good(self, status: int, body: bytes) -> None:
        """Raises where no call can ever succeed: no key, or a wrong one."""
        if status not in (401, 403):
            return
        said, name = complaint_of(body, self._key)[0], self._settings.api_key_env
        what = (
            f"does not take the API key in {name}"
            if self._key
            else f"wants an API key: set {name} in the environment"
        )
        raise LadderError(f"the server at {self._url} {what} (HTTP {status}: {said})")

    def _understood(self, call: Call, rejection: _Rejected) -> bool:
        """Whether a rejected request can be asked otherwise; else its samples are refused or dropped."""
        self.counts["rejected"] += 1
        said = f"HTTP {rejection.status}: {rejection.complaint}"
        if rejection.status == 404:
            raise BadInput(
                f"the server at {self._url} has no /chat/completions for model {self._model!r} ({said}); server.url "
                "is what comes before that, as in http://host:8000/v1"
            )
        if (need := too_long(rejection.complaint)) is not None:
            self._refuse(call, "too_long", said, max(need, (self.dialect.limit or 0) + 1))
            return False
        if bad_image(rejection.complaint):
            self._refuse(call, "unencodable", said, None)
            return False
        if "temperature" in rejection.named or "'temperature'" in rejection.complaint:
            raise BadInput(
                f"the server at {self._url} does not take sampling.temperature = "
                f"{call.request.sampling.temperature} ({said})"
            )
        if (learnt := self.dialect.learn(rejection.complaint, rejection.named, rejection.sent)) is not None:
            if learnt:
                say(f"  the server at {self._url} answered {said}; Ladder {learnt}")
            return True
        self._drop(call, said)
        return False

    def _refuse(self, call: Call, reason: str, said: str, need: int | None) -> None:
        indices = tuple(index for index, _ in call.wanted)
        call.wanted.clear()
        call.deliver(Refused(call.request.id, indices, reason, f"the server says: {said}", need))

    def _drop(self, call: Call, why: str) -> None:
        while call.wanted:
            index, _ = call.wanted.popleft()
            call.deliver(Failed(call.request.id, index, why))

    def _deliver(self, call: Call, part: list[tuple[int, int]], answer: Answer) -> None:
        """Deliver the samples of an answer; those that are missing or unfinished stay wanted."""
        by_index = dict(enumerate(part))
        ours = self._ours(call, answer)
        given = 0
        for choice, length in zip(answer.choices, answer.lengths(), strict=True):
            sample = by_index.get(choice.index or 0)
            event = self._event(call.request.id, sample, choice, length, ours) if sample else None
            if sample is not None and event is not None:
                given += 1
                call.wanted.remove(sample)
                call.deliver(event)
        self.counts["surplus"] += max(len(answer.choices) - len(part), 0)
        if not given:
            raise _Passing("malformed", "no choice that ended")
        self._count_short(given, len(part))

    def _event(
        self, request_id: str, sample: tuple[int, int], choice: Choice, length: int, ours: bool
    ) -> Event | None:
        """What a choice is; None where it did not end."""
        index, seed = sample
        reason = choice.ended
        if reason is None:
            return None
        if reason not in ("stop", "length"):
            return Failed(request_id, index, f"the server ended it with {cleaned(reason, self._key)!r}")
        ids, logprobs = choice.token_ids or [], choice.token_logprobs
        whole = bool(ids) and len(ids) == len(logprobs)
        why = self._why_not(ids, whole, ours)
        if why and self._for_training:
            raise LadderError(
                f"the server at {self._url} {why}: item {request_id}'s sample cannot be trained on (docs/servers.md)"
            )
        return Completion(
            request_id,
            index,
            seed,
            token_ids=tuple(ids),
            logprobs=tuple(logprobs) if whole else (),
            finish_reason=reason,
            text=None if ids and self._encoder else choice.text,
            tokens=None if ids else length,
            trainable=not why,
        )

    def _why_not(self, ids: list[int], whole: bool, ours: bool) -> str:
        """Why a sample cannot be trained on; nothing where it can."""
        if not ours:
            return "makes other tokens of a prompt than Ladder, or tells none"
        if not whole:
            return "does not tell the id and the log-prob of every token"
        if not self.dialect.exact:
            return "gives log-probs of another distribution than it samples from"
        if self._encoder is not None and not set(ids).isdisjoint(self._encoder.banned):
            return "sampled a token that stands for an image"
        if reshaped := sorted(self.dialect.refused & RESHAPING):
            return f"does not take {reshaped[0]}, and may sample from a part of the distribution only"
        return ""

    def _ours(self, call: Call, answer: Answer) -> bool:
        """Whether the server answered the prompt that training would encode."""
        if self._encoder is None:
            return False
        if answer.prompt_token_ids == call.request.prompt.encoded(self._encoder).prompt_ids:
            return True
        self.counts["other_prompt"] += len(answer.choices)
        if not self._told_untrainable:
            self._told_untrainable = True
            told = (
                "makes other tokens of a prompt than Ladder"
                if answer.prompt_token_ids
                else "tells no token ids"
            )
            say(f"  the server at {self._url} {told}: its rollouts are not for training (docs/servers.md)")
        return False

    def _count_short(self, given: int, asked: int) -> None:
        if given >= asked:
            self._short = 0
            return
        self.counts["short"] += 1
        self._short += given == 1
        if self._short == 2 and not self.dialect.singles:
            self.dialect.singles = True
            say(
                f"  the server at {self._url} gives one sample, whatever is asked for: Ladder asks for single ones"
            )


def _first(wanted: Iterable[tuple[int, int]], single: bool) -> list[tuple[int, int]]:
    """The samples that one request can ask for: consecutive ones, or one."""
    part: list[tuple[int, int]] = []
    for index, seed in wanted:
        if part and (single or (index, seed) != (part[-1][0] + 1, part[-1][1] + 1)):
            break
        part.append((index, seed))
    return part
