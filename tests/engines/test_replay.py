"""Recorded responses: in order, exactly as they stand, and whatever else their files hold."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladder.config import validate
from ladder.encode import Prompt
from ladder.engines.base import Completion, Event, Refused, Request, Sampling, drive
from ladder.engines.replay import ReplayEngine, recorded_files, replay_fingerprint
from ladder.engines.settings import ReplaySettings
from ladder.errors import BadInput, LadderError
from ladder.pools.rows import MAX_ROW


def write(path: Path, *rows: Any) -> Path:
    """A JSONL file; rows that are bytes are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def said(name: Any, response: Any, **more: Any) -> dict[str, Any]:
    return {"id": name, "response": response} | more


def settings(root: Path, *files: str, **more: Any) -> ReplaySettings:
    return validate(ReplaySettings, {"root": str(root), "files": files or ("*.jsonl",)} | more)


def engine(root: Path, *files: str, **more: Any) -> ReplayEngine:
    return ReplayEngine(settings(root, *files, **more), "f")


def events(engine: ReplayEngine, source_id: str, n: int, item_id: str = "ladder-id") -> list[Event]:
    engine.submit(request(source_id, n, item_id))
    return list(engine.completed())


def request(source_id: str, n: int, item_id: str = "ladder-id") -> Request:
    return Request(item_id, Prompt([]), Sampling(), tuple(range(n)), tuple(range(n)), source_id)


def completions(engine: ReplayEngine, source_id: str, n: int) -> list[Completion]:
    found = events(engine, source_id, n)
    assert all(isinstance(one, Completion) for one in found), found
    return [one for one in found if isinstance(one, Completion)]


def texts(engine: ReplayEngine, source_id: str, n: int) -> list[str | None]:
    return [one.text for one in completions(engine, source_id, n)]


