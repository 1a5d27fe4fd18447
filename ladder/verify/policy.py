"""What a verdict may depend on besides the gold: policies for whole builds, and the tolerance of a gold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

_TOLERANCE = re.compile(
    r"(?P<absolute>\u00b1|\+-|\+/-)? ?(?P<value>[0-9]{1,9}(?:\.[0-9]{1,12})?|\.[0-9]{1,12}|[0-9]e-[0-9]{1,2})"
    r" ?(?P<kind>%|decimals?)?"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """How all golds of a build are compared.

    `format`: "lenient" looks for the answer in a documented order (docs/verifier.md); "strict" takes one closed answer
    block only. `missing_unit`: what an answer without the gold's unit is. `percent`: what 28% equals besides itself:
    0.28 ("value"), 28 ("number") or both ("either").
    """

    format: Literal["lenient", "strict"] = "lenient"
    missing_unit: Literal["accept", "reject"] = "accept"
    percent: Literal["value", "number", "either"] = "value"


DEFAULT = Policy()


class Tolerance(NamedTuple):
    """How far an answer may be from a gold: `relative` to the gold's value, `absolute`, or equal at `decimals` places."""

    kind: Literal["relative", "absolute", "decimals"]
    size: Fraction

    def allows(self, gold: Fraction, answer: Fraction) -> bool:
        """Whether the answer is near enough; the limits count as near."""
        if self.kind == "decimals":
            # Half away from zero, as people round, and not to even as Python does.
            scale = 10 ** int(self.size)
            return _rounded(gold * scale) == _rounded(answer * scale)
        limit = self.size * abs(gold) if self.kind == "relative" else self.size
        return abs(gold - answer) <= limit


def _rounded(value: Fraction) -> int:
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@lru_cache(maxsize=256)
def parse_tolerance(text: str) -> Tolerance:
    """The tolerance that a text states: "0.05" or "5%" relative, "±0.1" absolute, "2 decimals"; ValueError otherwise."""
    match = _TOLERANCE.fullmatch(" ".join(text.split()).replace("+/-", "±"))
    if match is None or (match["absolute"] and match["kind"]):
        raise ValueError(
            f"{text!r} is no tolerance; say 0.05 or 5% (relative), ±0.1 (absolute) or 2 decimals"
        )
    value = Fraction(match["value"])
    if match["absolute"]:
        return Tolerance("absolute", value)
    if match["kind"] and match["kind"] != "%":
        if value.denominator != 1 or value > 12:
            raise ValueError(f"{text!r}: 0 to 12 whole decimals")
        return Tolerance("decimals", value)
    value = value / 100 if match["kind"] == "%" else value
    if value >= 1:
        raise ValueError(
            f"{text!r} of the gold's value accepts nearly anything; say ±{value} or {value} decimals if meant"
        )
    return Tolerance("relative", value)
