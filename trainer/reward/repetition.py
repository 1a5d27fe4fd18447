"""The term that a response pays for repeating itself."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt

from trainer.reward.answers import Answers, TermSettings


class Repetition(TermSettings):
    """Minus the share of a response's n-grams that occurred before in it, over lower-cased words (Yeo et al.,
    arXiv 2502.03373, appendix C.2). VL-Cogito (aux.py): weight 0.5, of the wrong only. Perception-R1: weight 2."""

    kind: Literal["repetition"] = "repetition"
    n: PositiveInt = 20
    of: Literal["all", "wrong"] = "all"

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """Between -1 and 0."""
        shares = [[repeated_share(text, self.n) for text in texts] for texts in answers.texts]
        value_PG = -torch.tensor(shares, dtype=torch.float64)
        return value_PG if self.of == "all" else value_PG * (answers.correct_PG <= 0)


def repeated_share(text: str, n: int) -> float:
    """1 - unique / all n-grams of a text; 0 for one of fewer than n words."""
    words = text.lower().split()
    total = len(words) - n + 1
    if total < 1:
        return 0.0
    ngrams = zip(*(words[i:] for i in range(n)), strict=False)
    return 1 - len(set(ngrams)) / total
