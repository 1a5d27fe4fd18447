"""What goes to an OpenAI-compatible server and what comes back: request bodies, answers, refusals. Sends nothing itself.

A server's answer is untrusted: it is read into typed models, and what does not fit them is Malformed.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, ValidationError

if TYPE_CHECKING:
    from ladder.encode import Encoder, Prompt
    from ladder.engines.base import Sampling

#: Fields that a server may refuse and be asked again without: what they do is then left to its own defaults.
_DISPENSABLE = (
    "return_token_ids",
    "skip_special_tokens",
    "stop_token_ids",
    "ignore_eos",
    "logit_bias",
    "repetition_penalty",
    "top_k",
    "min_p",
    "top_p",
    "logprobs",
    "seed",
)
#: Those without which a server's defaults may change the distribution that is sampled from.
RESHAPING = frozenset(["logit_bias", "repetition_penalty", "top_k", "min_p", "top_p"])
#: What Ladder sends or decides itself; no other field of the body may be one of these.
RESERVED = frozenset(_DISPENSABLE) | {
    *("model", "messages", "temperature", "max_tokens", "max_completion_tokens", "n", "stream", "stop"),
    *("top_logprobs", "presence_penalty", "frequency_penalty", "mm_processor_kwargs"),
}
_NEUTRAL = {
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "skip_special_tokens": False,
}  # no default of a model's directory
_EXTENSIONS = {"vllm": {"top_k": 0} | _NEUTRAL, "sglang": {"top_k": -1} | _NEUTRAL}
_BAN = -100.0  # the least that servers take: a chance of e^-100
_LONGEST_MESSAGE = 300
_SECRET = 8  # characters: shorter keys are none, such as "EMPTY"
_HUGE = 1e30  # a log-prob this far from 0 is no number
_TOO_LONG = re.compile(
    r"context.length|context.window|maximum (model|input|prompt|sequence) length|maximum.{0,20}\btokens\b.*requested|too many tokens|prompt is too long",
    re.IGNORECASE,
)
_BAD_IMAGE = re.compile(
    r"(cannot|can't|could not|failed to|unable to) (identify|decode|load|process|open|read)\b.{0,30}\bimage"
    r"|\b(invalid|corrupt\w*|unsupported|broken|bad) image|image.{0,30}\b(too large|too small|unsupported|invalid)",
    re.IGNORECASE,
)
_CHOICES = re.compile(
    r"['\"`]n['\"`]|\bn\s*(>|=|must)|completion choice|number of (choices|completions)", re.IGNORECASE
)
_STOPPED = ("stop", "eos", "eos_token", "stop_sequence", "end_turn")
_TRUNCATED = ("length", "max_tokens", "model_length", "max_output_tokens")
_CUT_OFF = (None, "", "abort", "error")  # a server on its way out
_WORD = re.compile("[^\\W\u2e80-\U0010ffff]+|\\S")  # a word, a sign, a character of a script without spaces


class Malformed(Exception):
    """An answer that is none."""


@dataclass
class Dialect:
    """What a server understands: what its kind (vllm, sglang, other) is known for, less what it turned out to refuse."""

    kind: str = "other"
    limit: int | None = None  # positions for prompt and answer together, where the server tells
    exact: bool = False  # its log-probs are of the distribution sampled from
    singles: bool = False  # it gives one choice, whatever is asked for
    completion_tokens: bool = False  # it wants max_completion_tokens
    refused: set[str] = field(default_factory=set)

    def one_by_one(self, sampling: Sampling) -> bool:
        """Whether each sample needs a request of its own; vLLM takes no n for greedy ones."""
        return self.singles or sampling.temperature == 0

    @property
    def follows_seeds(self) -> bool:
        """Whether choice i of a request is drawn with seed + i; elsewhere all may have the same."""
        return self.kind == "vllm"

    def body(
        self, model: str, messages: list[Any], sampling: Sampling, n: int, seed: int, encoder: Encoder | None
    ) -> dict[str, Any]:
        """The body of a request for n choices."""
        most = "max_completion_tokens" if self.completion_tokens else "max_tokens"
        fields = {
            "model": model,
            "messages": messages,
            "temperature": sampling.temperature,
            most: sampling.max_tokens,
            "top_p": 1.0,
            "logprobs": True,
            **_EXTENSIONS.get(self.kind, {}),
        }
        if n > 1:
            fields["n"] = n
        if n == 1 or self.follows_seeds:
            fields["seed"] = seed
        if self.kind == "vllm":
            fields["return_token_ids"] = True
            fields |= _as_encoded(encoder) if encoder else {}
        return {name: value for name, value in fields.items() if name not in self.refused}

    def learn(self, complaint: str, named: Sequence[str], sent: Collection[str]) -> str | None:
        """Do without what a complaint about the fields `sent` is about, from now on. What that is, or nothing where it was
        known; None where it is about something else."""
        if "n" in sent and ("n" in named or _CHOICES.search(complaint)):
            known, self.singles = self.singles, True
            return "" if known else "asks for single samples: it takes no n"
        if "max_tokens" in sent and ("max_tokens" in named or "max_completion_tokens" in complaint):
            known, self.completion_tokens = self.completion_tokens, True
            return "" if known else "sends max_completion_tokens"
        for name in (*named, *re.findall(r"\w+", complaint)):
            if name in _DISPENSABLE and name in sent:
                known = name in self.refused
                self.refused.add(name)
                return "" if known else f"does without {name}, which is the server's own default now"
        return None


def _as_encoded(encoder: Encoder) -> dict[str, Any]:
    """What makes vLLM sample as the engines in this process do."""
    return {
        "stop_token_ids": list(encoder.stop_ids),
        "ignore_eos": True,  # what ends a response are the encoder's ids
        "logit_bias": {str(token): _BAN for token in encoder.banned},
    }


def messages_of(prompt: Prompt, encoder: Encoder | None) -> list[dict[str, Any]]:
    """The messages in OpenAI's form, images as data URIs in their places: resized by us where there is an encoder, so that
    the server does not resize again, else as they are stored. Raises ValueError as Encoder.encode does."""
    if encoder is None:
        pictures = [data for _, data in prompt.images]
    else:
        pictures = [_png(picture) for picture in prompt.encoded(encoder).pictures]
    left = iter(pictures)
    return [{**m, "content": [_part(part, left) for part in m["content"]]} for m in prompt.messages]


def _part(part: dict[str, Any], pictures: Any) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    data = base64.b64encode(next(pictures)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


class _Message(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


_Ids = list[Annotated[int, Field(ge=0, lt=2**31)]]


class Choice(BaseModel):
    """One sample; `token_ids` only where the server tells them."""

    message: _Message
    index: int | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    token_ids: _Ids | None = None

    @property
    def ended(self) -> str | None:
        """What ended it: stop, length, or another thing; None where it was cut off."""
        if self.finish_reason in _CUT_OFF:
            return None
        if self.finish_reason in _TRUNCATED:
            return "length"
        return "stop" if self.finish_reason in _STOPPED else self.finish_reason

    @property
    def text(self) -> str:
        """The response, put together again where a reasoning parser split it."""
        message = self.message
        thought = message.reasoning_content or message.reasoning
        said = message.content or message.refusal or ""
        return f"<think>{thought}</think>{said}" if thought else said

    @property
    def token_logprobs(self) -> list[float]:
        """Log-probs of the response's tokens; empty where there are none, or no numbers."""
        content = self.logprobs.get("content") if isinstance(self.logprobs, dict) else None
        told = content if isinstance(content, list) else []
        values = [t.get("logprob") if isinstance(t, dict) else None for t in told]
        numbers = [float(v) for v in values if isinstance(v, int | float) and abs(v) < _HUGE]  # nan is not
        return numbers if len(numbers) == len(values) else []


