"""A raw row becomes an item, by a declarative mapping of its columns; or a reject with a reason code.

| reason | meaning |
| --- | --- |
| not_selected | `pool.where` leaves the row out |
| question_missing | there is no question, or nothing but placeholders in it |
| gold_missing | there is no answer |
| gold_not_found | none of the ways of `pool.golds.extract` finds an answer in its cell |
| gold_not_an_option | the answer's letter or index is none of the options' |
| options_unreadable | options are neither a list nor lettered, or one of them is empty |
| too_many_options | there are more options than letters |
| too_many_images | there are more than 100 images |
| answer_type_unknown | a column names no answer type |
| tolerance_unreadable | a column states no tolerance |
| cell_unreadable | a cell that should be a text is an object, a list, or no finite number |
| text_too_long | a text has more than 100,000 characters |
| text_unwritable | a text holds half a character, so that it cannot be written |
| image_is_url | an image is a URL, and `images.fetch` is not set |
| image_outside_root, image_missing, image_unreadable, image_too_small, ... | see ladder.images |
| image_fetch_refused, image_fetch_failed, image_fetch_timeout | see ladder.images.fetch |

Of the readers: row_unreadable, file_unreadable (the rest of a file is lost), file_outside_root. What columns settings
name, see ladder.pools.cells; what becomes of placeholders, ladder.pools.pictures.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from ladder.config import Settings
from ladder.identity import item_id
from ladder.images import ImageRejected
from ladder.images.album import Album, Known, Source
from ladder.pools.cells import CellError, columns_of, content, empty, fill, find, is_template, text
from ladder.pools.golds import Gold, Golds, is_missing, read_gold, readable_tolerance
from ladder.pools.kept import Kept, read_kept, seal
from ladder.pools.options import OptionSettings, marked_options, read_options
from ladder.pools.pictures import PLACEHOLDERS, Place, Placed, image_places, load, place, source_of
from ladder.pools.rows import Row, Unreadable
from ladder.records import AnswerType, Item, Reject
from ladder.verify import answer_type, infer_type, settled_type

__all__ = [
    "Columns",
    "Golds",
    "ImageSettings",
    "Mapped",
    "Mapping",
    "OptionSettings",
    "QuestionSettings",
    "Refused",
]

_OF_SEVERAL = (AnswerType.LIST, AnswerType.SEQUENCE, AnswerType.EXPRESSION)


class Columns(Settings):
    """Which column holds what; a name that a row lacks is as if it were empty.

    A name may be a place inside a column ("metadata.split", "messages.role=user.content") or a template of columns
    ("data/tables/{id}.png"); see ladder.pools.cells.
    """

    id: str | None = None
    question: str = "question"
    #: Paths below the pool's root (also without their suffix), bytes, base64, {bytes, path}, or a list of such; of
    #: several columns each holds the image of its number.
    image: str | tuple[str, ...] | None = "image"
    composite: bool = False  # an image holds all that its question names: <image1>, <image2>, ...
    options: str | tuple[str, ...] | None = (
        None  # a list of texts, a text that lists them, or one column for each
    )
    answer: str = "answer"
    answer_type: str | None = (
        None  # option, integer, number, ... or a usual other name; else told from the gold
    )
    unit: str | None = None  # the gold's, where it stands in a column of its own
    tolerance: str | None = None  # 0.05 or "5%" (of the gold), "±0.1"
    decimals: str | None = None  # places to which the answer is rounded (MathVista's `precision`)
    split: str | None = None
    subject: str | None = None
    meta: tuple[str, ...] = ()  # columns carried along as they are
    ladder: str | None = (
        None  # what `ladder export` keeps of an item (ladder.pools.kept); read instead of the others
    )

    def names(self) -> set[str]:
        """All columns that are named, as a reader may leave out the others."""
        named: set[str] = set(self.meta)
        for setting in self.model_dump(exclude={"meta", "composite"}).values():
            for one in [setting] if isinstance(setting, str) else setting or ():
                named.update(columns_of(one))
        return named


class QuestionSettings(Settings):
    """What of its cell is the question: the one group of a regular expression; all of it, where that finds nothing."""

    extract: str | None = None

    @field_validator("extract")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"{pattern!r} has {groups} groups, not one")
        return pattern


class ImageSettings(Settings):
    """Bounds on images: `max_pixels` of what is stored, `min_side` (pixels) of what is accepted. URLs are refused unless
    `fetch` allows them, and then bounded in seconds (of one image, in all) and bytes, and never to private addresses."""

    max_pixels: PositiveInt = 1_048_576
    min_side: PositiveInt = 8
    fetch: bool = False
    fetch_seconds: float = Field(20.0, gt=0)
    fetch_bytes: PositiveInt = 32 * 2**20
    workers: NonNegativeInt = 0  # processes that map rows and decode images; 0: one for each core

    @property
    def said(self) -> dict[str, Any]:
        """All of them that may change an outcome."""
        return self.model_dump(exclude={"workers"})


class Mapped(NamedTuple):
    """An item, its images and where these came from; `numbered` where it has no id but its row's number."""

    item: Item
    images: tuple[Known, ...]
    sources: tuple[Source, ...]
    numbered: bool


