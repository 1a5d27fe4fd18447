"""Terms of how long a response is, in tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, PositiveInt, model_validator

from trainer.reward.answers import Answers, TermSettings


class Bonus(TermSettings):
    """The length-constrained bonus of Observe-R1 (experience_maker.py:534-541): one response of a group gets `amount`, the
    shortest correct one; of several, the first.

    `bound` says when: `lower` if it has more than `constraint` tokens (the code), `upper` if it has at most so many (as
    the abstract reads). There is no fall-through to the next shortest.
    """

    kind: Literal["bonus"] = "bonus"
    amount: float = 0.2
    bound: Literal["lower", "upper"] = "lower"
    constraint: int = Field(100, ge=0)

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """The amount at one response of a group, or none."""
        never = torch.iinfo(torch.long).max
        candidate_PG = torch.where(answers.correct_PG > 0, answers.lengths_PG.long(), never)
        shortest_P, index_P = candidate_PG.min(dim=1)
        within_P = shortest_P > self.constraint if self.bound == "lower" else shortest_P <= self.constraint
        paid_P = (within_P & (shortest_P < never)).double() * self.amount
        out_PG = torch.zeros_like(candidate_PG, dtype=torch.float64)
        return out_PG.scatter(1, index_P[:, None], paid_P[:, None])


class Length(TermSettings):
    """The length reward of Kimi k1.5 (arXiv 2501.12599, section 2.3.3): 1/2 - (length - shortest) / (longest - shortest)
    of the group if correct, and never more than 0 if wrong; 0 where all are equally long."""

    kind: Literal["length"] = "length"

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """Between -1/2 and 1/2."""
        lengths_PG = answers.lengths_PG.double()
        shortest_P1, longest_P1 = lengths_PG.amin(1, keepdim=True), lengths_PG.amax(1, keepdim=True)
        spread_P1 = longest_P1 - shortest_P1
        value_PG = 0.5 - (lengths_PG - shortest_P1) / spread_P1.clamp_min(1)
        value_PG = torch.where(answers.correct_PG > 0, value_PG, value_PG.clamp_max(0))
        return value_PG * (spread_P1 > 0)


class DyLR(TermSettings):
    """The dynamic length reward of VL-Cogito (arXiv 2507.22607; custom.py, r1v_dyn_length_post_reward, and aux.py). Only
    the wrong get it.

    With L the mean length of the correct of its group, a wrong response gets -amplitude/2 * (1 + cos(pi * length / L)), and
    -amplitude from 2L on. In a group without a correct one it gets -unsolved/2 * (1 + cos(pi * length / target)) below
    `target`, 0 below `limit`, and -unsolved from there on.
    """

    kind: Literal["dylr"] = "dylr"
    amplitude: float = 0.5
    unsolved: float = 0.25
    target: PositiveInt = 750
    limit: PositiveInt = 4096

    @model_validator(mode="after")
    def _in_order(self) -> DyLR:
        if self.target > self.limit:
            raise ValueError("target must not exceed limit")
        return self

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """Between -max(amplitude, unsolved) and 0."""
        right_PG, lengths_PG = answers.correct_PG > 0, answers.lengths_PG.double()
        mean_P1 = _mean_of(lengths_PG, right_PG).clamp_min(1)
        near_PG = _cosine(lengths_PG / mean_P1, self.amplitude)
        solved_PG = torch.where(lengths_PG >= 2 * mean_P1, -self.amplitude, near_PG)
        short_PG = _cosine(lengths_PG / self.target, self.unsolved) * (lengths_PG < self.target)
        unsolved_PG = torch.where(lengths_PG >= self.limit, -self.unsolved, short_PG)
        return torch.where(right_PG.any(1, keepdim=True), solved_PG, unsolved_PG) * ~right_PG


class Lead(TermSettings):
    """The length-regularised accuracy of GRPO-LEAD (arXiv 2504.09696; main_ppo.py, get_reweight_rewards): exp(-alpha z) if
    correct, z being the length standardised among the correct of the group (unbiased std); `wrong` if not. It stands in
    the place of `accuracy`.

    The code leaves the length out (value 1) of a group whose three shortest responses have at most 4000 tokens on average,
    which the paper does not say: `gate`, here 0.
    """

    kind: Literal["lead"] = "lead"
    alpha: float = 0.05
    wrong: float = -1.0
    gate: int = Field(0, ge=0)
    eps: float = Field(1e-6, gt=0)

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """Positive if correct."""
        right_PG, lengths_PG = answers.correct_PG > 0, answers.lengths_PG.double()
        off_PG = (lengths_PG - _mean_of(lengths_PG, right_PG)) * right_PG
        variance_P1 = off_PG.square().sum(1, keepdim=True) / (right_PG.sum(1, keepdim=True) - 1).clamp_min(1)
        z_PG = off_PG / (variance_P1.sqrt() + self.eps)
        shortest_P1 = lengths_PG.sort(1).values[:, :3].mean(1, keepdim=True)
        paid_PG = torch.where(shortest_P1 > self.gate, torch.exp(-self.alpha * z_PG), 1.0)
        return torch.where(right_PG, paid_PG, self.wrong)


class Overlong(TermSettings):
    """Soft overlong punishment of DAPO (arXiv 2503.14476, equation 13): 0 up to `max_tokens` - `buffer`, from there in a
    line to -1 at `max_tokens`, and -1 beyond."""

    kind: Literal["overlong"] = "overlong"
    max_tokens: PositiveInt = 20_480
    buffer: PositiveInt = 4096

    @model_validator(mode="after")
    def _inside(self) -> Overlong:
        if self.buffer > self.max_tokens:
            raise ValueError("buffer must not exceed max_tokens")
        return self

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """Between -1 and 0."""
        over_PG = answers.lengths_PG.double() - (self.max_tokens - self.buffer)
        return -(over_PG / self.buffer).clamp(0, 1)


def _mean_of(values_PG: torch.Tensor, chosen_PG: torch.Tensor) -> torch.Tensor:
    """The mean (P, 1) of a group's chosen values; 0 without any."""
    return (values_PG * chosen_PG).sum(1, keepdim=True) / chosen_PG.sum(1, keepdim=True).clamp_min(1)


def _cosine(progress_PG: torch.Tensor, amplitude: float) -> torch.Tensor:
    """From -amplitude at 0 to 0 at 1 and back."""
    return -0.5 * amplitude * (1 + torch.cos(math.pi * progress_PG))
