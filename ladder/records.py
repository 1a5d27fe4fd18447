"""The typed records that flow through Ladder, and their Arrow schemas, in one place.

Everything else imports this module; it imports nothing of Ladder. Rows on disk are these records, field for field,
unless a schema below says otherwise. Token ids and log-probs are lists of equal length.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

IMAGE_PLACEHOLDER = "<image>"


class Outcome(StrEnum):
    """What the verifier says of a rollout."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    UNVERIFIABLE = "unverifiable"  # the gold cannot be parsed: the item has no pass rate and never pays
    TIMEOUT = "timeout"  # missing, to be judged again; never wrong


class AnswerType(StrEnum):
    """How an answer is compared with its gold; see ladder.verify.compare."""

    OPTION = "option"
    INTEGER = "integer"
    NUMBER = "number"
    TIME = "time"
    WORD = "word"
    LIST = "list"  # in any order
    SEQUENCE = "sequence"  # in the given order
    EXPRESSION = "expression"


@dataclass(frozen=True, slots=True)
class Image:
    """One canonical image: RGB on white, upright, bounded; `data` is its encoded form (PNG)."""

    hash: str  # digest of the oriented, full-resolution RGB pixels
    phash: int  # 64-bit perceptual hash, signed as Arrow stores it
    width: int  # pixels, as stored
    height: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Reference:
    """What a response is compared with: the gold and all that says how; see ladder.verify."""

    gold: str
    options: tuple[str, ...] = ()
    answer_type: AnswerType = AnswerType.EXPRESSION
    tolerance: str | None = None  # see ladder.verify.policy.Tolerance
    unit: str | None = None  # the gold's, where it does not stand in the gold itself


@dataclass(frozen=True, slots=True)
class Item:
    """One question in canonical form; `question` holds one `<image>` placeholder per image."""

    id: str
    question: str
    images: tuple[str, ...]  # image hashes
    options: tuple[str, ...]
    gold: str
    answer_type: AnswerType
    source: str
    source_id: str
    split: str | None = None
    subject: str | None = None
    tolerance: str | None = None
    unit: str | None = None
    flags: tuple[str, ...] = ()  # what the audit noticed and let pass: see ladder.audit
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> Reference:
        """What responses to it are compared with."""
        return Reference(self.gold, self.options, self.answer_type, self.tolerance, self.unit)

    def row(self) -> dict[str, Any]:
        """The item as a row of ITEM_SCHEMA."""
        own = {name: getattr(self, name) for name in self.__slots__}
        return own | {"meta": json.dumps(self.meta, sort_keys=True, ensure_ascii=False)}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Item:
        """The item of a row of ITEM_SCHEMA; further columns are ignored."""
        known = {name: row[name] for name in cls.__slots__ if name in row}
        return cls(
            **known
            | {
                "images": tuple(row["images"]),
                "options": tuple(row["options"] or ()),
                "flags": tuple(row.get("flags") or ()),
                "answer_type": AnswerType(row["answer_type"]),
                "meta": json.loads(row["meta"] or "{}"),
            }
        )


@dataclass(frozen=True, slots=True)
class Reject:
    """A row or item that was left out: rejects are data, never silence."""

    source: str
    source_id: str
    row: int
    stage: str  # import | audit
    reason: str  # a short code, see ladder.pools.mapping and ladder.audit
    detail: str = ""
    item_id: str | None = None
    question: str = ""  # as far as it was read
    gold: str = ""
    images: tuple[str, ...] = ()  # hashes


