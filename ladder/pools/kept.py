"""What `ladder export` keeps of an item in a column of its own, so that importing the export again gives the same item.

The layouts of other tools merge options into the question, add an instruction, and know no answer type. Beside what such
a tool reads, an exported row therefore holds the item itself, as JSON, with a seal: digests of the question's and the
answer's cells as they were written. A row whose question was changed since is read like any other; one whose answer
alone was changed is the same item with another gold. An id is worked out again from question, options and pixels, and
never taken as it stands, but in one case that cannot be worked out: see `Kept.identity`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from ladder.digest import digest
from ladder.errors import LadderError
from ladder.identity import item_id
from ladder.pools.cells import MAX_TEXT, CellError, Row, as_json, content, fill, find, is_template
from ladder.pools.golds import readable_tolerance
from ladder.pools.options import MAX_OPTIONS
from ladder.records import AnswerType, Item
from ladder.verify.policy import DEFAULT, Policy

#: In `meta`, of an item whose images had other pixels when they were first imported: the hashes that its id is of.
FIRST_IMAGES = "first_images"
#: In `meta`, of an item that another pool exported: the source that it had there.
FIRST_SOURCE = "first_source"
_HASH = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
_Text = Annotated[
    str, Field(min_length=1, max_length=2 * MAX_TEXT)
]  # placeholders are added to a longest question


class Kept(BaseModel):
    """An item as an export keeps it, with its seal."""

    ladder_item: Literal[1] = 1  # the version of this layout
    id: _HASH
    question: _Text
    options: Annotated[tuple[_Text, ...], Field(max_length=MAX_OPTIONS)] = ()
    images: Annotated[tuple[_HASH, ...], Field(max_length=100)] = ()
    gold: _Text
    answer_type: AnswerType
    tolerance: Annotated[str | None, AfterValidator(readable_tolerance)] = None
    unit: str | None = None
    policy: Policy = DEFAULT  # how the ladder judges
    source: str = ""
    source_id: str = ""
    split: str | None = None
    subject: str | None = None
    meta: dict[str, Any] = {}
    asked: str = ""  # the seal of the question's cell
    answered: str = ""  # the seal of the answer's

    def item(self, source: str) -> Item:
        """The item as one of a pool, but for its id and its images, which are looked at again."""
        meta = self.meta if self.source in ("", source) else self.meta | {FIRST_SOURCE: self.source}
        return Item(
            id="",
            question=self.question,
            images=(),
            options=self.options,
            gold=self.gold,
            answer_type=self.answer_type,
            source=source,
            source_id=self.source_id,
            split=self.split,
            subject=self.subject,
            tolerance=self.tolerance,
            unit=self.unit,
            meta=meta,
        )

    def identity(self, hashes: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
        """The item's id under the images that were found, and what is to be remembered of the first ones.

        A picture that was scaled down, or brought into sRGB, when it was first imported has not the pixels any more that
        its id is of. There the kept id stands if it is that of the question, the options and the kept hashes: whoever
        writes such a row can give a question another picture, and nothing else.
        """
        if hashes != self.images and len(hashes) == len(self.images):
            first = item_id(self.question, self.options, self.images)
            if first == self.id:
                return first, {FIRST_IMAGES: list(self.images)}
        return item_id(self.question, self.options, hashes), {}


def keep(item: Item, policy: Policy, row: Row, question: str, answer: str) -> str:
    """What is kept of an item in a row whose question and answer stand in columns of those names; JSON. Raises LadderError
    for what is no item, as a ladder from elsewhere may hold it."""
    try:
        kept = _kept(item, policy, row, question, answer)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise LadderError(f"the item {item.id[:30]!r} cannot be exported: its {place} is not one") from None
    said = kept.model_dump(mode="json", exclude_defaults=True) | {"ladder_item": kept.ladder_item}
    return json.dumps(said, ensure_ascii=False)


def _kept(item: Item, policy: Policy, row: Row, question: str, answer: str) -> Kept:
    meta = dict(item.meta)
    first = meta.pop(FIRST_IMAGES, None)
    return Kept(
        id=item.id,
        question=item.question,
        options=item.options,
        images=tuple(first) if isinstance(first, list) and len(first) == len(item.images) else item.images,
        gold=item.gold,
        answer_type=item.answer_type,
        tolerance=item.tolerance,
        unit=item.unit,
        policy=policy,
        source=str(meta.pop(FIRST_SOURCE, item.source)),
        source_id=item.source_id,
        split=item.split,
        subject=item.subject,
        meta=meta,
        asked=seal(row, question),
        answered=seal(row, answer),
    )


def parse_kept(cell: Any) -> Kept | None:
    """What a cell keeps of an item; None where it holds nothing of the kind."""
    found = as_json(cell) if isinstance(cell, str) else None
    if not isinstance(found, dict) or "ladder_item" not in found:
        return None
    try:
        return Kept.model_validate(found)
    except (ValidationError, RecursionError):
        return None


def read_kept(row: Row, column: str | None, question: str) -> Kept | None:
    """The item that a row keeps in a column, if its question is the one that was exported; else None."""
    kept = parse_kept(find(row, column)) if column else None
    return kept if kept is not None and kept.asked == seal(row, question) else None


def seal(row: Row, setting: str) -> str:
    """Digest of what a column, or a template of columns, says in a row; also where no question could say so much."""
    try:
        said = fill(row, setting) if is_template(setting) else content(find(row, setting), setting)
    except CellError as error:
        said = f"\0{error.reason}"
    return digest("kept-1", said)[:16]
