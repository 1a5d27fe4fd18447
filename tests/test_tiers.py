"""Tiers: what counts mean at n = 8, and that the stored probability is one."""

import numpy as np
import pytest
from scipy.stats import binom

from ladder.score import JEFFREYS, Beta, fit_prior
from ladder.tiers import TierSettings, tier_of

DEFAULT = TierSettings()
NAMES = DEFAULT.names


def test_at_eight_samples_the_tiers_are_the_papers_levels() -> None:
    expected = ["unsolved", "hard", "hard", "medium", "medium", "medium", "easy", "easy", "solved"]
    for prior in (JEFFREYS, Beta(0.3, 2), Beta(4, 1)):
        assert [tier_of(prior, c, 8, DEFAULT)[0] for c in range(9)] == expected


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 64])
def test_more_correct_is_never_a_harder_tier(n: int) -> None:
    for prior in (JEFFREYS, Beta(0.3, 2), Beta(4, 1)):
        for which in ("jeffreys", "pool"):
            places = [NAMES.index(tier_of(prior, c, n, TierSettings(prior=which))[0]) for c in range(n + 1)]  # type: ignore[arg-type]
            assert places == sorted(places)


def test_many_samples_leave_no_doubt_about_the_tier_of_p() -> None:
    for p, tier in ((0.01, "unsolved"), (0.2, "hard"), (0.5, "medium"), (0.8, "easy"), (0.99, "solved")):
        name, probability = tier_of(JEFFREYS, round(p * 10_000), 10_000, DEFAULT)
        assert name == tier
        assert probability > 0.999


def test_eight_of_eight_is_solved_with_seventy_percent_under_a_flat_prior() -> None:
    """design.md, section 5."""
    assert tier_of(Beta(0.5, 0.5), 8, 8, DEFAULT)[1] == pytest.approx(0.70, abs=0.05)


def test_under_the_pools_prior_the_most_probable_tier_wins() -> None:
    pool = TierSettings(prior="pool")
    rare = Beta(20, 20)  # a pool in which nothing is extreme
    assert tier_of(rare, 8, 8, DEFAULT)[0] == "solved"
    assert tier_of(rare, 8, 8, pool)[0] == "medium"
    assert tier_of(rare, 8, 8, DEFAULT)[1] < tier_of(rare, 8, 8, pool)[1]


@pytest.mark.parametrize("truth", [Beta(0.6, 0.6), Beta(1.5, 3)])
def test_the_stored_probability_is_the_share_of_items_whose_p_lies_in_their_tier(truth: Beta) -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(truth.a, truth.b, 40_000)
    correct = rng.binomial(8, p)
    prior = fit_prior({(c, 8): int((correct == c).sum()) for c in range(9)})
    actual = np.digitize(p, DEFAULT.cuts)
    for c in range(9):
        tier, told = tier_of(prior, c, 8, DEFAULT)
        inside = actual[correct == c] == NAMES.index(tier)
        noise = binom.std(len(inside), told) / len(inside)
        assert inside.mean() == pytest.approx(told, abs=4 * noise + 0.01)


def test_own_names_and_cuts() -> None:
    own = TierSettings(names=("low", "high"), cuts=(0.5,))
    assert [tier_of(JEFFREYS, c, 2, own)[0] for c in (0, 2)] == ["low", "high"]
