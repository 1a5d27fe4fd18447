"""What a TOML may say of models and engines: which model answers, and what runs it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from ladder.config import Settings
from ladder.pools.readers import Layout


class ModelSettings(Settings):
    """The model that scores: a shipped name, a directory or a Hub id; and its pixel budget for one image.

    Behind a server it may be nowhere else: `name` is then what the server calls it.
    """

    name: str = "digits"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"
    min_pixels: PositiveInt = 3136
    max_pixels: PositiveInt = 1_003_520


class TransformersSettings(Settings):
    """Settings of the transformers engine: samples running at once, and the memory that their keys and values may take
    (None: what the device gives). Where memory ends, fewer samples run at once."""

    slots: PositiveInt = 256
    cache_gib: PositiveFloat | None = None


_SECRET = re.compile(r"(?i)token$|api[-_]?key|secret|password|authorization")


def _without_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """Refuses what looks like a credential: settings are written into the ladder."""
    for name, value in values.items():
        if _SECRET.search(name) and isinstance(value, str):
            raise ValueError(
                f"{name!r} looks like a credential, and settings are stored; use an environment variable"
            )
        if isinstance(value, dict):
            _without_secrets(value)
    return values


Arguments = Annotated[dict[str, Any], AfterValidator(_without_secrets)]


class VllmSettings(Settings):
    """Settings of the vLLM engine; `args` are passed on to `vllm.LLM`. `in_flight` samples are its own to run or queue;
    None: twice as many as it runs at once (`args.max_num_seqs`)."""

    in_flight: PositiveInt | None = None
    args: Arguments = Field(default_factory=dict)


class ServerSettings(Settings):
    """An OpenAI-compatible server: `vllm serve`, SGLang, a gateway.

    `url` ends before `/chat/completions`. The API key is read from the environment variable `api_key_env` and kept
    nowhere. `n` samples are asked for in one request (0: all that an item wants). A call that fails in a way that may
    pass is tried `retries` times more, waiting at least what the server asks for; `patience` seconds without any
    success, and the server counts as gone. `kind` says whose extensions of the protocol it takes (`auto`: what its list
    of models says). `extra` are further fields of the request body; they are part of the model's fingerprint.
    """

    url: str = "http://127.0.0.1:8000/v1"
    model: str | None = None  # as the server calls it; else `model.name`
    revision: str = ""  # part of the model's fingerprint where its weights cannot be read
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: PositiveInt = 64
    n: NonNegativeInt = 0
    timeout: PositiveFloat = 600.0
    retries: NonNegativeInt = 8
    patience: PositiveFloat = 120.0
    kind: Literal["auto", "vllm", "sglang", "other"] = "auto"
    extra: Arguments = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("write it as http://host:port/v1, without a query")
        if "@" in parts.netloc:
            raise ValueError("no user or password belongs here: settings are stored (see api_key_env)")
        return url

    @field_validator("extra")
    @classmethod
    def _no_field_of_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        from ladder.engines.server_wire import RESERVED

        if ours := sorted(RESERVED & extra.keys()):
            raise ValueError(f"{ours[0]} cannot be set here: Ladder sets it")
        return extra


class ReplayColumns(Settings):
    """Where a recorded row says what, as a pool's columns do: a column, a place inside one, or (`id`) a template.

    `id` is the item's id upstream ("SOURCE/ID" in a build of several pools), or Ladder's. A `response` that is a list is
    as many samples, as are then its tokens and reasons.
    """

    id: str = "id"
    response: str = "response"
    tokens: str | None = None  # the number of response tokens, else its words and signs are counted
    finish_reason: str = "finish_reason"  # "length" and the like: truncated; where there is none, nothing is


class ReplaySettings(Settings):
    """Recorded responses: files below `root`, or patterns of them, in order; an item's j-th response is its sample j.

    `name` is what the ladder calls who gave them, `layout` how the files are laid out, where that cannot be told from them;
    `where` keeps the rows whose columns have these values (one model of several, one filter of lm-eval).
    """

    name: str = "recorded responses"
    root: str = "."
    files: tuple[str, ...] = ()
    layout: Layout = Layout()
    columns: ReplayColumns = ReplayColumns()
    where: dict[str, str] = Field(default_factory=dict)


class EngineSettings(Settings):
    """A model and the engine that runs it; of the engines' own tables, the chosen one's is read."""

    model: ModelSettings = ModelSettings()
    engine: Literal["auto", "vllm", "transformers", "server", "replay"] = "auto"
    transformers: TransformersSettings = TransformersSettings()
    vllm: VllmSettings = VllmSettings()
    server: ServerSettings = ServerSettings()
    replay: ReplaySettings = ReplaySettings()

    @property
    def who(self) -> str:
        """What the ladder calls who answers."""
        return self.replay.name if self.engine == "replay" else self.model.name
