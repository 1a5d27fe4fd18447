"""Group-relative advantages: pure functions of (P, G) tensors, in float64. How groups are weighted is trainer.group_weights'.

| kind | A | source |
| --- | --- | --- |
| grpo | (R - mean) / (std + eps) of the group | arXiv 2402.03300 |
| dr-grpo | R - mean of the group | arXiv 2503.20783 |
| rloo | R - mean of the others of the group | arXiv 2402.14740 |
| reinforce++-baseline | (R - mean of the group) / (std of that over the step + eps) | arXiv 2501.03262 |

A group whose rewards are all equal gets exactly 0 from each: rounding is told from a difference before anything is divided
by a standard deviation.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field

from ladder.config import Settings
from trainer.group_weights import Alike, GroupWeight

Std = Literal["unbiased", "population", "none"]

#: Rewards of a group that differ by less than this share of the largest are equal but for rounding.
ROUNDING = 1e-9


class _Estimator(Settings):
    """`clip` bounds the weighted advantages from both sides: OpenRLHF's `--reward_clip_range` (10 by default) does that with
    every group estimator, though it is named after rewards."""

    weight: GroupWeight = Alike()
    clip: float | None = Field(None, gt=0)

    def of_centred_PG(self, centred_PG: torch.Tensor) -> torch.Tensor:
        """The unweighted advantages of rewards less their group's mean."""
        raise NotImplementedError


class Grpo(_Estimator):
    """Normalised within the group. `std`: unbiased (n - 1; torch's default, so OpenRLHF, verl, TRL, R1-V and Observe-R1) or
    population (n), which makes them larger by sqrt(n / (n - 1)). `eps`: 1e-9 in Observe-R1, 1e-6 in verl, 1e-4 in TRL."""

    kind: Literal["grpo"] = "grpo"
    std: Std = "unbiased"
    eps: float = Field(1e-6, gt=0)

    def of_centred_PG(self, centred_PG: torch.Tensor) -> torch.Tensor:
        """GRPO."""
        if self.std == "none":
            return centred_PG
        std_P1 = centred_PG.std(1, keepdim=True, correction=1 if self.std == "unbiased" else 0)
        return centred_PG / (std_P1 + self.eps)


class DrGrpo(_Estimator):
    """Not normalised."""

    kind: Literal["dr-grpo"] = "dr-grpo"

    def of_centred_PG(self, centred_PG: torch.Tensor) -> torch.Tensor:
        """Dr.GRPO."""
        return centred_PG


class Rloo(_Estimator):
    """Leave one out: R_i less the mean of the other n - 1, which is n / (n - 1) times R_i less the mean of all."""

    kind: Literal["rloo"] = "rloo"

    def of_centred_PG(self, centred_PG: torch.Tensor) -> torch.Tensor:
        """RLOO."""
        group = centred_PG.shape[1]
        return centred_PG * (group / (group - 1))


class ReinforceBaseline(_Estimator):
    """Normalised over the step, so that groups of little spread weigh little. The std is the unbiased one of the step's
    responses; OpenRLHF and verl take that of its tokens, so that long responses count more in it."""

    kind: Literal["reinforce++-baseline"] = "reinforce++-baseline"
    eps: float = Field(1e-6, gt=0)

    def of_centred_PG(self, centred_PG: torch.Tensor) -> torch.Tensor:
        """REINFORCE++ with the group's mean as baseline."""
        return centred_PG / (centred_PG.std() + self.eps)


def _grpo_unless_said(table: Any) -> Any:
    return {"kind": "grpo"} | table if isinstance(table, dict) else table


AdvantageSettings = Annotated[
    Annotated[Grpo | DrGrpo | Rloo | ReinforceBaseline, Field(discriminator="kind")],
    BeforeValidator(_grpo_unless_said),
]


def centred_PG(rewards_PG: torch.Tensor) -> torch.Tensor:
    """Rewards less their group's mean, float64; exactly 0 in a group whose rewards are equal but for rounding."""
    rewards_PG = rewards_PG.double()
    from_first_PG = (
        rewards_PG - rewards_PG[:, :1]
    )  # exactly 0 where equal; a mean of equals need not be their value
    largest_P1 = rewards_PG.abs().amax(1, keepdim=True)
    equal_P1 = from_first_PG.abs().amax(1, keepdim=True) <= ROUNDING * largest_P1
    from_first_PG = from_first_PG.masked_fill(equal_P1, 0.0)
    return from_first_PG - from_first_PG.mean(1, keepdim=True)


def advantages_PG(
    rewards_PG: torch.Tensor, correct_PG: torch.Tensor, settings: AdvantageSettings
) -> torch.Tensor:
    """Weighted advantages (P, G), float64, of total rewards; `correct_PG` in {0, 1} from verdicts. G is at least 2."""
    plain_PG = settings.of_centred_PG(centred_PG(rewards_PG))
    p_P1 = correct_PG.double().mean(1, keepdim=True)
    weighted_PG = settings.weight.weights_PG(p_P1, plain_PG) * plain_PG
    return weighted_PG if settings.clip is None else weighted_PG.clamp(-settings.clip, settings.clip)