class _Usage(BaseModel):
    completion_tokens: int | None = Field(None, ge=0, lt=2**31)


class Answer(BaseModel):
    """The answer to one request."""

    choices: list[Choice]
    usage: _Usage | None = None
    prompt_token_ids: _Ids | None = None

    def lengths(self) -> list[int]:
        """Response tokens of each choice: told, else its share of those of all, else words and signs."""
        words = [len(_WORD.findall(choice.text)) for choice in self.choices]
        told = self.usage.completion_tokens if self.usage else None
        scale = 1.0 if told is None else told / max(sum(words), 1)
        if told is not None and len(words) == 1:
            words, scale = [told], 1.0
        return [
            len(c.token_ids or c.token_logprobs) or round(counted * scale)
            for c, counted in zip(self.choices, words, strict=True)
        ]


def read_answer(body: bytes) -> Answer:
    """The answer in a body, its choices numbered; raises Malformed for what is none, or has no choices."""
    try:
        answer = Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Malformed(f"{where}: {first['msg']}" if where else first["msg"]) from None
    if not answer.choices:
        raise Malformed("no choices")
    if len({choice.index for choice in answer.choices} - {None}) < len(answer.choices):
        for index, choice in enumerate(answer.choices):
            choice.index = index
    return answer


class _Card(BaseModel):
    id: str
    owned_by: str = ""
    max_model_len: int | None = None


