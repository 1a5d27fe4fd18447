"""The log-probs that a step's ratios are taken to: what the engine said when it sampled, or the policy's own before the step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trainer.config import TrainSettings
from trainer.policy import Features, Policy
from trainer.rollout import JudgedGroup
from trainer.update import Update, token_weights_PG

#: By group and response: log-probs (T), or None: those of the policy that learns.
Old = list[list[torch.Tensor | None]]


@torch.no_grad()
def old_logprobs(
    policy: Policy,
    judged: Sequence[JudgedGroup],
    advantages_PG: torch.Tensor,
    here_P: torch.Tensor,
    features: Features | None,
    settings: TrainSettings,
    version: int | None,
    everything: bool,
) -> Old:
    """Those of each response, by group. With a `version`, groups that these weights sampled take the policy's own before the
    step's first update, which is on-policy itself (None) and needs no pass; those that older weights sampled, and all with
    None, keep the engine's. `everything`: responses without an advantage are trained on too. The policy's are made of the groups
    that are trained on here.
    """
    old = _sampled(judged, version)
    parts = settings.batch.updates(len(judged))
    if version is not None and len(parts) > 1:
        _fill(old, policy, judged, advantages_PG, here_P, features, settings, parts[1].start, everything)
    return old


def _sampled(judged: Sequence[JudgedGroup], version: int | None) -> Old:
    return [
        [
            None if group.updates == version else torch.tensor(r.completion.logprobs, dtype=torch.float32)
            for r in group.responses
        ]
        for group in judged
    ]


def _fill(
    old: Old,
    policy: Policy,
    judged: Sequence[JudgedGroup],
    advantages_PG: torch.Tensor,
    here_P: torch.Tensor,
    features: Features | None,
    settings: TrainSettings,
    first: int,
    everything: bool,
) -> None:
    """Put the policy's log-probs where there are none, from group `first` on, for responses that carry gradient."""
    rest = judged[first:]
    weights_PG = token_weights_PG(rest, settings) * here_P[first:, None]
    made = Update.of(rest, advantages_PG[first:], weights_PG, old[first:], everything)
    for batch in policy.plan(made.groups, settings.batch.tokens_per_micro_batch):
        logprobs_RT = policy(made.groups, batch, features).logprobs_RT
        for (p, g), row in zip(batch.members, logprobs_RT, strict=True):
            group, response = made.places[p][g]
            if old[first + group][response] is None:
                old[first + group][response] = row[: len(made.groups[p].responses[g])]
