"""Terms of what a response says and how it is laid out: accuracy, format, and both at once."""

from __future__ import annotations

import re
from typing import Literal

import torch

from trainer.reward.answers import Answers, TermSettings

Form = Literal["observe-think-answer", "think-answer"]

_TAGS = ("observe", "think", "answer")
_FLAT = re.compile(r"<observe>(.+?)</observe>\s*<think>(.+?)</think>\s*<answer>(.+?)</answer>", re.DOTALL)
_NESTED = re.compile(r"<think>(.+?)<observe>(.+?)</observe>(.+?)</think>\s*<answer>(.+?)</answer>", re.DOTALL)
_THINK_ANSWER = re.compile(r"<think>(.+?)</think>\s*<answer>(.+?)</answer>", re.DOTALL)


def well_formed(response: str, form: Form, anchored: bool = False) -> bool:
    """Whether a response has the format: its blocks in order, non-empty, each tag exactly once.

    `observe-think-answer` also takes the observation inside the thinking, with thought before and after it, as the code
    of Observe-R1 does. Text before the first and after the last block is allowed, as there; unless `anchored`, as in
    R1-V (grpo.py, format_reward) and what builds on it.
    """
    tags = _TAGS if form == "observe-think-answer" else _TAGS[1:]
    if any(response.count(f"<{t}>") != 1 or response.count(f"</{t}>") != 1 for t in tags):
        return False
    patterns = (_FLAT, _NESTED) if form == "observe-think-answer" else (_THINK_ANSWER,)
    matches = (p.fullmatch(response) if anchored else p.search(response) for p in patterns)
    return any(match is not None and all(block.strip() for block in match.groups()) for match in matches)


class Accuracy(TermSettings):
    """1 if correct. DAPO's +1 and -1 are weight 2: no advantage depends on what is added to all rewards of a group."""

    kind: Literal["accuracy"] = "accuracy"

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """Correctness."""
        return answers.correct_PG.double()


class _Formed(TermSettings):
    form: Form = "observe-think-answer"
    anchored: bool = False  # nothing before the first and after the last block

    def formed_PG(self, answers: Answers) -> torch.Tensor:
        """1 if well-formed."""
        formed = [[well_formed(text, self.form, self.anchored) for text in texts] for texts in answers.texts]
        return torch.tensor(formed, dtype=torch.float64)


class Format(_Formed):
    """1 if well-formed. R1-V and OThink-MR1 take `think-answer`, anchored; their pattern also takes empty and repeated
    blocks, this does not."""

    kind: Literal["format"] = "format"

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """Form."""
        return self.formed_PG(answers)


class Strict(_Formed):
    """1 if both correct and well-formed: the hard formatting result reward of Vision-R1 (arXiv 2503.06749)."""

    kind: Literal["strict"] = "strict"
    form: Form = "think-answer"

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """Correctness and form."""
        return self.formed_PG(answers) * answers.correct_PG.double()