class Refused(NamedTuple):
    """The reject of a row, and what its images came from as far as they were read."""

    reject: Reject
    sources: tuple[Source, ...] = ()
    numbered: bool = True


@dataclass(frozen=True)
class Mapping:
    """The mapping of one pool: `source` names it, image paths lie below `root`; `where` says which rows are wanted.

    Rows of which only the questions matter (`asked_only`) need no gold.
    """

    source: str
    root: Path
    columns: Columns
    golds: Golds = field(default_factory=Golds)
    options: OptionSettings = field(default_factory=OptionSettings)
    where: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked_only: bool = False
    questions: QuestionSettings = field(default_factory=QuestionSettings)

    def __call__(self, number: int, row: Row, album: Album) -> Mapped | Refused:
        """What becomes of the pool's `number`-th row; its images are decoded by `album`."""
        if isinstance(row, Unreadable):
            return Refused(self._reject(str(number), number, row.reason, row.why))
        source_id, numbered = str(number), True
        kept = None
        try:
            kept = read_kept(row, self.columns.ladder, self.columns.question)
            named = self._cell(row, self.columns.id) if kept is None else kept.source_id or None
            source_id, numbered = named or source_id, named is None
            item, places = self._map(source_id, row) if kept is None else self._again(kept, row)
        except (CellError, ImageRejected) as why:
            return Refused(self._reject(source_id, number, why.reason, why.detail), (), numbered)
        except RecursionError:
            return Refused(
                self._reject(source_id, number, "cell_unreadable", "lists within lists"), (), numbered
            )
        # Last, for it costs most.
        images, sources, why_not = _pictures(places, self.root, album)
        if why_not is not None:
            reject = self._reject(source_id, number, why_not.reason, why_not.detail, item)
            return Refused(reject, sources, numbered)
        hashes = tuple(image.hash for image in images)
        if kept is None:
            identity, meta = item_id(item.question, item.options, hashes), item.meta
        else:
            identity, first = kept.identity(hashes)
            meta = item.meta | first
        return Mapped(replace(item, id=identity, images=hashes, meta=meta), images, sources, numbered)

    def places(self, row: Row) -> list[Place]:
        """Where a row's images are, as far as its columns say."""
        try:
            return [found for found in image_places(row, self.columns.image) if found is not None]
        except (CellError, ImageRejected, RecursionError):
            return []

    def died(self, number: int) -> Refused:
        """The reject of a row at which a process ended."""
        return Refused(self._reject(str(number), number, "image_unreadable", "reading it ended the process"))

    def _reject(
        self, source_id: str, number: int, reason: str, detail: str, item: Item | None = None
    ) -> Reject:
        source_id, detail = (t.encode(errors="replace").decode() for t in (source_id, detail))
        question, gold = (item.question, item.gold) if item is not None else ("", "")
        return Reject(self.source, source_id, number, "import", reason, detail, question=question, gold=gold)

    def _map(self, source_id: str, row: Row) -> tuple[Item, tuple[Place, ...]]:
        """The row's item, but for its images, and the places of those."""
        self._select(row)
        placed, gold = self._asked(row)
        item = Item(
            id="",
            question=placed.question,
            images=(),
            options=placed.options,
            gold=gold.text,
            answer_type=self._answer_type(row, gold, placed.options),
            source=self.source,
            source_id=source_id,
            split=self._cell(row, self.columns.split),
            subject=self._cell(row, self.columns.subject),
            tolerance=self._tolerance(row),
            unit=self._cell(row, self.columns.unit) or self.golds.unit,
            meta={
                name: _plain(value) for name in self.columns.meta if (value := find(row, name)) is not None
            },
        )
        _check_writable(item)
        return item, placed.images

    def _again(self, kept: Kept, row: Row) -> tuple[Item, tuple[Place, ...]]:
        """The item that a row keeps, but for its images, and the places of those; with the row's gold where that is
        another one than was exported."""
        self._select(row)
        item = kept.item(self.source)
        if not PLACEHOLDERS.sub("", item.question).strip():
            raise CellError("question_missing")
        if self.asked_only:
            item = replace(item, gold="")
        elif kept.answered != seal(row, self.columns.answer):
            gold = read_gold(self._answer(row), item.options, self.golds)
            item = replace(item, gold=gold.text, answer_type=self._answer_type(row, gold, item.options))
        item = replace(item, meta={name: _plain(value) for name, value in item.meta.items()})
        _check_writable(item)
        return item, tuple(found for found in image_places(row, self.columns.image) if found is not None)

    def _select(self, row: Row) -> None:
        for column, wanted in self.where.items():
            found = self._cell(row, column) or ""
            if found not in wanted:
                raise CellError("not_selected", f"{column} = {found[:60]}")

    def _asked(self, row: Row) -> tuple[Placed, Gold]:
        """Question and options with their images' places, and the gold."""
        question = self._question(row)
        if not PLACEHOLDERS.sub("", question).strip():
            raise CellError("question_missing", _absent(row, self.columns.question))
        answer = self._answer(row)
        options = self._options(row, question)
        if self.options.inside == "cut" and options and (marked := marked_options(question)):
            question = question[: marked[0]].strip()
        gold = Gold("", 0) if self.asked_only else read_gold(answer, options, self.golds)
        found = image_places(row, self.columns.image)
        several = not isinstance(self.columns.image, str | None)
        return place(question, options, found, several, self.columns.composite), gold

    def _answer(self, row: Row) -> Any:
        setting = self.columns.answer
        answer = fill(row, setting) if is_template(setting) else find(row, setting)
        if is_missing(answer) and not self.asked_only:
            raise CellError("gold_missing", _absent(row, setting))
        return answer

    def _question(self, row: Row) -> str:
        setting = self.columns.question
        cell = fill(row, setting) if is_template(setting) else content(find(row, setting), setting)
        found = re.search(self.questions.extract, cell) if self.questions.extract else None
        return found[1].strip() if found and found[1] else cell

    def _options(self, row: Row, question: str) -> tuple[str, ...]:
        columns = self.columns.options
        if self.options.inside:
            marked = marked_options(question)
            return read_options(list(marked[1])) if marked else ()
        if columns is None:
            return ()
        if isinstance(columns, str):
            return read_options(find(row, columns), self.options.separator)
        return read_options([find(row, column) for column in columns])

    def _answer_type(self, row: Row, gold: Gold, options: Sequence[str]) -> AnswerType:
        named = self._cell(row, self.columns.answer_type) or self.golds.answer_type
        try:
            kind = answer_type(named) if named is not None else None
        except ValueError as error:
            raise CellError("answer_type_unknown", str(error)) from None
        if gold.answers > 1 and options and infer_type(gold.text, options) is AnswerType.OPTION:
            return AnswerType.OPTION  # several right ones, in any order
        if gold.answers > 1 and kind not in _OF_SEVERAL:
            return AnswerType.SEQUENCE if self.golds.several == "sequence" else AnswerType.LIST
        return infer_type(gold.text, options) if kind is None else settled_type(kind, gold.text, options)

    def _tolerance(self, row: Row) -> str | None:
        stated, decimals = self._cell(row, self.columns.tolerance), self._cell(row, self.columns.decimals)
        if decimals is not None:
            stated = f"{decimals.removesuffix('.0')} decimals"
        try:
            return readable_tolerance(stated) or self.golds.tolerance
        except ValueError as error:
            raise CellError("tolerance_unreadable", str(error)) from None

    def _cell(self, row: Row, setting: str | None) -> str | None:
        return fill(row, setting) or None if setting else None


