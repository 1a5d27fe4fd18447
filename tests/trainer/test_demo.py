"""The demo, made small: it goes all the way, tells what it did, and goes on after an interruption."""

import json
from pathlib import Path

import pytest

from ladder.errors import BadInput
from trainer.demo import demo

SMALL = ["pool.make.items=66", "pool.make.probe_items=33", "sampling.k=4"]
SHORT = ["steps=2", "batch.prompts=4", "batch.group=4", "batch.responses_per_update=16"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("demos") / "demo"
    return out, demo(out, 3, SMALL, SHORT)


def test_it_measures_all_three_before_and_after_with_intervals(shown: tuple[Path, dict]) -> None:
    out, result = shown
    whole = result["comparison"]["all"]
    assert set(whole) == {"items", "mean", "greedy", "pass", "tokens"}
    for measure in ("mean", "greedy", "pass"):
        for side in ("before", "after", "difference"):
            assert whole[measure][side]["low"] <= whole[measure][side]["mean"] <= whole[measure][side]["high"]
    assert set(result["seconds"]) == {"build", "sample", "evaluate", "train"}
    assert json.loads((out / "demo.json").read_text())["tiers"] == result["tiers"]


def test_it_leaves_a_ladder_a_split_and_a_model(shown: tuple[Path, dict]) -> None:
    out, _ = shown
    for name in (
        "digits/ladder.duckdb",
        "digits/splits/neuraladder/split.toml",
        "run/model/model.safetensors",
    ):
        assert (out / name).is_file()


def test_what_an_interrupted_demo_did_is_not_done_again(
    shown: tuple[Path, dict], capsys: pytest.CaptureFixture[str]
) -> None:
    out, result = shown
    (out / "after.json").unlink()
    again = demo(out, 3, SMALL, SHORT)
    told = capsys.readouterr().err
    assert "nothing to sample" in told
    assert "resumed after step 2" in told
    assert again["comparison"] == result["comparison"]


def test_it_tells_where_to_look_next(shown: tuple[Path, dict], capsys: pytest.CaptureFixture[str]) -> None:
    demo(shown[0], 3, SMALL, SHORT)
    told = capsys.readouterr().err
    for hint in ("ladder sql", "report.html", "Qwen2.5-VL-3B-Instruct", "Time:", "difference (paired)"):
        assert hint in told


def test_a_directory_of_something_else_is_refused(shown: tuple[Path, dict], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="another seed"):
        demo(shown[0], 4, SMALL, SHORT)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadInput, match="something else"):
        demo(tmp_path, 3, SMALL, SHORT)
