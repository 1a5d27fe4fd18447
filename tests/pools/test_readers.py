"""Files become rows; a broken line costs that line and is told."""

import json
from pathlib import Path

import pytest

from ladder.errors import BadInput
from ladder.pools.readers import BROKEN, read_rows


def rows(tmp_path: Path, content: str | bytes, name: str = "rows.jsonl") -> list[dict[str, object]]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path))


@pytest.mark.parametrize(
    "line",
    [
        '{"a": 1', "[1, 2]", "null", '"text"', "{'a': 1}", "[" * 5000, '{"a": "\\ud800"}', '{"\\udfff": 1}',
        '{"a": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_a_broken_line_costs_that_line_only(tmp_path: Path, line: str) -> None:
    first, broken, last = rows(tmp_path, f'{{"a": 1}}\n{line}\n{{"a": 3}}\n')
    assert (first, last) == ({"a": 1}, {"a": 3})
    assert list(broken) == [BROKEN]
    assert str(broken[BROKEN]).encode()


def test_empty_lines_are_no_rows_and_the_last_line_needs_no_end(tmp_path: Path) -> None:
    assert rows(tmp_path, '\n{"a": 1}\n\n  \n{"a": 2}') == [{"a": 1}, {"a": 2}]
    assert rows(tmp_path, "") == []


def test_bytes_that_are_no_text_do_not_stop_the_file(tmp_path: Path) -> None:
    first, second = rows(tmp_path, b'{"a": "\xff"}\n{"a": 2}\n')
    assert first["a"] == "\ufffd"
    assert second == {"a": 2}


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    assert rows(tmp_path, b'\xef\xbb\xbf{"a": 1}\n') == [{"a": 1}]
    assert rows(tmp_path, b'\xef\xbb\xbf[{"a": 1}]', "rows.json") == [{"a": 1}]


def test_letters_beyond_the_basic_plane_stay_whole(tmp_path: Path) -> None:
    assert rows(tmp_path, '{"a": "\\ud83d\\ude00 π"}') == [{"a": "😀 π"}]


def test_json_holds_a_list_of_rows(tmp_path: Path) -> None:
    first, second = rows(tmp_path, json.dumps([{"a": 1}, 2]), "rows.json")
    assert first == {"a": 1}
    assert second == {BROKEN: "a int, not an object"}


@pytest.mark.parametrize("content", ['{"a": 1}', "[{", "", "[" * 5000])
def test_json_that_holds_no_list_is_told(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadInput, match=r"rows\.json"):
        rows(tmp_path, content, "rows.json")


@pytest.mark.parametrize("name", ["rows.csv", "rows", "rows.jsonl.gz"])
def test_an_unknown_format_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"\.jsonl or \.json"):
        rows(tmp_path, "x", name)
