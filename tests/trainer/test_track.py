"""Metrics as lines: what a resumed run keeps, what a kill tears, what JSON lacks; and which tracker may stop a run."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ladder.config import validate
from ladder.errors import BadInput, LadderError
from trainer.track import JsonlTracker, SampleRow, Tracker, Trackers, TrackSettings, choose, open_trackers


def lines(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def logged(path: Path, first: int, steps: range) -> JsonlTracker:
    tracker = JsonlTracker(path, first)
    for step in steps:
        tracker.log(step, {"loss": step / 8})
    tracker.close()
    return tracker


def test_a_resumed_run_drops_the_lines_that_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert logged(path, 0, range(7)).last == -1
    again = logged(path, 4, range(4, 9))
    assert [row["step"] for row in lines(path)] == list(range(9))
    assert again.last == 6
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_of_which_nothing_is_dropped_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    logged(path, 0, range(3))
    before = path.stat().st_ino
    logged(path, 3, range(3, 4))
    assert path.stat().st_ino == before
    logged(path, 2, range(2, 3))
    assert path.stat().st_ino != before
    assert [row["step"] for row in lines(path)] == [0, 1, 2]


@given(cut=st.integers(min_value=1, max_value=60))
def test_a_line_that_a_kill_tore_is_dropped_wherever_it_is_torn(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "metrics.jsonl"
    logged(path, 0, range(4))
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    whole = data[:-cut].count(b"\n")
    logged(path, 4, range(4, 6))
    assert [row["step"] for row in lines(path)] == [*range(whole), 4, 5]


def test_a_torn_line_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step": 1, "lo')
    logged(path, 2, range(2, 3))
    assert "1 torn line" in capsys.readouterr().err
    assert [row["step"] for row in lines(path)] == [0, 2]


def test_what_no_json_has_is_told_in_words_that_float_reads(tmp_path: Path) -> None:
    values = {
        "a": math.nan,
        "b": math.inf,
        "c": -math.inf,
        "d": np.float32(0.5),
        "e": torch.tensor(float("nan")),
    }
    tracker = JsonlTracker(tmp_path / "metrics.jsonl", 0)
    tracker.log(0, values | {"deep": {"list": [math.nan, 1, True, None, "text", np.int64(3)]}})
    tracker.close()
    (row,) = lines(tmp_path / "metrics.jsonl")
    assert row["deep"] == {"list": ["NaN", 1, True, None, "text", 3]}
    for name, value in values.items():
        assert repr(float(row[name])) == repr(float(value))


@given(st.dictionaries(st.text(max_size=5), st.floats(), max_size=5))
def test_finite_numbers_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, float]
) -> None:
    metrics.pop("step", None)
    path = tmp_path_factory.mktemp("numbers") / "metrics.jsonl"
    tracker = JsonlTracker(path, 0)
    tracker.log(3, metrics)
    tracker.close()
    (row,) = lines(path)
    assert row.pop("step") == 3
    assert {k: repr(float(v)) for k, v in row.items()} == {k: repr(v) for k, v in metrics.items()}


def test_what_is_told_later_of_a_step_is_added_to_its_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path, 0)
    for step in (1, 2):
        tracker.log(step, {"loss": step})
    tracker.log(2, {"probe": 0.5})
    tracker.log(3, {"loss": 3})
    tracker.close()
    resumed = JsonlTracker(path, 4)
    resumed.log(3, {"probe": 0.75})
    resumed.close()
    assert lines(path) == [
        {"step": 1, "loss": 1},
        {"step": 2, "loss": 2, "probe": 0.5},
        {"step": 3, "loss": 3, "probe": 0.75},
    ]


def test_a_disk_that_takes_no_metrics_ends_the_run_in_one_line() -> None:
    with pytest.raises(LadderError, match=r"cannot write /dev/full/metrics\.jsonl"):
        JsonlTracker(Path("/dev/full/metrics.jsonl"), 0)
    tracker = JsonlTracker(Path("/dev/full"), 0)
    with pytest.raises(LadderError, match="cannot write /dev/full: No space left"):
        tracker.log(0, {"loss": 1.0})


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["tensorboard", "trackio", "wandb"])
def test_a_package_that_is_missing_is_told_before_the_run(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, setting, None)
    value = "true" if setting == "tensorboard" else '"project"'
    settings = validate(TrackSettings, {}, [f"{setting}={value}"])
    with pytest.raises(BadInput, match=f"track.{setting} is set .* pip install {setting}"):
        settings.check()
    with pytest.raises(BadInput, match="pip install"):
        open_trackers(settings, tmp_path, 0, {}, "a-run")
    assert not list(tmp_path.iterdir())


def test_without_settings_no_package_is_asked_for_and_samples_are_due_at_every_tenth_step() -> None:
    TrackSettings().check()
    assert [step for step in range(31) if TrackSettings().due(step)] == [0, 10, 20, 30]
    assert not any(TrackSettings(samples_every=0).due(step) for step in range(31))
    with pytest.raises(BadInput, match="tensorboard"):
        validate(TrackSettings, {"tensorbord": True})


# --- all of them ------------------------------------------------------------------------------------------------


class Noting:
    """A tracker in memory, which raises at some steps."""

    def __init__(self, fails: Sequence[int] = ()) -> None:
        self.steps: list[int] = []
        self.fails, self.closed = fails, False

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:  # noqa: ARG002
        if step in self.fails:
            raise ConnectionError("no\nnetwork")
        self.steps.append(step)

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:  # noqa: ARG002
        self.log(step, {})

    def close(self) -> None:
        self.closed = True


def test_a_tracker_that_fails_stops_neither_training_nor_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own, bad, good = Noting(), Noting(fails=[1, 2]), Noting()
    others: dict[str, Tracker] = {"bad": bad, "good": good}
    with Trackers([own], others) as trackers:
        for step in range(4):
            trackers.log(step, {})
        trackers.samples(2, [])
    assert (own.steps, bad.steps, good.steps) == ([0, 1, 2, 3, 2], [0, 3], [0, 1, 2, 3, 2])
    assert trackers.failures == {"bad": 3, "good": 0}
    assert own.closed and bad.closed and good.closed
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "  bad failed at step 1, and training goes on: ConnectionError: no network",
        "  bad failed 3 times in all",
    ]


def test_the_runs_own_directory_must_be_written() -> None:
    trackers = Trackers([Noting(fails=[1])], {})
    trackers.log(0, {})
    with pytest.raises(ConnectionError):
        trackers.log(1, {})


# --- which samples ----------------------------------------------------------------------------------------------


def test_the_best_and_the_worst_of_the_groups_that_differ_most_are_shown() -> None:
    advantages = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [0.2, 0.1, 0.0], [-2.0, 3.0, 3.0]])
    assert choose(advantages, 4) == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert choose(advantages, 3) == [(1, 0), (3, 0), (3, 1)]
    assert choose(advantages, 100) == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 2), (3, 0), (3, 1)]
    assert choose(torch.zeros(3, 2), 2) == [(0, 0), (1, 0)]


@given(
    st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=6), st.integers(1, 9)
)
def test_the_choice_is_bounded_without_repetition_and_always_the_same(
    values: list[list[float]], count: int
) -> None:
    advantages = torch.tensor(values)
    places = choose(advantages, count)
    assert places == choose(advantages.clone(), count)
    assert len(places) == len(set(places)) <= count
    assert places
