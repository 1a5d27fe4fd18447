r"""Integers and numbers, compared exactly, with their units, percent signs and tolerances (docs/verifier.md).

What one amount is and how it is spelled is read in `ladder.verify.amounts`; arithmetic that is no plain number
(`2^5`, `\sqrt{16}`) is left to `ladder.verify.expressions`. Nothing is rounded and nothing is near without a tolerance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from ladder.records import Reference
from ladder.verify.amounts import MAX_AMOUNT, Amount, bare_amount, names_a_unit, read_amount, two_lines
from ladder.verify.expressions import equals_number, looks_mathematical
from ladder.verify.literals import parse_literal
from ladder.verify.numerals import MAGNITUDES, parse_numeral
from ladder.verify.policy import Policy, Tolerance, parse_tolerance
from ladder.verify.rule import Judgement, Rule, UnverifiableGold
from ladder.verify.text import plain
from ladder.verify.units import DEGREE, RADIAN, Unit, read_unit, split_unit
from ladder.verify.words import word_key

#: π to 50 places, for tolerances; without one, a number with π equals none without.
_PI = Fraction(314159265358979323846264338327950288419716939937511, 10**50)
_ANY = re.compile(r"[0-9]+")
#: Two numbers side by side, a comma that separates no thousands, or a word between: no arithmetic of one value.
_SEVERAL = re.compile(
    r"(?<!_)[0-9] +[0-9]|[0-9] ?[,;] ?[-+]?[0-9.]|±|\\[pm]{2}(?![a-z])|\b(?:or|and|to)\b|\\(?:text|ldots|cdots|dots)|\.\.\.|[?\u2026、]"
)
_BLANKS = re.compile(r"(?<![0-9]) | (?![0-9])")
_NO_VALUE = re.compile(r"[<>\u2264\u2265]|\\[lgn]e")
_LONG = re.compile(r"[0-9.]{65}")  # what is evaluated is rounded somewhere
_TRIGONOMETRIC = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_OPERATION = re.compile(r"[0-9)] ?(?:[+*/=\u00d7\u00f7-]|\\(?:times|cdot|div)) ?[(0-9]")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_PERCENT_UNIT = re.compile(r"%|\\%|percent(?:age)?s?|per cent|pct", re.IGNORECASE)
_KELVIN = (("K", 1),)
#: (gold's unit, answer's unit) that may be the same: the number decides.
_AMBIGUOUS = (
    ("£", "lb"), ("lb", "£"), ("t", "ton"), ("ton", "t"),
    ("°C", "°"), ("°F", "°"), ("C", "°C"), ("F", "°F"), ("°C", "C"), ("°F", "F"),
)  # fmt: skip


@cache
def _ambiguous() -> frozenset[tuple[Unit | None, Unit | None]]:
    return frozenset((read_unit(gold), read_unit(answer)) for gold, answer in _AMBIGUOUS)


class Number(NamedTuple):
    """A gold: its amount, how near is right, and how else it may be said.

    `stated` says that the unit or percent sign stands beside the gold and not in it; `scale` is a magnitude among its
    unit ("million"); `key` is the text that is right as it stands; `beside`, the unit's.
    """

    amount: Amount
    tolerance: Tolerance | None = None
    stated: bool = False
    scale: Fraction = Fraction(1)
    key: str = ""
    beside: str = ""


def parse_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else: no unit; 28% is 28/100; digits or words."""
    lines, text = text, plain(text)
    if len(text) > MAX_AMOUNT or two_lines(lines):
        return None
    text = bare_amount(text, hedges=False)
    literal = parse_literal(text)
    if literal is None:
        return parse_numeral(text)
    value = literal.value / 100 if literal.percent else literal.value
    return value if literal.pi == 0 or value == 0 else None


def _read_number(reference: Reference, _: Policy) -> Number:
    amount = read_amount(reference.gold, hedges=False)
    if amount is None:
        raise UnverifiableGold("gold_not_a_number")
    tolerance = None if reference.tolerance is None else parse_tolerance(reference.tolerance)
    beside = plain(reference.unit or "") or (reference.unit or "").strip()
    if not beside:
        return Number(amount, tolerance, key=_key(reference.gold))
    return _with_unit(amount, beside, tolerance)


