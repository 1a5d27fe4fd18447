"""A raw row becomes an item, by a declarative mapping of its columns; or a reject with a reason code.

Reasons: question_missing, gold_missing, options_unreadable, too_many_options, and those of ladder.images.
Placeholders (`<image>`, `<image1>`, `<image 1>`) become one canonical form; where a question has none, its images
come first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.config import Settings
from ladder.identity import item_id
from ladder.images import ImageRejected, read_image
from ladder.records import IMAGE_PLACEHOLDER, Image, Item, Reject
from ladder.verify import infer_type

_MAX_OPTIONS = 26  # one letter each
_PLACEHOLDERS = re.compile(r"<image ?\d*>")


class Columns(Settings):
    """Which column holds what; a name that a row lacks is as if it were empty."""

    id: str | None = None
    question: str = "question"
    image: str | None = "image"  # a path below the pool's root, or a list of paths
    options: str | None = None  # a list of texts
    answer: str = "answer"
    split: str | None = None
    subject: str | None = None
    meta: tuple[str, ...] = ()  # columns carried along as they are


class ImageLimits(Settings):
    """Bounds on images: `max_pixels` of what is stored, `min_side` (pixels) of what is accepted."""

    max_pixels: int = 1_048_576
    min_side: int = 8


@dataclass(frozen=True)
class Mapped:
    """An item with its images."""

    item: Item
    images: tuple[Image, ...]


class _Rejected(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Mapping:
    """The mapping of one pool: `source` names it, image paths lie below `root`."""

    source: str
    root: Path
    columns: Columns
    limits: ImageLimits

    def __call__(self, number: int, row: dict[str, Any]) -> Mapped | Reject:
        """The item of the pool's `number`-th row, or its reject."""
        try:
            return self._map(number, row)
        except (_Rejected, ImageRejected) as why:
            return Reject(self.source, self._source_id(number, row), number, "import", why.reason, why.detail)

    def _map(self, number: int, row: dict[str, Any]) -> Mapped:
        columns = self.columns
        question = _text(row.get(columns.question))
        if not _PLACEHOLDERS.sub("", question).strip():
            raise _Rejected("question_missing")
        gold = _text(row.get(columns.answer))
        if not gold:
            raise _Rejected("gold_missing")
        options = _options(row.get(columns.options)) if columns.options else ()
        paths = _paths(row.get(columns.image)) if columns.image else ()
        images = tuple(
            read_image(
                self.root / path, self.root, max_pixels=self.limits.max_pixels, min_side=self.limits.min_side
            )
            for path in paths
        )
        question = _with_placeholders(question, len(images))
        hashes = tuple(image.hash for image in images)
        item = Item(
            id=item_id(question, options, hashes),
            question=question,
            images=hashes,
            options=options,
            gold=gold,
            answer_type=infer_type(gold, options),
            source=self.source,
            source_id=self._source_id(number, row),
            split=_text(row.get(columns.split)) or None if columns.split else None,
            subject=_text(row.get(columns.subject)) or None if columns.subject else None,
            meta={name: row[name] for name in columns.meta if name in row},
        )
        return Mapped(item, images)

    def _source_id(self, number: int, row: dict[str, Any]) -> str:
        return (_text(row.get(self.columns.id)) if self.columns.id else "") or str(number)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _options(value: Any) -> tuple[str, ...]:
    if value in (None, "", []):
        return ()
    if not isinstance(value, list):
        raise _Rejected("options_unreadable", f"a {type(value).__name__}, not a list")
    if len(value) > _MAX_OPTIONS:
        raise _Rejected("too_many_options", str(len(value)))
    return tuple(_text(v) for v in value)


def _paths(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(str(v) for v in values if v not in (None, ""))


def _with_placeholders(question: str, images: int) -> str:
    text, found = _PLACEHOLDERS.subn(IMAGE_PLACEHOLDER, question)
    return text if found or not images else IMAGE_PLACEHOLDER * images + text