def test_an_items_responses_are_its_samples_in_the_order_of_files_and_rows(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", said("1", "b1"), said("2", "b2"), said("1", "again"))
    write(tmp_path / "a" / "c.jsonl", said("2", "c2"), said("1", "c1"))
    chosen = engine(tmp_path, "b.jsonl", "*/*.jsonl")
    assert texts(chosen, "1", 3) == ["b1", "again", "c1"]
    assert texts(chosen, "2", 2) == ["b2", "c2"]
    assert texts(engine(tmp_path, "a/c.jsonl", "b.jsonl"), "1", 3) == ["c1", "b1", "again"]
    assert chosen.counts == {}


def test_only_the_samples_asked_for_come_back_each_under_its_own_index(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", *(said("1", str(j)) for j in range(9)))
    chosen = engine(tmp_path)
    chosen.submit(Request("x", Prompt([]), Sampling(), (7, 3), (107, 103), "1"))
    found = list(chosen.completed())
    assert found == [
        Completion("x", j, 0, (), (), "stop", text=str(j), tokens=1, trainable=False) for j in (7, 3)
    ]


@pytest.mark.parametrize(
    "response", ["", " \n x &lt; y \t", "a\u2028b\u0085c\r\n", "\x00\x0c", "{\"a\": [1]}", "é" * 5000, "null"]
)  # fmt: skip
def test_a_response_is_kept_exactly(tmp_path: Path, response: str) -> None:
    write(tmp_path / "a.jsonl", said("0", "before"), said("1", response))
    write(tmp_path / "b.json", [said("1", response)])
    assert texts(engine(tmp_path, "a.jsonl", "b.json"), "1", 2) == [response, response]


def test_a_row_may_name_its_item_by_ladders_id_or_by_the_one_upstream(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", said(7, "first"), said("ladder-id", "second"), said(" 7 ", "third"))
    assert texts(engine(tmp_path), "7", 3) == ["first", "second", "third"]
    assert texts(engine(tmp_path), "", 1) == ["second"]
    assert texts(engine(tmp_path), "ladder-id", 1) == ["second"]


def test_samples_that_were_not_recorded_are_refused_after_those_that_were(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", said("1", "x"))
    chosen = engine(tmp_path)
    first, rest = events(chosen, "1", 3)
    assert isinstance(first, Completion)
    few = "1 responses of item 1 are recorded, more or other ones were wanted"
    assert rest == Refused("ladder-id", (1, 2), "not_recorded", few)
    none = "no response of item 2 is recorded; the first that is, is of '1'"
    assert events(chosen, "2", 1) == [Refused("ladder-id", (0,), "not_recorded", none)]


def test_a_response_that_is_no_text_keeps_its_place_and_a_number_is_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    responses = ["x", None, {"a": 1}, 4, 0.5, True, float("inf"), "y"]
    write(tmp_path / "a.jsonl", *(said("1", response) for response in responses))
    chosen = engine(tmp_path)
    found = events(chosen, "1", len(responses))
    *said_, rest = found
    kept = {one.index: one.text for one in said_ if isinstance(one, Completion)}
    assert kept == {0: "x", 3: "4", 4: "0.5", 5: "true", 7: "y"}
    assert isinstance(rest, Refused)
    assert rest.indices == (1, 2, 6)
    assert chosen.counts == {"unusable_rows": 3}
    told = "3 of 8 recorded rows cannot be used: a.jsonl, row 2: no text in 'response'"
    assert told in capfd.readouterr().err


def test_hostile_rows_cost_only_themselves_and_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = [
        b"{",
        b"[1, 2]",
        b"null",
        b'{"id": "1"}',
        b'{"response": "of nobody"}',
        b'{"id": null, "response": "x"}',
        b'{"id": ["1"], "response": "x"}',
        b'{"id": "1", "response": "\xff"}',
        b'{"id": "1", "response": "\\ud800"}',
        b'{"id": "1", "response": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"id": "1", "response": []}',
        b'{"id": "1", "response": "' + b"x" * MAX_ROW + b'"}',
        b'{"id": "' + b"1" * 200_000 + b'", "response": "x"}',
    ]
    good = json.dumps(said("2", "fine")).encode()
    write(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + good, *bad, b"", b"  ", good)
    chosen = engine(tmp_path)
    assert texts(chosen, "2", 2) == ["fine", "fine"]
    assert chosen.counts == {"unusable_rows": len(bad)}
    told = capfd.readouterr().err
    assert f"{len(bad)} of {len(bad) + 2} recorded rows cannot be used: a.jsonl, row 2:" in told
    assert "Traceback" not in told


def test_records_of_which_none_can_be_used_are_bad_input_that_says_what_rows_hold(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"index": "1", "prediction": "x"})
    with pytest.raises(BadInput, match=r"no 'id' among index, prediction; replay\.columns says id = 'id'"):
        engine(tmp_path)
    with pytest.raises(BadInput, match=r"no text in 'response'; replay\.columns"):
        engine(tmp_path, columns={"id": "index"})
    chosen = engine(tmp_path, columns={"id": "index", "response": "prediction"})
    assert texts(chosen, "1", 1) == ["x"]
    write(tmp_path / "empty.jsonl")
    with pytest.raises(BadInput, match="there is no row in"):
        engine(tmp_path, "empty.jsonl")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("length", "length"), ("MAX_TOKENS", "length"), ("stop", "stop"), (None, "stop"), (["x"], "stop")],
)
def test_what_was_cut_off_is_known_by_its_finish_reason(tmp_path: Path, reason: Any, expected: str) -> None:
    write(tmp_path / "a.jsonl", said("1", "x", finish_reason=reason))
    assert completions(engine(tmp_path), "1", 1)[0].finish_reason == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(17, 17), ("17", 17), (17.0, 17), (0, 0), (None, 5), ("many", 5), (-1, 5), (2**40, 5), (float("inf"), 5)],
)  # fmt: skip
def test_tokens_are_those_recorded_or_words_and_signs(tmp_path: Path, tokens: Any, expected: int) -> None:
    write(tmp_path / "a.jsonl", said("1", "It is naïve, 42", usage={"out": tokens}))
    found = completions(engine(tmp_path, columns={"tokens": "usage.out"}), "1", 1)
    assert (found[0].tokens, found[0].length, found[0].trainable) == (expected, expected, False)
    assert completions(engine(tmp_path), "1", 1)[0].tokens == 5


