"""A reward of one's own: a function named in the settings, run only where they say that code may run."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import torch
from pydantic import field_validator, model_validator

from ladder.errors import BadInput, LadderError
from trainer.reward.answers import Answer, Answers, TermSettings

Function = Callable[[Sequence[Answer]], Sequence[float]]


class Own(TermSettings):
    """`function = "module:name"` takes the answers of one group and returns a finite number for each, in their order."""

    kind: Literal["own"] = "own"
    function: str
    allow_code: bool = False

    @field_validator("function")
    @classmethod
    def _named(cls, function: str) -> str:
        module, _, name = function.partition(":")
        if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise ValueError(f"{function!r} is not written as module:function")
        return function

    @model_validator(mode="after")
    def _allowed(self) -> Own:
        if not self.allow_code:
            raise ValueError(f"{self.function!r} is code: set allow_code = true beside it to have it run")
        return self

    def load(self) -> Function:
        """The function; raises BadInput where there is none."""
        return _load(self.function)

    def value_PG(self, answers: Answers) -> torch.Tensor:
        """What the function says; raises LadderError for what is no list of G finite numbers. What the function itself
        raises passes, with a note."""
        groups = [self._of_group(answers.group(p)) for p in range(len(answers.texts))]
        return torch.tensor(groups, dtype=torch.float64)

    def _of_group(self, group: list[Answer]) -> list[float]:
        where = f"reward function {self.function}, item {group[0].item.id}"
        try:
            given: Any = self.load()(group)
        except Exception as error:
            error.add_note(f"raised in {where}")
            raise
        try:
            values = [float(value) for value in given]
        except (TypeError, ValueError):
            raise LadderError(f"{where}: gave {given!r:.80}, not a list of numbers") from None
        if len(values) != len(group):
            raise LadderError(f"{where}: gave {len(values)} numbers for {len(group)} responses")
        if not all(map(math.isfinite, values)):
            raise LadderError(f"{where}: gave a number that is not finite: {values}")
        return values


@cache
def _load(named: str) -> Function:
    module, _, name = named.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"no reward function {named}: {error}; is its folder on PYTHONPATH?") from None
    if not callable(function):
        raise BadInput(f"no reward function {named}: {name} cannot be called")
    found: Function = function
    return found