@dataclass(frozen=True, slots=True)
class RolloutKey:
    """What makes a rollout the same rollout: asking for it again never samples again."""

    item_id: str
    prompt: str  # fingerprint of template and pixel budget
    model: str  # fingerprint of the model, with its weights version
    sampling: str  # fingerprint of the sampling specification (not n, not concurrency)
    index: int

    def row(self) -> dict[str, Any]:
        """The key's columns."""
        return {
            "item_id": self.item_id,
            "prompt": self.prompt,
            "model": self.model,
            "sampling": self.sampling,
            "index": self.index,
        }


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled response to one item by one model at one weights version."""

    key: RolloutKey
    text: str
    token_ids: Sequence[int] | np.ndarray  # none where the engine tells none
    logprobs: (
        Sequence[float] | np.ndarray
    )  # of the distribution sampled from: temperature and banned ids included
    finish_reason: str  # stop | length (truncated: counts as wrong and is flagged)
    seed: int
    engine: str
    tokens: int | None = None  # None: as many as there are token ids
    trainable: bool = True  # ids and log-probs are of the prompt that training would encode

    def row(self) -> dict[str, Any]:
        """The rollout as a row of ROLLOUT_SCHEMA."""
        return self.key.row() | {
            "text": self.text,
            "token_ids": self.token_ids,
            "logprobs": self.logprobs,
            "finish_reason": self.finish_reason,
            "seed": self.seed,
            "engine": self.engine,
            "tokens": len(self.token_ids) if self.tokens is None else self.tokens,
            "trainable": self.trainable,
            "response": response_digest(self.text),
        }


def response_digest(text: str) -> int:
    """What ties a verdict to the response that it judges, should a key ever have two: 63 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest()) >> 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier says of one response: the outcome, the extracted answer, a machine-readable reason."""

    outcome: Outcome
    extracted: str = ""
    reason: str = ""


@cache
def item_schema() -> pa.Schema:
    """Schema of `items/items-*.parquet`: items by reference to their images."""
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("question", pa.string()),
            ("images", pa.list_(pa.string())),
            ("options", pa.list_(pa.string())),
            ("gold", pa.string()),
            ("answer_type", pa.string()),
            ("source", pa.string()),
            ("source_id", pa.string()),
            ("split", pa.string()),
            ("subject", pa.string()),
            ("tolerance", pa.string()),
            ("unit", pa.string()),
            ("flags", pa.list_(pa.string())),
            ("meta", pa.string()),
            ("gold_digest", pa.string()),  # see ladder.identity; null in older parts
        ]
    )


@cache
def image_schema() -> pa.Schema:
    """Schema of `items/images-*.parquet`: each canonical image once, however many items use it."""
    import pyarrow as pa

    return pa.schema(
        [
            ("hash", pa.string()),
            ("phash", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("data", pa.binary()),
        ]
    )


@cache
def reject_schema() -> pa.Schema:
    """Schema of `items/rejects-*.parquet`."""
    import pyarrow as pa

    return pa.schema(
        [
            ("source", pa.string()),
            ("source_id", pa.string()),
            ("row", pa.int64()),
            ("stage", pa.string()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("item_id", pa.string()),
            ("question", pa.string()),
            ("gold", pa.string()),
            ("images", pa.list_(pa.string())),
        ]
    )


def _key_fields() -> list[tuple[str, pa.DataType]]:
    import pyarrow as pa

    return [
        ("item_id", pa.string()),
        ("prompt", pa.string()),
        ("model", pa.string()),
        ("sampling", pa.string()),
        ("index", pa.int32()),
    ]


@cache
def rollout_schema() -> pa.Schema:
    """Schema of `rollouts/*.parquet`."""
    import pyarrow as pa

    return pa.schema(
        [
            *_key_fields(),
            ("text", pa.string()),
            ("token_ids", pa.list_(pa.int32())),
            ("logprobs", pa.list_(pa.float32())),
            ("finish_reason", pa.string()),
            ("seed", pa.int64()),
            ("engine", pa.string()),
            ("tokens", pa.int32()),
            ("trainable", pa.bool_()),  # null in older parts: true
            ("response", pa.int64()),  # response_digest of the text; null in older parts
        ]
    )


@cache
def refusal_schema() -> pa.Schema:
    """Schema of `rollouts/refusals-*.parquet`: items that a model cannot be asked, under one prompt and sampling."""
    import pyarrow as pa

    return pa.schema(
        [
            *_key_fields()[:-1],
            ("reason", pa.string()),  # see ladder.engines.base.Refused
            ("detail", pa.string()),
            ("need", pa.int64()),  # positions that prompt and answer need, where they are too many
        ]
    )


@cache
def run_schema() -> pa.Schema:
    """Schema of `runs/*.parquet`: what each run of the sampling stage did, one row per pass."""
    import pyarrow as pa

    names = ("pass", "engine", "model", "prompt", "sampling")
    counts = ("workers", "sampled", "tokens", "truncated", "refused", "failed")
    return pa.schema(
        [
            ("started", pa.timestamp("ms")),  # UTC; with a zone DuckDB would need pytz to show it
            *((name, pa.string()) for name in names),
            *((name, pa.int64()) for name in counts),
            ("seconds", pa.float64()),
            ("waiting_share", pa.float64()),  # of that time, in which the engine waited for us
            ("counts", pa.string()),  # JSON: what the engine counted (retries, ...)
        ]
    )


@cache
def verdict_schema() -> pa.Schema:
    """Schema of `verdicts/*.parquet`: a rollout's key, and what one verifier said of it against one gold."""
    import pyarrow as pa

    return pa.schema(
        [
            *_key_fields(),
            ("gold", pa.string()),  # digest of gold, options and answer type: a corrected gold is judged anew
            ("verifier", pa.string()),
            ("outcome", pa.string()),
            ("extracted", pa.string()),
            ("reason", pa.string()),
            ("response", pa.int64()),  # response_digest of what was judged; null in older parts
        ]
    )


@cache
def outcome_schema() -> pa.Schema:
    """Schema of `outcomes/*.parquet`: what training saw of an item, one row per group. `draw` counts an item's groups of one
    step from 0; older parts have none."""
    import pyarrow as pa

    return pa.schema(
        [
            ("run", pa.string()),
            ("step", pa.int64()),
            ("item_id", pa.string()),
            ("model", pa.string()),
            ("n", pa.int32()),
            ("correct", pa.int32()),
            ("mean_tokens", pa.float32()),
            ("draw", pa.int32()),
        ]
    )


@cache
def tier_features() -> Any:
    """The `datasets.Features` of `tiers/<tier>/*.parquet`: self-contained items in ladder order."""
    import datasets as hf

    text, number = hf.Value("string"), hf.Value("float64")
    return hf.Features(
        {
            "id": text,
            "images": hf.List(hf.Image()),
            "question": text,
            "options": hf.List(text),
            "answer": text,
            "answer_type": text,
            "source": text,
            "source_id": text,
            "split": text,
            "subject": text,
            "flags": hf.List(text),
            "tier": text,
            "tier_probability": number,
            "level": hf.Value("int32"),
            "pass_rate": number,  # correct / n
            "p_mean": number,  # posterior of the true pass rate: mean and 95% interval
            "p_low": number,
            "p_high": number,
            "difficulty": number,
            "complexity": number,  # response tokens: mean, of correct ones, median
            "correct_tokens": number,
            "median_tokens": number,
            "guess_floor": number,  # 1 / options
            "corrected_rate": number,  # pass_rate beyond guessing
            "truncation_rate": number,
            "no_answer_rate": number,
            "n": hf.Value("int32"),
            "correct": hf.Value("int32"),
            "position": hf.Value("int64"),
        }
    )
