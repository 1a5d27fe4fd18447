"""Exports: order, prompts, images and golds as the ladder has them, files that `datasets` reads, and a place of their own."""

import json
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from export_files import asked_text, exported, kept_of, part_rows, shown_images
from helpers import Run, told
from hostile_items import LARGE, ROWS

from ladder.errors import BadInput, LadderError
from ladder.export import FAMILIES
from ladder.export.base import Asked, Picture, Told, Unfit
from ladder.export.read import _picture
from ladder.prompts import render, template
from ladder.records import IMAGE_PLACEHOLDER, Item
from ladder.settings import settings_of
from ladder.splits import Split, open_split
from ladder.store import Store

#: Those that hold every item once, in the prompt that the ladder asks.
WHOLE = sorted(set(FAMILIES) - {"mmpr", "r1v"})
#: What in the settings of each keeps its trainer from shuffling.
KEEPS_ORDER = {
    "verl": "data.shuffle=False",
    "easyr1": "data.shuffle=false",
    "trl": "shuffle_dataset=False",
    "openrlhf": "s/True/False/",
    "lmm-r1": "--shuffle",
    "ms-swift": "--dataset_shuffle false",
    "llava": "--train_sampling_strategy sequential",
    "r1v": "SequentialSampler",
    "mmpr": "--train_sampling_strategy sequential",
}


def items_of(split: Split, part: str = "train") -> list[Item]:
    return Store.open(split.ladder).load_items([row["id"] for row in getattr(split, part)])


def fitting(split: Split, to: str) -> list[Item]:
    return [item for item in items_of(split) if item.meta.get("unfit") != to]


def text_of(item: Item, split: Split) -> str:
    """The prompt as the ladder asks it, as one text."""
    (turn,) = render(item, template(settings_of(split.ladder).prompt.template))
    return "".join(part.get("text", IMAGE_PLACEHOLDER) for part in turn["content"])


def without_place(rows: list[dict[str, Any]], out: Path) -> str:
    return repr(rows).replace(str(out), "")


@pytest.mark.parametrize("to", WHOLE)
def test_rows_are_the_splits_items_in_its_order(split: Split, to: str, tmp_path: Path) -> None:
    report = exported(split, to, tmp_path / "out")
    parts = {part: items_of(split, part) for part in ("train", "probe") if getattr(split, part)}
    for part, wanted in parts.items():
        fit = [item.id for item in wanted if item.meta.get("unfit") != to]
        assert [kept_of(row)["id"] for row in part_rows(tmp_path / "out", to, part)] == fit
        assert report.rows[part] == len(fit)
    assert sum(report.left_out.values()) == sum(i.meta.get("unfit") == to for p in parts.values() for i in p)


@pytest.mark.parametrize("to", WHOLE)
def test_a_trainer_asks_what_the_ladder_asks(split: Split, to: str, tmp_path: Path) -> None:
    exported(split, to, tmp_path / "out")
    rows, wanted = part_rows(tmp_path / "out", to), fitting(split, to)
    assert [asked_text(row) for row in rows] == [text_of(item, split) for item in wanted]


@pytest.mark.parametrize("to", WHOLE)
def test_images_are_kept_byte_for_byte(split: Split, to: str, tmp_path: Path) -> None:
    exported(split, to, tmp_path / "out")
    store = Store.open(split.ladder)
    wanted = [[data for _, data in store.pictures(item)] for item in fitting(split, to)]
    assert [shown_images(row, tmp_path / "out") for row in part_rows(tmp_path / "out", to)] == wanted


@pytest.mark.parametrize(
    ("to", "gold"),
    [
        ("verl", lambda row: row["reward_model"]["ground_truth"]),
        ("easyr1", lambda row: row["answer"]),
        ("trl", lambda row: row["solution"]),
        ("openrlhf", lambda row: row["label"]),
        ("ms-swift", lambda row: row["solution"]),
        ("llava", lambda row: row["conversations"][-1]["value"]),
        ("lmm-r1", lambda row: row["answer"].strip("$")),
        ("r1v", lambda row: row["solution"].removeprefix("<answer> ").removesuffix(" </answer>")),
    ],
)
def test_golds_are_bare_and_options_are_their_letters(
    hostile: Split, to: str, gold: Any, tmp_path: Path
) -> None:
    exported(hostile, to, tmp_path / "out")
    by_id = {item.id: item for item in items_of(hostile)}
    for row in part_rows(tmp_path / "out", to):
        item = by_id[kept_of(row)["id"]]
        assert gold(row) == (item.meta.get("gold") or item.gold)


