"""Whole training runs on the embedded policy: metrics, checkpoints, outcomes, resume, and refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from ladder.errors import BadInput
from ladder.splits import Split
from trainer.reward import Bonus
from trainer.run import train
from trainer.setup import Chosen, settings_for

SMALL = [
    "steps=4",
    "save.every=2",
    "batch.prompts=4",
    "batch.group=4",
    "batch.responses_per_update=8",
    "seed=5",
]


def chosen(split: Split, *overrides: str) -> Chosen:
    return settings_for(split, None, None, [*SMALL, *overrides])


def metrics(out: Path) -> list[dict[str, Any]]:
    """Every step's metrics but the times."""
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("seconds/")} for line in lines]


@pytest.fixture(scope="module")
def whole(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    use = chosen(split)
    train(split, use.model, use.settings, out)
    return out


def test_metrics_tell_rewards_apart_and_count_the_silent(whole: Path) -> None:
    rows = metrics(whole)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        total = row["reward/accuracy"] + row["reward/format"] + row["reward/bonus"]
        assert row["reward/total"] == pytest.approx(total, abs=1e-5)
        assert row["reward/accuracy"] == pytest.approx(row["correct"], abs=1e-6)
        assert 0 <= row["groups_without_signal"] <= 1
    assert rows[-1]["curriculum/drawn"] == 16


def test_the_first_update_is_on_policy(whole: Path) -> None:
    first = metrics(whole)[0]
    assert first["kl"] < 0.05  # mean over two updates, the first of which has none
    assert first["ratio"] == pytest.approx(1, abs=0.05)


def test_the_trained_model_loads_with_transformers_and_differs(whole: Path) -> None:
    from transformers import AutoModelForImageTextToText

    from ladder.models import load_model, resolve_model

    trained = AutoModelForImageTextToText.from_pretrained(whole / "model", dtype=torch.float32)
    before = load_model(resolve_model("digits"), dtype="float32", device="cpu")
    moved = [not torch.equal(a, b) for a, b in zip(trained.parameters(), before.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.usefixtures("whole")
def test_outcomes_go_back_to_the_ladder(split: Split) -> None:
    from ladder.store import Store

    rows = Store.open(split.ladder).outcomes.table().to_pylist()
    ours = [row for row in rows if row["n"] == 4]
    assert {row["step"] for row in ours} == {1, 2, 3, 4}
    assert {row["item_id"] for row in ours} <= {row["id"] for row in split.train}
    assert any("@" in row["model"] for row in ours)  # later steps name their weights version
    groups = Counter((row["run"], row["step"], row["item_id"]) for row in ours)
    draws = {(row["run"], row["step"], row["item_id"], row["draw"]) for row in ours}
    assert draws == {(*group, draw) for group, times in groups.items() for draw in range(times)}


def test_a_killed_run_goes_on_exactly(split: Split, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    overrides = [argument for override in SMALL for argument in ("--set", override)]
    command = [
        sys.executable,
        "-m",
        "ladder.cli",
        "train",
        str(split.path),
        "--out",
        str(out),
        "--seed",
        "5",
        *overrides,
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "resumed after step" in finished.stderr
    assert metrics(out) == metrics(whole)


def test_a_run_never_shares_its_directory(split: Split, whole: Path, tmp_path: Path) -> None:
    other = chosen(split, "optim.learning_rate=1e-3")
    with pytest.raises(BadInput, match="other settings"):
        train(split, other.model, other.settings, whole)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(BadInput, match="holds no run"):
        train(split, other.model, other.settings, tmp_path / "full")


def test_without_weight_there_is_no_reference(split: Split, tmp_path: Path) -> None:
    use = chosen(split, "kl.weight=0.0", "steps=1")
    report = train(split, use.model, use.settings, tmp_path / "free")
    assert "kl" not in report.metrics


def test_kl_may_enter_the_loss(split: Split, tmp_path: Path) -> None:
    use = chosen(split, "kl.place=loss", "kl.estimator=k3", "steps=1")
    assert train(split, use.model, use.settings, tmp_path / "loss").metrics["kl"] >= 0


def test_micro_batches_change_nothing(split: Split, whole: Path, tmp_path: Path) -> None:
    use = chosen(split, "batch.tokens_per_micro_batch=200", "steps=4")
    train(split, use.model, use.settings, tmp_path / "micro")
    for ours, theirs in zip(metrics(tmp_path / "micro"), metrics(whole), strict=True):
        assert ours["reward/total"] == pytest.approx(theirs["reward/total"], abs=0.2)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=0.05)


def test_a_named_recipe_is_taken_as_it_is_and_the_pipelines_departures_are_shown(
    split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    pure = settings_for(split, None, "observe-r1", [])
    assert pure.settings.optim.learning_rate == 1e-6
    assert capsys.readouterr().err == ""
    scaled = settings_for(split, None, None, [])
    bonus = scaled.settings.reward["bonus"]
    assert isinstance(bonus, Bonus) and bonus.bound == "upper"
    told = capsys.readouterr().err
    assert 'reward.bonus.bound = "upper"' in told  # as TOML has it
    assert "gradient_checkpointing = false" in told
    settings_for(split, None, None, ["gradient_checkpointing=true"])
    assert "gradient_checkpointing" not in capsys.readouterr().err  # it is not departed from
    with pytest.raises(BadInput, match=r"and --set: unknown key 'optim.lr'"):
        settings_for(split, None, None, ["optim.lr=1e-4"])


def test_a_run_that_begins_elsewhere_than_the_scores_says_so_once(
    split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for template, warned in (("brief", False), ("think-answer", True), ("think-answer", False)):
        use = settings_for(split, None, None, [*SMALL, "steps=1", "save.every=1", f"template={template}"])
        train(split, use.model, use.settings, tmp_path / template)
        said = (
            "warning: the ladder was scored with another model, prompt or sampling" in capsys.readouterr().err
        )
        assert said == warned
