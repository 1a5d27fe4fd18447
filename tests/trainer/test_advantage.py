"""Group-relative advantages, against the published golden vectors and their own laws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.advantage import (
    AdvantageSettings,
    DrGrpo,
    Grpo,
    ReinforceBaseline,
    Rloo,
    advantages_PG,
    centred_PG,
)
from trainer.group_weights import Focal, Logistic, Odsw, Uncertainty

OBSERVE_R1 = Grpo(eps=1e-9, weight=Uncertainty(sigma=1.8))
ESTIMATORS: list[AdvantageSettings] = [
    Grpo(eps=1e-9), Grpo(std="population"), Grpo(std="none"), DrGrpo(), Rloo(), ReinforceBaseline(), OBSERVE_R1,
    Grpo(weight=Logistic()), Grpo(weight=Focal(mean_one=True)), Grpo(weight=Odsw(stage="hard")),
]  # fmt: skip

# correct of 8: advantage of the right and of the wrong
GOLDEN = {
    1: (2.4749, -0.3536),
    2: (1.6202, -0.5401),
    3: (1.2076, -0.7246),
    4: (0.9354, -0.9354),
    5: (0.7246, -1.2076),
    6: (0.5401, -1.6202),
    7: (0.3536, -2.4749),
}


def group(correct: int) -> torch.Tensor:
    return torch.tensor([[1.0] * correct + [0.0] * (8 - correct)])


def rewards(draw: st.DrawFn) -> torch.Tensor:
    size, groups = draw(st.integers(2, 9)), draw(st.integers(1, 4))
    steps = draw(st.lists(st.integers(-40, 40), min_size=size * groups, max_size=size * groups))
    return torch.tensor(steps, dtype=torch.float64).view(groups, size) / 20


drawn_rewards = st.composite(rewards)()


@pytest.mark.parametrize("correct", GOLDEN)
def test_golden_advantages(correct: int) -> None:
    right, wrong = GOLDEN[correct]
    got = advantages_PG(group(correct), group(correct), Grpo(eps=1e-9))[0]
    assert got[0].item() == pytest.approx(right, abs=1e-4)
    assert got[-1].item() == pytest.approx(wrong, abs=1e-4)


@pytest.mark.parametrize("correct", [0, 8])
def test_groups_without_uncertainty_have_no_advantage_whatever_their_formats(correct: int) -> None:
    paid = group(correct) + torch.linspace(0, 0.5, 8)
    assert advantages_PG(paid, group(correct), OBSERVE_R1).abs().sum() == 0


def test_the_worked_example_of_observe_r1() -> None:
    paid = torch.tensor([[1.5, 1.7, 1.5, 0.5, 0.5, 0.5, 0.5, 0.5]])
    correct = torch.tensor([[1.0, 1, 1, 0, 0, 0, 0, 0]])
    got = advantages_PG(paid, correct, OBSERVE_R1)[0].tolist()
    assert got == pytest.approx([1.8227, 2.4303, 1.8227, *[-1.2151] * 5], abs=1e-4)


def test_a_bonus_on_noise_would_give_the_advantages_of_the_papers_fault() -> None:
    paid = torch.tensor([[0.2] + [0.0] * 7])
    got = advantages_PG(paid, torch.zeros(1, 8), Grpo(eps=1e-9))[0].tolist()
    assert got == pytest.approx([2.4749, *[-0.3536] * 7], abs=1e-4)


@pytest.mark.parametrize("correct", range(9))
def test_uncertainty_weighting_is_dr_grpo_times_the_root_of_the_variance(correct: int) -> None:
    # 4 s p(1-p)(r-p)/std = 4 s sqrt((n-1)/n) sqrt(p(1-p)) (r-p)
    p, reward = correct / 8, group(correct)
    plain = advantages_PG(reward, reward, DrGrpo())
    expected = 4 * 1.8 * math.sqrt(7 / 8) * math.sqrt(p * (1 - p)) * plain
    assert torch.allclose(advantages_PG(reward, reward, OBSERVE_R1), expected, atol=1e-7)


@pytest.mark.parametrize("correct", range(1, 8))
def test_grpo_is_dr_grpo_over_the_root_of_the_variance(correct: int) -> None:
    p, reward = correct / 8, group(correct)
    plain = advantages_PG(reward, reward, DrGrpo())
    got = advantages_PG(reward, reward, Grpo(std="population", eps=1e-12))
    assert torch.allclose(got, plain / math.sqrt(p * (1 - p)))


def test_the_conventions_of_the_std_differ_by_the_root_of_n_over_n_minus_1() -> None:
    paid = torch.tensor([[0.0, 1.0, 0.5, 0.25]])
    unbiased, population = (
        advantages_PG(paid, paid, Grpo(std=std, eps=1e-12)) for std in ("unbiased", "population")
    )
    assert torch.allclose(population, unbiased * math.sqrt(4 / 3))


def test_rloo_leaves_each_response_out_of_its_own_baseline() -> None:
    got = advantages_PG(torch.tensor([[1.0, 0.0, 0.0, 0.5]]), torch.zeros(1, 4), Rloo())[0]
    assert got.tolist() == pytest.approx([1 - 0.5 / 3, 0 - 1.5 / 3, 0 - 1.5 / 3, 0.5 - 1 / 3])


def test_reinforce_baseline_has_one_scale_for_the_whole_step() -> None:
    paid = torch.tensor([[0.0, 1.0], [0.0, 0.1], [0.5, 0.5]])
    got = advantages_PG(paid, torch.zeros(3, 2), ReinforceBaseline(eps=1e-12))
    assert got.flatten().std().item() == pytest.approx(1)
    assert (got[0] / got[1]).tolist() == pytest.approx([10, 10])
    assert got[2].tolist() == [0, 0]


def test_the_clip_bounds_the_weighted_advantage() -> None:
    paid = group(1)
    loose = Grpo(clip=10.0, weight=Uncertainty(sigma=1.8))
    assert torch.equal(
        advantages_PG(paid, paid, loose), advantages_PG(paid, paid, Grpo(weight=Uncertainty()))
    )
    tight = advantages_PG(paid, paid, Grpo(clip=1.0, weight=Uncertainty(sigma=1.8)))
    assert tight[0].tolist() == pytest.approx([1.0, *[-0.7875 * 0.35355] * 7], abs=1e-4)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(value=st.floats(-3, 3, allow_nan=False), size=st.integers(2, 16), wide=st.booleans())
def test_equal_rewards_give_exact_zeros(
    estimator: AdvantageSettings, value: float, size: int, wide: bool
) -> None:
    paid = torch.full((2, size), value, dtype=torch.float64 if wide else torch.float32)
    correct = torch.zeros(2, size).scatter_(1, torch.tensor([[0], [1]]), 1.0)
    assert not advantages_PG(paid, correct, estimator).any()


def test_rewards_that_differ_by_rounding_are_equal() -> None:
    # 0.1 + 0.2 != 0.3, and their std is no reason to divide by it
    paid = torch.tensor([[0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2]], dtype=torch.float64)
    assert paid[0, 0] != paid[0, 1]
    assert not advantages_PG(paid, torch.zeros(1, 4), Grpo(eps=1e-18)).any()
    assert centred_PG(torch.tensor([[0.3, 0.3 + 1e-6]], dtype=torch.float64)).all(), (
        "a small reward is no rounding"
    )


@settings(deadline=None)
@given(drawn_rewards)
def test_advantages_of_a_group_sum_to_zero(paid: torch.Tensor) -> None:
    for estimator in ESTIMATORS:
        if isinstance(estimator.weight, Logistic):
            continue  # weighs what is good unlike what is bad
        got = advantages_PG(paid, (paid > 0).float(), estimator)
        assert got.sum(1).abs().max() < 1e-9


@settings(deadline=None)
@given(drawn_rewards, st.integers(-5, 5))
def test_what_is_added_to_all_rewards_of_a_step_changes_nothing(paid: torch.Tensor, shift: int) -> None:
    for estimator in ESTIMATORS:
        correct = (paid > 0).float()
        got = advantages_PG(paid + shift, correct, estimator)
        assert torch.allclose(got, advantages_PG(paid, correct, estimator), atol=1e-9)


@settings(deadline=None)
@given(drawn_rewards, st.sampled_from([0.25, 3.0, 100.0]))
def test_normalised_advantages_do_not_depend_on_the_scale_of_rewards(
    paid: torch.Tensor, scale: float
) -> None:
    for estimator in (Grpo(eps=1e-12), ReinforceBaseline(eps=1e-12)):
        got = advantages_PG(scale * paid, paid, estimator)
        assert torch.allclose(got, advantages_PG(paid, paid, estimator), atol=1e-7)


@settings(deadline=None)
@given(drawn_rewards, st.randoms(use_true_random=False))
def test_advantages_follow_the_order_of_responses_and_groups(paid: torch.Tensor, random) -> None:  # type: ignore[no-untyped-def]
    columns, rows = list(range(paid.shape[1])), list(range(paid.shape[0]))
    random.shuffle(columns)
    random.shuffle(rows)
    for estimator in ESTIMATORS:
        whole = advantages_PG(paid, (paid > 0).float(), estimator)
        moved = paid[rows][:, columns]
        assert torch.allclose(
            advantages_PG(moved, (moved > 0).float(), estimator), whole[rows][:, columns], atol=1e-9
        )


@settings(deadline=None)
@given(drawn_rewards)
def test_a_better_reward_never_has_a_smaller_advantage(paid: torch.Tensor) -> None:
    for estimator in ESTIMATORS:
        order = paid.argsort(1)
        got = advantages_PG(paid, (paid > 0).float(), estimator).gather(1, order)
        assert (got.diff(dim=1) >= -1e-9).all()