def test_scripts_without_spaces_are_counted_by_character(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", said("1", "答案是 12。"))
    assert completions(engine(tmp_path), "1", 1)[0].tokens == 5


def test_a_list_of_responses_is_as_many_samples_with_their_own_tokens_and_reasons(tmp_path: Path) -> None:
    row = said("1", [["a", "b"], ["c"]], tokens=[3, 4, 5], finish_reason=["stop", "length"])
    write(tmp_path / "a.jsonl", row, said("1", "d", tokens=6))
    write(tmp_path / "b.json", [row])
    for chosen in (engine(tmp_path, columns={"tokens": "tokens"}), None):
        chosen = chosen or engine(tmp_path, "b.json", "a.jsonl", columns={"tokens": "tokens"})
        found = completions(chosen, "1", 4)
        assert [one.text for one in found[:3]] == ["a", "b", "c"]
        assert [one.tokens for one in found[:3]] == [3, 4, 5]
        assert [one.finish_reason for one in found[:3]] == ["stop", "length", "stop"]


ROWS = [said("1", "x\ny", tokens=2), said("2", "z", tokens=3), said("1", "w", tokens=4)]
LAYOUT = {"layout": {"format": "jsonl"}}


def write_as(path: Path) -> dict[str, Any]:
    """Writes ROWS as the file's name says; returns the settings that it needs."""
    match path.name:
        case "a.jsonl.gz":
            path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)))
            return LAYOUT
        case "a.parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), path)
        case "a.csv":
            path.write_text('id,response,tokens\n1,"x\ny",2\n2,z,3\n1,w,4\n')
        case "a.json":
            path.write_text(json.dumps(ROWS, indent=1))
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return {}


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet", "a.csv", "a.json", "a.ndjson"])
def test_files_of_every_layout_of_a_pool_are_read(tmp_path: Path, name: str) -> None:
    more = write_as(tmp_path / name)
    chosen = engine(tmp_path, name, columns={"tokens": "tokens"}, **more)
    assert [(one.text, one.tokens) for one in completions(chosen, "1", 2)] == [("x\ny", 2), ("w", 4)]
    assert texts(chosen, "2", 1) == ["z"]
    chosen.close()


def test_rows_may_lie_inside_a_file_by_their_id_and_columns_inside_rows(tmp_path: Path) -> None:
    results = {"7": {"output": {"text": "x"}}, "9": {"output": {"text": "y"}}}
    (tmp_path / "a.json").write_text(json.dumps({"acc": 1.0, "args": {"k": [1]}, "results": results}))
    more = {"layout": {"rows": "results.{pid}"}, "columns": {"id": "pid", "response": "output.text"}}
    assert texts(engine(tmp_path, "a.json", **more), "9", 1) == ["y"]
    with pytest.raises(BadInput, match=r"replay\.layout\.rows"):
        engine(tmp_path, "a.json", layout={"rows": "outputs.{pid}"})


