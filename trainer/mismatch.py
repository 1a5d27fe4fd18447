"""How far the engine's log-probs are from the trainer's for the same tokens and weights, and the weights that correct for it.

An engine with kernels of its own samples from a distribution that is slightly another one than the policy's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field

from ladder.config import Settings
from trainer.kl import kl_RT


class Truncated(Settings):
    """Truncated importance sampling (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"):
    a token's gain is multiplied by min(`cap`, p_policy / p_engine), of the token, or of its whole response
    (`per = "sequence"`). Only where the engine is not exact."""

    kind: Literal["truncated"] = "truncated"
    cap: float = Field(2.0, ge=1)
    per: Literal["token", "sequence"] = "token"


class NoCorrection(Settings):
    """The ratio's denominator is what the engine said, or what the policy says, as `loss.old` has it; nothing corrects."""

    kind: Literal["none"]


Correction = Annotated[Truncated | NoCorrection, Field(discriminator="kind")]


def importance_RT(
    policy_RT: torch.Tensor, engine_RT: torch.Tensor, inside_RT: torch.Tensor, correction: Truncated
) -> torch.Tensor:
    """Weights (R, T) of the tokens, without gradient, from log-probs of the policy before the update and of the engine."""
    log_RT = torch.where(inside_RT, policy_RT - engine_RT, 0.0).detach()
    if correction.per == "sequence":
        log_RT = log_RT.sum(1, keepdim=True).expand_as(log_RT)
    return log_RT.clamp(max=math.log(correction.cap)).exp()


class Mismatch:
    """What a step's tokens tell of it, where the same weights sampled and score."""

    def __init__(self) -> None:
        self._tokens = self._absolute = self._k3 = self._largest = 0.0

    @classmethod
    def of(cls, parts: Iterable[Mismatch]) -> Mismatch:
        """What several tell together."""
        made = cls()
        for part in parts:
            made._tokens += part._tokens
            made._absolute += part._absolute
            made._k3 += part._k3
            made._largest = max(made._largest, part._largest)
        return made

    def add(self, policy_N: torch.Tensor, engine_N: torch.Tensor) -> None:
        """Log-probs of the same tokens."""
        if not len(policy_N):
            return
        apart_N = (policy_N - engine_N).abs()
        self._tokens += len(apart_N)
        self._absolute += float(apart_N.sum())
        self._largest = max(self._largest, float(apart_N.max()))
        self._k3 += float(kl_RT(engine_N, policy_N, "k3").sum())

    def metrics(self) -> dict[str, float]:
        """`mismatch/mean` and `mismatch/max` of the absolute difference of log-probs, and `mismatch/kl` (k3 of the engine from
        the policy, in nats per token); nothing where no token tells."""
        if not self._tokens:
            return {}
        return {
            "mismatch/mean": self._absolute / self._tokens,
            "mismatch/max": self._largest,
            "mismatch/kl": self._k3 / self._tokens,
        }
