"""Exact values of formulas that are plainly rational. Bounded: what would be large is not computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from ladder.verify.symbolic.tree import Node

MAX_EXPONENT = 10**12
_MAX_BITS = 20_000  # of an exact value
_MAX_FACTORIAL = 2_000


class Inexact(Exception):
    """A formula's value is not rational, or not seen to be."""


def exact(node: Node, at: Mapping[str, Fraction] | None = None) -> Fraction:
    """The value of a formula, with those of its symbols; raises Inexact, or ZeroDivisionError."""
    return _exact(node, at or {})


def is_rational(node: Node) -> bool:
    """Whether a formula is a quotient of polynomials."""
    if node.op in ("c", "f") or (node.op == "^" and node.args[1].op not in "n-"):
        return False
    return all(map(is_rational, node.args))


def _exact(node: Node, at: Mapping[str, Fraction]) -> Fraction:
    if node.op == "n":
        assert isinstance(node.value, Fraction)
        return node.value
    if node.op == "s":
        if str(node.value) not in at:
            raise Inexact
        return at[str(node.value)]
    if node.op == "c":
        raise Inexact
    if node.op == "^" and node.args[1].op == "n" and node.args[1].value == Fraction(1, 2):
        return _exact_root(_exact(node.args[0], at), 2)
    values = [_exact(arg, at) for arg in node.args]
    value = _function(node)(*values) if node.op == "f" else _EXACT[node.op](values)
    if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
        raise Inexact
    return value


def _exact_power(values: list[Fraction]) -> Fraction:
    base, exponent = values
    if exponent.denominator in (2, 3, 4):
        base, exponent = _exact_root(base, exponent.denominator), Fraction(exponent.numerator)
    size = base.numerator.bit_length() + base.denominator.bit_length()
    if exponent.denominator != 1 or (size > 2 and abs(exponent) * size > _MAX_BITS):
        raise Inexact
    if base == 0 == exponent or abs(exponent) > MAX_EXPONENT:
        raise Inexact
    return Fraction(base ** int(exponent))


def _exact_root(value: Fraction, degree: int) -> Fraction:
    if value < 0 and degree % 2:
        return -_exact_root(-value, degree)
    if value < 0:
        raise Inexact
    parts = (_whole_root(value.numerator, degree), _whole_root(value.denominator, degree))
    return Fraction(*parts)


def _whole_root(value: int, degree: int) -> int:
    if degree == 2:
        root = math.isqrt(value)
    elif degree == 4:
        root = math.isqrt(math.isqrt(value))
    else:
        root = round(value ** (1 / degree)) if value < 2**50 else 0
    if root**degree != value:
        raise Inexact
    return root


def _exact_quotient(values: list[Fraction]) -> Fraction:
    return values[0] / values[1]


def _exact_factorial(value: Fraction) -> Fraction:
    if value.denominator != 1 or not 0 <= value <= _MAX_FACTORIAL:
        raise Inexact
    return Fraction(math.factorial(int(value)))


def _exact_nth_root(value: Fraction, degree: Fraction) -> Fraction:
    if degree not in (2, 3, 4):
        raise Inexact
    return _exact_root(value, int(degree))


def _whole(*values: Fraction) -> list[int]:
    if any(value.denominator != 1 or abs(value) > 10**9 for value in values):
        raise Inexact
    return [int(value) for value in values]


def _exact_binomial(n: Fraction, k: Fraction) -> Fraction:
    top, bottom = _whole(n, k)
    if not bottom >= 0 or not 0 <= top <= _MAX_FACTORIAL:
        raise Inexact
    return Fraction(math.comb(top, bottom))


def _inexact(*_: Fraction) -> Fraction:
    raise Inexact


def _function(node: Node) -> Callable[..., Fraction]:
    return _EXACT_FUNCTIONS.get(str(node.value), _inexact)


_EXACT: dict[str, Callable[[list[Fraction]], Fraction]] = {
    "+": lambda values: sum(values, Fraction(0)),
    "*": lambda values: math.prod(values, start=Fraction(1)),
    "/": _exact_quotient,
    "-": lambda values: -values[0],
    "^": _exact_power,
}
#: All other functions are rational at hardly any point.
_EXACT_FUNCTIONS: dict[str, Callable[..., Fraction]] = {
    "factorial": _exact_factorial,
    "root": _exact_nth_root,
    "binom": _exact_binomial,
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "gcd": lambda *values: Fraction(math.gcd(*_whole(*values))),
    "lcm": lambda *values: Fraction(math.lcm(*_whole(*values))),
}
