"""Which part of a run a step covers, for runs of steps and of epochs."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from ladder.splits import Split
from trainer.config import TrainSettings
from trainer.run import train
from trainer.schedule import Plan, Span
from trainer.setup import settings_for


def settings(**values: object) -> TrainSettings:
    return TrainSettings.model_validate({"batch": {"prompts": 4}, **values})


def test_a_run_of_steps_covers_them_evenly_and_ends_with_them() -> None:
    plan = Plan.of(settings(steps=5), most_draws=None)
    assert [plan.progress(done, None) for done in range(6)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert plan.progress(9, None) == 1
    assert not plan.over(4)
    assert plan.over(5)


def test_a_run_of_epochs_goes_by_its_draws_and_ends_by_itself() -> None:
    plan = Plan.of(settings(epochs=2.0), most_draws=18)
    assert plan.steps == 5  # the last of two groups
    assert plan.progress(1, 0.5) == 0.5  # a gate refused half of what was drawn
    assert not plan.over(100)


def test_a_run_of_epochs_needs_a_curriculum_that_ends() -> None:
    with pytest.raises(ValueError, match="that ends"):
        Plan.of(settings(), most_draws=None)


def test_the_updates_of_a_step_share_its_part() -> None:
    parts = [Span(0.2, 0.4).part(i, 4) for i in range(4)]
    assert parts[0].start == 0.2
    assert parts[-1].end == pytest.approx(0.4)
    assert all(a.end == pytest.approx(b.start) for a, b in pairwise(parts))


def test_a_runs_rates_fall_step_by_step_whatever_is_oversampled(split: Split, tmp_path: Path) -> None:
    """Surplus that is drawn long before it trains is still to come."""
    overrides = ["batch.prompts=4", "batch.group=2", "batch.responses_per_update=8", "response.max_tokens=8"]
    overrides += ["optim.schedule=linear", "optim.warmup_share=0", "optim.min_share=0", "epochs=0.5"]
    use = settings_for(split, None, None, [*overrides, "curriculum.oversample=3"])
    train(split, use.model, use.settings, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    draws = -(-len(split.train) // 2)
    rates = [use.settings.optim.learning_rate * (1 - 4 * step / draws) for step in range(-(-draws // 4))]
    assert [row["learning_rate"] for row in rows] == pytest.approx(rates)
