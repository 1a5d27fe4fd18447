"""Group-relative advantages and group weights: pure functions of (P, G) tensors."""

from __future__ import annotations

import torch
from pydantic import Field

from ladder.config import Settings


class AdvantageSettings(Settings):
    """A = weight(p) * (R - mean) / (std + eps) within a group; std is torch's unbiased one, as in Observe-R1's code.

    `sigma` scales the dynamic weight 4 * sigma * p * (1 - p); None weighs all groups alike. `mean_weight_one` divides the
    weights of a step by their mean, so that the curriculum does not change the learning rate.
    """

    eps: float = Field(1e-9, gt=0)
    sigma: float | None = 1.8
    mean_weight_one: bool = False


def group_normalised_PG(rewards_PG: torch.Tensor, eps: float) -> torch.Tensor:
    """(R - mean) / (std + eps) within each group, std unbiased (n - 1); GRPO, arXiv 2402.03300."""
    mean = rewards_PG.mean(1, keepdim=True)
    return (rewards_PG - mean) / (rewards_PG.std(1, keepdim=True) + eps)


def dynamic_weight_P(correct_PG: torch.Tensor, sigma: float) -> torch.Tensor:
    """4 * sigma * p * (1 - p) of each group's pass rate p: Observe-R1's weighting by uncertainty
    (experience_maker.py:543-551; `sigma` is its `--diff_coef`, 1.8). p is taken from verdicts."""
    p = correct_PG.float().mean(1)
    return 4 * sigma * p * (1 - p)


def advantages_PG(
    rewards_PG: torch.Tensor, correct_PG: torch.Tensor, settings: AdvantageSettings
) -> torch.Tensor:
    """Weighted, group-normalised advantages (P, G)."""
    advantages = group_normalised_PG(rewards_PG, settings.eps)
    if settings.sigma is None:
        return advantages
    weights = dynamic_weight_P(correct_PG, settings.sigma)
    if settings.mean_weight_one:
        weights = weights / weights.mean().clamp_min(settings.eps)
    return weights[:, None] * advantages
