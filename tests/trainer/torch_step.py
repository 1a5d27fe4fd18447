"""The same update through trainer/: rewards, advantages, and the loss in any cut into micro-batches, padded with what would
show if it were read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from reference_step import Choice, Update

from ladder.config import Settings, validate
from trainer.advantage import AdvantageSettings, Grpo, advantages_PG
from trainer.kl import KlSettings, KlWeight, kl_RT, to_go_RT
from trainer.loss import LossInputs, LossSettings, policy_loss, token_weights_R
from trainer.reward import Answers, RewardSettings, rewards_PG

WELL, ILL = "<think>a</think><answer>b</answer>", "b"


class Maths(Settings):
    """The part of a recipe that is mathematics."""

    reward: RewardSettings
    advantage: AdvantageSettings = Grpo()
    loss: LossSettings = LossSettings()
    kl: KlSettings = KlSettings()


def settings_of(how: Choice) -> Maths:
    advantage: dict[str, Any] = {"kind": how.estimator}
    if how.sigma is not None:
        advantage["weight"] = {"kind": "uncertainty", "sigma": how.sigma}
    if how.estimator == "grpo":
        advantage["std"] = how.std
    if how.estimator in ("grpo", "reinforce++-baseline"):
        advantage["eps"] = how.eps
    loss = {
        "ratio": how.ratio, "clip_low": how.low, "clip_high": how.high, "dual_clip": how.dual, "average": how.average,
        "mask_truncated": how.mask_truncated, "entropy": how.entropy,
    }  # fmt: skip
    reward = {
        "accuracy": {},
        "format": {"weight": 0.5, "form": "think-answer"},
        "bonus": {"amount": 0.2, "constraint": 4},
    }
    kl = {"weight": how.beta, "estimator": how.kl, "place": how.place, "by_ratio": how.by_ratio}
    return validate(Maths, {"reward": reward, "advantage": advantage, "loss": loss, "kl": kl})


def answers_of(update: Update) -> Answers:
    return Answers(
        correct_PG=torch.tensor(update.correct, dtype=torch.float32),
        lengths_PG=torch.tensor(update.lengths),
        truncated_PG=torch.tensor(update.truncated),
        texts=[[WELL if f else ILL for f in row] for row in update.formed],
    )


def padded(rows: Sequence[np.ndarray], filler: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    out = torch.full((len(rows), max(map(len, rows))), filler, dtype=dtype)
    for r, row in enumerate(rows):
        out[r, : len(row)] = torch.tensor(row, dtype=dtype)
    return out


def flat_advantages(update: Update, settings: Maths) -> list[float]:
    answers = answers_of(update)
    total = rewards_PG(answers, settings.reward)["total"]
    made: list[float] = advantages_PG(total, answers.correct_PG, settings.advantage).flatten().tolist()
    return made


def loss_and_gradient(
    update: Update,
    how: Choice,
    batches: Sequence[Sequence[int]] | None = None,
    on_policy: bool = False,
    dtype: torch.dtype = torch.float64,
) -> tuple[float, list[np.ndarray], dict[str, float]]:
    """The loss, its derivative by each log-prob, and the sums; `batches` are indices of responses."""
    settings = settings_of(how)
    flat = flat_advantages(update, settings)
    lengths_R = torch.tensor([len(row) for row in update.new])
    counted_R = torch.tensor([not (how.mask_truncated and t) for row in update.truncated for t in row])
    weights_R = token_weights_R(lengths_R, counted_R, settings.loss, how.max_tokens)
    gradient: list[np.ndarray] = [np.zeros(0)] * len(update.new)
    total, sums = 0.0, dict[str, float]()
    for batch in batches or [range(len(update.new))]:
        chosen = list(batch)
        rows = {
            name: [getattr(update, name)[i] for i in chosen]
            for name in ("new", "old", "reference", "entropy")
        }
        new_RT = padded(rows["new"], math.nan, dtype).requires_grad_()
        inputs = _inputs(rows, new_RT, [flat[i] for i in chosen], weights_R[chosen], settings, on_policy)
        loss, told = policy_loss(inputs, settings.loss, settings.kl, how.beta)
        loss.backward()
        total += float(loss.detach())
        sums = {name: sums.get(name, 0.0) + float(value) for name, value in told.items()}
        assert new_RT.grad is not None
        for r, i in enumerate(chosen):
            gradient[i] = new_RT.grad[r, : len(update.new[i])].numpy()
            assert not new_RT.grad[r, len(update.new[i]) :].any(), "padding has no gradient"
    return total, gradient, sums


def _inputs(
    rows: dict[str, list[np.ndarray]],
    new_RT: torch.Tensor,
    flat: list[float],
    weights_R: torch.Tensor,
    settings: Maths,
    on_policy: bool,
) -> LossInputs:
    dtype = new_RT.dtype
    mask_RT = padded([np.ones(len(row)) for row in rows["new"]], 0.0, dtype)
    old_RT, reference_RT = padded(rows["old"], math.inf, dtype), padded(rows["reference"], math.nan, dtype)
    advantages_RT = torch.tensor(flat, dtype=dtype)[:, None].expand_as(mask_RT)
    if settings.kl.place == "reward":
        penalty_RT = kl_RT(new_RT.detach() if on_policy else old_RT, reference_RT, settings.kl.estimator)
        weight = KlWeight(settings.kl.weight).at(0.0)
        advantages_RT = advantages_RT - weight * to_go_RT(penalty_RT, mask_RT)
    return LossInputs(
        logprobs_RT=new_RT,
        old_RT=None if on_policy else old_RT,
        reference_RT=reference_RT,
        advantages_RT=advantages_RT,
        weights_R=weights_R,
        mask_RT=mask_RT,
        entropy_RT=padded(rows["entropy"], math.nan, dtype),
    )
