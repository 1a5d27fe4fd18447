"""TensorBoard, trackio and wandb as they are: what is read back from their own files, and a run that is resumed."""

import json
import math
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_track_samples import HOSTILE, image, row

from ladder.errors import BadInput
from trainer.track import TrackSettings, open_trackers

CONFIG = {"seed": 3, "batch": {"prompts": 4}}


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Both packages read their environment once; neither has a network, and nothing goes outside this folder."""
    root = tmp_path_factory.mktemp("trackers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(root / "trackio"))
        patch.setenv("WANDB_MODE", "offline")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(root / "wandb"))
        yield root


def run(
    settings: TrackSettings, out: Path, first: int, steps: range, value: float = 0.0, name: str = "a-run"
) -> None:
    """Steps of a run, with samples at each fifth; `value` tells runs apart."""
    with open_trackers(settings, out, first, CONFIG, name) as trackers:
        for step in steps:
            trackers.log(
                step,
                {
                    "loss": step + value,
                    "curriculum/tier": "hard",
                    "gone": None,
                    "norm": math.nan,
                    "list": [1],
                },
            )
            if step % 5 == 0:
                trackers.samples(step, [row(), row("b", images=(), response=HOSTILE)])
    assert not any(trackers.failures.values())


# --- TensorBoard ------------------------------------------------------------------------------------------------


def events(out: Path) -> EventAccumulator:
    return EventAccumulator(
        str(out / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0}
    ).Reload()


def scalars(out: Path, tag: str = "loss") -> dict[int, float]:
    found = events(out).Scalars(tag)
    assert len({event.step for event in found}) == len(found)
    return {event.step: event.value for event in found}


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    run(TrackSettings(tensorboard=True), tmp_path, 0, range(7))
    assert scalars(tmp_path) == {step: float(step) for step in range(7)}
    found = events(tmp_path)
    assert sorted(found.Tags()["scalars"]) == ["loss", "norm"]
    assert all(math.isnan(event.value) for event in found.Scalars("norm"))
    pictures = found.Images("samples/0")
    assert [(event.step, event.width, event.height) for event in pictures] == [(0, 40, 40), (5, 40, 40)]
    assert found.Tags()["images"] == ["samples/0"]


def test_text_in_tensorboard_is_never_markup(tmp_path: Path) -> None:
    run(TrackSettings(tensorboard=True), tmp_path, 0, range(1))
    event = events(tmp_path).Tensors("samples/1/text_summary")[0]
    text = event.tensor_proto.string_val[0].decode()
    assert "<script>" in text
    assert all(line.startswith("    ") for line in text.split("\n") if line not in ("", "---"))


def test_a_resumed_run_has_no_step_twice_in_tensorboard(tmp_path: Path) -> None:
    settings = TrackSettings(tensorboard=True)
    run(settings, tmp_path, 0, range(7))
    run(settings, tmp_path, 4, range(4, 10), value=0.5)
    assert scalars(tmp_path) == {step: step + (0.5 if step >= 4 else 0.0) for step in range(10)}
    assert [event.step for event in events(tmp_path).Images("samples/0")] == [0, 5]


def test_an_event_file_that_a_kill_tore_hides_nothing_later(tmp_path: Path) -> None:
    settings = TrackSettings(tensorboard=True)
    run(settings, tmp_path, 0, range(4))
    (file,) = (tmp_path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    run(settings, tmp_path, 3, range(3, 6), value=0.5)
    assert scalars(tmp_path) == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.5, 4: 4.5, 5: 5.5}


def test_metrics_are_in_the_event_file_when_log_returns(tmp_path: Path) -> None:
    trackers = open_trackers(TrackSettings(tensorboard=True), tmp_path, 0, CONFIG, "a-run")
    trackers.log(0, {"loss": 1.0})
    assert scalars(tmp_path) == {0: 1.0}
    trackers.close()


# --- trackio ----------------------------------------------------------------------------------------------------


def trackio_rows(here: Path, project: str) -> list[tuple[str, int, dict[str, Any]]]:
    with sqlite3.connect(here / "trackio" / f"{project}.db") as connection:
        found = connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    return [(name, step, json.loads(metrics)) for name, step, metrics in found]


def test_trackio_holds_metrics_and_a_table_with_pictures(
    tmp_path: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(TrackSettings(trackio="first"), tmp_path, 0, range(3))
    rows = trackio_rows(here, "first")
    assert {step: m["loss"] for _, step, m in rows if "loss" in m} == {0: 0.0, 1: 1.0, 2: 2.0}
    (table,) = (m["samples"]["_value"] for _, _, m in rows if "samples" in m)
    assert [(r["item_id"], r["reward_total"], r["tokens"]) for r in table] == [("a", 1.5, 12), ("b", 1.5, 12)]
    assert (here / "trackio" / "media" / table[0]["image"]["file_path"]).is_file()
    assert table[1]["image"] is None
    assert capfd.readouterr().out == ""


def test_a_resumed_run_goes_on_in_trackio_and_repeats_no_step(tmp_path: Path, here: Path) -> None:
    run(TrackSettings(trackio="second"), tmp_path, 0, range(7))
    run(TrackSettings(trackio="second"), tmp_path, 4, range(4, 12))
    rows = trackio_rows(here, "second")
    assert [step for _, step, m in rows if "loss" in m] == list(range(12))
    assert [step for _, step, m in rows if "samples" in m] == [0, 5, 10]
    assert len({name for name, _, _ in rows}) == 1


def test_runs_in_directories_of_one_name_stay_apart_in_trackio(tmp_path: Path, here: Path) -> None:
    for parent in ("a", "b"):
        run(TrackSettings(trackio="third"), tmp_path / parent / "run", 0, range(2), name=parent)
    assert len({name for name, _, _ in trackio_rows(here, "third")}) == 2


# --- wandb ------------------------------------------------------------------------------------------------------


def wandb_records(out: Path) -> list[Any]:
    """The records of a run's files in order. wandb's own process writes the last of them after `finish` has returned."""
    files = sorted(out.glob("wandb/offline-run-*/run-*.wandb"))
    assert files
    found: list[Any] = []
    for file in files:
        for _ in range(600):
            records = list(records_of(file.read_bytes()))
            if records and records[-1].WhichOneof("record_type") == "exit":
                break
            time.sleep(0.1)
        found += records
    return found


def records_of(data: bytes) -> Iterator[Any]:
    """A log of LevelDB's format, in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2 as proto

    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last of its parts
            yield proto.Record.FromString(parts)
            parts = b""