def _with_unit(amount: Amount, beside: str, tolerance: Tolerance | None) -> Number:
    """A gold whose unit stands in a column of its own: "%", "cm", "$, per year", "million people", "meters tall"."""
    if _PERCENT_UNIT.fullmatch(beside):
        return Number(amount._replace(percent=True, unit=None), tolerance, stated=not amount.percent)
    words = beside.replace(",", " ").split()
    scale = Fraction(
        MAGNITUDES.get(next((word.lower() for word in words if word.lower() in MAGNITUDES), ""), 1)
    )
    words = [word for word in words if word.lower() not in MAGNITUDES]
    found = read_unit(" ".join(words)) if words else None
    if found is None and words:
        counted = read_amount("1" + " " + " ".join(words))
        found = counted.unit if counted is not None else read_unit(words[0]) if len(words[0]) == 1 else None
    if amount.unit is not None or amount.percent:
        return Number(amount, tolerance, scale=scale, beside=beside)
    return Number(amount._replace(unit=found), tolerance, stated=True, scale=scale, beside=beside)


def _read_integer(reference: Reference, policy: Policy) -> Number:
    try:
        gold = _read_number(reference, policy)
    except UnverifiableGold:
        raise UnverifiableGold("gold_not_an_integer") from None
    if gold.amount.value.denominator != 1 or gold.amount.pi:
        raise UnverifiableGold("gold_not_an_integer")
    return gold


def _key(text: str) -> str:
    """The text without blanks, but for those between digits: "3 2" is not 32."""
    return _BLANKS.sub("", plain(text))


def _judge(answer: str, gold: Number, policy: Policy) -> Judgement | None:
    if gold.key and _key(answer) == gold.key:
        return Judgement(True, "string")
    unit = gold.amount.unit
    kelvin = unit is not None and unit.dimension == _KELVIN
    found = read_amount(answer, kelvin=kelvin)
    if found is None and gold.beside and (text := plain(answer)).endswith(gold.beside):
        found = read_amount(text.removesuffix(gold.beside))
        found = found and found._replace(unit=found.unit or unit)
    if found is not None:
        return _compared(found, gold, policy)
    if len(answer) <= 4 * MAX_AMOUNT and _may_be_arithmetic(answer, gold.amount):
        return None
    return Judgement(False, "several" if len(_ANY.findall(answer)) > 1 else "unreadable")


def _may_be_arithmetic(answer: str, gold: Amount) -> bool:
    """Whether an answer may be worth evaluating: one value, and a ratio only where the gold is no whole number."""
    amount = _amount(answer)[0]
    if not amount or _LONG.search(amount) or _NO_VALUE.search(amount):
        return False
    if _SEVERAL.search(amount.replace("{,}", ",")) or (gold.value.denominator == 1 and ":" in amount):
        return False
    sides = amount.split("=")
    return len(sides) <= 4 and all(map(looks_mathematical, sides))


def _amount(answer: str) -> tuple[str, Unit | None, bool]:
    """An answer's amount as LaTeX, its unit, and whether it is in percent."""
    text = bare_amount(plain(answer))
    amount, unit = split_unit(text)
    if unit is not None and unit.dimension == DEGREE.dimension and _TRIGONOMETRIC.search(amount):
        amount, unit = text, None  # of the angle, not of its sine
    amount = bare_amount(plain(amount))
    if _OPERATION.search(amount):
        amount = _THOUSANDS.sub("", amount)
    bare = re.sub(r" ?(?:\\?%|percent|per cent)\Z", "", amount)
    return bare, unit, bare != amount


def _compared(found: Amount, gold: Number, policy: Policy) -> Judgement:
    unit = _unit_of(found, gold.amount)
    if not _units_agree(found, unit, gold, policy):
        return Judgement(False, "unit")
    for wanted, given in _readings(found, unit, gold, policy):
        if _equal(wanted, given, gold.tolerance):
            return Judgement(True, "value")
    return Judgement(False, "value")


def _unit_of(found: Amount, gold: Amount) -> Unit | None:
    """The answer's unit; a bare multiple of π is in radians where the gold is in degrees."""
    if found.unit is None and found.pi and not gold.pi and gold.unit == DEGREE:
        return RADIAN
    return found.unit


def _units_agree(found: Amount, unit: Unit | None, gold: Number, policy: Policy) -> bool:
    wanted = gold.amount
    if wanted.percent:
        named = unit is not None or (found.noun and not found.percent and names_a_unit(found.noun))
        missing = gold.stated and not found.percent and found.value != wanted.value / 100
        return not named and (policy.missing_unit == "accept" or not missing)
    if wanted.unit is None:
        return not (wanted.noun and found.noun) or _last_word(wanted.noun) == _last_word(found.noun)
    if found.percent:
        return False
    if unit is None:
        return policy.missing_unit == "accept" and not names_a_unit(found.noun)
    return unit.same_kind(wanted.unit) or (wanted.unit, unit) in _ambiguous()


