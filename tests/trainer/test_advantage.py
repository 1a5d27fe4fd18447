"""Group-relative advantages, against the published golden vectors and an independent float64 computation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.advantage import AdvantageSettings, advantages_PG, dynamic_weight_P, group_normalised_PG

# correct of 8: advantage of the right, of the wrong, weight at sigma 1.8
GOLDEN = {
    1: (2.4749, -0.3536, 0.7875),
    2: (1.6202, -0.5401, 1.35),
    3: (1.2076, -0.7246, 1.6875),
    4: (0.9354, -0.9354, 1.8),
    5: (0.7246, -1.2076, 1.6875),
    6: (0.5401, -1.6202, 1.35),
    7: (0.3536, -2.4749, 0.7875),
}


def group(correct: int) -> torch.Tensor:
    return torch.tensor([[1.0] * correct + [0.0] * (8 - correct)])


@pytest.mark.parametrize("correct", GOLDEN)
def test_golden_advantages_and_weights(correct: int) -> None:
    right, wrong, weight = GOLDEN[correct]
    advantages = group_normalised_PG(group(correct), 1e-9)[0]
    assert advantages[0].item() == pytest.approx(right, abs=1e-4)
    assert advantages[-1].item() == pytest.approx(wrong, abs=1e-4)
    assert dynamic_weight_P(group(correct), 1.8).item() == pytest.approx(weight)


@pytest.mark.parametrize("correct", [0, 8])
def test_groups_without_signal_have_weight_and_advantage_zero(correct: int) -> None:
    rewards = group(correct) + torch.linspace(0, 0.5, 8)  # formats differ, correctness does not
    assert dynamic_weight_P(group(correct), 1.8).item() == 0
    assert advantages_PG(rewards, group(correct), AdvantageSettings()).abs().sum() == 0


def test_the_worked_example_of_the_paper() -> None:
    rewards = torch.tensor([[1.5, 1.7, 1.5, 0.5, 0.5, 0.5, 0.5, 0.5]])
    correct = torch.tensor([[1.0, 1, 1, 0, 0, 0, 0, 0]])
    got = advantages_PG(rewards, correct, AdvantageSettings())[0].tolist()
    assert got == pytest.approx([1.8227, 2.4303, 1.8227, *[-1.2151] * 5], abs=1e-4)


def test_weighting_equals_dr_grpo_times_the_root_of_the_variance() -> None:
    # recipes: 4 s p(1-p)(r-p)/std = 4 s sqrt((n-1)/n) sqrt(p(1-p)) (r-p)
    for correct in range(1, 8):
        p, reward = correct / 8, group(correct)
        expected = 4 * 1.8 * math.sqrt(7 / 8) * math.sqrt(p * (1 - p)) * (reward - p)
        got = advantages_PG(reward, reward, AdvantageSettings())
        assert torch.allclose(got, expected, atol=1e-5)


def test_weights_of_mean_one_keep_the_scale_of_a_step() -> None:
    correct = torch.cat([group(c) for c in range(9)])
    plain = AdvantageSettings(mean_weight_one=True)
    got = advantages_PG(correct, correct, plain) / group_normalised_PG(correct, plain.eps).masked_fill(
        group_normalised_PG(correct, plain.eps) == 0, 1.0
    )
    assert got[:, 0].sum().item() == pytest.approx(9, abs=1e-4)


def test_without_sigma_all_groups_weigh_the_same() -> None:
    rewards = torch.rand(3, 8, generator=torch.Generator().manual_seed(0))
    got = advantages_PG(rewards, torch.zeros(3, 8), AdvantageSettings(sigma=None))
    assert torch.equal(got, group_normalised_PG(rewards, 1e-9))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 2, width=32), min_size=2, max_size=16))
def test_normalisation_matches_numpy_and_is_centred(rewards: list[float]) -> None:
    values = np.array(rewards, np.float64)
    got = group_normalised_PG(torch.tensor([rewards], dtype=torch.float64), 1e-4)[0].numpy()
    expected = (values - values.mean()) / (values.std(ddof=1) + 1e-4)
    assert np.allclose(got, expected, atol=1e-9)
    assert abs(got.sum()) < 1e-6
