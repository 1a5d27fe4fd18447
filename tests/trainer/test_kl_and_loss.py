"""KL estimators and the clipped loss, against independent float64 numpy."""

import numpy as np
import pytest
import torch

from trainer.kl import KlSettings, kl_PGT, to_go_PGT
from trainer.loss import ClipSettings, LossInputs, policy_loss


def random(*shape: int, seed: int = 0, scale: float = 0.5) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def test_estimators_match_their_formulas() -> None:
    policy, reference = random(2, 3, 4), random(2, 3, 4, seed=1)
    r = (policy - reference).numpy()
    assert np.allclose(kl_PGT(policy, reference, "k1"), r)
    assert np.allclose(kl_PGT(policy, reference, "k2"), 0.5 * r**2)
    assert np.allclose(kl_PGT(policy, reference, "k3"), np.exp(-r) - 1 + r)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased_for_a_known_divergence(estimator: str) -> None:
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    exact = float((p * (p / q).log()).sum())
    per_token = kl_PGT(p.log(), q.log(), estimator)  # type: ignore[arg-type]
    assert float((p * per_token).sum()) == pytest.approx(exact, abs=1e-6)


def test_what_is_still_to_be_paid_ignores_padding() -> None:
    values = torch.tensor([[[1.0, 2.0, 4.0, 100.0]]])
    mask = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    assert to_go_PGT(values, mask).tolist() == [[[7.0, 6.0, 4.0, 0.0]]]


def loss_by_hand(new, old, reference, advantages, mask, clip: ClipSettings, kl: KlSettings) -> float:
    total = 0.0
    for p, g, t in np.ndindex(*mask.shape):
        if not mask[p, g, t]:
            continue
        ratio = np.exp(new[p, g, t] - old[p, g, t])
        a = advantages[p, g, t]
        term = -min(ratio * a, float(np.clip(ratio, 1 - clip.low, 1 + clip.high)) * a)
        if kl.place == "loss":
            r = new[p, g, t] - reference[p, g, t]
            term += kl.weight * (np.exp(-r) - 1 + r)
        total += term
    return total / mask.sum()


@pytest.mark.parametrize("place", ["loss", "reward"])
def test_the_loss_matches_a_scalar_reimplementation(place: str) -> None:
    new, old, reference = (random(2, 3, 5, seed=s) for s in range(3))
    advantages, mask = random(2, 3, 5, seed=3, scale=2.0), (random(2, 3, 5, seed=4) > -0.3).double()
    clip, kl = ClipSettings(low=0.2, high=0.28), KlSettings(weight=0.05, estimator="k3", place=place)
    inputs = LossInputs(new, old, reference, advantages, mask)
    got, sums = policy_loss(inputs, clip, kl, float(mask.sum()))
    arrays = [x.numpy() for x in (new, old, reference, advantages, mask)]
    assert float(got) == pytest.approx(loss_by_hand(*arrays, clip, kl), rel=1e-9)
    assert 0 < float(sums["clipped"]) < float(mask.sum())


def test_splitting_an_update_changes_neither_loss_nor_gradient() -> None:
    old, advantages = random(4, 2, 6, seed=1), random(4, 2, 6, seed=2)
    mask = (random(4, 2, 6, seed=3) > -0.4).double()
    tokens = float(mask.sum())

    def gradient(parts: list[slice]) -> torch.Tensor:
        new = random(4, 2, 6).requires_grad_()
        for part in parts:
            inputs = LossInputs(new[part], old[part], None, advantages[part], mask[part])
            policy_loss(inputs, ClipSettings(), KlSettings(weight=0), tokens)[0].backward()
        assert new.grad is not None
        return new.grad

    whole = gradient([slice(0, 4)])
    assert torch.allclose(whole, gradient([slice(0, 1), slice(1, 4)]), atol=1e-12)