def _pictures(
    places: Sequence[Place], root: Path, album: Album
) -> tuple[tuple[Known, ...], tuple[Source, ...], ImageRejected | None]:
    """The images of a row, up to the first that is refused, and why that one is."""
    images: list[Known] = []
    sources: list[Source] = []
    for found in places:
        try:
            image, source = load(found, root, album)
        except ImageRejected as why:
            return tuple(images), (*sources, source_of(found, root)), why
        images.append(image)
        sources.append(source)
    return tuple(images), tuple(sources), None


def _absent(row: Row, setting: str) -> str:
    """What there is in a row that has none of the columns that a setting names."""
    heads = {column.partition(".")[0] for column in columns_of(setting)}
    if not heads.isdisjoint(row):
        return ""
    there = ", ".join(column for column in row if not column.startswith("_"))
    return f"no column {setting!r} among: {there}"[:200]


def _plain(value: Any) -> Any:
    """A cell as JSON may hold it; bytes are not carried along."""
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if empty(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, bool | int | float | str):
        return value
    return text(value, "meta")


def _check_writable(item: Item) -> None:
    texts = (item.question, item.gold, item.source_id, item.split, item.subject, item.unit, *item.options)
    try:
        "".join(text for text in texts if text).encode()
        if item.meta:
            json.dumps(item.meta, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise CellError("text_unwritable", ascii(str(error))[1:200]) from None
