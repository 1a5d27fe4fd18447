"""The clipped policy loss of an update, as a sum over its tokens with weights that are fixed before it is cut into
micro-batches. Pure functions; what log-probs and advantages are, others say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from ladder.config import Settings
from trainer.kl import KlSettings, kl_RT
from trainer.mismatch import Correction, Truncated, importance_RT


class LossSettings(Settings):
    """The surrogate, and how its tokens are averaged.

    - `ratio`: per `token` (GRPO), or per `sequence`: exp of the mean over the response of the log-ratio, which is then the
      ratio of each of its tokens (GSPO, arXiv 2507.18071, equation 7; with `average = "sequence"` and clips of 3e-4 and 4e-4).
    - `clip_low`, `clip_high`: the ratio is clipped to [1 - low, 1 + high]; DAPO (arXiv 2503.14476) takes 0.2 and 0.28.
    - `dual_clip` c: a negative advantage counts at most c times (arXiv 1912.09729; 3 in verl, 10 in its DAPO). MM-Eureka's
      ratio clamped to [0, 3] is the same as c = 3.
    - `average` over the whole update: `token`, all response tokens alike (DAPO); `sequence`, the mean over responses of the
      mean over their tokens (GRPO); `constant`, the mean over responses of the sum over `max_tokens` (Dr.GRPO).
    - `old`: ratios are to the log-probs `sampled` by the engine, or to those of the `policy` before the update.
    - `correction`: of an engine that is not exact. `truncated` has ratios to the policy's log-probs, whatever `old` says, and
      multiplies by min(cap, policy / engine).
    - `mask_truncated`: responses cut off at the token limit count nowhere, denominators included (DAPO's overlong
      filtering).
    - `entropy`: weight of the entropy, which is added to what is maximised.
    """

    ratio: Literal["token", "sequence"] = "token"
    clip_low: float = Field(0.2, gt=0)
    clip_high: float = Field(0.2, gt=0)
    dual_clip: float | None = Field(None, gt=1)
    average: Literal["token", "sequence", "constant"] = "token"
    old: Literal["sampled", "policy"] = "sampled"
    correction: Correction = Truncated()
    mask_truncated: bool = False
    entropy: float = Field(0.0, ge=0)


@dataclass(frozen=True)
class LossInputs:
    """What the loss of one micro-batch needs: R whole responses, T tokens of the longest. What stands beyond a response's end
    is never read."""

    logprobs_RT: torch.Tensor  # of the policy that learns, with gradient
    old_RT: torch.Tensor | None  # of the policy that sampled; None: it is the one that learns
    reference_RT: torch.Tensor | None
    advantages_RT: torch.Tensor
    weights_R: torch.Tensor  # token_weights_R of the whole update
    mask_RT: torch.Tensor  # 1.0 at response tokens
    entropy_RT: torch.Tensor | None = None
    engine_RT: torch.Tensor | None = (
        None  # what the engine said when the weights before the step sampled, else `old_RT`
    )


def token_weights_R(
    lengths_R: torch.Tensor, counted_R: torch.Tensor, settings: LossSettings, max_tokens: int
) -> torch.Tensor:
    """What each token of a response weighs in the loss (R, float64), from all responses of an update: the loss is the sum
    over responses of weight times the sum over their tokens.

    `lengths_R` in tokens; responses that are not `counted_R` weigh 0 and are in no denominator, empty ones weigh 0.
    """
    lengths_R = lengths_R.double()
    counted_R = counted_R.double()
    responses = counted_R.sum().clamp_min(1)
    if settings.average == "token":
        return counted_R / (counted_R * lengths_R).sum().clamp_min(1)
    if settings.average == "sequence":
        return counted_R / (lengths_R.clamp_min(1) * responses)
    return counted_R / (max_tokens * responses)


def policy_loss(
    inputs: LossInputs, settings: LossSettings, kl: KlSettings, kl_weight: float, correcting: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """PPO's clipped surrogate (arXiv 1707.06347) of some of an update's responses, with KL and entropy where the settings have
    them in the loss; and sums over their tokens, for the metrics.

    `correcting`: for an engine that is not exact, as `settings.correction` says.

    The losses of the micro-batches of an update add up to that of the whole. Advantages carry the KL already where it is in
    the reward. Sums: `ratio`, `clipped_low`, `clipped_high`, `dual_clipped` (tokens whose gradient that took away),
    `approx_kl` (k3 of the sampling policy from the learning one), and where there is what it takes `kl` (k3 to the reference),
    `entropy`, `correction` (weights that correct for the engine) and `correction_capped` (tokens whose weight was cut).
    """
    inside_RT = inputs.mask_RT > 0
    logprobs_RT = torch.where(inside_RT, inputs.logprobs_RT, 0.0)
    old_RT = logprobs_RT.detach() if inputs.old_RT is None else torch.where(inside_RT, inputs.old_RT, 0.0)
    advantages_RT = torch.where(inside_RT, inputs.advantages_RT.to(logprobs_RT.dtype), 0.0)
    log_ratio_RT = logprobs_RT - old_RT
    ratio_RT = torch.exp(
        _per_sequence(log_ratio_RT, inside_RT) if settings.ratio == "sequence" else log_ratio_RT
    )
    gain_RT, sums = _surrogate(ratio_RT, advantages_RT, inside_RT, settings)
    if correcting and inputs.engine_RT is not None and isinstance(settings.correction, Truncated):
        corrected_RT = importance_RT(old_RT, inputs.engine_RT, inside_RT, settings.correction)
        gain_RT = gain_RT * corrected_RT
        sums["correction"] = (corrected_RT * inside_RT).sum()
        sums["correction_capped"] = ((corrected_RT >= settings.correction.cap) & inside_RT).sum()
    sums["approx_kl"] = kl_RT(old_RT, logprobs_RT.detach(), "k3").sum()
    if inputs.entropy_RT is not None:
        entropy_RT = torch.where(inside_RT, inputs.entropy_RT, 0.0)
        gain_RT = gain_RT + settings.entropy * entropy_RT
        sums["entropy"] = entropy_RT.detach().sum()
    if inputs.reference_RT is not None:
        reference_RT = torch.where(inside_RT, inputs.reference_RT, 0.0)
        if kl.place == "loss":
            divergence_RT = kl_RT(logprobs_RT, reference_RT, kl.estimator)
            gain_RT = gain_RT - kl_weight * (divergence_RT * ratio_RT if kl.by_ratio else divergence_RT)
        sums["kl"] = kl_RT(logprobs_RT.detach(), reference_RT, "k3").sum()
    weights_R1 = inputs.weights_R.to(gain_RT.dtype)[:, None]
    return -(weights_R1 * gain_RT * inside_RT).sum(), sums


def _per_sequence(log_ratio_RT: torch.Tensor, inside_RT: torch.Tensor) -> torch.Tensor:
    mean_R1 = log_ratio_RT.sum(1, keepdim=True) / inside_RT.sum(1, keepdim=True).clamp_min(1)
    return mean_R1.expand_as(log_ratio_RT)


def _surrogate(
    ratio_RT: torch.Tensor, advantages_RT: torch.Tensor, inside_RT: torch.Tensor, settings: LossSettings
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What is maximised, per token, and sums of what clipping did."""
    low, high = 1 - settings.clip_low, 1 + settings.clip_high
    plain_RT = ratio_RT * advantages_RT
    gain_RT = torch.minimum(plain_RT, ratio_RT.clamp(low, high) * advantages_RT)
    good_RT, bad_RT = inside_RT & (advantages_RT > 0), inside_RT & (advantages_RT < 0)
    dual_RT = torch.zeros_like(bad_RT)
    if settings.dual_clip is not None:
        floor_RT = settings.dual_clip * advantages_RT
        dual_RT = bad_RT & (plain_RT < floor_RT)
        gain_RT = torch.where(bad_RT, torch.maximum(gain_RT, floor_RT), gain_RT)
    sums = {
        "ratio": (ratio_RT.detach() * inside_RT).sum(),
        "clipped_low": (bad_RT & (ratio_RT < low)).sum(),
        "clipped_high": (good_RT & (ratio_RT > high)).sum(),
        "dual_clipped": dual_RT.sum(),
    }
    return gain_RT, sums
