"""Weights of groups by their pass rate p, as multipliers of advantages. p comes from verdicts, never from a reward.

| kind | weight | source |
| --- | --- | --- |
| none | 1 | |
| uncertainty | 4 sigma p (1 - p) | Observe-R1 |
| odsw | of a stage: easy, medium or hard | VL-Cogito |
| lead | logistic, in p for what was good, in 1 - p for what was bad | GRPO-LEAD |
| linear | 1 + k (1 - p) | difficulty priors |
| exponential | exp(k (1 - p)) | difficulty priors |
| focal | (1 - p) ^ gamma | F-GRPO |

The difficulty priors are those of arXiv 2505.13261, whose own formula is not public.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from ladder.config import Settings


class _Weight(Settings):
    """`mean_one` divides the weights of a step by their mean, so that they do not change the learning rate."""

    mean_one: bool = False

    def weights_PG(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        """The weight (P, G) of each response."""
        weights_PG = self._of(p_P1, advantages_PG).expand_as(advantages_PG)
        mean = weights_PG.mean()
        return weights_PG / mean if self.mean_one and mean > 0 else weights_PG

    def _of(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        """Before the mean is taken out: (P, 1) or (P, G)."""
        raise NotImplementedError


class Alike(_Weight):
    """All groups weigh the same."""

    kind: Literal["none"] = "none"

    def _of(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        del advantages_PG
        return torch.ones_like(p_P1)


class Uncertainty(_Weight):
    """4 * sigma * p * (1 - p): the dynamic weighting of Observe-R1 (experience_maker.py:543-551; `sigma` is its
    `--diff_coef`)."""

    kind: Literal["uncertainty"] = "uncertainty"
    sigma: float = Field(1.8, gt=0)

    def _of(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        del advantages_PG
        return 4 * self.sigma * p_P1 * (1 - p_P1)


class Odsw(_Weight):
    """Online difficulty soft weighting of VL-Cogito (arXiv 2507.22607; core_algos.py:131-181).

    Soft: sin(pi p), but 1 above p = 1/2 in the easy stage, and 1 on (0, 1/2] and `unsolved` at 0 in the hard one. Binary: 1
    on [1/2, 1] (easy), [1/4, 3/4] (medium), (0, 1/2] (hard; its README closes that interval at 0, the code does not), 0
    elsewhere.
    """

    kind: Literal["odsw"] = "odsw"
    stage: Literal["easy", "medium", "hard"] = "medium"
    form: Literal["soft", "binary"] = "soft"
    unsolved: float = Field(0.25, ge=0)

    def _of(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        del advantages_PG
        if self.form == "binary":
            low, high = {"easy": (0.5, 1.0), "medium": (0.25, 0.75), "hard": (0.0, 0.5)}[self.stage]
            return ((p_P1 >= low) & (p_P1 <= high) & (p_P1 > 0)).double()
        mixed_P1 = (p_P1 > 0) & (p_P1 < 1)  # sin(pi) is not quite 0 in floating point
        soft_P1 = torch.sin(math.pi * p_P1) * mixed_P1
        if self.stage == "easy":
            return torch.where(p_P1 > 0.5, 1.0, soft_P1)
        if self.stage == "hard":
            hard_P1 = torch.where(p_P1 <= 0.5, 1.0, soft_P1)
            return torch.where(p_P1 > 0, hard_P1, self.unsolved)
        return soft_P1


class Logistic(_Weight):
    """w(p) for a positive advantage and w(1 - p) otherwise, w(x) = low + (high - low) / (1 + exp(steep (x - middle)))
    (GRPO-LEAD, arXiv 2504.09696; core_algos.py, logistic_reweight)."""

    kind: Literal["lead"] = "lead"
    low: float = Field(0.4, ge=0)
    high: float = Field(1.5, ge=0)
    steep: float = 10.0
    middle: float = 0.75

    def _of(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        x_PG = torch.where(advantages_PG > 0, p_P1, 1 - p_P1)
        return self.low + (self.high - self.low) / (1 + torch.exp(self.steep * (x_PG - self.middle)))


class Linear(_Weight):
    """1 + k (1 - p)."""

    kind: Literal["linear"] = "linear"
    k: float = Field(1.0, ge=0)

    def _of(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        del advantages_PG
        return 1 + self.k * (1 - p_P1)


class Exponential(_Weight):
    """exp(k (1 - p))."""

    kind: Literal["exponential"] = "exponential"
    k: float = Field(1.0, ge=0)

    def _of(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        del advantages_PG
        return torch.exp(self.k * (1 - p_P1))


class Focal(_Weight):
    """(1 - p) ^ gamma."""

    kind: Literal["focal"] = "focal"
    gamma: float = Field(1.0, gt=0)

    def _of(self, p_P1: torch.Tensor, advantages_PG: torch.Tensor) -> torch.Tensor:
        del advantages_PG
        return (1 - p_P1) ** self.gamma


GroupWeight = Annotated[
    Alike | Uncertainty | Odsw | Logistic | Linear | Exponential | Focal, Field(discriminator="kind")
]
