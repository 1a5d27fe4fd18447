"""The verifiers that are compared: ours through its pool, and math-verify in two configurations, on the same cases.

math-verify has no notion of options, units, tolerances or answer types: it is given the letter of the right option and
else the gold as it stands, and its own timeouts (5 s each for parsing and comparing) in the main thread.
"""

from __future__ import annotations

import logging
import re
import string
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from math_verify import ExprExtractionConfig, LatexExtractionConfig, StringExtractionConfig, parse, verify

from ladder.records import Item, Verdict
from ladder.verify import DEFAULT, Policy
from ladder.verify.pool import VerifierPool

OURS, PLAIN, STRING = "ladder", "math-verify 0.9.0", "math-verify 0.9.0 with String extraction"
VERIFIERS = (OURS, PLAIN, STRING)
_LETTERS = string.ascii_uppercase


class Case(NamedTuple):
    """A response to be judged."""

    item: Item
    response: str


def judge(cases: Sequence[Case], policy: Policy = DEFAULT, workers: int = 2) -> list[Verdict]:
    """Our verdicts, in order, through a pool with its default deadline."""
    verdicts: dict[int, Verdict] = {}
    with VerifierPool(workers=workers, policy=policy) as pool:
        for i, case in enumerate(cases):
            pool.submit(i, case.response, case.item)
            verdicts.update(pool.completed())
        verdicts.update(pool.completed(block=True))
    return [verdicts[i] for i in range(len(cases))]


def gold_text(item: Item) -> str:
    """The gold as math-verify is given it: the right option's letter where there are options."""
    if not item.options or re.fullmatch(r"\(?[A-Z]\)?\.?", item.gold.strip()):
        return item.gold
    places = [i for i, option in enumerate(item.options) if option.strip() == item.gold.strip()]
    return _LETTERS[places[0]] if places else item.gold


@cache
def _extraction(options: int) -> tuple[Any, ...]:
    # The library's default knows A to D only; an item with five options has five letters.
    letters = StringExtractionConfig(strings=tuple(_LETTERS[: max(4, options)]))
    return (letters, LatexExtractionConfig(), ExprExtractionConfig())


def math_verify(case: Case, strings: bool = False) -> bool:
    """Whether math-verify takes the response for right; an error counts as no."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    options = {"extraction_config": _extraction(len(case.item.options))} if strings else {}
    try:
        return bool(verify(parse(gold_text(case.item), **options), parse(case.response, **options)))
    except Exception:  # such as a RecursionError within sympy: the peer's failure, not the benchmark's
        return False
