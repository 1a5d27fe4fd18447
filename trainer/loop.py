"""The algorithm: rollout -> verdict -> reward -> advantage -> loss -> update. Everything else is somewhere else.

Progressive GRPO: items come in the curriculum's order, a gate admits groups by their verdicts and refills from the next
items, groups are weighted by how uncertain their outcome is, and the KL to the reference has a weight that may move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ladder.progress import Stopwatch
from trainer.advantage import advantages_PG
from trainer.config import TrainSettings
from trainer.curriculum import Supply
from trainer.kl import KlWeight
from trainer.loss import LossSettings, policy_loss
from trainer.metrics import Sums, answers_of, described, sampled
from trainer.old import Old, old_logprobs
from trainer.optim import Optimizer, learning_rate
from trainer.parallel import ALONE, Ranks, here_P
from trainer.policy import Batch, Features, Group, Policy
from trainer.reward import rewards_PG
from trainer.rollout import JudgedGroup, Rollouts
from trainer.schedule import Span
from trainer.unadapted import Unadapted
from trainer.update import Update, pulled, token_weights_PG


@dataclass
class Learner:
    """What changes while training. `updates` counts updates of the weights, and is their version."""

    policy: Policy
    reference: Policy | Unadapted | None
    optimizer: Optimizer
    supply: Supply[JudgedGroup]
    rollouts: Rollouts
    kl: KlWeight
    in_place: bool = True  # the engine samples from the policy's own module
    updates: int = 0
    ranks: Ranks = ALONE

    def corrects(self, loss: LossSettings) -> bool:
        """Whether the loss corrects for what the engine samples from, where that is not quite the policy."""
        return loss.correction.kind == "truncated" and not self.rollouts.engine.exact


@dataclass
class Step:
    """One step's groups, what was made of them, and what there is to tell."""

    groups: list[JudgedGroup]
    model: str  # the engine's fingerprint, with the version of the weights that sampled
    version: int  # updates of the weights before it
    terms: dict[str, torch.Tensor] = field(default_factory=dict)  # the reward's terms, each (P, G)
    advantages_PG: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))
    here_P: torch.Tensor = field(default_factory=lambda: torch.empty(0))  # 1.0: trained on in this process
    metrics: dict[str, float] = field(default_factory=dict)
    clock: Stopwatch = field(default_factory=Stopwatch)


def gather(learner: Learner) -> list[JudgedGroup]:
    """A step's groups: what the curriculum draws is sampled and judged, and what the gate does not admit is refilled from
    the next items in order. Empty when the curriculum is over."""
    roll_out(learner, learner.updates)
    return learner.supply.take()


def roll_out(learner: Learner, version: int) -> None:
    """Sample and judge until the supply has a step's groups, or nothing more comes; `version` is of the engine's weights."""
    learner.rollouts.engine.wake()
    while draws := learner.supply.round():
        learner.supply.offer(learner.rollouts.groups(draws, version))


def learn(learner: Learner, step: Step, settings: TrainSettings, span: Span) -> None:
    """Train on a step's groups, in one or several updates; the step's terms, advantages and metrics are filled in."""
    answers = answers_of(step.groups)
    step.terms = rewards_PG(answers, settings.reward)
    step.advantages_PG = advantages_PG(step.terms["total"], answers.correct_PG, settings.advantage)
    step.metrics |= sampled(step.groups, learner.updates)
    step.clock.lap("reward")
    groups = [judged.group for judged in step.groups]
    sums, parts = Sums(), settings.batch.updates(len(groups))
    everything = pulled(float(learner.kl.ever_positive), settings)
    step.here_P = here_P(groups, (step.advantages_PG != 0) | everything, parts, learner.ranks)
    features = learner.policy.features([groups[p] for p in step.here_P.nonzero()])
    version = learner.updates if learner.corrects(settings.loss) or settings.loss.old == "policy" else None
    old = old_logprobs(
        learner.policy, step.groups, step.advantages_PG, step.here_P, features, settings, version, everything
    )
    step.clock.lap("old")
    learner.policy.train()  # without it nothing is checkpointed; with it an engine would have no key-value cache
    for index, part in enumerate(parts):
        update(learner, step, part, old[part], features, settings, span.part(index, len(parts)), sums)
    learner.policy.eval()
    sums.share(learner.ranks)
    learner.kl.observe(sums.mean("kl"), len(groups) * settings.batch.group)
    step.metrics |= described(step.terms, answers, step.advantages_PG) | sums.means()


def update(
    learner: Learner,
    step: Step,
    part: slice,
    old: Old,
    features: Features | None,
    settings: TrainSettings,
    span: Span,
    sums: Sums,
) -> None:
    """One update of the weights over some groups, in forwards that change nothing but memory."""
    judged, kl_weight = step.groups[part], learner.kl.at(span.start)
    weights_PG = token_weights_PG(judged, settings) * step.here_P[part, None]
    pull = pulled(kl_weight, settings)
    made = Update.of(judged, step.advantages_PG[part], weights_PG, old, pull, step.version)
    for batch in learner.policy.plan(made.groups, settings.batch.tokens_per_micro_batch):
        reference_RT = _reference_RT(learner, made.groups, batch, features, kl_weight)
        step.clock.lap("reference")
        scored = learner.policy(made.groups, batch, features, entropy=settings.loss.entropy > 0)
        inputs = made.inputs(batch, scored, reference_RT, settings.kl, kl_weight)
        corrects = learner.corrects(settings.loss)
        loss, told = policy_loss(inputs, settings.loss, settings.kl, kl_weight, corrects)
        step.clock.lap("forward")
        if loss.requires_grad:  # not where only the vision tower learns, and there is no picture
            loss.backward()
        step.clock.lap("backward")
        sums.add(loss, told, inputs.mask_RT)
        if learner.updates == step.version:
            sums.mismatch.add(*made.said(batch, scored))
    rate = learning_rate(settings.optim, span.start, span.end)
    sums.after_update(learner.optimizer.step(rate) | {"kl_weight": kl_weight})
    step.clock.lap("optimizer")
    learner.updates += 1


@torch.no_grad()
def _reference_RT(
    learner: Learner, groups: Sequence[Group], batch: Batch, features: Features | None, kl_weight: float
) -> torch.Tensor | None:
    """The reference's log-probs, where its weight asks for them; a frozen vision tower is the same in both."""
    if learner.reference is None or kl_weight == 0:
        return None
    return learner.reference(groups, batch, features).logprobs_RT
