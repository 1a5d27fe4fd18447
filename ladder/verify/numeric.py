r"""Integers and numbers, compared exactly: no tolerance, no rounding, no units.

Read are signs, thousands separators (1,234), decimals, exponents (1e3, 3 \times 10^{4}), fractions (3/4, \frac{3}{4}),
a leading currency sign, a percent sign (28% is 28/100), a degree sign (dropped), `x = 5`, full-width digits; and for
integers the English words zero to twenty. Units, tolerances and other readings of percent are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from ladder.verify.rule import Judgement, Options, Rule, UnverifiableGold
from ladder.verify.text import plain

MAX_NUMBER = 64  # characters; bounds the work on a hostile number

_DECIMAL = r"(?:(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"([+-]? ?{_DECIMAL})",
        rf"([+-]? ?{_DECIMAL}) ?/ ?({_DECIMAL})",
        rf"([+-]? ?)\\[dt]?frac ?\{{ ?([+-]?{_DECIMAL}) ?\}} ?\{{ ?([+-]?{_DECIMAL}) ?\}}",
        rf"([+-]? ?{_DECIMAL}) ?(?:\\times|\\cdot|\u00d7|\*) ?10 ?\^ ?\{{? ?([+-]?[0-9]{{1,3}}) ?\}}?",
    )
)
_ASSIGNMENT = re.compile(r"\A[A-Za-z]\w{0,9} ?= ?")
_CURRENCY = re.compile(r"\A([+-]?) ?(?:\\?\$|€|£|¥) ?")
_DEGREES = re.compile(r" ?(?:(?:\{\} ?)?\^ ?(?:\\circ|\{ ?\\circ ?\})|\u00b0)\Z")
_SEPARATOR = re.compile(r"\{,\}|\\[,!;:](?=[0-9]{3}(?![0-9]))")
_ANY = re.compile(r"[0-9]+")
_UP_TO_TWENTY = """zero one two three four five six seven eight nine ten
eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"""
_WORDS = {word: Fraction(value) for value, word in enumerate(_UP_TO_TWENTY.split())}


def parse_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else."""
    if len(text) > 4 * MAX_NUMBER:
        return None
    text = _CURRENCY.sub(r"\1", _ASSIGNMENT.sub("", plain(text), count=1), count=1)
    text = plain(_DEGREES.sub("", _SEPARATOR.sub(",", text)))
    percent = text.endswith("%")
    text = text.removesuffix("%").removesuffix("\\").strip()
    value = _value(text) if len(text) <= MAX_NUMBER else None
    return value / 100 if percent and value is not None else value


def parse_integer(text: str) -> Fraction | None:
    """As parse_number, and the words zero to twenty too. The value of "5.0" or "10/2" is an integer as well."""
    value = parse_number(text)
    return _WORDS.get(plain(text).casefold()) if value is None else value


def _value(text: str) -> Fraction | None:
    readers: tuple[Callable[..., Fraction], ...] = (_decimal, _quotient, _signed_quotient, _scientific)
    try:
        for form, read in zip(_FORMS, readers, strict=True):
            if match := form.fullmatch(text):
                return read(*match.groups())
    except ZeroDivisionError:
        pass
    return None


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", "").replace(" ", ""))


def _quotient(top: str, bottom: str) -> Fraction:
    return _decimal(top) / _decimal(bottom)


def _signed_quotient(sign: str, top: str, bottom: str) -> Fraction:
    return _quotient(top, bottom) * (-1 if "-" in sign else 1)


def _scientific(factor: str, exponent: str) -> Fraction:
    return _decimal(factor) * Fraction(10) ** int(exponent)


def _read_integer(gold: str, _: Options) -> Fraction:
    value = parse_integer(gold)
    if value is None or value.denominator != 1:
        raise UnverifiableGold("gold_not_an_integer")
    return value


def _read_number(gold: str, _: Options) -> Fraction:
    value = parse_number(gold)
    if value is None:
        raise UnverifiableGold("gold_not_a_number")
    return value


def _judge_integer(answer: str, gold: Fraction, _: Options) -> Judgement:
    return _judge(parse_integer(answer), answer, gold)


def _judge_number(answer: str, gold: Fraction, _: Options) -> Judgement:
    return _judge(parse_number(answer), answer, gold)


def _judge(value: Fraction | None, answer: str, gold: Fraction) -> Judgement:
    if value is None:
        return Judgement(False, "several" if len(_ANY.findall(answer)) > 1 else "unreadable")
    return Judgement(value == gold, "value")


INTEGER = Rule(_read_integer, _judge_integer)
NUMBER = Rule(_read_number, _judge_number)
