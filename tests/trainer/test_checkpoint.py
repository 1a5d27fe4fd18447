"""Checkpoints: whole or not there, found again, and exact to the last bit."""

import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from ladder.errors import LadderError
from ladder.models import load_model, resolve_model
from trainer.checkpoint import (
    State,
    forget_torn,
    latest,
    load_state,
    save_best,
    save_checkpoint,
    save_model,
    settle_best,
)

SOURCE = resolve_model("digits")
SURPLUS = [{"draw": {"sequence": 7}, "responses": [{"logprobs": [-0.1, -1 / 3, -5e-324, -1e308]}]}]
STATE = State({"updates": 3, "kl": {"factor": 1.0000000000000002}, "text": "3°\u2028"}, SURPLUS)


def adamw(model: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)


@pytest.fixture(scope="module")
def trained() -> tuple[Any, torch.optim.Optimizer]:
    """The embedded policy after two updates."""
    model = load_model(SOURCE, dtype="float32", device="cpu")
    optimizer = adamw(model)
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return model, optimizer


def save(folder: Path, step: int, trained: tuple[Any, torch.optim.Optimizer], keep: int = 2) -> Path:
    return save_checkpoint(folder, step, trained[0], SOURCE, trained[1], STATE, keep)


@pytest.fixture(scope="module")
def saved(trained: tuple[Any, torch.optim.Optimizer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, not to be changed."""
    return save(tmp_path_factory.mktemp("saved"), 4, trained)


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """The checkpoints of steps 2 and 4, to be changed."""
    for step in (2, 4):
        shutil.copytree(saved, tmp_path / f"step-{step:06d}")
    return tmp_path


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_everything_comes_back_to_the_last_bit(
    trained: tuple[Any, torch.optim.Optimizer], saved: Path
) -> None:
    model, optimizer = trained
    torch.manual_seed(11)
    loaded = load_model(saved, dtype="float32", device="cpu")
    other = adamw(loaded)
    state = load_state(saved, other)
    pairs = list(zip(model.parameters(), loaded.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    for a, b in pairs:
        ours, theirs = optimizer.state[a], other.state[b]
        assert ours.keys() == theirs.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert state.values == STATE.values | {"format": 1, "step": 4}
    assert state.surplus == SURPLUS
    before, after = (rows[0]["responses"][0]["logprobs"] for rows in (SURPLUS, state.surplus))
    assert list(map(bits, before)) == list(map(bits, after))


def test_random_numbers_go_on_where_they_were(
    trained: tuple[Any, torch.optim.Optimizer], tmp_path: Path
) -> None:
    torch.manual_seed(3)
    torch.rand(5)
    path = save(tmp_path, 1, trained)
    expected = torch.rand(5)
    load_state(path, adamw(load_model(path, dtype="float32", device="cpu")))
    assert torch.equal(torch.rand(5), expected)


def test_a_checkpoint_and_a_saved_model_load_with_transformers_and_bring_their_processor(
    trained: tuple[Any, torch.optim.Optimizer], saved: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    save_model(trained[0], SOURCE, tmp_path / "model")
    for path in (saved, tmp_path / "model"):
        model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
        assert all(map(torch.equal, model.parameters(), trained[0].parameters()))
        assert AutoProcessor.from_pretrained(path).tokenizer("3 + 4")["input_ids"]
        assert (path / "chat_template.jinja").read_bytes() == (SOURCE / "chat_template.jinja").read_bytes()


def test_a_model_that_was_trained_from_a_checkpoint_takes_none_of_its_state_along(
    trained: tuple[Any, torch.optim.Optimizer], saved: Path, tmp_path: Path
) -> None:
    save_model(trained[0], saved, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names.isdisjoint({"trainer_state.json", "files.json", "surplus.jsonl", "optimizer.pt"})
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names


def test_the_latest_ones_stay(trained: tuple[Any, torch.optim.Optimizer], tmp_path: Path) -> None:
    assert latest(tmp_path / "none") is None
    paths = [save(tmp_path, step, trained) for step in (2, 4, 6)]
    assert sorted(tmp_path.iterdir()) == paths[1:]
    assert latest(tmp_path) == paths[2]


def test_one_that_is_torn_neither_counts_as_kept_nor_stays(
    trained: tuple[Any, torch.optim.Optimizer], copied: Path
) -> None:
    (copied / "step-000004" / "model.safetensors").unlink()
    (copied / "step-000099").mkdir()
    path = save(copied, 6, trained, keep=1)
    assert list(copied.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "surplus.jsonl", "trainer_state.json", "config.json"]
)
def test_with_any_file_torn_or_gone_the_one_before_is_the_latest(
    copied: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied / "step-000004" / name
    file.write_bytes(file.read_bytes()[:-1])
    assert latest(copied) == copied / "step-000002"
    assert f"{file.parent} is torn: it is passed over" in capsys.readouterr().err
    file.unlink()
    assert latest(copied) == copied / "step-000002"


@pytest.mark.parametrize("listed", ["", "{}", "[]", '{"config.json": 1', "null"])
def test_without_a_whole_list_of_its_files_a_checkpoint_is_torn(copied: Path, listed: str) -> None:
    (copied / "step-000004" / "files.json").write_text(listed)
    assert latest(copied) == copied / "step-000002"


def test_saving_again_replaces(trained: tuple[Any, torch.optim.Optimizer], copied: Path) -> None:
    (copied / "step-000004" / "old").touch()
    path = save(copied, 4, trained)
    assert not (path / "old").exists()
    assert latest(copied) == path
    assert list(copied.glob(".*")) == []


def test_nothing_is_ever_unpickled(copied: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "struck",)

    path = copied / "step-000004"
    for data in (pickle.dumps(Hostile()), b"\0" * 100, b""):
        (path / "optimizer.pt").write_bytes(data)
        with pytest.raises(LadderError, match="remove it to go on from the one before") as told:
            load_state(path, adamw(torch.nn.Linear(2, 2)))
        assert "\n" not in str(told.value)
    torch.save({"optimizer": Hostile()}, path / "optimizer.pt")
    with pytest.raises(LadderError, match="cannot go on"):
        load_state(path, adamw(torch.nn.Linear(2, 2)))
    assert not (tmp_path / "struck").exists()


def test_the_state_of_another_model_or_version_is_refused(copied: Path) -> None:
    path = copied / "step-000004"
    with pytest.raises(LadderError, match="cannot go on from the checkpoint"):
        load_state(path, adamw(torch.nn.Linear(2, 2)))
    state = json.loads((path / "trainer_state.json").read_text())
    for changed in (state | {"format": 0}, {"step": 4}, []):
        (path / "trainer_state.json").write_text(json.dumps(changed))
        with pytest.raises(LadderError, match="another version of Ladder"):
            load_state(path, adamw(torch.nn.Linear(2, 2)))


def test_an_interrupt_leaves_nothing_half_written(
    trained: tuple[Any, torch.optim.Optimizer], tmp_path: Path
) -> None:
    class Interrupted:
        def save_pretrained(self, out: Path, **_: Any) -> None:
            trained[0].save_pretrained(out)
            raise KeyboardInterrupt

        parameters = trained[0].parameters

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 2, Interrupted(), SOURCE, trained[1], STATE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_in_one_line(
    trained: tuple[Any, torch.optim.Optimizer], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LadderError, match=r"cannot write .*step-000002: Not a directory"):
        save(tmp_path / "file", 2, trained)


def test_what_killed_writers_left_is_forgotten_and_nothing_else(copied: Path) -> None:
    (copied / ".step-000006.12.tmp").mkdir()
    (copied / ".step-000006.12.tmp" / "config.json").touch()
    (copied / "samples").mkdir()
    (copied / "samples" / ".step-000002.parquet.9.tmp").touch()
    (copied / ".lock").touch()
    before = {path for path in copied.rglob("*") if ".tmp" not in str(path)}
    forget_torn(copied)
    assert set(copied.rglob("*")) == before


def test_what_a_killed_writer_had_moved_away_and_not_replaced_is_put_back(copied: Path) -> None:
    (copied / "step-000004").rename(copied / ".step-000004.before.tmp")
    shutil.copytree(copied / "step-000002", copied / ".step-000002.before.tmp")
    (copied / ".step-000002.before.tmp" / "old").touch()
    assert latest(copied) == copied / "step-000002"
    forget_torn(copied)
    assert latest(copied) == copied / "step-000004"
    assert sorted(path.name for path in copied.iterdir()) == ["step-000002", "step-000004"]
    assert not (copied / "step-000002" / "old").exists()


def test_a_model_takes_the_best_ones_place_only_where_the_checkpoint_names_it(
    trained: tuple[Any, torch.optim.Optimizer], tmp_path: Path
) -> None:
    two, four = {"done": 2, "value": 0.1}, {"done": 4, "value": 1 / 3}
    for best in (two, four):
        save_best(tmp_path, trained[0], SOURCE, best)
        assert settle_best(tmp_path, two)
        assert json.loads((tmp_path / "best" / "best.json").read_text()) == two
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert not settle_best(tmp_path, four)
    save_best(tmp_path, trained[0], SOURCE, four)
    (tmp_path / "best").rename(tmp_path / ".best.before.tmp")  # killed between the two renamings
    forget_torn(tmp_path)
    assert settle_best(tmp_path, four)
    assert load_model(tmp_path / "best", dtype="float32", device="cpu")