@pytest.mark.parametrize("to", sorted(FAMILIES))
def test_datasets_reads_what_a_trainer_reads(digits_split: Split, to: str, tmp_path: Path) -> None:
    report = exported(digits_split, to, tmp_path / "out")
    suffix = FAMILIES[to].suffix
    files = str(tmp_path / "out" / f"train.{suffix}")
    found = datasets.load_dataset(
        "parquet" if suffix == "parquet" else "json", data_files=files, split="train", cache_dir=str(tmp_path)
    )
    assert len(found) == report.rows["train"]
    wanted = [kept_of(row)["id"] for row in part_rows(tmp_path / "out", to)]
    assert [kept_of(row)["id"] for row in found] == wanted
    if suffix == "parquet":
        row = found[0]
        shown = row["image"] if to == "r1v" else row["images"][0]
        assert shown.mode == "RGB"


def test_r1v_loads_the_directory_and_holds_one_image_to_a_problem(hostile: Split, tmp_path: Path) -> None:
    report = exported(hostile, "r1v", tmp_path / "out")
    data = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    fit = [item for item in items_of(hostile) if len(item.images) == 1]
    assert [row["id"] for row in data] == [item.id for item in fit]
    assert report.left_out == {"not_one_image": len(ROWS) - len(fit)}
    assert not any(IMAGE_PLACEHOLDER in row["problem"] for row in data)


@pytest.mark.parametrize("to", sorted(FAMILIES))
def test_the_same_export_is_the_same_bytes(digits_split: Split, to: str, tmp_path: Path) -> None:
    def written() -> dict[str, bytes]:
        exported(digits_split, to, tmp_path / "out")
        return {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    first = written()
    assert written() == first
    assert not [name for name in first if ".tmp" in name]


@pytest.mark.parametrize("to", sorted(FAMILIES))
def test_the_settings_that_keep_the_order_are_told_and_written(
    digits_split: Split, to: str, tmp_path: Path
) -> None:
    report = exported(digits_split, to, tmp_path / "out")
    assert any(KEEPS_ORDER[to] in line for line in report.settings)
    guide = (tmp_path / "out" / "README.md").read_text()
    assert all(line in guide for line in [*report.settings, *report.traps])
    marker = tomllib.loads((tmp_path / "out" / "export.toml").read_text())
    assert (marker["to"], marker["rows"], marker["left_out"]) == (to, report.rows, report.left_out)


@pytest.mark.parametrize("to", ["verl", "easyr1", "ms-swift"])
def test_a_trainer_validates_on_the_validation_part_where_there_is_one(to: str, tmp_path: Path) -> None:
    files = {part: f"{part}.x" for part in ("train", "validation", "probe")}
    for there, expected in ((files, "validation.x"), ({"train": "train.x", "probe": "probe.x"}, "probe.x")):
        where = Told(tmp_path, there, template("direct"), 1)
        (line,) = (line for line in FAMILIES[to].settings(where) if "val_" in line)
        assert line.endswith(expected)


@pytest.mark.parametrize("to", ["verl", "easyr1", "ms-swift", "openrlhf", "lmm-r1", "llava"])
def test_a_path_with_signs_of_the_shell_is_one_word_of_a_command(to: str) -> None:
    where = Told(Path("/data/my $(pools)"), {"train": "train.x"}, template("direct"), 1)
    words = [word for line in FAMILIES[to].settings(where) for word in shlex.split(line)]
    assert any("/data/my $(pools)/train.x" in word for word in words)


def test_one_part_may_be_exported_alone(digits_split: Split, tmp_path: Path) -> None:
    report = exported(digits_split, "verl", tmp_path / "out", part="probe")
    assert report.rows == {"probe": len(digits_split.probe)}
    assert not (tmp_path / "out" / "train.parquet").exists()
    assert "data.train_files=<no train exported>" in report.settings


def test_items_without_an_image_can_be_left_out(hostile: Split, tmp_path: Path) -> None:
    report = exported(hostile, "trl", tmp_path / "out", images_only=True)
    shown = [item.id for item in items_of(hostile) if item.images]
    assert [row["id"] for row in part_rows(tmp_path / "out", "trl")] == shown
    assert report.left_out == {"no_image": len(ROWS) - len(shown)}


def test_another_prompt_can_be_asked(digits_split: Split, tmp_path: Path) -> None:
    exported(digits_split, "trl", tmp_path / "out", prompt="direct")
    (turn, *_) = part_rows(tmp_path / "out", "trl")[0]["prompt"]
    assert turn["content"][-1]["text"].endswith(template("direct").instruction)
    with pytest.raises(BadInput, match="without images"):
        exported(digits_split, "trl", tmp_path / "blind", prompt="blind")


def test_a_place_that_holds_something_else_is_left_alone(digits_split: Split, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match="no export"):
        exported(digits_split, "trl", tmp_path / "mine")
    exported(digits_split, "trl", tmp_path / "out")
    with pytest.raises(BadInput, match="another export"):
        exported(digits_split, "verl", tmp_path / "out")
    with pytest.raises(BadInput, match="another export"):
        exported(digits_split, "trl", tmp_path / "out", prompt="direct")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("to", "sign"), [("easyr1", "@"), ("openrlhf", ","), ("lmm-r1", "@")])
