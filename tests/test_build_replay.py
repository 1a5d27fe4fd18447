"""Ladders of recorded responses: built without a model, resumed, and set beside each other as a panel."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import Run, part_rows, rows_of, told, write_rows

from ladder.build import build
from ladder.config import load, shipped, validate
from ladder.errors import BadInput, LadderError
from ladder.forecast import Figure, forecast
from ladder.settings import BuildSettings

DATA = os.environ.get("LADDER_DATA")
ITEMS = 4
#: What each recorded model says to each item, whose gold is its number.
SAID = {"a": ["0", "1", "2", "3"], "b": ["0", "1", "2", "9"], "c": ["0", "1", "9", "9"]}


def record(root: Path, name: str, responses: list[str], prefix: str = "q") -> None:
    rows = [{"id": f"{prefix}{i}", "response": text} for i, text in enumerate(responses)]
    root.mkdir(exist_ok=True)
    (root / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for name, responses in SAID.items():
        record(tmp_path / "records", name, responses)
    return tmp_path / "records"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    asked = [
        {"id": f"q{i}", "question": f"Which number is item {i}?", "answer": str(i)} for i in range(ITEMS)
    ]
    return write_rows(tmp_path / "pool", asked)


def settings(questions: Path, records: Path, k: int = 3, **more: Any) -> BuildSettings:
    values: dict[str, Any] = {
        "name": "recorded",
        "pool": {"root": str(questions), "columns": {"id": "id"}},
        "model": {"name": "nowhere/to-be-found"},
        "engine": "replay",
        "replay": {"name": "three models", "root": str(records), "files": ["*.jsonl"]},
        "sampling": {"k": k},
    }
    return validate(BuildSettings, values | more)


def rates(ladder: Path) -> dict[str, tuple[int, int]]:
    """(correct, n) by the item's id upstream."""
    rows = rows_of(ladder, "SELECT source_id, correct, n FROM ladder")
    return {name: (correct, n) for name, correct, n in rows}


def test_recorded_responses_become_a_ladder_without_any_model(
    questions: Path, records: Path, tmp_path: Path
) -> None:
    report = build(settings(questions, records), tmp_path / "out")
    assert (report.sampled, report.judged, report.failed) == (12, 12, 0)
    assert rates(tmp_path / "out") == {"q0": (3, 3), "q1": (3, 3), "q2": (2, 3), "q3": (1, 3)}
    assert rows_of(tmp_path / "out", "SELECT value FROM build WHERE key = 'model'") == [("three models",)]
    rollouts = part_rows(tmp_path / "out", "rollouts", "engine, trainable, token_ids, seed, finish_reason")
    assert rollouts == [("replay", False, [], 0, "stop")] * 12


def test_fewer_samples_are_those_of_the_first_files_and_more_add_only_the_difference(
    questions: Path, records: Path, tmp_path: Path
) -> None:
    assert build(settings(questions, records, k=2), tmp_path / "out").sampled == 8
    assert rates(tmp_path / "out") == {"q0": (2, 2), "q1": (2, 2), "q2": (2, 2), "q3": (1, 2)}
    assert build(settings(questions, records, k=3), tmp_path / "out").sampled == 4
    again = build(settings(questions, records, k=3), tmp_path / "out")
    assert (again.sampled, again.new) == (0, False)


def test_what_was_not_recorded_is_told_and_the_rest_counts(
    questions: Path, records: Path, tmp_path: Path
) -> None:
    record(records, "c", SAID["c"][:3])
    for sampled in (11, 0):
        report = build(settings(questions, records, k=4), tmp_path / "out")
        assert (report.sampled, report.failed, len(report.refused)) == (sampled, 0, 4)
        assert "2 responses of item q3 are recorded" in " ".join(report.refused.values())
        assert rates(tmp_path / "out")["q3"] == (1, 2)


def test_an_item_of_which_nothing_is_recorded_is_a_reject_and_not_counted_as_scored(
    questions: Path, records: Path, tmp_path: Path
) -> None:
    for name in SAID:
        record(records, name, SAID[name][:3])
    build(settings(questions, records), tmp_path / "out")
    rejects = "SELECT stage, reason, source_id FROM rejects"
    assert rows_of(tmp_path / "out", rejects) == [("sampling", "not_recorded", "q3")]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "A ladder: 3 questions" in card
    assert "| rejects | sampling.not\\_recorded: 1 |" in card


def test_where_no_recorded_id_is_an_items_the_build_fails_and_shows_both(
    questions: Path, records: Path, tmp_path: Path
) -> None:
    for name in SAID:
        record(records, name, SAID[name], prefix="other")
    for _ in range(2):
        with pytest.raises(LadderError, match=r"none of the items could be scored: .* item q. .*'other0'"):
            build(settings(questions, records), tmp_path / "out")


def test_a_forecast_counts_what_is_recorded_and_refuses_what_a_build_would(
    questions: Path, records: Path, tmp_path: Path
) -> None:
    record(records, "c", SAID["c"][:3])
    asked = settings(questions, records, k=4)
    rollouts = forecast(asked, tmp_path / "out").rollouts
    assert rollouts is not None
    assert rollouts.basis == "at most"
    build(settings(questions, records, k=1), tmp_path / "out")
    assert forecast(asked, tmp_path / "out").rollouts == Figure(7.0)
    (records / "c.jsonl").write_text("no JSON\n")
    with pytest.raises(BadInput, match="no recorded row can be used"):
        forecast(
            settings(questions, records, replay={"root": str(records), "files": ["c.jsonl"]}),
            tmp_path / "out",
        )


