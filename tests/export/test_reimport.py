"""Importing an export again gives the same items, even where options were merged into the text; and nothing is believed
that can be worked out."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from export_files import exported, imported_again, kept_of, only_train, part_rows
from helpers import map_row, write_picture
from hostile_items import LARGE, ROWS
from hypothesis import assume, given
from hypothesis import strategies as st

from ladder.config import load, shipped
from ladder.errors import LadderError
from ladder.export import FAMILIES, columns_of
from ladder.export.base import Asked, Family, Picture
from ladder.pools.kept import FIRST_IMAGES, FIRST_SOURCE, keep, parse_kept
from ladder.pools.mapping import Mapped, Mapping
from ladder.prompts import template
from ladder.records import Item, Reject
from ladder.settings import BuildSettings
from ladder.splits import Split
from ladder.store import Store
from ladder.verify import DEFAULT, renderings, verify
from ladder.verify.policy import Policy

ALL = sorted(FAMILIES)


def bare(item: Item) -> Item:
    """An item without what an import finds anew or adds."""
    own = {name: value for name, value in item.meta.items() if name not in (FIRST_IMAGES, FIRST_SOURCE)}
    return replace(item, source="", flags=(), images=(), meta=own)


@pytest.mark.parametrize("to", ALL)
def test_the_same_items_come_back(split: Split, to: str, tmp_path: Path) -> None:
    report = exported(split, to, tmp_path / "out")
    known = {item.id: item for item in Store.open(split.ladder).load_items()}
    found = imported_again(to, tmp_path / "out", only_train(to))
    assert len(found) == report.rows["train"] > 5
    wanted = [kept_of(row)["id"] for row in part_rows(tmp_path / "out", to)]
    assert [item.id for item in found if isinstance(item, Item)] == wanted
    assert [bare(item) for item in found if isinstance(item, Item)] == [bare(known[one]) for one in wanted]


def test_they_come_back_from_files_that_were_moved(digits_split: Split, tmp_path: Path) -> None:
    for to in ("verl", "llava", "mmpr"):
        exported(digits_split, to, tmp_path / to)
        moved = (tmp_path / to).rename(tmp_path / f"{to}-moved")
        assert not [one for one in imported_again(to, moved) if isinstance(one, str)]


def test_where_an_item_came_from_is_not_lost(digits_split: Split, tmp_path: Path) -> None:
    exported(digits_split, "easyr1", tmp_path / "out")
    found = [item for item in imported_again("easyr1", tmp_path / "out") if isinstance(item, Item)]
    assert {(item.source, item.meta[FIRST_SOURCE]) for item in found} == {("easyr1", "digits")}
    again = imported_again("easyr1", tmp_path / "out", 'pool.source="digits"')
    assert not any(FIRST_SOURCE in item.meta for item in again if isinstance(item, Item))


# --- rows that were changed after the export --------------------------------------------------------------------


@cache
def mapping_of(to: str, root: Path) -> Mapping:
    settings = load(BuildSettings, shipped("pipelines", FAMILIES[to].pipeline))
    assert settings.pool is not None
    pool = settings.pool
    return Mapping(pool.source or to, root, pool.columns, pool.golds, pool.options, questions=pool.questions)


def read_again(to: str, row: dict[str, Any], root: Path) -> Item | Reject:
    found = map_row(mapping_of(to, root), 0, row)
    return found.item if isinstance(found, Mapped) else found


@pytest.fixture
def choice(hostile: Split, tmp_path: Path) -> dict[str, Any]:
    """An exported row with options, for EasyR1."""
    exported(hostile, "easyr1", tmp_path / "out")
    rows = part_rows(tmp_path / "out", "easyr1")
    return next(row for row in rows if kept_of(row)["question"].startswith("<image>Which one is it?"))


def test_another_answer_is_the_same_item_with_another_gold(choice: dict[str, Any], tmp_path: Path) -> None:
    item = read_again("easyr1", choice | {"answer": "C"}, tmp_path)
    assert isinstance(item, Item)
    assert (item.id, item.gold, len(item.options)) == (choice["id"], "C", 3)
    assert read_again("easyr1", choice | {"answer": ""}, tmp_path).reason == "gold_missing"  # type: ignore[union-attr]


def test_another_question_is_read_as_any_row_is(choice: dict[str, Any], tmp_path: Path) -> None:
    item = read_again("easyr1", choice | {"problem": "<image>Is it a cat?\nA. yes\nB. no"}, tmp_path)
    assert isinstance(item, Item)
    assert (item.question, item.options) == ("<image>Is it a cat?", ("yes", "no"))
    assert item.id != choice["id"]


def test_a_kept_id_is_worked_out_again(choice: dict[str, Any], tmp_path: Path) -> None:
    kept = kept_of(choice)
    for forged in (
        kept | {"question": "<image>Another question?"},
        kept | {"options": ["x", "y"]},
        kept | {"images": ["0" * 32]},
        kept | {"id": "f" * 24},
        kept | {"id": "f" * 24, "images": ["0" * 32]},
    ):
        item = read_again("easyr1", choice | {"ladder": json.dumps(forged)}, tmp_path)
        assert isinstance(item, Item)
        same = all(forged[name] == kept[name] for name in ("question", "options"))
        assert (item.id == choice["id"]) == same
        assert item.id != "f" * 24


@pytest.mark.parametrize(
    "cell",
    ["", "a step ladder", "{}", "[1]", '{"ladder_item": 2}', '{"ladder_item": 1}', None, 7, "[" * 9999],
)
def test_a_column_that_keeps_no_item_is_ignored(choice: dict[str, Any], cell: Any, tmp_path: Path) -> None:
    item = read_again("easyr1", choice | {"ladder": cell}, tmp_path)
    assert isinstance(item, Item)
    assert item.question.startswith("<image>Which one is it?")


@pytest.mark.parametrize(
    "change",
    [
        {"question": ""},
        {"question": "x" * 300_000},
        {"question": 7},
        {"options": ["x"] * 27},
        {"options": [""]},
        {"images": ["../../etc/passwd"]},
        {"tolerance": "about"},
        {"answer_type": "magic"},
        {"policy": {"format": "none"}},
        {"meta": []},
    ],
)
def test_a_kept_item_that_cannot_be_one_is_none(choice: dict[str, Any], change: dict[str, Any]) -> None:
    assert parse_kept(json.dumps(kept_of(choice))) is not None
    assert parse_kept(json.dumps(kept_of(choice) | change)) is None


def test_what_is_kept_is_not_asked_for_where_the_setting_is_empty(hostile: Split, tmp_path: Path) -> None:
    exported(hostile, "easyr1", tmp_path / "out")
    found = imported_again("easyr1", tmp_path / "out", 'pool.columns.ladder=""')
    known = {kept_of(row)["id"] for row in part_rows(tmp_path / "out", "easyr1")}
    assert not {item.id for item in found if isinstance(item, Item)} & known


# --- pictures that were scaled down -----------------------------------------------------------------------------


def test_a_picture_that_was_scaled_down_keeps_its_items_id_over_two_exports(
    hostile: Split, tmp_path: Path
) -> None:
    exported(hostile, "easyr1", tmp_path / "out")
    (row,) = (
        row
        for row in part_rows(tmp_path / "out", "easyr1")
        if ROWS[int(kept_of(row)["source_id"][1:])].get("image") == [LARGE]
    )
    item = read_again("easyr1", row, tmp_path)
    assert isinstance(item, Item)
    assert item.id == row["id"]
    assert list(item.images) != kept_of(row)["images"] == item.meta[FIRST_IMAGES]
    second = row | {"ladder": keep(item, DEFAULT, row, "problem", "answer")}
    again = read_again("easyr1", second, tmp_path)
    assert again == item


# --- any item at all --------------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    ["<image>", "&lt;", "&amp;lt;", "A. x", "(B) y", "\nC: z", "[{", "}]", '"', "\\", "\\frac{1}{2}", "$", "<video>",
     "<answer>", "</answer>", "Choices:", "\u2028", "\U0001f9ee", "\u00a0", "nan", "x.png", "####", "{Question}", "{{content}}",
     "<|image_pad|>", "<image1>", "\t", "\r\n", "\ufeff", "2021-03-04"]
)  # fmt: skip
_OTHER_MEDIA = re.compile("<video>|<audio>")  # which verl cannot read: tested with its reason elsewhere
_TEXTS = st.lists(_PIECES | st.text(max_size=6), min_size=1, max_size=6).map("".join)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_picture(tmp_path_factory.mktemp("one") / "images" / f"{'0' * 32}.png", 5)


def through_storage(family: Family, row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is read from the family's files."""
    if family.features is None:
        found: dict[str, Any] = json.loads(json.dumps(row))
        return found
    schema = family.features().arrow_schema
    return dict(pa.Table.from_pylist([row], schema=schema).to_pylist()[0])


