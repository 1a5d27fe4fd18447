"""The step in numbers: rewards by term, correctness, lengths, how much of it carried gradient; and sums over its tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from trainer.mismatch import Mismatch
from trainer.parallel.ranks import Ranks
from trainer.reward import Answers
from trainer.rollout import JudgedGroup


class Sums:
    """Sums over the tokens of a step's forwards, and what each of its updates told; `means` are of both."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._told: dict[str, list[float]] = {}
        self._tokens = self._loss = 0.0
        self.mismatch = Mismatch()

    def add(self, loss: torch.Tensor, sums: Mapping[str, torch.Tensor], mask_RT: torch.Tensor) -> None:
        """One forward: its share of the loss, and sums over its tokens."""
        self._tokens += float(mask_RT.sum())
        self._loss += float(loss.detach())
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def share(self, ranks: Ranks) -> None:
        """What each process summed over its own forwards becomes what all did; once, at the end of a step."""
        if ranks.alone:
            return
        everyone = ranks.gather((self._sums, self._tokens, self._loss, self.mismatch))
        sums: Counter[str] = Counter()
        for own, *_ in everyone:
            for name, value in own.items():
                sums[name] += value  # type: ignore[assignment]
        self._sums = dict(sums)
        self._tokens = sum(tokens for _, tokens, _, _ in everyone)
        self._loss = sum(loss for *_, loss, _ in everyone)
        self.mismatch = Mismatch.of(mismatch for *_, mismatch in everyone)

    def after_update(self, told: Mapping[str, float]) -> None:
        """An update is through."""
        for name, value in told.items():
            self._told.setdefault(name, []).append(value)

    def mean(self, name: str) -> float:
        """Mean over the tokens that were forwarded; NaN of none."""
        return self._sums.get(name, 0.0) / self._tokens if self._tokens else math.nan

    def means(self) -> dict[str, float]:
        """Every mean, and the loss, which is the mean over the updates."""
        updates = max(1, max(map(len, self._told.values()), default=1))
        told = {name: sum(values) / len(values) for name, values in self._told.items()}
        per_token = {name: self.mean(name) for name in self._sums}
        whole = {"loss": self._loss / updates, "tokens_forwarded": self._tokens}
        return per_token | told | self.mismatch.metrics() | whole


def answers_of(groups: Sequence[JudgedGroup]) -> Answers:
    """What rewards are made of."""
    return Answers(
        correct_PG=torch.tensor([[float(r.correct) for r in g.responses] for g in groups]),
        lengths_PG=torch.tensor([[r.completion.length for r in g.responses] for g in groups]),
        truncated_PG=torch.tensor([[r.truncated for r in g.responses] for g in groups]),
        texts=[[r.text for r in g.responses] for g in groups],
        items=[g.item for g in groups],
        outcomes=[[r.verdict.outcome for r in g.responses] for g in groups],
    )


def sampled(groups: Sequence[JudgedGroup], updates: int) -> dict[str, float]:
    """What the engine's own numbers tell: the entropy of what was sampled from, in nats per token, estimated by the mean of
    -log p over the sampled tokens (unbiased, and free), and how many updates old the groups are."""
    tokens = [-float(value) for group in groups for r in group.responses for value in r.completion.logprobs]
    ages = [updates - group.updates for group in groups]
    return {
        "entropy_estimate": sum(tokens) / max(1, len(tokens)),
        "staleness": sum(ages) / max(1, len(ages)),
    }


def described(
    terms: Mapping[str, torch.Tensor], answers: Answers, advantages_PG: torch.Tensor
) -> dict[str, float]:
    """Rewards by term, correctness, length, and the share of tokens and groups that carried gradient."""
    signal_PG = advantages_PG != 0
    tokens_PG = answers.lengths_PG.float()
    silent_P = ~signal_PG.any(1)
    p_P = answers.correct_PG.mean(1)
    return {
        **{f"reward/{name}": float(value.mean()) for name, value in terms.items()},
        "correct": float(answers.correct_PG.mean()),
        "tokens": float(tokens_PG.mean()),
        "truncated": float(answers.truncated_PG.float().mean()),
        "tokens_with_signal": float(tokens_PG[signal_PG].sum() / tokens_PG.sum()),
        "groups": float(len(answers.correct_PG)),
        "groups_without_signal": float(silent_P.float().mean()),
        "groups_all_correct": float((p_P == 1).float().mean()),
        "groups_all_wrong": float((p_P == 0).float().mean()),
    }