def test_a_path_that_a_trainer_would_split_is_refused(
    digits_split: Split, to: str, sign: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="choose another --out"):
        exported(digits_split, to, tmp_path / f"a{sign}b")


def test_an_unknown_trainer_or_part_is_told_in_one_line(
    digits_split: Split, run: Run, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    assert "did you mean 'verl'" in told(run("export", str(digits_split.path), "--to", "verll", "--out", out))
    line = told(run("export", str(digits_split.path), "--to", "verl", "--part", "test", "--out", out))
    assert "train, validation, probe or all" in line
    assert "not a split" in told(run("export", str(tmp_path), "--to", "verl", "--out", out))
    assert not Path(out).exists()


def test_a_split_whose_items_are_gone_is_refused(digits_split: Split, tmp_path: Path) -> None:
    table = pq.read_table(digits_split.path / "train.parquet")
    ids = pa.array(["0" * 24, *table["id"].to_pylist()[1:]])
    lost = digits_split.ladder / "splits" / "lost"
    lost.mkdir()
    for path in digits_split.path.iterdir():
        if path.is_file():
            (lost / path.name).write_bytes(path.read_bytes())
    pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", ids), lost / "train.parquet")
    with pytest.raises(LadderError, match="draw the split again"):
        exported(open_split(lost), "trl", tmp_path / "out")


def test_a_hash_that_is_a_path_names_no_file(hostile: Split, tmp_path: Path) -> None:
    with pytest.raises(LadderError, match="none"):
        _picture(Store.open(hostile.ladder), "../../../etc/passwd", tmp_path)


def test_the_command_prints_settings_or_json(digits_split: Split, run: Run) -> None:
    code, out, _ = run("export", str(digits_split.path), "--to", "verl")
    assert code == 0
    assert out.startswith("sorted-verl: ") and "data.shuffle=False\n" in out
    code, out, _ = run("export", str(digits_split.path), "--to", "verl", "--json")
    assert (code, json.loads(out)["rows"]["train"]) == (0, len(digits_split.train))


@pytest.mark.parametrize("to", WHOLE)
def test_an_item_whose_placeholders_are_not_its_images_is_unfit(
    hostile: Split, to: str, tmp_path: Path
) -> None:
    item = replace(items_of(hostile)[0], question="<image> and <image>?", images=("0" * 32,), options=())
    shown = (Picture("0" * 32, b"", tmp_path),)
    facts = {"tier": "easy", "level": 1, "difficulty": 0.5, "complexity": 1.0}
    with pytest.raises(Unfit, match="placeholders_mismatch"):
        FAMILIES[to].rows(Asked(item, template("direct"), shown, facts, "train", 0))


def test_a_picture_that_was_scaled_down_stays_as_it_is_stored(hostile: Split, tmp_path: Path) -> None:
    (large,) = (i for i in items_of(hostile) if ROWS[int(i.source_id[1:])].get("image") == [LARGE])
    exported(hostile, "ms-swift", tmp_path / "out")
    (row,) = (row for row in part_rows(tmp_path / "out", "ms-swift") if row["id"] == large.id)
    assert shown_images(row, tmp_path / "out") == [Store.open(hostile.ladder).pictures(large)[0][1]]