def test_an_id_may_be_a_template(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", said("1", "x", set="geo"))
    assert texts(engine(tmp_path, columns={"id": "{set}/{id}"}), "geo/1", 1) == ["x"]


def test_only_rows_with_the_values_asked_for_count(tmp_path: Path) -> None:
    kinds = [("m", 1), ("n", 1), ("m", 2)]
    rows = [said("1", f"{model}{run}", model={"name": model}, run=run) for model, run in kinds]
    write(tmp_path / "a.jsonl", *rows, b"{")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name, unusable in (("a.jsonl", {"unusable_rows": 1}), ("a.parquet", {})):
        chosen = engine(tmp_path, name, where={"model.name": "m"})
        assert (texts(chosen, "1", 2), chosen.counts) == (["m1", "m2"], unusable)
        assert texts(engine(tmp_path, name, where={"model.name": "m", "run": "2"}), "1", 1) == ["m2"]
    with pytest.raises(BadInput, match=r"no row that replay\.where allows"):
        engine(tmp_path, "a.parquet", where={"model.name": "x"})


def test_files_come_in_order_none_twice_and_a_name_is_no_pattern(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "[c].jsonl"):
        write(tmp_path / name, said("1", name))
    found = recorded_files(settings(tmp_path, "[c].jsonl", "a*.jsonl", "*.jsonl"))
    assert [path.name for path in found] == ["[c].jsonl", "a.jsonl", "b.jsonl"]
    assert recorded_files(settings(tmp_path / "elsewhere", str(tmp_path / "b.jsonl"))) == [
        tmp_path / "b.jsonl"
    ]


@pytest.mark.parametrize("name", ["nothing.jsonl", "x/*.jsonl", "", "/absolute/*.jsonl", "**x"])
def test_a_name_or_pattern_without_a_file_is_bad_input(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.jsonl", said("1", "x"))
    with pytest.raises(BadInput, match=r"replay\.files: there is no file"):
        replay_fingerprint(settings(tmp_path, "a.jsonl", name))


def test_replay_needs_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"needs replay\.files"):
        replay_fingerprint(ReplaySettings(root=str(tmp_path)))


def test_a_file_of_an_unknown_kind_is_bad_input_that_names_our_setting(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", said("1", "x"))
    with pytest.raises(BadInput, match=r"replay\.layout\.format"):
        engine(tmp_path, "a.txt")
    assert texts(engine(tmp_path, "a.txt", **LAYOUT), "1", 1) == ["x"]


def test_the_fingerprint_is_of_contents_their_order_and_how_they_are_read(tmp_path: Path) -> None:
    for place in ("here", "there"):
        write(tmp_path / place / "a.jsonl", said("1", "x"))
        write(tmp_path / place / "b.jsonl", said("1", "y"))
    here = replay_fingerprint(settings(tmp_path / "here"))
    (tmp_path / "there" / "a.jsonl").rename(tmp_path / "there" / "0.jsonl")
    assert replay_fingerprint(settings(tmp_path / "there")) == here
    assert replay_fingerprint(settings(tmp_path / "here", name="other")) == here
    others = [
        replay_fingerprint(settings(tmp_path / "here", "b.jsonl", "a.jsonl")),
        replay_fingerprint(settings(tmp_path / "here", "a.jsonl")),
        replay_fingerprint(settings(tmp_path / "here", columns={"id": "name"})),
        replay_fingerprint(settings(tmp_path / "here", layout={"format": "json"})),
        replay_fingerprint(settings(tmp_path / "here", where={"id": "1"})),
    ]
    write(tmp_path / "here" / "a.jsonl", said("1", "z"))
    others.append(replay_fingerprint(settings(tmp_path / "here")))
    assert len({here, *others}) == 7


def test_a_file_that_changes_while_it_is_read_ends_the_build(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", said("1", "x"), said("2", "y"))
    chosen = engine(tmp_path)
    write(path, said("9", "something else"), said("2", "y"))
    with pytest.raises(LadderError, match=r"a\.jsonl was changed while it was read"):
        events(chosen, "1", 1)
    path.unlink()
    with pytest.raises(LadderError, match=r"cannot read .*a\.jsonl"):
        events(chosen, "2", 1)


def test_what_is_cancelled_does_not_come_back(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", *(said(name, str(j)) for name in ("1", "2") for j in range(3)))
    chosen = engine(tmp_path)
    chosen.submit(request("1", 3, "one"))
    chosen.submit(request("2", 3, "two"))
    found = chosen.completed()
    first = next(found)
    chosen.cancel("one")
    assert isinstance(first, Completion)
    assert [one.request_id for one in found] == ["two"] * 3
    assert list(chosen.completed()) == []


def test_driven_as_any_engine_it_answers_all_that_was_recorded(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", *(said(i, f"{i} {j}") for j in range(4) for i in range(300)))
    failed: list[Any] = []
    requests = (request(str(i), 5, f"item {i}") for i in range(300))
    found = {(c.request_id, c.index): c.text for c in drive(engine(tmp_path), requests, failed.append)}
    assert found == {(f"item {i}", j): f"{i} {j}" for i in range(300) for j in range(4)}
    assert {(one.request_id, one.indices) for one in failed} == {(f"item {i}", (4,)) for i in range(300)}
