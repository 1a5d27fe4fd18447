"""Draws by current p: their share follows the weight, and every item keeps coming."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from curricula import Learner, chance, draws_of, rows_of, sampler_of, trained
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trainer.curriculum import Draw, Rows

WEIGHTS = ({"kind": "learnability"}, {"kind": "difficulty"}, {"kind": "band", "low": 0.2, "high": 0.8})


def gaps(draws: list[Draw], ids: list[str]) -> dict[str, list[int]]:
    """Places between draws of an item, from before the first draw to after the last."""
    places: dict[str, list[int]] = {item: [-1] for item in ids}
    for place, draw in enumerate(draws):
        places[draw.item_id].append(place)
    return {item: np.diff([*at, len(draws)]).tolist() for item, at in places.items()}


@given(
    count=st.integers(1, 40),
    coverage=st.floats(1, 5),
    rest=st.floats(0, 0.99),
    weight=st.sampled_from(WEIGHTS),
    seed=st.integers(0, 2**31),
    step=st.integers(1, 20),
)
def test_every_item_comes_in_every_window(
    count: int, coverage: float, rest: float, weight: dict[str, Any], seed: int, step: int
) -> None:
    """In any floor(coverage x N) draws in a row, whatever the outcomes: two draws of an item are at most so far apart."""
    rows = rows_of(count, [0.0, 0.3, 1.0])
    settings = {"kind": "weighted", "coverage": coverage, "rest": rest, "weight": weight}
    sampler = sampler_of(rows, settings, seed)
    window = math.floor(coverage * count + 1e-9)
    draws = trained(sampler, Learner(lambda item: chance(seed, item), 0.2), 4 * window, step)
    assert len(draws) == 4 * window
    assert max(gap for each in gaps(draws, list(rows.ids)).values() for gap in each) <= window


@given(count=st.integers(2, 40), rest=st.floats(0, 0.99), seed=st.integers(0, 2**31))
def test_an_item_rests_after_a_draw_by_weight(count: int, rest: float, seed: int) -> None:
    """None comes back sooner, unless nothing else is left to draw."""
    rows = rows_of(count, [0.5])
    sampler = sampler_of(rows, {"kind": "weighted", "rest": rest, "coverage": 5}, seed)
    draws = trained(sampler, Learner(lambda item: 0.2 + 0.6 * chance(seed, item)), 5 * count, step=3)
    between = [gap for each in gaps(draws, list(rows.ids)).values() for gap in each[1:-1]]
    assert min(between, default=count) > math.floor(rest * count + 1e-9) - 1e-9


@pytest.mark.parametrize("weight", WEIGHTS)
def test_free_draws_follow_the_weight(weight: dict[str, Any]) -> None:
    """Chi-square of 20,000 draws against the exact shares; nothing is due in so few of them."""
    pass_rates = [0.0, 0.25, 0.5, 0.75, 1.0]
    rows = rows_of(20, pass_rates)
    settings = {"kind": "weighted", "rest": 0, "coverage": 100_000, "prior_rollouts": 8, "weight": weight}
    sampler = sampler_of(rows, settings)
    counts = Counter(draw.item_id for draw in draws_of(sampler, 20_000))
    assert sampler.metrics()["due"] == 0
    p = (8 * rows.pass_rates + 0.5) / 9
    shares = {"learnability": p * (1 - p), "difficulty": 1 - p, "band": (p >= 0.2) & (p <= 0.8)}[
        weight["kind"]
    ]
    shares = shares / shares.sum()
    observed = np.array([counts[item] for item in rows.ids])
    assert not observed[shares == 0].any()
    assert stats.chisquare(observed[shares > 0], 20_000 * shares[shares > 0]).pvalue > 1e-3


def test_draws_move_to_what_the_policy_can_learn_from() -> None:
    """A third of the items are always right, a third never, a third half the time; the split's pass rates say nothing. Under
    `coverage` 4 at most a quarter of the draws are due, and by chance a third would be of the last kind."""
    rows = rows_of(90, [0.5])
    true = {item: (1.0, 0.0, 0.5)[i % 3] for i, item in enumerate(rows.ids)}
    draws = trained(sampler_of(rows, {"kind": "weighted"}), Learner(true.__getitem__), 3600)
    late = [true[draw.item_id] for draw in draws[1800:]]
    assert late.count(0.5) / len(late) > 0.6
    order = trained(sampler_of(rows, {"kind": "shuffled"}), Learner(true.__getitem__), 3600)
    assert [true[draw.item_id] for draw in order[1800:]].count(0.5) == 600


def test_more_groups_carry_a_signal_than_under_the_control() -> None:
    """Most items are hard. Over 1,500 groups the difference of the shares has a standard deviation of 0.02."""
    policy = Learner(lambda item: chance("p", item) ** 4)

    def share(kind: str) -> float:
        sampler = sampler_of(rows_of(100, [None]), {"kind": kind})
        trained(sampler, policy, 500)
        outcomes = [policy(draw) for draw in trained(sampler, policy, 1500)]
        return sum(0 < outcome.correct < outcome.n for outcome in outcomes) / 1500

    assert share("weighted") > share("shuffled") + 0.1


def test_p_follows_a_policy_that_learns_and_one_that_forgets() -> None:
    """Older outcomes count less: under 1-p an item comes less as it is learnt, and more when it is forgotten."""
    rows = rows_of(50, [0.5])
    able = {"item-000"}
    policy = Learner(lambda item: float(item in able))
    sampler = sampler_of(rows, {"kind": "weighted", "weight": {"kind": "difficulty"}, "rest": 0.1})

    def share_of_first() -> float:
        draws = trained(sampler, policy, 1000)
        return sum(draw.item_id == "item-000" for draw in draws) / 1000

    learnt = share_of_first()
    able = set(rows.ids) - {"item-000"}
    share_of_first()  # the others are met, and their p moves
    forgotten = share_of_first()
    assert learnt < 1 / 50 < 3 / 50 < forgotten


def test_duplicate_rows_of_an_item_count_once() -> None:
    rows = Rows.of_columns(["a", "b", "a", "c"], [0, 1, 2, 3], ["easy"] * 4, [0.5] * 4)
    sampler = sampler_of(rows, {"kind": "weighted", "coverage": 1}, epochs=2)
    draws = draws_of(sampler, 100)
    assert Counter(draw.item_id for draw in draws) == {"a": 2, "b": 2, "c": 2}
    assert {draw.slot for draw in draws} == {0, 1, 3}


def test_a_band_that_holds_nothing_falls_back_to_what_was_drawn_longest_ago() -> None:
    rows = rows_of(10, [1.0])
    sampler = sampler_of(rows, {"kind": "weighted", "weight": {"kind": "band", "low": 0.4, "high": 0.6}})
    draws = draws_of(sampler, 30)
    assert all(sorted(d.item_id for d in draws[at : at + 10]) == list(rows.ids) for at in (0, 10, 20))


def test_a_coverage_of_less_than_one_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        sampler_of(rows_of(4), {"kind": "weighted", "coverage": 0.5})
    with pytest.raises(ValueError, match="low must not be above high"):
        sampler_of(rows_of(4), {"kind": "weighted", "weight": {"kind": "band", "low": 0.5, "high": 0.4}})
