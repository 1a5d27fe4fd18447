"""Training and evaluation judge as the ladder was built to judge."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ladder.splits import Split
from ladder.verify import Policy
from ladder.verify.pool import VerifierPool
from trainer.evaluate import evaluate
from trainer.run import train
from trainer.setup import build_settings_of, settings_for


@pytest.fixture
def strict(split: Split, tmp_path: Path) -> Split:
    """A split of a ladder that was built with another policy, deadline and number of workers."""
    ladder = Path(shutil.copytree(split.ladder, tmp_path / "ladder"))
    text = (ladder / "build.toml").read_text()
    for old, new in [('format = "lenient"', 'format = "strict"'), ("deadline = 2.0", "deadline = 7.0")]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (ladder / "build.toml").write_text(text)
    return replace(split, ladder=ladder)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What pools were made of."""
    made: list[tuple[Any, ...]] = []

    class Noted(VerifierPool):
        def __init__(self, *arguments: Any) -> None:
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr("ladder.settings.VerifierPool", Noted)
    return made


def test_an_evaluation_judges_as_its_ladder_does(strict: Split, opened: list[tuple[Any, ...]]) -> None:
    settings = build_settings_of(strict)
    evaluate(strict, strict.probe[:2], settings.model.name, settings, 1, 0)
    assert opened == [(1, 7.0, Policy(format="strict"))]


def test_training_judges_as_its_ladder_does(
    strict: Split, opened: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    use = settings_for(strict, None, None, ["steps=1", "batch.prompts=2", "batch.group=2"])
    train(strict, use.model, use.settings, tmp_path / "run")
    assert opened == [(1, 7.0, Policy(format="strict"))]
