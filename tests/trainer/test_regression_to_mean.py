"""With a model that does not change, "before" and "after" differ by noise alone in every tier; and only because "before" is
not taken from the rollouts that put the items there."""

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import rows_of

from ladder.splits import Split
from trainer.evaluate import evaluate
from trainer.setup import build_settings_of

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from regression_to_mean import TIERS, simulate

PROBES = 40


@pytest.fixture(scope="module")
def simulated() -> dict[str, Any]:
    return simulate(PROBES, seed=1)


def test_an_unchanged_model_shows_no_change_in_any_tier(simulated: dict[str, Any]) -> None:
    """An interval of 95% excludes 0 in one probe of twenty; of 40, more than 8 are as likely as 1 in 4,000."""
    found = simulated["fresh"]
    for tier in TIERS.names:
        change, excluded = found[tier]
        assert abs(change) < 0.01, tier
        assert excluded <= 8 / PROBES, tier


def test_the_rollouts_that_tier_items_show_a_change_that_is_none(simulated: dict[str, Any]) -> None:
    found = simulated["naive"]
    assert found["unsolved"][0] > 0.03
    assert found["solved"][0] < -0.03
    assert found["unsolved"][1] == found["solved"][1] == 1


def test_an_evaluation_never_takes_the_rollouts_of_its_ladder_again(split: Split) -> None:
    """Not even under the build's own seed, where the engine would give exactly these."""
    built = build_settings_of(split)
    tiering = dict(rows_of(split.ladder, "SELECT id, correct FROM ladder"))
    found = evaluate(split, split.train, "digits", built, n=built.sampling.k, seed=built.sampling.seed)
    assert {r.id: r.correct for r in found.items} != {r.id: tiering[r.id] for r in found.items}
    again = evaluate(split, split.train, "digits", built, n=built.sampling.k, seed=built.sampling.seed)
    assert again.items == found.items