def wandb_history(out: Path) -> list[dict[str, Any]]:
    found = [r.history for r in wandb_records(out) if r.WhichOneof("record_type") == "history"]
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in history.item}
        for history in found
    ]


def staged_tables(here: Path) -> Iterator[dict[str, Any]]:
    """The tables that wandb would upload."""
    for path in (here / "wandb" / "artifacts" / "staging").iterdir():
        if path.read_bytes().startswith(b"{") and (found := json.loads(path.read_text()))["_type"] == "table":
            yield found


def test_wandb_holds_metrics_settings_and_a_table_with_pictures(
    tmp_path: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(TrackSettings(wandb="first"), tmp_path, 0, range(3))
    history = wandb_history(tmp_path)
    assert {h["_step"]: h["loss"] for h in history} == {0: 0.0, 1: 1.0, 2: 2.0}
    (begun,) = (r.run for r in wandb_records(tmp_path) if r.WhichOneof("record_type") == "run")
    config = {c.key: json.loads(c.value_json) for c in begun.config.update}
    assert {k: config[k] for k in CONFIG} == CONFIG
    assert (begun.project, begun.display_name) == ("first", tmp_path.name)
    table = next(t for t in staged_tables(here) if t["data"][0][0] == "a")
    assert table["columns"][:3] == ["item_id", "image", "tier"]
    assert [r[0] for r in table["data"]] == ["a", "b"]
    assert (table["data"][0][1]["_type"], table["data"][0][1]["width"]) == ("image-file", 40)
    assert capfd.readouterr().out == ""


def test_a_resumed_run_goes_on_in_wandb_and_repeats_no_step(tmp_path: Path) -> None:
    settings = TrackSettings(wandb="second")
    run(settings, tmp_path, 0, range(4))
    time.sleep(1.1)  # wandb names its folders by the second
    run(settings, tmp_path, 2, range(2, 6))
    assert [h["_step"] for h in wandb_history(tmp_path)] == list(range(6))
    begun = [r.run for r in wandb_records(tmp_path) if r.WhichOneof("record_type") == "run"]
    assert {r.run_id for r in begun} == {"a-run"}


def test_training_goes_on_when_wandb_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import wandb

    with open_trackers(
        TrackSettings(wandb="third", tensorboard=True), tmp_path, 0, CONFIG, "a-run"
    ) as trackers:
        trackers.log(0, {"loss": 0.0})
        wandb.finish()
        for step in (1, 2):
            trackers.log(step, {"loss": float(step)})
    assert trackers.failures == {"tensorboard": 0, "wandb": 2}
    assert capsys.readouterr().err.count("wandb failed at step 1, and training goes on") == 1
    assert scalars(tmp_path) == {0: 0.0, 1: 1.0, 2: 2.0}


def test_a_tracker_that_does_not_start_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_SERVER_URL", "nowhere")
    with pytest.raises(
        BadInput, match=r"track.trackio is set and trackio does not start: ValueError: .*nowhere"
    ):
        open_trackers(TrackSettings(trackio="fourth"), tmp_path, 0, CONFIG, "a-run")


def test_all_trackers_take_an_image_of_any_size(tmp_path: Path) -> None:
    settings = TrackSettings(tensorboard=True, trackio="sizes", wandb="sizes")
    with open_trackers(settings, tmp_path, 0, CONFIG, "a-run") as trackers:
        trackers.samples(0, [row(images=(image(7, 700),)), row("b", images=())])
        trackers.samples(1, [row("b", images=()), row(images=(image(8, 9),))])
    assert not any(trackers.failures.values())
    (large,), (small,) = (events(tmp_path).Images(f"samples/{i}") for i in (0, 1))
    assert (large.width, large.height, small.width, small.height) == (256, 256, 9, 9)