class Models(BaseModel):
    """What a server serves."""

    data: list[_Card]

    def dialect(self, model: str) -> Dialect:
        """What is known of a server that serves `model`."""
        card = next((card for card in self.data if card.id == model), None)
        if card is None:
            return Dialect()
        return Dialect(card.owned_by if card.owned_by in _EXTENSIONS else "other", card.max_model_len)


def read_models(body: bytes) -> Models | None:
    """What a server says it serves; None where it says nothing that can be read."""
    try:
        return Models.model_validate_json(body)
    except ValidationError:
        return None


def complaint_of(body: bytes, hide: str) -> tuple[str, list[str]]:
    """(message, names of fields it is about) of an error's body: one short printable line, without the text `hide`."""
    told: Any = body.decode(errors="replace")
    named: list[str] = []
    with suppress(ValueError, RecursionError):
        told = json.loads(told)
    if isinstance(told, dict):
        error = told.get("error") or told
        if isinstance(error, dict):
            named = [error["param"]] if isinstance(error.get("param"), str) else []
            error = error.get("message") or error.get("detail") or error
        told = error
    if isinstance(told, list):  # FastAPI's: one dictionary per problem, which repeats the whole request
        problems = [p for p in told if isinstance(p, dict)]
        named = [str(p["loc"][-1]) for p in problems if isinstance(p.get("loc"), list) and p["loc"]]
        told = "; ".join(str(p.get("msg", "")) for p in problems)
    return cleaned(str(told), hide), named


def cleaned(text: str, hide: str) -> str:
    """One short printable line of a server's words, without the text `hide`, unless that is as short as a word."""
    text = text.replace(hide, "***") if len(hide) >= _SECRET else text
    line = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(line.split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."


def too_long(complaint: str) -> int | None:
    """The positions needed, as far as a complaint about the context's length tells them; None where it is about another
    thing. The highest number in it is what was asked for, or the limit."""
    if not _TOO_LONG.search(complaint):
        return None
    numbers = [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", complaint) if len(n) < 12]
    return max(numbers, default=0) + 1


def bad_image(complaint: str) -> bool:
    """Whether a server complains that it cannot take an image."""
    return bool(_BAD_IMAGE.search(complaint))


def retry_after(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3: seconds or an HTTP date); 0 without a readable one."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
            seconds = (then.replace(tzinfo=then.tzinfo or UTC) - now()).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
