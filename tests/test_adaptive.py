"""The stopping rule against a slow one written from its formula, by enumeration, and by simulation with known p."""

import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import K, rows_of
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import betabinom

from ladder.adaptive import AdaptiveSettings, StoppingRule, ends
from ladder.config import validate
from ladder.errors import BadInput
from ladder.score import JEFFREYS, Beta, fit_prior
from ladder.tiers import TierSettings, tier_of

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import adaptive_k

K0, TIERS, DEFAULT = 8, TierSettings(), AdaptiveSettings()
PRIORS = [Beta(1, 1), JEFFREYS, Beta(0.3, 0.3)]
RULE = StoppingRule(K0, DEFAULT, TIERS)
ITEMS = 200_000


def tiers_cut_at(*cuts: float) -> TierSettings:
    return TierSettings(names=tuple(f"t{i}" for i in range(len(cuts) + 1)), cuts=cuts)


def slow_gain(settings: AdaptiveSettings, tiers: TierSettings) -> Callable[[int, int], float]:
    """What going on is worth more than stopping, by the formula of docs/adaptive.md, term by term."""

    def stop(correct: int, n: int) -> float:
        return max(JEFFREYS.posterior(correct, n).bands(tiers.cuts))

    def go_on(correct: int, n: int) -> float:
        step = min(settings.step, settings.k_max - n)
        now = JEFFREYS.posterior(correct, n)
        chances = betabinom.pmf(np.arange(step + 1), step, now.a, now.b)
        later = sum(float(q) * value(correct + j, n + step) for j, q in enumerate(chances))
        return later - settings.price * step

    @cache
    def value(correct: int, n: int) -> float:
        return stop(correct, n) if n == settings.k_max else max(stop(correct, n), go_on(correct, n))

    return lambda correct, n: go_on(correct, n) - stop(correct, n)


@pytest.mark.parametrize("step", [1, 2, 3, 8])
@pytest.mark.parametrize("price", [1e-4, 0.003, 0.02])
@pytest.mark.parametrize("tiers", [TIERS, tiers_cut_at(0.5), tiers_cut_at(0.1, 0.35)])
def test_an_item_goes_on_where_that_is_worth_more_than_its_price(
    step: int, price: float, tiers: TierSettings
) -> None:
    settings = AdaptiveSettings(k_max=19, step=step, price=price)
    rule, gain = StoppingRule(1, settings, tiers), slow_gain(settings, tiers)
    for n in range(1, 19):
        for correct in range(n + 1):
            if abs(gain(correct, n)) > 1e-9:
                assert (rule.wanted(correct, n) > n) == (gain(correct, n) > 0), (correct, n)


