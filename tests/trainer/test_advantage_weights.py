"""Weights of groups by their pass rate, against the published tables."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.advantage import Grpo, advantages_PG
from trainer.group_weights import Alike, Exponential, Focal, GroupWeight, Linear, Logistic, Odsw, Uncertainty

# correct of 8: Observe-R1 at sigma 1.8; VL-Cogito easy, medium, hard; GRPO-LEAD for good and for bad advantages
GOLDEN = [
    (0, 0, 0, 0, 0.25, 1.4994, 0.4834),
    (1, 0.7875, 0.3827, 0.3827, 1, 1.4979, 0.6450),
    (2, 1.35, 0.7071, 0.7071, 1, 1.4926, 0.9500),
    (3, 1.6875, 0.9239, 0.9239, 1, 1.4747, 1.2550),
    (4, 1.8, 1, 1, 1, 1.4166, 1.4166),
    (5, 1.6875, 1, 0.9239, 0.9239, 1.2550, 1.4747),
    (6, 1.35, 1, 0.7071, 0.7071, 0.9500, 1.4926),
    (7, 0.7875, 1, 0.3827, 0.3827, 0.6450, 1.4979),
    (8, 0, 1, 0, 0, 0.4834, 1.4994),
]
ALL: list[GroupWeight] = [
    Alike(), Uncertainty(), Odsw(stage="easy"), Odsw(stage="medium"), Odsw(stage="hard"),
    Odsw(stage="hard", form="binary"), Logistic(), Linear(k=2.0), Exponential(k=3.0), Focal(gamma=2.0),
]  # fmt: skip


def weight(kind: GroupWeight, p: float, advantage: float = 1.0) -> float:
    return float(kind.weights_PG(torch.tensor([[p]], dtype=torch.float64), torch.tensor([[advantage]])))


@pytest.mark.parametrize(("correct", "observe", "easy", "medium", "hard", "good", "bad"), GOLDEN)
def test_golden_weights(
    correct: int, observe: float, easy: float, medium: float, hard: float, good: float, bad: float
) -> None:
    p = correct / 8
    assert weight(Uncertainty(sigma=1.8), p) == pytest.approx(observe)
    for stage, expected in (("easy", easy), ("medium", medium), ("hard", hard)):
        assert weight(Odsw(stage=stage), p) == pytest.approx(expected, abs=1e-4)
    assert weight(Logistic(), p, 0.5) == pytest.approx(good, abs=1e-4)
    assert weight(Logistic(), p, 0.0) == pytest.approx(bad, abs=1e-4)
    assert weight(Logistic(), p, -0.5) == pytest.approx(bad, abs=1e-4)


@pytest.mark.parametrize("stage", ["easy", "medium", "hard"])
def test_soft_weights_that_are_zero_are_exactly_zero(stage: str) -> None:
    ends = {"easy": [0.0], "medium": [0.0, 1.0], "hard": [1.0]}[stage]
    assert [weight(Odsw(stage=stage), p) for p in ends] == [0.0] * len(ends)


def test_binary_weights_open_and_close_where_vl_cogitos_code_has_it() -> None:
    open_at = {
        stage: [c / 8 for c in range(9) if weight(Odsw(stage=stage, form="binary"), c / 8)]
        for stage in ("easy", "medium", "hard")
    }
    assert open_at == {
        "easy": [0.5, 0.625, 0.75, 0.875, 1.0],
        "medium": [0.25, 0.375, 0.5, 0.625, 0.75],
        "hard": [0.125, 0.25, 0.375, 0.5],
    }


def test_difficulty_priors_grow_with_difficulty() -> None:
    assert [weight(Linear(k=2.0), p) for p in (1.0, 0.5, 0.0)] == [1.0, 2.0, 3.0]
    assert weight(Exponential(k=2.0), 0.25) == pytest.approx(math.exp(1.5))
    assert [weight(Focal(gamma=2.0), p) for p in (1.0, 0.5, 0.0)] == [0.0, 0.25, 1.0]


def test_weights_multiply_advantages_and_p_is_of_verdicts_not_of_rewards() -> None:
    correct = torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 0, 0]])
    paid = torch.tensor([[0.3, 0.9, 0.1, 0.2], [0.0, 0.4, 0.8, 0.6]])
    plain = advantages_PG(paid, correct, Grpo())
    weighted = advantages_PG(paid, correct, Grpo(weight=Linear(k=1.0)))
    assert torch.allclose(weighted, plain * torch.tensor([[1.75], [1.5]], dtype=torch.float64))


def test_lead_weighs_what_is_good_in_a_hard_group_most() -> None:
    correct = torch.tensor([[1.0] + [0.0] * 7])
    got = advantages_PG(correct, correct, Grpo(eps=1e-12, weight=Logistic()))[0]
    assert got[0].item() == pytest.approx(2.4749 * 1.4979, abs=1e-3)
    assert got[1].item() == pytest.approx(-0.3536 * 0.6450, abs=1e-3)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=20))
def test_weights_of_mean_one_keep_the_scale_of_a_step(counts: list[int]) -> None:
    p_P1 = torch.tensor([[c / 8] for c in counts], dtype=torch.float64)
    advantages = torch.tensor([[1.0, -1.0, 0.5]]).expand(len(counts), 3)
    for kind in ALL:
        plain = kind.weights_PG(p_P1, advantages)
        scaled = kind.model_copy(update={"mean_one": True}).weights_PG(p_P1, advantages)
        assert (plain >= 0).all()
        assert scaled.mean().item() == pytest.approx(1.0 if plain.any() else 0.0)
        if plain.any():
            assert torch.allclose(scaled * plain.mean(), plain)


def test_the_mean_of_uncertainty_over_all_counts_is_what_the_notes_say() -> None:
    p_P1 = torch.arange(9, dtype=torch.float64)[:, None] / 8
    assert Uncertainty(sigma=1.8).weights_PG(p_P1, p_P1).sum().item() == pytest.approx(9.45)
