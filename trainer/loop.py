"""The algorithm: rollout -> verdict -> reward -> advantage -> loss -> update. Everything else is somewhere else.

Progressive GRPO with the terms of Observe-R1: items come in the curriculum's order, groups are weighted by how uncertain
their outcome is, the KL to the reference enters the reward or the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ladder.engines.base import UpdatableEngine
from trainer.advantage import advantages_PG
from trainer.config import OptimSettings, TrainSettings
from trainer.curriculum import Draw, Gate, Sampler
from trainer.kl import kl_PGT, to_go_PGT
from trainer.loss import LossInputs, policy_loss
from trainer.policy import Policy, micro_batches
from trainer.reward import rewards_PG, well_formed
from trainer.rollout import JudgedGroup


@dataclass
class Learner:
    """What changes while training."""

    policy: Policy
    reference: Policy | None
    optimizer: torch.optim.Optimizer
    sampler: Sampler
    gate: Gate
    engine: UpdatableEngine
    updates: int = 0


def draw_step(learner: Learner, settings: TrainSettings) -> list[Draw]:
    """The draws of one step."""
    return [learner.sampler.next() for _ in range(settings.batch.prompts)]


def learn(
    learner: Learner, groups: Sequence[JudgedGroup], settings: TrainSettings, total_updates: int
) -> dict[str, Any]:
    """Train on one step's judged groups; returns the step's metrics."""
    for judged in groups:
        learner.sampler.observe(judged.outcome)
    groups = [judged for judged in groups if learner.gate.admit(judged.outcome)]
    correct_PG = torch.tensor([[r.correct for r in g.responses] for g in groups], dtype=torch.float32)
    formed_PG = torch.tensor(
        [[well_formed(r.text, settings.reward.format) for r in g.responses] for g in groups]
    )
    lengths_PG = torch.tensor([[len(r.completion.token_ids) for r in g.responses] for g in groups])
    terms = rewards_PG(correct_PG, formed_PG, lengths_PG, settings.reward)
    advantages = advantages_PG(terms["total"], correct_PG, settings.advantage)
    metrics = _describe(terms, correct_PG, formed_PG, lengths_PG, advantages)
    per_update = settings.batch.responses_per_update // settings.batch.group
    sums: dict[str, float] = {}
    for start in range(0, len(groups), per_update):
        chosen = slice(start, start + per_update)
        rate = learning_rate(settings.optim, learner.updates, total_updates)
        for name, value in _update(learner, groups[chosen], advantages[chosen], settings, rate).items():
            sums[name] = sums.get(name, 0.0) + value
    learner.engine.load(str(learner.updates), None)
    count = math.ceil(len(groups) / per_update)
    return metrics | {name: value / count for name, value in sums.items()}


def _update(
    learner: Learner,
    judged: Sequence[JudgedGroup],
    advantages: torch.Tensor,
    settings: TrainSettings,
    rate: float,
) -> dict[str, float]:
    """One optimiser step over some groups, in micro-batches that change nothing but memory."""
    groups = [j.group for j in judged]
    tokens = float(sum(len(r) for g in groups for r in g.responses))
    totals: dict[str, float] = {}
    for chosen in micro_batches(groups, settings.batch.tokens_per_micro_batch):
        part = [groups[i] for i in chosen]
        width = max(len(r) for g in part for r in g.responses)
        sampled_PGT, mask_PGT = _sampled([judged[i] for i in chosen], width, learner.policy.device)
        reference_PGT = None
        if learner.reference is not None:
            with torch.no_grad():
                reference_PGT = learner.reference(part, width)
        logprobs_PGT = learner.policy(part, width)
        inputs = LossInputs(
            logprobs_PGT=logprobs_PGT,
            old_PGT=sampled_PGT,
            reference_PGT=reference_PGT,
            advantages_PGT=_per_token(
                advantages[chosen].to(mask_PGT.device), sampled_PGT, reference_PGT, mask_PGT, settings
            ),
            mask_PGT=mask_PGT,
        )
        loss, sums = policy_loss(inputs, settings.clip, settings.kl, tokens)
        loss.backward()
        if reference_PGT is not None:
            sums["kl"] = (kl_PGT(sampled_PGT, reference_PGT, "k3") * mask_PGT).sum()
        for name, value in (sums | {"loss": loss.detach() * tokens}).items():
            totals[name] = totals.get(name, 0.0) + float(value) / tokens
    norm = torch.nn.utils.clip_grad_norm_(learner.policy.parameters(), settings.optim.max_grad_norm)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.updates += 1
    return totals | {"grad_norm": float(norm), "learning_rate": rate}


def _per_token(
    advantages_PG: torch.Tensor,
    old_PGT: torch.Tensor,
    reference_PGT: torch.Tensor | None,
    mask_PGT: torch.Tensor,
    settings: TrainSettings,
) -> torch.Tensor:
    """Advantages (P, G, T); with the KL in the reward, what is still to be paid from each token on comes off."""
    per_token = advantages_PG[:, :, None] * mask_PGT
    if reference_PGT is None or settings.kl.place != "reward":
        return per_token
    penalty = kl_PGT(old_PGT, reference_PGT, settings.kl.estimator)
    return per_token - settings.kl.weight * to_go_PGT(penalty, mask_PGT)


def _sampled(
    judged: Sequence[JudgedGroup], width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs of the policy that sampled, from the engine (P, G, T), and the mask of response tokens."""
    out = torch.zeros(len(judged), len(judged[0].responses), width)
    mask = torch.zeros_like(out)
    for p, group in enumerate(judged):
        for g, response in enumerate(group.responses):
            length = len(response.completion.logprobs)
            out[p, g, :length] = torch.tensor(response.completion.logprobs)
            mask[p, g, :length] = 1.0
    return out.to(device), mask.to(device)


def learning_rate(optim: OptimSettings, update: int, total: int) -> float:
    """Linear warm-up, then a cosine to `min_share` of the rate, or the rate itself."""
    warmup = max(1, round(optim.warmup_share * total))
    if update < warmup:
        return optim.learning_rate * (update + 1) / warmup
    if optim.schedule == "constant":
        return optim.learning_rate
    done = (update - warmup) / max(1, total - warmup)
    share = optim.min_share + (1 - optim.min_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return optim.learning_rate * share


def _describe(
    terms: dict[str, torch.Tensor],
    correct_PG: torch.Tensor,
    formed_PG: torch.Tensor,
    lengths_PG: torch.Tensor,
    advantages_PG: torch.Tensor,
) -> dict[str, float]:
    """The step in numbers: rewards by term, correctness, format, length, and how much of it carried signal."""
    signal = advantages_PG.abs().sum(1) > 0
    tokens = lengths_PG.float()
    return {
        **{f"reward/{name}": float(value.mean()) for name, value in terms.items()},
        "correct": float(correct_PG.mean()),
        "formed": float(formed_PG.float().mean()),
        "tokens": float(tokens.mean()),
        "tokens_with_signal": float(tokens[signal].sum() / tokens.sum()),
        "groups_without_signal": float((~signal).float().mean()),
        "bonus_paid": float((terms["bonus"] > 0).any(1).float().mean()) if "bonus" in terms else 0.0,
    }
