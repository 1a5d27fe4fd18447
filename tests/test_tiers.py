"""Tiers: what counts mean at n = 8, and that the stored probability is one."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy.stats import binom

from ladder.config import validate
from ladder.errors import BadInput
from ladder.score import JEFFREYS, Beta, fit_prior, level
from ladder.settings import BuildSettings
from ladder.tiers import AnyTiers, LevelTiers, QuantileTiers, TierSettings, tier_of

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


def cut(by: str, **more: object) -> LevelTiers | QuantileTiers:
    kinds = {"level": LevelTiers, "quantile": QuantileTiers}
    return kinds[by](**{"by": by} | more)  # type: ignore[return-value]


def pool_of(p: np.ndarray, n: int, seed: int = 0) -> dict[tuple[int, int], int]:
    correct = np.random.default_rng(seed).binomial(n, p)
    return {(int(c), n): int(items) for c, items in zip(*np.unique(correct, return_counts=True), strict=True)}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({}, TierSettings),
        ({"cuts": [0.1, 0.2, 0.3, 0.4]}, TierSettings),
        ({"by": "pass_rate", "prior": "pool"}, TierSettings),
        ({"by": "level", "cuts": [1, 2, 3, 4]}, LevelTiers),
        ({"by": "quantile", "names": ["low", "high"], "cuts": [0.5]}, QuantileTiers),
    ],
)
def test_by_says_how_tiers_are_cut_and_without_it_they_are_bands_of_p(
    said: dict[str, object], kind: type
) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(AnyTiers)
    made = adapter.validate_python(said)
    assert type(made) is kind
    assert adapter.validate_python(made.model_dump(mode="json")) == made  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("tiers.cut=[0.5]", "unknown key 'tiers.cut', did you mean 'tiers.cuts'"),
        ("tiers={by='level', prior='pool'}", "unknown key 'tiers.prior'"),
        ("tiers={by='level', cuts=[1, 3, 6, 9]}", "rise strictly between 0 and 9"),
        ("tiers={by='level', cuts=[1, 3, 6, 7.5]}", "tiers.cuts"),
        ("tiers={by='quantile', cuts=[0.2, 0.4, 0.6, 1.0]}", "rise strictly between 0 and 1"),
        ("tiers={by='quantiles'}", "tiers: "),
        ("tiers={grid=[3]}", "tiers.grid"),
        ("tiers={by='quantile'}", "set tiers.by to pass_rate or level"),
    ],
)
def test_settings_that_make_no_tiers_are_refused(override: str, expected: str) -> None:
    build = {"name": "x", "pool": {"root": "x", "licence": "x", "files": ["x"]}, "sampling": {"adaptive": {}}}
    with pytest.raises(BadInput) as told:
        validate(BuildSettings, build, [override], where="x.toml")
    assert expected in str(told.value)


@pytest.mark.parametrize("n", [1, 3, 8, 20, 64])
def test_tiers_of_levels_hold_their_levels(n: int) -> None:
    tiers = cut("level", names=("a", "b", "c"), cuts=(2, 7)).tiering(JEFFREYS, {})
    for correct in range(n + 1):
        at = level(correct, n)
        assert tiers.of(correct, n)[0] == ("a" if at < 2 else "b" if at < 7 else "c")


def test_the_default_levels_are_the_default_bands_of_p() -> None:
    assert cut("level").fixed_cuts == DEFAULT.cuts
    for prior in (JEFFREYS, Beta(2, 5)):
        for correct in range(9):
            assert cut("level").tiering(prior, {}).of(correct, 8) == tier_of(prior, correct, 8, DEFAULT)


pools = st.dictionaries(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.integers(1, 500),
    min_size=1,
)
shares = st.sets(st.floats(0.01, 0.99), min_size=1, max_size=6).map(lambda s: tuple(sorted(s)))


@given(pools, shares)
def test_quantile_tiers_are_of_equal_size_up_to_ties(
    counts: dict[tuple[int, int], int], cuts: tuple[float, ...]
) -> None:
    names = tuple(f"t{at}" for at in range(len(cuts) + 1))
    prior = fit_prior(counts)
    tiers = cut("quantile", names=names, cuts=cuts).tiering(prior, counts)
    sizes = dict.fromkeys(names, 0)
    ties: dict[float, int] = {}
    for (correct, n), items in counts.items():
        sizes[tiers.of(correct, n)[0]] += items
        mean = round(prior.posterior(correct, n).mean, 12)
        ties[mean] = ties.get(mean, 0) + items
    total = sum(counts.values())
    for share, below in zip(cuts, accumulate(sizes.values()), strict=False):
        assert abs(below - share * total) <= max(ties.values()) / 2 + 1e-6


@given(pools, st.sampled_from(["pass_rate", "pool", "level", "quantile"]))
def test_more_is_never_harder_and_the_probabilities_of_all_tiers_sum_to_one(
    counts: dict[tuple[int, int], int], by: str
) -> None:
    prior = fit_prior(counts)
    settings = (
        TierSettings(prior="pool" if by == "pool" else "jeffreys") if by in ("pass_rate", "pool") else cut(by)
    )
    tiers = settings.tiering(prior, counts)
    assert tiers.cuts == tuple(sorted(tiers.cuts))
    for correct, n in counts:
        name, probability = tiers.of(correct, n)
        bands = prior.posterior(correct, n).bands(tiers.cuts)
        assert sum(bands) == pytest.approx(1)
        assert probability == pytest.approx(bands[NAMES.index(name)])
        places = [NAMES.index(tiers.of(c, n)[0]) for c in range(n + 1)]
        assert places == sorted(places)


def test_a_pool_of_many_samples_is_cut_at_its_true_quantiles() -> None:
    p = np.random.default_rng(3).beta(2, 3, 30_000)
    counts = pool_of(p, 400)
    tiers = cut("quantile").tiering(fit_prior(counts), counts)
    assert tiers.cuts == pytest.approx(np.quantile(p, [0.2, 0.4, 0.6, 0.8]), abs=0.01)
    assert [band[0] for band in tiers.bands()] == list(NAMES)


def test_the_probability_of_a_quantile_tier_is_the_share_of_its_items_that_lie_in_it() -> None:
    rng = np.random.default_rng(5)
    p = rng.beta(0.8, 1.2, 60_000)
    correct = rng.binomial(8, p)
    counts = {(c, 8): int((correct == c).sum()) for c in range(9)}
    tiers = cut("quantile", names=("low", "middle", "high"), cuts=(1 / 3, 2 / 3)).tiering(
        fit_prior(counts), counts
    )
    actual = np.digitize(p, tiers.cuts)
    for c in range(9):
        name, told = tiers.of(c, 8)
        inside = actual[correct == c] == ("low", "middle", "high").index(name)
        assert inside.mean() == pytest.approx(told, abs=4 * binom.std(len(inside), told) / len(inside) + 0.01)
