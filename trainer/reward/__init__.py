"""Rewards as named weighted terms of one step's groups, each kept apart. Correctness comes from verdicts, never from a
reward; what is made of the total is trainer.advantage's.

A table of `[reward]` is a term; its `kind` is its name unless it says another, so that there may be two of a kind.

| kind | value of a response | source |
| --- | --- | --- |
| accuracy | 1 if correct | |
| format | 1 if well-formed | Observe-R1, R1-V |
| strict | 1 if correct and well-formed | Vision-R1 |
| bonus | an amount for the shortest correct of its group | Observe-R1 |
| length | from 1/2 for the shortest of its group to -1/2 for the longest | Kimi k1.5 |
| dylr | draws the wrong to the length of the correct | VL-Cogito |
| lead | exp of how short a correct one is among the correct; -1 if wrong | GRPO-LEAD |
| overlong | down to -1 over the last tokens before a limit | DAPO |
| repetition | - share of repeated n-grams | Yeo et al.; VL-Cogito, Perception-R1 |
| own | what a function of yours says | |

Where the code of Observe-R1 (arXiv 2505.12432; zrguo/Observe-R1) is at fault, this differs and says so:

- an unparsable gold pays 1.0 there; here its verdict is `unverifiable` and pays nothing;
- an all-wrong group there gets the bonus on its first response (argmin over infinities); here nobody does;
- the nested form there passes with a second answer or think block; here every tag occurs exactly once;
- correctness there is recovered by truncating the shaped reward; here it is the verdict.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BeforeValidator, Field

from ladder.config import did_you_mean
from trainer.reward.answers import Answer, Answers
from trainer.reward.formats import Accuracy, Format, Strict, well_formed
from trainer.reward.lengths import Bonus, DyLR, Lead, Length, Overlong
from trainer.reward.own import Own
from trainer.reward.repetition import Repetition

Term = Accuracy | Format | Strict | Bonus | Length | DyLR | Lead | Overlong | Repetition | Own
KINDS = ("accuracy", "format", "strict", "bonus", "length", "dylr", "lead", "overlong", "repetition", "own")

__all__ = [
    "KINDS",
    "Accuracy",
    "Answer",
    "Answers",
    "Bonus",
    "DyLR",
    "Format",
    "Lead",
    "Length",
    "Overlong",
    "Own",
    "Repetition",
    "RewardSettings",
    "Strict",
    "Term",
    "default_reward",
    "load_own",
    "rewards_PG",
    "well_formed",
]


def _with_kinds(terms: Any) -> Any:
    """Each table with its kind; what is no table is left for the model to refuse."""
    return (
        {name: _with_kind(name, term) for name, term in terms.items()} if isinstance(terms, dict) else terms
    )


def _with_kind(name: str, term: Any) -> Any:
    if not isinstance(term, dict) or "kind" in term:
        return term
    if name not in KINDS:
        raise ValueError(
            f"{name!r} is no kind of term{did_you_mean(name, KINDS)}; "
            f"one of another name needs a `kind`: {', '.join(KINDS)}"
        )
    return {"kind": name} | term


def _usable(terms: dict[str, Term]) -> dict[str, Term]:
    if not terms:
        raise ValueError("a reward needs a term: accuracy, for one")
    if "total" in terms:
        raise ValueError("'total' is the sum of all terms: give the term another name")
    return terms


RewardSettings = Annotated[
    dict[str, Annotated[Term, Field(discriminator="kind")]],
    BeforeValidator(_with_kinds),
    AfterValidator(_usable),
]


def default_reward() -> dict[str, Term]:
    """Observe-R1's: R = correct + 0.5 well-formed + the bonus."""
    return {"accuracy": Accuracy(), "format": Format(weight=0.5), "bonus": Bonus()}


def rewards_PG(answers: Answers, settings: RewardSettings) -> dict[str, torch.Tensor]:
    """The reward's terms by name, each weighted, and their sum `total`: float64 tensors (P, G).

    Raises LadderError for what a function of the user's gives that is no reward.
    """
    terms = {name: term.weight * term.value_PG(answers) for name, term in settings.items()}
    total = torch.zeros_like(answers.correct_PG, dtype=torch.float64)
    for value in terms.values():
        total = total + value
    return terms | {"total": total}


def load_own(settings: RewardSettings) -> list[str]:
    """Import the functions of the user's now, so that a missing one is told before a model is loaded; their names.
    Raises BadInput."""
    own = [term for term in settings.values() if isinstance(term, Own)]
    for term in own:
        term.load()
    return [term.function for term in own]
