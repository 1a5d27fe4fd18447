"""Rewards as named weighted terms of one group, each kept apart. Correctness comes from verdicts, never from a reward.

Observe-R1 (arXiv 2505.12432; zrguo/Observe-R1 scripts/reward_func.py and experience_maker.py). Where its code is at
fault, this differs and says so:

- an unparsable gold pays 1.0 there; here its verdict is `unverifiable` and pays nothing;
- an all-wrong group there gets the bonus on its first response (argmin over infinities); here nobody does;
- the nested form there passes with a second answer or think block; here every tag occurs exactly once;
- correctness there is recovered by truncating the shaped reward; here it is the verdict.
"""

from __future__ import annotations

import re
from typing import Literal

import torch
from pydantic import Field

from ladder.config import Settings

_TAGS = ("observe", "think", "answer")
_FLAT = re.compile(r"<observe>(.+?)</observe>\s*<think>(.+?)</think>\s*<answer>(.+?)</answer>", re.DOTALL)
_NESTED = re.compile(r"<think>(.+?)<observe>(.+?)</observe>(.+?)</think>\s*<answer>(.+?)</answer>", re.DOTALL)
_THINK_ANSWER = re.compile(r"<think>(.+?)</think>\s*<answer>(.+?)</answer>", re.DOTALL)


class BonusSettings(Settings):
    """The length-constrained bonus: one response of a group gets it, the shortest correct one.

    `bound` says when: `lower` if it has more than `constraint` tokens (the paper's code), `upper` if it has at most so
    many (as its abstract reads).
    """

    amount: float = 0.2
    bound: Literal["lower", "upper"] = "lower"
    constraint: int = Field(100, ge=0)


class RewardSettings(Settings):
    """R = accuracy * correct + format_weight * well_formed + bonus."""

    accuracy: float = 1.0
    format_weight: float = 0.5
    format: Literal["observe-think-answer", "think-answer", "none"] = "observe-think-answer"
    bonus: BonusSettings | None = BonusSettings()


def well_formed(response: str, form: str) -> bool:
    """Whether a response has the format: its blocks in order, non-empty, each tag exactly once.

    `observe-think-answer` also takes the observation inside the thinking, with thought before and after it, as the
    paper's code does. Text before the first and after the last block is allowed there and here.
    """
    if form == "none":
        return True
    tags = _TAGS if form == "observe-think-answer" else _TAGS[1:]
    if any(response.count(f"<{t}>") != 1 or response.count(f"</{t}>") != 1 for t in tags):
        return False
    patterns = (_FLAT, _NESTED) if form == "observe-think-answer" else (_THINK_ANSWER,)
    return any(_filled(pattern.search(response)) for pattern in patterns)


def bonus_PG(correct_PG: torch.Tensor, lengths_PG: torch.Tensor, settings: BonusSettings) -> torch.Tensor:
    """The bonus (P, G), from correctness in {0, 1} and response lengths in tokens."""
    never = torch.iinfo(torch.long).max
    candidate = torch.where(correct_PG > 0, lengths_PG.long(), never)
    shortest, index = candidate.min(dim=1)
    within = shortest > settings.constraint if settings.bound == "lower" else shortest <= settings.constraint
    paid = within & (shortest < never)
    out = torch.zeros_like(correct_PG, dtype=torch.float32)
    return out.scatter(1, index[:, None], paid[:, None].float() * settings.amount)


def rewards_PG(
    correct_PG: torch.Tensor, formed_PG: torch.Tensor, lengths_PG: torch.Tensor, settings: RewardSettings
) -> dict[str, torch.Tensor]:
    """The reward's terms and their sum `total`, each (P, G)."""
    terms = {
        "accuracy": settings.accuracy * correct_PG.float(),
        "format": settings.format_weight * formed_PG.float(),
    }
    if settings.bonus is not None:
        terms["bonus"] = bonus_PG(correct_PG, lengths_PG, settings.bonus)
    return terms | {"total": torch.stack(list(terms.values())).sum(0)}


def _filled(match: re.Match[str] | None) -> bool:
    return match is not None and all(block.strip() for block in match.groups())
