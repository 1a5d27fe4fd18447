"""The clipped policy loss, token-averaged over a whole update. Pure functions of one dataclass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field

from ladder.config import Settings
from trainer.kl import KlSettings, kl_PGT


class ClipSettings(Settings):
    """The ratio is clipped to [1 - low, 1 + high]."""

    low: float = Field(0.2, gt=0)
    high: float = Field(0.2, gt=0)


@dataclass(frozen=True)
class LossInputs:
    """What the loss of some groups needs; masks are 1.0 at response tokens."""

    logprobs_PGT: torch.Tensor  # of the policy that learns, with gradient
    old_PGT: torch.Tensor  # of the policy that sampled
    reference_PGT: torch.Tensor | None
    advantages_PGT: torch.Tensor
    mask_PGT: torch.Tensor


def policy_loss(
    inputs: LossInputs, clip: ClipSettings, kl: KlSettings, tokens: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """PPO's clipped surrogate (arXiv 1707.06347), summed here and divided by `tokens`: the response tokens of the whole
    update, so that splitting an update into micro-batches changes nothing. Also sums for the metrics."""
    ratio = torch.exp(inputs.logprobs_PGT - inputs.old_PGT)
    clipped = ratio.clamp(1 - clip.low, 1 + clip.high)
    surrogate = torch.minimum(ratio * inputs.advantages_PGT, clipped * inputs.advantages_PGT)
    per_token = -surrogate
    if inputs.reference_PGT is not None and kl.place == "loss":
        per_token = per_token + kl.weight * kl_PGT(inputs.logprobs_PGT, inputs.reference_PGT, kl.estimator)
    loss = (per_token * inputs.mask_PGT).sum() / tokens
    was_clipped = (surrogate < ratio * inputs.advantages_PGT).float() * inputs.mask_PGT
    return loss, {"clipped": was_clipped.sum().detach(), "ratio": (ratio * inputs.mask_PGT).sum().detach()}