@pytest.mark.parametrize("to", sorted(set(FAMILIES) - {"mmpr"}))
@given(question=_TEXTS, options=st.lists(_TEXTS, max_size=4), gold=_TEXTS)
def test_any_item_comes_back(to: str, picture: Path, question: str, options: list[str], gold: str) -> None:
    root = picture.parent.parent
    raw = {
        "question": f"{question} q",
        "options": options,
        "answer": gold,
        "image": [f"images/{picture.name}"],
    }
    columns = load(BuildSettings, shipped("pipelines", "digits")).pool.columns  # type: ignore[union-attr]
    plain = Mapping(
        "raw", root, columns.model_copy(update={"id": None, "split": None, "subject": None, "meta": ()})
    )
    first = map_row(plain, 0, raw)
    assume(isinstance(first, Mapped))
    assert isinstance(first, Mapped)
    text = "".join([first.item.question, *first.item.options])
    assume(text.count("<image>") == 1 and (to != "verl" or not _OTHER_MEDIA.search(text)))
    item, family = first.item, FAMILIES[to]
    shown = (Picture("0" * 32, picture.read_bytes(), root),)
    facts = {"tier": "easy", "level": 1, "difficulty": 0.5, "complexity": 1.0}
    asked = Asked(item, template("observe-think-answer"), shown, facts, "train", 0)
    (row,) = family.rows(asked)
    columns = columns_of(family)
    kept = keep(item, DEFAULT, row, columns.question, columns.answer)
    place = row["extra_info"] if to == "verl" else row
    place["ladder"] = kept
    again = read_again(to, through_storage(family, row), root)
    assert isinstance(again, Item), again
    assert bare(again) == bare(item)


def test_a_policy_travels_with_its_items(choice: dict[str, Any]) -> None:
    kept = parse_kept(choice["ladder"])
    assert kept is not None
    item = replace(kept.item("x"), id=kept.id, images=kept.images)
    strict = parse_kept(keep(item, Policy(format="strict"), choice, "problem", "answer"))
    assert strict is not None
    assert strict.policy == Policy(format="strict")


@pytest.mark.parametrize(
    "change", [{"id": "../x"}, {"images": ("../x",)}, {"question": ""}, {"meta": {FIRST_IMAGES: ["no hash"]}}]
)
def test_what_is_no_item_is_not_exported(hostile: Split, change: dict[str, Any]) -> None:
    item = replace(next(i for i in Store.open(hostile.ladder).load_items() if len(i.images) == 1), **change)
    with pytest.raises(LadderError, match="cannot be exported"):
        keep(item, DEFAULT, {}, "problem", "answer")


def test_golds_that_come_back_still_verify(hostile: Split, tmp_path: Path) -> None:
    exported(hostile, "trl", tmp_path / "out")
    for item in imported_again("trl", tmp_path / "out"):
        assert isinstance(item, Item)
        assert all(verify(form, item).outcome == "correct" for form in renderings(item))