def test_a_pass_with_files_of_its_own_takes_nothing_but_the_root_from_the_builds_records(
    questions: Path, records: Path
) -> None:
    main = {"replay": {"root": str(records), "files": ["a.jsonl"], "name": "ours", "columns": {"id": "qid"}}}
    panel = {"strong": {"replay": {"files": ["b.jsonl"]}}}
    asked = settings(questions, records, passes=panel, **main).asking("strong").replay
    assert (asked.root, asked.name, asked.columns.id) == (str(records), "recorded responses", "id")


def test_changed_records_are_other_rollouts(questions: Path, records: Path, tmp_path: Path) -> None:
    build(settings(questions, records), tmp_path / "out")
    record(records, "c", SAID["a"])
    assert build(settings(questions, records), tmp_path / "out").sampled == 12
    assert rates(tmp_path / "out")["q3"] == (2, 3)


def test_recorded_models_make_a_panel_that_doubts_golds(
    questions: Path, records: Path, tmp_path: Path
) -> None:
    record(records, "c2", ["0", "1", "9", "7"])
    panel = {
        "strong": {"replay": {"files": ["a.jsonl"]}, "sampling": {"k": 1}},
        "weak": {"replay": {"files": ["c.jsonl", "c2.jsonl"]}, "sampling": {"k": 2}},
    }
    main = {"replay": {"root": str(records), "files": ["b.jsonl"]}}
    build(settings(questions, records, k=1, passes=panel, **main), tmp_path / "out")
    rows = rows_of(tmp_path / "out", "SELECT pass, sum(correct), sum(n) FROM passes GROUP BY 1 ORDER BY 1")
    assert rows == [("strong", 4, 4), ("weak", 4, 8)]
    beside = "SELECT source_id, pass_rate, strong_rate, weak_rate FROM ladder ORDER BY source_id"
    assert rows_of(tmp_path / "out", beside)[2:] == [("q2", 1.0, 1.0, 0.0), ("q3", 0.0, 1.0, 0.0)]
    doubted = rows_of(tmp_path / "out", "SELECT source_id, answer, pass, instead, instead_share FROM doubts")
    assert doubted == [("q2", "2", "weak", "9", 1.0), ("q3", "3", "weak", "9", 0.5)]


def test_the_rollouts_of_a_ladder_are_records_too(questions: Path, records: Path, tmp_path: Path) -> None:
    build(settings(questions, records), tmp_path / "out")
    own = {
        "root": str(tmp_path / "out"),
        "files": ["rollouts/rollouts-*.parquet"],
        "columns": {"id": "item_id", "response": "text", "tokens": "tokens"},
    }
    assert build(settings(questions, records, replay=own), tmp_path / "again").sampled == 12
    assert rates(tmp_path / "again") == rates(tmp_path / "out")


def test_in_several_pools_a_row_names_the_pool_too(questions: Path, records: Path, tmp_path: Path) -> None:
    other = [{"id": f"q{i}", "question": f"Another one, {i}?", "answer": str(i)} for i in range(ITEMS)]
    write_rows(tmp_path / "other", other)
    pools = {
        "first": {"root": str(questions), "columns": {"id": "id"}},
        "second": {"root": str(tmp_path / "other"), "columns": {"id": "id"}},
    }
    two = settings(questions, records, k=1, pool=None, pools=pools)
    record(records, "a", SAID["a"], prefix="second/q")
    report = build(two, tmp_path / "out")
    assert (report.sampled, len(report.refused)) == (ITEMS, ITEMS)
    scored = rows_of(tmp_path / "out", "SELECT DISTINCT source FROM ladder")
    assert scored == [("second",)]


def test_bad_settings_are_told_in_a_line(run: Run, questions: Path, records: Path) -> None:
    pipeline = questions.parent / "recorded.toml"
    pipeline.write_text(f'name = "recorded"\nengine = "replay"\n[pool]\nroot = "{questions}"\n')
    assert "replay.files" in told(run("build", str(pipeline)))
    files = f'replay.files=["{records}/d.jsonl"]'
    assert "there is no file" in told(run("build", str(pipeline), "--set", files))
    unknown = told(run("build", str(pipeline), "--set", 'replay.columns.respons="x"'))
    assert "did you mean 'replay.columns.response'" in unknown


if DATA is not None:

    def test_published_answers_to_a_public_pool_become_a_ladder(tmp_path: Path) -> None:
        values = {
            "pool.root": f"{DATA}/pool_open/mathv",
            "engine": "replay",
            "replay.root": f"{DATA}/rollouts/open/mathv",
            "replay.files": ["closed-source/*/*.jsonl", "open-source/*/*.jsonl"],
            "sampling.k": 15,
        }
        overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        report = build(load(BuildSettings, shipped("pipelines", "mathv"), overrides), tmp_path / "out")
        assert (report.items, report.sampled, report.failed) == (330, 330 * 15, 0)
        assert rows_of(tmp_path / "out", "SELECT min(n), max(n), count(*) FROM ladder") == [(15, 15, 330)]

    def test_published_answers_in_an_object_by_id_become_a_ladder(tmp_path: Path) -> None:
        values = {
            "pool.root": f"{DATA}/pool_open/tabmwp",
            "engine": "replay",
            "replay.root": f"{DATA}/rollouts/open/tabmwp",
            "replay.files": ["t5/*.json"],
            "replay.layout.rows": "results.{id}",
            "replay.columns.response": "output",
            "sampling.k": 6,
        }
        overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        report = build(load(BuildSettings, shipped("pipelines", "tabmwp"), overrides), tmp_path / "out")
        assert report.sampled > 0
        assert rows_of(tmp_path / "out", "SELECT min(n), max(n) FROM ladder") == [(6, 6)]
