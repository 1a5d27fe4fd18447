"""KL estimators with their gradients, where they enter, and the schedules of the weight."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.kl import (
    Adaptive,
    Constant,
    Estimator,
    GrpoD,
    GrpoDProse,
    KlSettings,
    KlWeight,
    Linear,
    kl_RT,
    to_go_RT,
)
from trainer.metrics import Sums

POLICY = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
REFERENCE = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.5


def test_estimators_match_their_formulas() -> None:
    policy, reference = random(3, 4), random(3, 4, seed=1)
    r = (policy - reference).numpy()
    assert np.allclose(kl_RT(policy, reference, "k1"), r)
    assert np.allclose(kl_RT(policy, reference, "k2"), 0.5 * r**2)
    assert np.allclose(kl_RT(policy, reference, "k3"), np.exp(-r) - 1 + r)


@given(st.floats(-8, 0), st.floats(-8, 0))
def test_k2_and_k3_are_never_negative_and_zero_where_the_two_agree(policy: float, reference: float) -> None:
    a, b = torch.tensor([[policy]]).double(), torch.tensor([[reference]]).double()
    for estimator in ("k2", "k3"):
        assert kl_RT(a, b, estimator).item() >= -1e-12
        assert kl_RT(a, a, estimator).item() == 0


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased_for_a_known_divergence(estimator: Estimator) -> None:
    exact = float((POLICY * (POLICY / REFERENCE).log()).sum())
    mean = (POLICY * kl_RT(POLICY.log(), REFERENCE.log(), estimator)).sum()
    assert float(mean) == pytest.approx(exact, abs=1e-12)


def gradient(of: Any) -> torch.Tensor:
    """The derivative of `of(log-probs)` by logits whose distribution is POLICY."""
    logits = POLICY.log().requires_grad_()
    of(torch.log_softmax(logits, 0)).backward()
    assert logits.grad is not None
    return logits.grad


def test_the_mean_gradients_are_what_the_docstring_says() -> None:
    towards = gradient(lambda lp: (lp.exp() * (lp - REFERENCE.log())).sum())
    other_way = gradient(lambda lp: (REFERENCE * (REFERENCE.log() - lp)).sum())

    def in_loss(estimator: Estimator) -> torch.Tensor:
        return gradient(lambda lp: (POLICY * kl_RT(lp, REFERENCE.log(), estimator)).sum())

    def in_reward(estimator: Estimator) -> torch.Tensor:
        return gradient(lambda lp: (POLICY * kl_RT(lp.detach(), REFERENCE.log(), estimator) * lp).sum())

    assert torch.allclose(in_loss("k1"), torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(in_loss("k2"), towards)
    assert torch.allclose(in_loss("k3"), other_way)
    assert torch.allclose(in_reward("k1"), towards)
    assert not torch.allclose(in_reward("k2"), towards, atol=1e-3)
    assert not torch.allclose(in_reward("k3"), towards, atol=1e-3)


def test_what_is_still_to_be_paid_ignores_padding() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0, float("nan")], [3.0, 5.0, float("inf"), 1.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    assert to_go_RT(values, mask).tolist() == [[7, 6, 4, 0], [8, 5, 0, 0]]


def curve(schedule: Any, steps: list[int], total: int = 100) -> list[float]:
    weight = KlWeight(schedule)
    return [weight.at(s / total) for s in steps]


STEPS = [0, 15, 30, 65, 100]


def test_grpo_d_is_the_formula_of_othink_mr1() -> None:
    counting, geometry = GrpoD(low=0.04, high=0.1), GrpoD(low=0.0, high=0.02)
    assert curve(counting, STEPS) == pytest.approx([0.07, 0.055, 0.04, 0.07, 0.10])
    assert curve(geometry, STEPS) == pytest.approx([0.01, 0.005, 0, 0.01, 0.02])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 0.95), st.integers(1, 500))
def test_grpo_d_falls_to_low_at_its_turn_and_rises_to_high(
    one: float, two: float, turn: float, total: int
) -> None:
    low, high = sorted((one, two))
    weights = curve(GrpoD(low=low, high=high, turn=turn), list(range(total + 1)), total)
    falling = [w for s, w in enumerate(weights) if s / total <= turn]
    rising = weights[len(falling) :]
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising)
    assert weights[0] == pytest.approx((low + high) / 2)
    assert weights[-1] == pytest.approx(high)
    assert all(low - 1e-12 <= w <= high + 1e-12 for w in weights)


def test_grpo_d_as_its_prose_starts_small_and_only_grows() -> None:
    weights = curve(GrpoDProse(low=0.04, high=0.1), STEPS)
    assert weights == pytest.approx([0.04, 0.049, 0.058, 0.079, 0.1])


def test_a_line_may_fall_and_end_before_the_run() -> None:
    assert curve(Linear(start=0.1, end=0.0, over=0.5), [0, 25, 50, 90]) == pytest.approx([0.1, 0.05, 0, 0])


def test_progress_beyond_the_run_is_its_end() -> None:
    assert KlWeight(GrpoDProse(low=0.0, high=1.0)).at(1.2) == 1.0
    assert KlWeight(GrpoDProse(low=0.0, high=1.0)).at(-0.1) == 0.0


@pytest.mark.parametrize(
    ("schedule", "needed"),
    [
        (Constant(value=0.0), False),
        (Constant(value=0.01), True),
        (GrpoD(low=0.0, high=0.0), False),
        (GrpoD(low=0.0, high=0.02), True),
        (GrpoDProse(low=0.0, high=0.02), True),
        (Linear(start=0.1, end=0.0), True),
        (Linear(start=0.0, end=0.0), False),
        (Adaptive(target=0.1), True),
    ],
)
def test_a_reference_is_needed_where_the_weight_is_ever_positive(schedule: Any, needed: bool) -> None:
    assert KlWeight(schedule).ever_positive is needed


def test_an_adaptive_weight_moves_towards_its_target_by_the_papers_rule() -> None:
    weight = KlWeight(Adaptive(value=0.2, target=6.0, horizon=10_000))
    weight.observe(6.3, 256)
    assert weight.at(0.5) == pytest.approx(0.2 * (1 + 0.05 * 256 / 10_000))
    weight.observe(60.0, 1000)
    assert weight.at(0.5) == pytest.approx(0.2 * (1 + 0.05 * 256 / 10_000) * 1.02), (
        "the error is clipped to 0.2"
    )
    before = weight.at(0.0)
    weight.observe(0.0, 1000)
    assert weight.at(0.0) == pytest.approx(before * 0.98)


def test_an_adaptive_weight_stays_positive_and_ignores_what_is_no_number() -> None:
    weight = KlWeight(Adaptive(value=0.2, target=1.0, horizon=10))
    for _ in range(5):
        weight.observe(0.0, 10_000)
    assert weight.at(0) == pytest.approx(0.2 * 0.8**5)
    weight.observe(float("nan"), 10)
    assert weight.at(0) == pytest.approx(0.2 * 0.8**5)


def test_other_weights_take_no_notice_of_the_divergence() -> None:
    weight = KlWeight(Constant(value=0.3))
    weight.observe(100.0, 64)
    assert weight.at(0.2) == 0.3


def test_a_weight_goes_on_from_its_saved_state() -> None:
    schedule = Adaptive(target=0.05)
    weight, again = KlWeight(schedule), KlWeight(schedule)
    weight.observe(0.07, 64)
    again.load_state_dict(json.loads(json.dumps(weight.state_dict())))
    for later in (weight, again):
        later.observe(0.01, 64)
    assert again.at(0.9) == weight.at(0.9)


def test_a_number_is_a_constant_weight() -> None:
    assert KlSettings(weight=0.04).weight == Constant(value=0.04)
    assert KlSettings(weight=0).weight == Constant(value=0)


def test_an_adaptive_weight_does_not_move_where_nothing_was_measured() -> None:
    made = KlWeight(Adaptive(target=0.1, horizon=8))
    made.observe(Sums().mean("kl"), 8)
    assert made.at(0.5) == 0.01
