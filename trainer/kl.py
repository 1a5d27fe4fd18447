"""Estimators of the Kullback-Leibler divergence to the reference, per token, and where they enter.

With r = log(policy / reference): k1 = r, k2 = r^2 / 2, k3 = exp(-r) - 1 + r (Schulman, "Approximating KL divergence").
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from ladder.config import Settings

Estimator = Literal["k1", "k2", "k3"]


class KlSettings(Settings):
    """Weight, estimator, and place: in the reward (as OpenRLHF and Observe-R1 do) or in the loss. Weight 0 needs no
    reference and no pass of it."""

    weight: float = Field(0.01, ge=0)
    estimator: Estimator = "k1"
    place: Literal["reward", "loss"] = "reward"


def kl_PGT(logprobs_PGT: torch.Tensor, reference_PGT: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    """Per-token estimates; for `k1` and `k3` unbiased under the policy that sampled."""
    r = logprobs_PGT - reference_PGT
    if estimator == "k1":
        return r
    if estimator == "k2":
        return 0.5 * r.square()
    return torch.exp(-r) - 1 + r


def to_go_PGT(values_PGT: torch.Tensor, mask_PGT: torch.Tensor) -> torch.Tensor:
    """Sum of a response's values from each token to its end: what a per-token reward adds to the advantage."""
    masked = values_PGT * mask_PGT
    return masked.flip(-1).cumsum(-1).flip(-1) * mask_PGT
