"""What every layout of another trainer is made of: an item as it is asked, and a family, which lays it out as rows.

Which files the rows go to, and what is kept beside them, is left to ladder.export.files.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ladder.prompts import Message, Template, render
from ladder.records import IMAGE_PLACEHOLDER, AnswerType, Item
from ladder.verify import option_index, option_letter

Row = dict[str, Any]
#: The folder of an export that holds its images, where they are files.
IMAGES = "images"
_PLAIN = Template("", instruction="")


class Unfit(Exception):
    """An item that a layout cannot hold; `reason` is a short code, told and counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Picture:
    """One canonical image of an item, and the file that holds it in an export that has files."""

    hash: str
    data: bytes
    folder: Path  # of the export, absolute

    @property
    def name(self) -> str:
        """Its file, below the export."""
        return f"{IMAGES}/{self.hash}.png"

    @property
    def file(self) -> str:
        """Its file, from everywhere."""
        return str(self.folder / self.name)

    @property
    def struct(self) -> Row:
        """As the Hugging Face Image feature stores it."""
        return {"bytes": self.data, "path": f"{self.hash}.png"}


@dataclass(frozen=True)
class Pair:
    """A right and a wrong response to an item."""

    chosen: str
    rejected: str


@dataclass(frozen=True)
class Asked:
    """An item of a split as it is asked: its prompt under a template, its images, its scores.

    `facts` are what the ladder knows of it (tier, level, p_mean, difficulty, complexity, ...); `position` counts from 0
    within `part`.
    """

    item: Item
    template: Template
    images: tuple[Picture, ...]
    facts: Mapping[str, Any]
    part: str
    position: int
    pairs: tuple[Pair, ...] = ()

    @cached_property
    def messages(self) -> list[Message]:
        """Chat turns whose content are parts; raises Unfit where they name more or fewer images than there are."""
        turns = render(self.item, self.template)
        named = sum(part["type"] == "image" for turn in turns for part in turn["content"])
        if named != len(self.images):
            raise Unfit("placeholders_mismatch")
        return turns

    @property
    def system(self) -> str | None:
        """The system turn's text, if there is one."""
        return self.template.system

    @property
    def text(self) -> str:
        """The user's turn as one text, with `<image>` for each image."""
        return _joined(self.messages[-1])

    @property
    def question(self) -> str:
        """Question and options as they are asked, without the template's instruction."""
        return _joined(render(self.item, _PLAIN)[-1])

    @property
    def turns(self) -> list[Message]:
        """Chat turns whose content is one text each, with `<image>` for each image."""
        return [{"role": turn["role"], "content": _joined(turn)} for turn in self.messages]

    @property
    def gold(self) -> str:
        """The gold as other tools' rewards compare it: of an option its letter, else the gold as it is."""
        choice = self.item.answer_type is AnswerType.OPTION and self.item.options
        index = option_index(self.item.gold, self.item.options) if choice else None
        return self.item.gold if index is None else option_letter(index)


def _joined(turn: Message) -> str:
    return "".join(part.get("text", IMAGE_PLACEHOLDER) for part in turn["content"])


@dataclass(frozen=True)
class Told:
    """What the settings of another trainer are written from: where the export lies and what is in it."""

    folder: Path  # absolute
    files: Mapping[str, str]  # the file of each part, below it
    template: Template
    most_images: int  # of one item

    def file(self, part: str) -> str:
        """The file of a part, from everywhere; where it was not exported, words that are no path."""
        return str(self.folder / self.files[part]) if part in self.files else f"<no {part} exported>"

    def path(self, part: str) -> str:
        """`file` as a shell wants it."""
        return shlex.quote(self.file(part)) if part in self.files else self.file(part)

    @property
    def held_out(self) -> str:
        """The file to validate on while training: the validation part, or the probe where there is none."""
        return self.path("validation" if "validation" in self.files else "probe")

    @property
    def reward(self) -> str:
        """The file with the reward function, as a shell wants it."""
        return shlex.quote(str(self.folder / "reward.py"))


@dataclass(frozen=True)
class Family:
    """How one trainer wants its data.

    `rows` lays out an item (several rows only for preference pairs) and raises Unfit for one that the trainer cannot
    read; `settings` writes the trainer's settings, one to a line, that keep the order, and `traps` what else it does with
    the data. `pipeline` is the shipped pipeline that reads the export again. `reward` is what `reward.py` imports of
    ladder.export.reward, and under which name. No path may hold a character of `forbidden`.
    """

    name: str
    pipeline: str
    suffix: Literal["parquet", "jsonl", "json"]
    rows: Callable[[Asked], list[Row]]
    settings: Callable[[Told], list[str]]
    traps: tuple[str, ...]
    features: Callable[[], Any] | None = None  # `datasets.Features` of a Parquet file
    reward: str = ""
    more: str = ""  # what else stands in reward.py
    files: bool = False  # images are files, not bytes in the rows
    forbidden: str = ""
    version: str = ""  # of the trainer, whose code this was compared with


#: What travels with a row, where a layout has room for columns of its own.
FACTS = ("tier", "level", "difficulty", "complexity")


def facts(asked: Asked) -> Row:
    """The scores of an item as columns."""
    return {name: asked.facts[name] for name in FACTS}


def fact_features() -> Row:
    """The `datasets` features of `facts`."""
    import datasets as hf

    types = ("string", "int32", "float64", "float64")
    return {name: hf.Value(kind) for name, kind in zip(FACTS, types, strict=True)}
