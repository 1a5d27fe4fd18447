"""What one update trains on: its responses that carry gradient, and their tensors for each forward.

A response whose advantage is zero and that no KL or entropy pulls at has no gradient and is not forwarded; it counts in
the denominators all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer.config import TrainSettings
from trainer.kl import KlSettings, kl_RT, to_go_RT
from trainer.loss import LossInputs, token_weights_R
from trainer.policy import Batch, Group, Scored
from trainer.rollout import JudgedGroup


@dataclass(frozen=True)
class Update:
    """Groups cut to the responses that carry gradient, and what the loss needs of each: lists by group and response."""

    groups: list[Group]
    advantages: list[list[float]]
    weights: list[list[float]]
    old: list[
        list[torch.Tensor | None]
    ]  # log-probs (T) of the policy that sampled; None: the one that learns
    engine: list[list[torch.Tensor | None]]  # log-probs (T) that the engine gave with the same weights
    places: list[list[tuple[int, int]]]  # (group, response) before the cut

    @classmethod
    def of(
        cls,
        groups: Sequence[JudgedGroup],
        advantages_PG: torch.Tensor,
        weights_PG: torch.Tensor,
        old: Sequence[Sequence[torch.Tensor | None]],
        everything: bool,
        version: int | None = None,
    ) -> Update:
        """Of some judged groups; with `everything` no response is left out. `version` is of the weights before the step:
        what the engine said of their responses is kept."""
        live_PG = (weights_PG > 0) if everything else (weights_PG * advantages_PG != 0)
        made = cls([], [], [], [], [], [])
        for p, judged in enumerate(groups):
            kept = [g for g in range(len(judged.responses)) if live_PG[p, g]]
            if not kept:
                continue
            whole = judged.group
            made.groups.append(Group(whole.prompt, tuple(whole.responses[g] for g in kept)))
            made.advantages.append([float(advantages_PG[p, g]) for g in kept])
            made.weights.append([float(weights_PG[p, g]) for g in kept])
            made.old.append([old[p][g] for g in kept])
            said = [
                judged.responses[g].completion.logprobs if judged.updates == version else None for g in kept
            ]
            made.engine.append([None if s is None else torch.tensor(s, dtype=torch.float32) for s in said])
            made.places.append([(p, g) for g in kept])
        return made

    def inputs(
        self,
        batch: Batch,
        scored: Scored,
        reference_RT: torch.Tensor | None,
        kl: KlSettings,
        kl_weight: float,
    ) -> LossInputs:
        """What the loss of one forward needs; with the KL in the reward, what is still to be paid from each token on comes
        off its advantage."""
        device = scored.logprobs_RT.device
        own_RT = scored.logprobs_RT.detach()
        old_RT = self.old_RT(batch, own_RT)
        advantages_R = torch.tensor([self.advantages[p][g] for p, g in batch.members], device=device)
        advantages_RT = advantages_R[:, None].expand_as(scored.mask_RT)
        if reference_RT is not None and kl.place == "reward":
            sampled_RT = own_RT if old_RT is None else old_RT
            penalty_RT = kl_RT(sampled_RT, reference_RT, kl.estimator)
            advantages_RT = advantages_RT - kl_weight * to_go_RT(penalty_RT, scored.mask_RT)
        return LossInputs(
            logprobs_RT=scored.logprobs_RT,
            old_RT=old_RT,
            reference_RT=reference_RT,
            advantages_RT=advantages_RT,
            weights_R=torch.tensor([self.weights[p][g] for p, g in batch.members], device=device),
            mask_RT=scored.mask_RT,
            entropy_RT=scored.entropy_RT,
            engine_RT=_over(own_RT if old_RT is None else old_RT, self._engine(batch)),
        )

    def old_RT(self, batch: Batch, own_RT: torch.Tensor) -> torch.Tensor | None:
        """Log-probs of the policy that sampled (R, T), where that is the one that learns its `own_RT`; None where it always
        is."""
        return _over(own_RT, [self.old[p][g] for p, g in batch.members])

    def said(self, batch: Batch, scored: Scored) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs (N) of the same tokens by the policy and by the engine, where the weights before the step sampled."""
        own_RT = scored.logprobs_RT.detach()
        rows = [
            (row, said) for row, said in zip(own_RT, self._engine(batch), strict=True) if said is not None
        ]
        if not rows:
            return own_RT.new_empty(0), own_RT.new_empty(0)
        own, engine = zip(*((row[: len(said)], said.to(row)) for row, said in rows), strict=True)
        return torch.cat(own), torch.cat(engine)

    def _engine(self, batch: Batch) -> list[torch.Tensor | None]:
        return [self.engine[p][g] for p, g in batch.members]


def _over(values_RT: torch.Tensor, rows: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """A copy with some rows' beginnings replaced; None where there are none to replace."""
    if all(row is None for row in rows):
        return None
    over_RT = values_RT.clone()
    for row, values in zip(over_RT, rows, strict=True):
        if values is not None:
            row[: len(values)] = values.to(row)
    return over_RT


def pulled(kl_weight: float, settings: TrainSettings) -> bool:
    """Whether a response without advantage has a gradient all the same."""
    return kl_weight > 0 or settings.loss.entropy > 0


def token_weights_PG(judged: Sequence[JudgedGroup], settings: TrainSettings) -> torch.Tensor:
    """The weight (P, G) of each token of each response in an update's loss, taken over all of its groups."""
    responses = [r for group in judged for r in group.responses]
    lengths_R = torch.tensor([r.completion.length for r in responses])
    counted_R = torch.tensor([not (settings.loss.mask_truncated and r.truncated) for r in responses])
    weights_R = token_weights_R(lengths_R, counted_R, settings.loss, settings.response.max_tokens)
    return weights_R.view(len(judged), -1)
