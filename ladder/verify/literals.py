r"""One number written in digits, read exactly: `-1,234.50`, `3 \times 10^{4}`, `1\frac{1}{2}`, `0.1\overline{6}`, `28\%`.

Read are signs, thousands separators, decimals, recurring decimals, exponents, fractions, mixed numbers, percent signs,
magnitudes ("1.2 million", 3万, 3.5k) and a factor of π. Units and what surrounds a number are left to
`ladder.verify.numeric`, words to `ladder.verify.numerals`, other arithmetic to `ladder.verify.expressions`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from ladder.verify.numerals import CHINESE_MAGNITUDES, MAGNITUDES, parse_numeral

MAX_LITERAL = 200  # characters; bounds the work on a hostile number


class Literal(NamedTuple):
    """A number: `value * π**pi`, in hundredths if `percent`."""

    value: Fraction
    percent: bool = False
    pi: int = 0


_VULGAR = {
    "½": "1/2",
    "⅓": "1/3",
    "⅔": "2/3",
    "¼": "1/4",
    "¾": "3/4",
    "⅕": "1/5",
    "⅖": "2/5",
    "⅗": "3/5",
    "⅘": "4/5",
}
_VULGAR |= {
    "⅙": "1/6",
    "⅚": "5/6",
    "⅐": "1/7",
    "⅛": "1/8",
    "⅜": "3/8",
    "⅝": "5/8",
    "⅞": "7/8",
    "⅑": "1/9",
    "⅒": "1/10",
}
_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}")
_SIGNS = str.maketrans(
    {"\u2044": "/", "\u2215": "/", "\u00d7": "*", "\u22c5": "*", "·": "*", "\u066b": ".", "π": r"\pi "}
)
_REWRITTEN = (
    (re.compile(r"\\(?:left|right|displaystyle|mathrm|text|mathbf)(?![A-Za-z])"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=[0-9])\\[,;:! ](?=[0-9]{3}(?![0-9]))"), ","),
    (re.compile(r"\\[,;:! ]|\\q?quad(?![a-z])|~"), " "),
    (re.compile(r"\\[dtcs]frac(?![a-z])"), r"\\frac"),
    (re.compile(r"\\(?:times|cdot)(?![a-z])"), "*"),
    (re.compile(r"(?<=[0-9)}]) ?[xX] ?(?=10 ?\^)"), "*"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\{ ?([^{}]{1,60}?) ?\\over(?![a-z]) ?([^{}]{1,60}?) ?\}"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\%"), "%"),
)
_FRAC = re.compile(r"\\frac ?(?:\{([^{}]{1,80})\}|([0-9])) ?(?:\{([^{}]{1,80})\}|([0-9]))")
_ENDING = re.compile(r" ?(?:%|percent(?:age points?)?|per ?cent|pct)\Z", re.IGNORECASE)
_MULTIPLE = re.compile(
    rf"(.*?[0-9)}}%]) ?([A-Za-z]{{1,12}}|[{''.join({c for word in CHINESE_MAGNITUDES for c in word})}]{{1,2}})"
)
_LETTERS = {"k": 3, "mn": 6, "mln": 6, "mil": 6, "bn": 9, "bln": 9, "tn": 12, "trn": 12}
_CAPITALS = {"K": 3, "M": 6, "B": 9}
_MONEY = {"m": 6, "b": 9, "t": 12, "T": 12}

_WHOLE = (
    r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]{0,2}(?: [0-9]{3})+|[1-9][0-9]{0,2}(?:'[0-9]{3})+|[0-9]+)"
)
_DECIMAL = rf"(?:{_WHOLE}(?:\.[0-9]*)?|\.[0-9]+)"
_EXPONENT = r"(?:[eE] ?([+-]?[0-9]{1,3})| ?\* ?10 ?\^ ?(?:\{ ?([+-]?[0-9]{1,3}) ?\}|\( ?([+-]?[0-9]{1,3}) ?\)|([+-]?[0-9]{1,3})))"
_SIGN = r"([+-]?) ?"
_PLAIN = re.compile(rf"{_SIGN}({_DECIMAL}){_EXPONENT}?")
_POWER = re.compile(
    rf"{_SIGN}10 ?\^ ?(?:\{{ ?([+-]?[0-9]{{1,3}}) ?\}}|\( ?([+-]?[0-9]{{1,3}}) ?\)|([+-]?[0-9]{{1,3}}))"
)
_QUOTIENT = re.compile(rf"({_SIGN}{_DECIMAL}) ?/ ?({_SIGN}{_DECIMAL})")
_MIXED = re.compile(
    r"([0-9]{1,12}|[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?: |(?=<)| and )<?([0-9]{1,12}) ?/ ?([0-9]{1,12})>?"
)
_AND = re.compile(r"([0-9]{1,12}) and ((?:an? |one |two |three |four )?[a-z]{4,12})")
_RECURRING = re.compile(
    r"([0-9]{0,30})\.([0-9]{0,30})(?:\\(?:overline|bar|dot) ?(?:\{ ?([0-9]{1,30}) ?\}|([0-9]))|\(([0-9]{1,30})\))"
)
_DOTS = re.compile(r"\\dot ?\{? ?([0-9]) ?\}? ?([0-9]{0,30}?) ?\\dot ?\{? ?([0-9]) ?\}?")
_MARKED = re.compile("((?:[0-9][\u0304\u0305\u0307])+)")
_DOTTED = re.compile("([0-9])\u0307([0-9]{1,30})([0-9])\u0307")
_BELOW = re.compile(r"\} ?\{[^{}]*\Z")  # in a denominator
_PI = re.compile(r"\\pi(?![A-Za-z])")


@lru_cache(maxsize=4096)
def parse_literal(text: str, money: bool = False) -> Literal | None:
    """The number that a whole text is; `money` says that it followed a currency sign, where 3m is three million."""
    if not text or len(text) > MAX_LITERAL:
        return None
    if text.isascii() and text.isdigit():
        return Literal(Fraction(int(text)))
    try:
        return _percentage(_normal(text), money)
    except (ZeroDivisionError, ValueError):
        return None


def _normal(text: str) -> str:
    """The text with one spelling of each sign; fractions are `<top/bottom>`, so that 1\frac12 is told from 11/2."""
    text = _SUPERSCRIPT.sub(lambda found: "^{" + found[0].translate(_SUPER) + "}", text).translate(_SIGNS)
    for pattern, spelling in _REWRITTEN:
        text = pattern.sub(spelling, text)
    for sign, quotient in _VULGAR.items():
        text = text.replace(sign, f"<{quotient}>")
    return " ".join(text.split())


def _percentage(text: str, money: bool) -> Literal | None:
    if text.startswith("百分之"):
        rest = text[3:]
        value = _signed(rest) if rest[:1].isascii() else _literal(parse_numeral(rest))
        return None if value is None or value.pi else Literal(value.value, True)
    bare = _ENDING.sub("", text)
    if bare == text:
        return _signed(text) or _multiple(text, money)
    value = _signed(bare) or _literal(parse_numeral(bare)) or _multiple(bare, money)
    return None if value is None else Literal(value.value, True, value.pi)


def _literal(value: Fraction | None) -> Literal | None:
    return None if value is None else Literal(value)


def _multiple(text: str, money: bool) -> Literal | None:
    """A number and a magnitude: 5 million, 2 dozen, 3.5k, 1.2亿."""
    match = _MULTIPLE.fullmatch(text)
    if match is None:
        return None
    word, attached = match[2], text[match.end(1)] != " "
    exponent = _LETTERS.get(word.lower()) if word.lower() != "k" or word == "k" else None
    if exponent is None and (attached or money):
        exponent = _CAPITALS.get(word) or (_MONEY.get(word) if money else None)
    factor = 10**exponent if exponent else MAGNITUDES.get(word.lower()) or CHINESE_MAGNITUDES.get(word)
    value = _signed(match[1])
    return None if factor is None or value is None else Literal(value.value * factor, False, value.pi)


def _signed(text: str) -> Literal | None:
    """A number with at most one sign before it, in brackets or not."""
    text = text.strip()
    negative = text.startswith("-")
    bare = text[1:].lstrip() if text[:1] in ("+", "-") else text
    if bare[:1] in ("+", "-"):
        return None
    for left, right in ("()", "{}", "[]"):
        if (
            bare.startswith(left)
            and bare.endswith(right)
            and left not in bare[1:-1]
            and right not in bare[1:-1]
        ):
            inner = _signed(bare[1:-1]) if left != "[" else None
            return inner and inner._replace(value=-inner.value if negative else inner.value)
    found = _unsigned(bare)
    return found and found._replace(value=-found.value if negative else found.value)


def _unsigned(text: str) -> Literal | None:
    if match := _PLAIN.fullmatch(text):
        return Literal(_plain(match))
    if "\\pi" in text:
        return _multiple_of_pi(text)
    if match := _POWER.fullmatch(text):
        return Literal(Fraction(10) ** int(match[2] or match[3] or match[4]))
    value = _recurring(text)
    if value is None:
        value = _fraction(text)
    return _literal(value)


def _plain(match: re.Match[str]) -> Fraction:
    value = Fraction(match[2].replace(",", "").replace(" ", "").replace("'", ""))
    exponent = match[3] or match[4] or match[5] or match[6]
    value = value * Fraction(10) ** int(exponent) if exponent else value
    return -value if match[1] == "-" else value


def _decimal(text: str) -> Fraction | None:
    match = _PLAIN.fullmatch(text.strip().strip("()").strip())
    return None if match is None else _plain(match)


def _fraction(text: str) -> Fraction | None:
    """3/4, \frac{3}{4}, 1 3/4, 1\frac34, 1<3/4>, and "1 and a half"."""
    if match := _AND.fullmatch(text):
        part = parse_numeral(match[2])
        return int(match[1]) + part if part is not None and 0 < part < 1 else None
    marked = _FRAC.sub(_as_quotient, text)
    if match := _MIXED.fullmatch(marked):
        top, bottom = int(match[2]), int(match[3])
        if 0 < top < bottom:
            return int(match[1].replace(",", "")) + Fraction(top, bottom)
        if "<" in marked:
            return None
    if marked[:1] == "<" and marked[-1:] == ">":
        marked = marked[1:-1]
    if "<" in marked:
        return None
    parts = marked.split("/")
    if len(parts) != 2:
        return None
    top_value, bottom_value = map(_decimal, parts)
    return None if top_value is None or bottom_value is None else top_value / bottom_value


def _as_quotient(match: re.Match[str]) -> str:
    return f"<{match[1] or match[2]}/{match[3] or match[4]}>"


def _recurring(text: str) -> Fraction | None:
    text = _DOTTED.sub(r"(\1\2\3)", text)
    text = _MARKED.sub(lambda found: "(" + re.sub("[^0-9]", "", found[1]) + ")", text)
    match = _RECURRING.fullmatch(_DOTS.sub(r"(\1\2\3)", text))
    if match is None:
        return None
    whole, fixed, period = match[1] or "0", match[2], match[3] or match[4] or match[5]
    return Fraction(
        int(whole + fixed + period) - int(whole + fixed), (10 ** len(period) - 1) * 10 ** len(fixed)
    )


def _multiple_of_pi(text: str) -> Literal | None:
    r"""A number times one π: `\frac{2\pi}{3}`, `2\pi/3`, `\frac23\pi`, `0.5\pi`. With π out, what is left is a number."""
    if len(_PI.findall(text)) != 1:
        return None
    before, after = _PI.split(text)
    before, after = before.rstrip(" *"), after.lstrip()
    if not before or before.endswith(("{", "(")):
        before += "1"
    if (after and after[0] not in "}/)") or _BELOW.search(before):
        return None
    if "/" in before or (after[:1] == "/" and re.search(r"\\frac|<", before)):
        bottom = Fraction(1)
        if after:
            return None
    elif after[:1] == "/":
        divisor = _decimal(after[1:])
        if divisor is None:
            return None
        bottom, after = divisor, ""
    else:
        bottom = Fraction(1)
    found = _signed(before + after)
    return None if found is None or found.pi else Literal(found.value / bottom, False, 1)