def states(k_max: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.integers(0, k_max).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(states(90), st.integers(1, 12), st.integers(12, 80), st.integers(1, 9), st.floats(1e-6, 0.1))
def test_what_is_wanted_lies_between_what_there_is_and_k_max(
    state: tuple[int, int], k0: int, k_max: int, step: int, price: float
) -> None:
    correct, n = state
    settings = AdaptiveSettings(k_max=k_max, step=step, price=price)
    wanted = StoppingRule(k0, settings, TIERS).wanted(correct, n)
    assert wanted == StoppingRule(k0, settings, TIERS).wanted(correct, n)
    if n < k0:
        assert wanted == k0
    elif n >= k_max:
        assert wanted == n
    else:
        assert n <= wanted <= k_max
        assert (wanted - n) % step == 0 or wanted == k_max


@pytest.mark.parametrize("k_max", [9, 16, 40])
def test_no_sample_is_taken_where_none_can_change_the_tier(k_max: int) -> None:
    rule = StoppingRule(1, AdaptiveSettings(k_max=k_max, step=1, price=1e-6), TIERS)
    settled = 0
    for n in range(1, k_max):
        for correct in range(n + 1):
            ways = [(c, m) for m in range(n, k_max + 1) for c in range(correct, correct + m - n + 1)]
            if len({tier_of(JEFFREYS, c, m, TIERS)[0] for c, m in ways}) == 1:
                assert rule.wanted(correct, n) == n
                settled += 1
    assert settled


@given(st.lists(st.booleans(), min_size=64, max_size=64), st.integers(1, 5), st.sampled_from([0.001, 0.0065]))
def test_asking_for_several_steps_at_once_takes_no_more_samples(
    outcomes: list[bool], step: int, price: float
) -> None:
    rule = StoppingRule(K0, AdaptiveSettings(step=step, price=price), TIERS)

    def end(at_once: bool) -> int:
        n = K0
        while (wanted := rule.wanted(sum(outcomes[:n]), n)) > n:
            n = wanted if at_once else min(n + step, 64)
        return n

    assert end(at_once=True) == end(at_once=False)


def test_a_lower_price_never_asks_for_less() -> None:
    tables = [
        StoppingRule(K0, AdaptiveSettings(price=p), TIERS).more for p in (0.05, 0.01, 0.0065, 0.001, 1e-6)
    ]
    for dearer, cheaper in pairwise(tables):
        assert (cheaper >= dearer).all()
        assert (cheaper > dearer).any()


def test_cuts_that_mirror_each_other_treat_correct_and_wrong_alike() -> None:
    for n in range(DEFAULT.k_max + 1):
        wants = [RULE.wanted(c, n) for c in range(n + 1)]
        assert wants == wants[::-1]


def test_no_sample_is_taken_at_a_price_that_none_is_worth() -> None:
    rule = StoppingRule(K0, AdaptiveSettings(price=0.9), TIERS)
    assert not rule.more.any()
    assert rule.expected_cost(JEFFREYS) == pytest.approx(K0)


def test_an_impossible_state_is_refused() -> None:
    for correct, n in ((-1, 8), (9, 8), (0, -1)):
        with pytest.raises(ValueError, match=f"{correct} correct of {n}"):
            RULE.wanted(correct, n)


def test_k_max_below_the_first_samples_is_refused_and_the_same_number_is_not() -> None:
    with pytest.raises(ValueError, match="k_max is 4, less than the first k = 8 samples"):
        StoppingRule(K0, AdaptiveSettings(k_max=4), TIERS)
    assert StoppingRule(K0, AdaptiveSettings(k_max=K0), TIERS).expected_cost(JEFFREYS) == pytest.approx(K0)


@pytest.mark.parametrize("bad", [{"price": 0}, {"price": 1}, {"step": 0}, {"k_max": 0}, {"k_max": 5000}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AdaptiveSettings(**bad)  # type: ignore[arg-type]


def test_a_misspelt_setting_is_told() -> None:
    with pytest.raises(BadInput, match="unknown key 'kmax', did you mean 'k_max'"):
        validate(AdaptiveSettings, {"kmax": 32})


def simulated(more: np.ndarray, k0: int, p: np.ndarray, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Correct and n of items of the given p."""
    rng = np.random.default_rng(seed)
    correct, n = rng.binomial(k0, p), np.full(len(p), k0)
    while (add := more[n, correct]).any():
        correct, n = correct + rng.binomial(add, p), n + add
    return correct, n


def draw(prior: Beta, items: int = ITEMS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(prior.a, prior.b, items)


def scored(correct: np.ndarray, n: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stored tier probability of each item, and whether its p lies in its tier."""
    pairs, where, items = np.unique(np.stack([correct, n]), axis=1, return_inverse=True, return_counts=True)
    counts = {(int(c), int(m)): int(i) for c, m, i in zip(*pairs, items, strict=True)}
    prior = fit_prior(counts)
    decided = [tier_of(prior, c, m, TIERS) for c, m in counts]
    tier = np.array([TIERS.names.index(name) for name, _ in decided])[where]
    return np.array([told for _, told in decided])[where], tier == np.digitize(p, TIERS.cuts)


def exact(more: np.ndarray, k0: int, prior: Beta) -> tuple[float, float]:
    """Mean cost and accuracy, by enumeration."""
    ended = list(ends(more, k0, prior))
    right = [[tier_of(prior, c, n, TIERS)[1] if n else 0.0 for c in range(n + 1)] for n, _ in ended]
    cost = sum(n * share.sum() for n, share in ended)
    return cost, sum(float(share @ np.array(r)) for (_, share), r in zip(ended, right, strict=True))


def fixed(k: int) -> np.ndarray:
    return np.zeros((k + 1, k + 1), dtype=np.int64)


@pytest.mark.parametrize("prior", [*PRIORS, Beta(8, 2)])
def test_the_forecast_is_what_a_simulated_pool_costs(prior: Beta) -> None:
    assert sum(share.sum() for _, share in ends(RULE.more, K0, prior)) == pytest.approx(1)
    p = draw(prior)
    correct, n = simulated(RULE.more, K0, p)
    cost, accuracy = exact(RULE.more, K0, prior)
    assert RULE.expected_cost(prior) == pytest.approx(cost)
    assert n.mean() == pytest.approx(cost, abs=5 * n.std() / np.sqrt(ITEMS))
    assert scored(correct, n, p)[1].mean() == pytest.approx(accuracy, abs=5 * np.sqrt(0.25 / ITEMS))


@pytest.mark.parametrize("prior", PRIORS)
def test_two_fifths_of_the_samples_are_saved_and_nearly_all_items_keep_their_tier(prior: Beta) -> None:
    p = draw(prior)
    correct, n = simulated(RULE.more, K0, p)
    accuracy = scored(correct, n, p)[1].mean()
    at_32 = scored(*simulated(fixed(32), 32, p), p)[1].mean()
    assert n.mean() <= 0.6 * 32
    assert accuracy >= 0.96 * at_32


@pytest.mark.parametrize("prior", PRIORS)
def test_below_a_mean_cost_of_16_it_is_two_points_better_than_fixed_16(prior: Beta) -> None:
    cheap = StoppingRule(K0, AdaptiveSettings(step=4, price=0.00825), TIERS)
    cost, accuracy = exact(cheap.more, K0, prior)
    assert cost <= 16
    assert accuracy >= exact(fixed(16), 16, prior)[1] + 0.02


@pytest.mark.parametrize("prior", [*PRIORS, Beta(8, 2)])
@pytest.mark.parametrize("pool", [200, 2000, ITEMS])
def test_stopping_early_does_not_bias_the_stored_tier_probability(prior: Beta, pool: int) -> None:
    p = draw(prior)
    correct, n = simulated(RULE.more, K0, p)
    parts = [slice(start, start + pool) for start in range(0, min(ITEMS, 200 * pool), pool)]
    told, right = (
        np.concatenate(both) for both in zip(*(scored(correct[i], n[i], p[i]) for i in parts), strict=True)
    )
    for low in (0.6, 0.7, 0.8):
        inside = (told >= low) & (told < low + 0.1)
        noise = np.sqrt(0.25 / inside.sum())
        assert right[inside].mean() == pytest.approx(told[inside].mean(), abs=5 * noise + 0.01)
    inside = (told >= 0.8) & (told < 0.9)
    assert 0.8 <= right[inside].mean() <= 0.9


def test_a_replay_takes_of_recorded_answers_what_the_rule_asks_for(built: Path) -> None:
    correct = adaptive_k.recorded(built)
    assert correct.shape == (rows_of(built, "SELECT count(*) FROM ladder")[0][0], K)
    assert correct.sum() == rows_of(built, "SELECT sum(correct) FROM ladder")[0][0]
    rule = StoppingRule(2, AdaptiveSettings(k_max=K, step=1, price=0.04), TIERS)
    taken = adaptive_k.replay(rule, correct)
    assert set(taken) == {2, K}
    for row, n in zip(correct, taken, strict=True):
        assert n == K or rule.wanted(int(row[:n].sum()), n) == n
