"""The Kullback-Leibler divergence to the reference: its estimators per token, where it enters, and the schedule of its
weight.

With r = log(policy / reference): k1 = r, k2 = r^2 / 2, k3 = exp(-r) - 1 + r (Schulman 2020, "Approximating KL divergence").
Under the policy that samples, k1 and k3 are unbiased estimates of the divergence, k3 of less variance; k2 is not. What
matters in training is the gradient, and there it is another matter:

- in the reward, what is still to be paid from each token on is taken off its advantage. With k1 that is the gradient of the
  responses' divergence without bias, with k2 and k3 it is not;
- in the loss, the gradient goes through the estimate itself, token by token. That of k1 is the score, whose mean is 0: it
  holds nothing back, and is refused. That of k2, r times the score, is on-policy the gradient of each token's divergence
  without bias. That of k3, (1 - exp(-r)) times the score, is in its mean the gradient of the divergence the other way round,
  from the reference to the policy; GRPO has it (arXiv 2402.03300, equation 4).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator

from ladder.config import Settings

Estimator = Literal["k1", "k2", "k3"]


class Constant(Settings):
    """The same weight all along: `weight = 0.01` for short."""

    kind: Literal["constant"] = "constant"
    value: float = Field(0.01, ge=0)

    def at(self, progress: float) -> float:
        """The weight."""
        del progress
        return self.value


class _Between(Settings):
    low: float = Field(ge=0)
    high: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> _Between:
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


class GrpoD(_Between):
    """GRPO-D as the formula of OThink-MR1 has it (arXiv 2503.16081v2): from the middle of `low` and `high` in a line down to
    `low` at the share `turn` of the run, and from there in a line up to `high`."""

    kind: Literal["grpo-d"] = "grpo-d"
    turn: float = Field(0.3, gt=0, lt=1)

    def at(self, progress: float) -> float:
        """The weight."""
        if progress <= self.turn:
            middle = (self.low + self.high) / 2
            return middle - (middle - self.low) * progress / self.turn
        return self.low + (self.high - self.low) * (progress - self.turn) / (1 - self.turn)


class GrpoDProse(_Between):
    """GRPO-D as the prose of OThink-MR1 has it: small at first, for exploration, then growing. How, the prose does not say;
    here in a line from `low` at the start to `high` at the end."""

    kind: Literal["grpo-d-prose"] = "grpo-d-prose"

    def at(self, progress: float) -> float:
        """The weight."""
        return self.low + (self.high - self.low) * progress


class Linear(Settings):
    """From `start` to `end` in a line, up or down, over the share `over` of the run, and `end` after it."""

    kind: Literal["linear"] = "linear"
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    over: float = Field(1.0, gt=0, le=1)

    def at(self, progress: float) -> float:
        """The weight."""
        return self.start + (self.end - self.start) * min(1.0, progress / self.over)


class Adaptive(Settings):
    """Ziegler et al. (arXiv 1909.08593, section 2.2): after a step of n responses the weight is multiplied by
    1 + clip(kl / target - 1, -0.2, 0.2) * n / horizon. `target` is per token, as OpenRLHF and verl measure it; the paper's is
    per response. n counts as `horizon` at most, so that no weight turns negative."""

    kind: Literal["adaptive"] = "adaptive"
    value: float = Field(0.01, gt=0)  # at the start
    target: float = Field(gt=0)
    horizon: float = Field(10_000, gt=0)

    def at(self, progress: float) -> float:
        """The weight before anything was observed."""
        del progress
        return self.value

    def factor(self, mean_kl: float, responses: int) -> float:
        """What the weight is multiplied by."""
        return 1 + min(0.2, max(-0.2, mean_kl / self.target - 1)) * min(1.0, responses / self.horizon)


Schedule = Constant | GrpoD | GrpoDProse | Linear | Adaptive


def _constant_if_number(weight: Any) -> Any:
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    return {"kind": "constant", "value": weight} if number else weight


class KlSettings(Settings):
    """Weight (a number, or a table of a schedule), estimator, and place: in the reward (as OpenRLHF and Observe-R1 do) or in
    the loss (GRPO). A weight that is 0 all along needs no reference and no pass of it. `by_ratio` multiplies the estimate in
    the loss by the ratio: one per token makes the gradient of k3 that of the divergence (DeepSeek-V3.2, arXiv 2512.02556,
    section 3.1; TRL's default since 1.16), that of a sequence (`loss.ratio`) does not."""

    weight: Annotated[
        Annotated[Schedule, Field(discriminator="kind")], BeforeValidator(_constant_if_number)
    ] = Constant()
    estimator: Estimator = "k1"
    place: Literal["reward", "loss"] = "reward"
    by_ratio: bool = False

    @model_validator(mode="after")
    def _with_gradient(self) -> KlSettings:
        if self.place == "loss" and self.estimator == "k1" and not self.by_ratio:
            raise ValueError(
                "k1 in the loss has a gradient of mean 0 and holds nothing back: take k2 or k3 there, set by_ratio, or "
                "place it in the reward"
            )
        if self.place == "reward" and self.by_ratio:
            raise ValueError("by_ratio is of a KL in the loss: in the reward there is no gradient to correct")
        return self


class KlWeight:
    """The weight of the KL over a run: a schedule, times what an adaptive one has learnt from the divergence."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._factor = 1.0

    def at(self, progress: float) -> float:
        """The weight at a share of the run in [0, 1]."""
        return self._factor * self._schedule.at(min(1.0, max(0.0, progress)))

    @property
    def ever_positive(self) -> bool:
        """Whether a reference is ever needed: every schedule has its extremes at 0, at 1 or at GRPO-D's turn, and is not 0
        at both ends unless it is 0 all along."""
        return max(self.at(0.0), self.at(1.0)) > 0

    def observe(self, mean_kl: float, responses: int) -> None:
        """Tell of a step: its mean divergence in nats per token, and how many responses it had. Only an adaptive weight
        takes notice."""
        if isinstance(self._schedule, Adaptive) and math.isfinite(mean_kl):
            self._factor *= self._schedule.factor(mean_kl, responses)

    def state_dict(self) -> dict[str, float]:
        """What the next weight depends on besides the settings."""
        return {"factor": self._factor}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state."""
        self._factor = float(state["factor"])


def kl_RT(policy_RT: torch.Tensor, reference_RT: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    """Estimates per token from log-probs of the policy and the reference."""
    r = policy_RT - reference_RT
    if estimator == "k1":
        return r
    if estimator == "k2":
        return 0.5 * r.square()
    return torch.exp(-r) - 1 + r


def to_go_RT(values_RT: torch.Tensor, mask_RT: torch.Tensor) -> torch.Tensor:
    """Sum of a response's values from each token to its end, undiscounted: what a reward per token adds to the advantage."""
    masked_RT = torch.where(mask_RT > 0, values_RT, 0.0)
    return masked_RT.flip(-1).cumsum(-1).flip(-1) * mask_RT
