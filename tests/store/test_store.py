"""The ladder directory: what counts as one, one builder at a time, and its images."""

import subprocess
import sys
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import pytest

from ladder import records
from ladder.errors import BadInput, LadderError
from ladder.records import AnswerType, Image, Item
from ladder.store import FORMAT_VERSION, Store
from ladder.store.images import ImageReader
from ladder.store.parts import Log

HOLD = """
import sys, pathlib
from ladder.store import FORMAT_VERSION, Store
with Store.open(pathlib.Path(sys.argv[1])).building("build"):
    print("held", flush=True)
    sys.stdin.read()
"""


def item(name: str) -> Item:
    return Item(name, f"q {name}", (), (), "3", AnswerType.INTEGER, "s", name)


def test_a_place_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"holds something that is no ladder .*empty directory"):
        Store.create(tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        Store.create(tmp_path / "notes.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LadderError, match="cannot make"):
        Store.create(tmp_path / "file" / "ladder")


def test_an_existing_ladder_is_opened_again(tmp_path: Path) -> None:
    Store.create(tmp_path / "new" / "ladder")
    assert Store.create(tmp_path / "new" / "ladder").path == Store.open(tmp_path / "new" / "ladder").path


def test_what_is_no_ladder_or_of_another_format_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is not a ladder: it has no build\.toml"):
        Store.open(tmp_path)
    (tmp_path / "build.toml").write_text("format_version = 99\n")
    with pytest.raises(BadInput, match=f"format_version 99, this Ladder reads {FORMAT_VERSION}"):
        Store.open(tmp_path)


def test_a_second_builder_is_refused_by_the_name_of_the_first_and_let_in_after_its_death(
    tmp_path: Path,
) -> None:
    store = Store.create(tmp_path)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        wanted = f"in use by `ladder build`, process {other.pid} on "
        with pytest.raises(BadInput, match=wanted), store.building("build"):
            pass
    finally:
        other.kill()
        other.communicate()
    with store.building("build"):
        pass


def test_only_a_complete_import_counts(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    assert (store.import_manifest(), store.load_items()) == (None, [])
    part = store.items.append([item("a").row(), item("b").row()])
    assert store.load_items() == []
    assert part is not None
    store.finish_import({"items": [part.name], "rejects": []})
    store.items.append([item("c").row()])
    assert store.load_items() == [item("a"), item("b")]


def test_the_latest_import_replaces_the_one_before(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    for number, names in enumerate(("ab", "bc", ""), 1):
        part = store.items.append([item(name).row() for name in names])
        store.finish_import({"items": [part.name] if part else [], "rejects": []})
        assert store.load_items() == [item(name) for name in names]
        manifest = store.import_manifest()
        assert manifest is not None
        assert manifest["number"] == number


def test_items_come_by_id_in_the_order_asked_for(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    part = store.items.append([item(name).row() for name in "abc"])
    assert part is not None
    store.finish_import({"items": [part.name], "rejects": []})
    assert store.load_items(["c", "a"]) == [item("c"), item("a")]
    with pytest.raises(LadderError, match="no item x"):
        store.load_items(["a", "x"])
    assert store.load_items(["b", "b"]) == [item("b"), item("b")]
    assert store.load_items([]) == []


def test_items_that_are_not_asked_for_take_no_memory(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    parts = [store.items.append([item(f"{n}-{i}").row() for i in range(5000)]) for n in range(2)]
    store.finish_import({"items": [part.name for part in parts if part], "rejects": []})
    tracemalloc.start()
    try:
        assert store.load_items(["1-3", "0-7"]) == [item("1-3"), item("0-7")]
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def image(name: str) -> Image:
    return Image(name, 0, 1, 1, name.encode() * 100)


def images(tmp_path: Path) -> Log:
    return Log(tmp_path, "images", records.image_schema(), row_group=4)


def test_images_are_read_by_hash_over_parts_and_row_groups(tmp_path: Path) -> None:
    log = images(tmp_path)
    reader = ImageReader(log)
    assert "0" not in reader
    for start in (0, 10):
        log.append([asdict(image(str(i))) for i in range(start, start + 10)])
    for i in (19, 0, 7, 11, 0, 3):
        assert str(i) in reader, "parts written later are seen"
        assert reader.read(str(i)) == image(str(i)).data
    with pytest.raises(LadderError, match="has no image 20"):
        reader.read("20")


def test_images_are_read_with_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladder.store.images._BYTES_HELD", 500)
    log = images(tmp_path)
    log.append([asdict(image(chr(65 + i))) for i in range(16)])
    reader = ImageReader(log)
    for i in (0, 15, 4, 8, 1, 12):
        assert reader.read(chr(65 + i)) == image(chr(65 + i)).data
        assert len(reader._held) == 1
