"""The statistics against golden vectors, exact enumeration, numeric integration and simulation."""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from ladder.score import JEFFREYS, SMALL_POOL, Beta, fit_prior, level, pass_at

counts = st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("n", "correct", "j", "expected"),
    [(10, 3, 1, 0.3), (10, 3, 5, 0.916667), (8, 1, 4, 0.5), (8, 6, 4, 1.0), (8, 0, 8, 0.0), (1, 1, 1, 1.0)],
)
def test_pass_at_j_gives_the_published_values(n: int, correct: int, j: int, expected: float) -> None:
    assert pass_at(n, correct, j) == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_j_is_the_share_of_draws_with_a_correct_one(case: tuple[int, int, int]) -> None:
    n, correct, j = case
    draws = list(combinations(range(n), j))
    share = sum(min(draw) < correct for draw in draws) / len(draws)
    assert pass_at(n, correct, j) == pytest.approx(share)


def test_pass_at_j_does_not_overflow_for_many_samples() -> None:
    assert pass_at(100_000, 1, 50_000) == pytest.approx(0.5)


def test_pass_at_j_needs_j_samples() -> None:
    with pytest.raises(ValueError, match="pass@4 needs at least 4 samples, not 3"):
        pass_at(3, 1, 4)


@pytest.mark.parametrize("prior", [JEFFREYS, Beta(1.3, 0.7), Beta(4, 9)])
@pytest.mark.parametrize(("correct", "n"), [(0, 8), (3, 8), (8, 8), (11, 16)])
def test_the_posterior_agrees_with_numeric_integration(prior: Beta, correct: int, n: int) -> None:
    def density(p: float) -> float:
        return p ** (prior.a + correct - 1) * (1 - p) ** (prior.b + n - correct - 1)

    def mass(low: float, high: float, weight: int = 0) -> float:
        return integrate.quad(lambda p: density(p) * p**weight, low, high)[0]

    posterior, whole, cuts = prior.posterior(correct, n), mass(0, 1), (1 / 16, 5 / 16, 11 / 16, 15 / 16)
    edges = (0.0, *cuts, 1.0)
    bands = [mass(a, b) / whole for a, b in pairwise(edges)]
    low, high = posterior.interval()
    assert posterior.mean == pytest.approx(mass(0, 1, 1) / whole, abs=1e-6)
    assert posterior.bands(cuts) == pytest.approx(bands, abs=1e-6)
    assert mass(0, low) / whole == pytest.approx(0.025, abs=1e-6)
    assert mass(high, 1) / whole == pytest.approx(0.025, abs=1e-6)


@given(counts)
def test_bands_sum_to_one_and_the_interval_holds_the_mean(pair: tuple[int, int]) -> None:
    posterior = JEFFREYS.posterior(*pair)
    low, high = posterior.interval()
    assert sum(posterior.bands((0.1, 0.5))) == pytest.approx(1)
    assert 0 <= low < posterior.mean < high <= 1


def simulated(prior: Beta, items: int, n: int, seed: int = 0) -> Counter[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    return Counter((int(c), n) for c in rng.binomial(n, rng.beta(prior.a, prior.b, items)))


@pytest.mark.parametrize("truth", [Beta(0.4, 0.4), Beta(2, 5), Beta(3, 0.8)])
def test_the_fitted_prior_recovers_the_one_that_made_the_pool(truth: Beta) -> None:
    fitted = fit_prior(simulated(truth, 20_000, 8))
    assert fitted.a == pytest.approx(truth.a, rel=0.1)
    assert fitted.b == pytest.approx(truth.b, rel=0.1)


def test_the_prior_uses_items_of_every_n() -> None:
    mixed = (
        simulated(Beta(2, 5), 10_000, 8) + simulated(Beta(2, 5), 10_000, 16, seed=1) + Counter({(0, 0): 500})
    )
    assert fit_prior(mixed).mean == pytest.approx(2 / 7, abs=0.01)


def test_a_small_pool_gets_jeffreys() -> None:
    assert fit_prior({(3, 8): SMALL_POOL - 1}) == JEFFREYS
    assert fit_prior({(3, 8): SMALL_POOL - 1, (0, 0): 50}) == JEFFREYS, "unscored items say nothing"
    assert fit_prior({(3, 8): SMALL_POOL}) != JEFFREYS
    assert fit_prior({}) == JEFFREYS


@pytest.mark.parametrize("correct", [0, 4, 8])
def test_a_pool_of_equal_items_gives_a_usable_prior(correct: int) -> None:
    fitted = fit_prior({(correct, 8): 5000})
    assert fitted.mean == pytest.approx(correct / 8, abs=0.02)
    assert 0 < fitted.posterior(8 - correct, 8).mean < 1


@pytest.mark.parametrize("n", [8, 16, 80])
def test_levels_are_eighths_whatever_n_is(n: int) -> None:
    assert [level(n * eighth // 8, n) for eighth in range(9)] == list(range(9))


@given(counts)
def test_a_level_is_the_nearest_eighth_and_rises_with_correct(pair: tuple[int, int]) -> None:
    correct, n = pair
    got = level(correct, n)
    assert abs(got / 8 - correct / n) <= 1 / 16 + 1e-12
    assert got <= level(min(correct + 1, n), n)


def test_halves_between_levels_go_up() -> None:
    assert [level(c, 16) for c in (1, 3, 15)] == [1, 2, 8]


@given(st.integers(0, 64), st.integers(1, 64), st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_a_level_of_discounted_counts_is_that_of_the_counts(correct: int, n: int, discount: float) -> None:
    correct = min(correct, n)
    if (16 * correct + n) % (2 * n):  # a half, which rounding may move
        assert level(discount * correct, discount * n) == level(correct, n)