def _last_word(noun: str) -> str:
    return word_key(noun).rpartition(" ")[2]


Value = tuple[Fraction, int]  # a number and its power of π


def _readings(
    found: Amount, unit: Unit | None, gold: Number, policy: Policy
) -> Iterator[tuple[Value, Value]]:
    """Pairs of values in the gold's unit of which one has to be equal."""
    wanted = gold.amount
    target: Value = wanted.value, wanted.pi
    if wanted.percent or found.percent:
        yield from _percentages(found, gold, policy)
    elif wanted.unit is None or unit is None or not unit.same_kind(wanted.unit):
        yield target, (found.value, found.pi)
    else:
        if (wanted.unit, unit) in _ambiguous():
            yield target, (found.value, found.pi)
        yield target, converted((found.value, found.pi), unit, wanted.unit)
    if gold.scale != 1:  # "5" of "million people" is "5 million" too
        yield target, (found.value / gold.scale, found.pi)


def _percentages(found: Amount, gold: Number, policy: Policy) -> Iterator[tuple[Value, Value]]:
    """In the gold's own terms, as its tolerance is."""
    wanted = gold.amount
    target: Value = wanted.value, wanted.pi
    if wanted.percent == found.percent:
        yield target, (found.value, found.pi)
        return
    factor = Fraction(100) if wanted.percent else Fraction(1, 100)
    if policy.percent != "number":
        yield target, (found.value * factor, found.pi)
    if policy.percent != "value" or gold.stated:
        yield target, (found.value, found.pi)


def converted(value: Value, unit: Unit, into: Unit) -> Value:
    """A value in another unit of the same kind."""
    number, pi = value
    if unit == into:
        return value
    base = number * unit.factor + unit.offset - into.offset
    return base / into.factor, pi + unit.pi - into.pi


def _equal(wanted: Value, given: Value, tolerance: Tolerance | None) -> bool:
    if wanted[1] == given[1] and (tolerance is None or wanted[1] == 0):
        return wanted[0] == given[0] or (tolerance is not None and tolerance.allows(wanted[0], given[0]))
    if tolerance is None:
        return wanted[0] == 0 == given[0]
    return tolerance.allows(wanted[0] * _PI ** wanted[1], given[0] * _PI ** given[1])


def _decide(answer: str, gold: Number, policy: Policy) -> Judgement:
    """Arithmetic: brought into the gold's unit as LaTeX, and evaluated."""
    amount, unit, percent = _amount(answer)
    wanted = gold.amount
    if unit is None and wanted.unit == DEGREE and re.search(r"\\pi(?![A-Za-z])|π", amount):
        unit = RADIAN
    shown = Amount(wanted.value, unit, percent)  # stands for the answer where only its unit matters
    if not _units_agree(shown, unit, gold, policy):
        return Judgement(False, "unit")
    same = wanted.unit is None or unit is None or not unit.same_kind(wanted.unit) or unit == wanted.unit
    if not same and (unit.offset or wanted.unit.offset):  # type: ignore[union-attr]
        return Judgement(False, "unit")
    pi, factor = -wanted.pi, Fraction(1)
    if not same:
        factor, power = converted((factor, 0), unit, wanted.unit)  # type: ignore[arg-type]
        pi += power
    factors = [factor]
    if percent != wanted.percent:
        factors = [factor * (100 if wanted.percent else Fraction(1, 100))] * (policy.percent != "number")
        factors += [factor] * (policy.percent != "value" or (gold.stated and not percent))
    for factor in factors:
        sides = [_multiplied(side, factor, pi) for side in amount.split("=")]
        if all(equals_number(side, wanted.value, gold.tolerance) for side in sides):
            return Judgement(True, "symbolic")
    return Judgement(False, "symbolic")


def _multiplied(text: str, factor: Fraction, pi: int) -> str:
    if factor == 1 and not pi:
        return text
    power = rf" \cdot \pi^{{{pi}}}" if pi else ""
    return rf"({text}) \cdot \frac{{{factor.numerator}}}{{{factor.denominator}}}{power}"


INTEGER = Rule(_read_integer, _judge, decide=_decide)
NUMBER = Rule(_read_number, _judge, decide=_decide)
