"""Whether two formulas have the same value: exactly where both are rational, else to many digits at fixed points.

Two formulas are the same if they agree to at least 35 digits more than their own numbers could make up, at every
point where both are defined (real, unless they are complex everywhere); points are rational, fixed, of both signs and
several sizes, and whole numbers where nothing else is defined. That is no proof, but what agrees there by chance is not
what anybody writes down, and it decides identities that no simplification does. Double precision comes first and may
only reject. Roots of odd degree are real. mpmath is imported at the first use.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ladder.verify.symbolic.exact import Inexact, exact, is_rational
from ladder.verify.symbolic.tree import Node, has_constant, is_whole, replaced, symbols
from ladder.verify.symbolic.values import MARGIN, Evaluator, Undefined, double, is_real, mpf_of, precise

#: The symbols' values that a form's values are compared at, and what of them has to be equal.
Row = tuple[Any, ...]
Pairs = Callable[[list[Row]], Sequence[tuple[Any, ...]]]

_MAX_DIGITS = 2_000
_MAX_BITS = 20_000  # of the exponent of a number
_NOISE = 1e-15  # more of a value than this may not be unknown
_CLEAR = 1e-7  # a relative difference that rounding does not make
_MORE = 40  # digits of a second evaluation, to see what the first one lost
_FEW = 3  # points that decide for functions that are smooth everywhere

#: Where the symbols are evaluated: between these bounds, whole numbers last.
_REGIONS = (
    (0.3, 0.9), (1.1, 3.0), (-3.0, -1.1), (0.02, 0.3), (3.0, 12.0), (-0.9, -0.2), (20.0, 90.0), (-90.0, -20.0),
    (400.0, 7000.0), (-7000.0, -400.0),
)  # fmt: skip
_WHOLE = 4
_QUICK = range(4)


def is_constant(node: Node) -> bool:
    """Whether a formula has no symbols."""
    return not symbols(node)


def number(node: Node) -> Fraction:
    """The real value of a formula without symbols, exactly or to 60 digits; raises Undefined."""
    try:
        return exact(node)
    except (Inexact, ZeroDivisionError):
        pass
    ctx = precise(_digits(node))
    value = Evaluator(ctx, {}).real(node)
    man, exp = ctx.mpf(value).man_exp  # without the sign
    if abs(exp) > _MAX_BITS:
        raise Undefined
    size = Fraction(int(man)) * Fraction(2) ** int(exp)
    return -size if value < 0 else size


def approximate(node: Node) -> float:
    """The real value of a formula without symbols in double precision; infinities too; raises Undefined."""
    if node.op == "c" and node.value == "oo":
        return math.inf
    if node.op == "-" and node.args[0].value == "oo":
        return -math.inf
    return float(Evaluator(double(), {}).real(node))


def clearly_differ(a: Node, b: Node) -> bool | None:
    """True or False where that can be told cheaply, else None. Bounded."""
    if a == b:
        return False
    try:
        return _exactly_differ(a, b)
    except (Inexact, ZeroDivisionError):
        pass
    return True if _differ_roughly(a, b) else None


def same(a: Node, b: Node) -> bool:
    """Whether two formulas have the same value wherever both have one."""
    rough = clearly_differ(a, b)
    if rough is not None:
        return not rough
    if has_constant(a, "oo") or has_constant(b, "oo"):
        return False
    return _agree((a, b), lambda rows: [rows[0]], 1)


def proportional(a: Node, b: Node, positive: bool = False) -> bool:
    """Whether one formula is the other times a constant that is not zero (or that is positive)."""

    def ratios(rows: list[Row]) -> list[tuple[Any, Any]]:
        (a0, b0), (a1, b1) = rows
        if positive and (a1 * b1).real < 0:
            return [(1, -1)]
        return [(a0 * b1, a1 * b0), (int(a0 != 0), int(b0 != 0))]

    return _agree((a, b), ratios, 2)


def same_but_constant(a: Node, b: Node) -> bool:
    """Whether two formulas differ by a constant, as antiderivatives do."""
    return _agree((a, b), lambda rows: [(rows[0][0] - rows[0][1], rows[1][0] - rows[1][1])], 2)


def same_solution(a: Node, b: Node) -> bool:
    """Whether a = 0 and b = 0 are linear in a symbol that both have and give the same value for it."""
    return any(_solved_alike(a, b, name) for name in sorted(symbols(a) & symbols(b)))


def _solved_alike(a: Node, b: Node, name: str) -> bool:
    forms = tuple(replaced(node, name, value) for node in (a, b) for value in range(3))

    def solutions(rows: list[Row]) -> list[tuple[Any, Any]]:
        a0, a1, a2, b0, b1, b2 = rows[0]
        if a1 == a0 or b1 == b0:
            return [(0, 1)]
        return [(a2 - a1, a1 - a0), (b2 - b1, b1 - b0), (a0 * (b1 - b0), b0 * (a1 - a0))]

    return _agree(forms, solutions, 1)


def _digits(node: Node) -> int:
    """About how many digits the numbers of a formula have, and so how near to another value they can bring it."""
    return min(_MAX_DIGITS, _count_digits(node))


def _count_digits(node: Node) -> int:
    if isinstance(node.value, Fraction):
        return len(str(node.value)) - 1
    count = sum(map(_count_digits, node.args))
    if node.op != "^":
        return count
    exponent = node.args[1].args[0] if node.args[1].op == "-" else node.args[1]
    literal = exponent.value
    size = abs(literal) if isinstance(literal, Fraction) else 10 * _count_digits(exponent)
    return count + int(min(size, _MAX_DIGITS)) * (1 + _count_digits(node.args[0]))


def _exactly_differ(a: Node, b: Node) -> bool:
    names = symbols(a) | symbols(b)
    if not names:
        return exact(a) != exact(b)
    if not (is_rational(a) and is_rational(b)):
        raise Inexact
    for k in (1, 2):
        at = {name: _point(name, k) for name in names}
        if exact(a, at) != exact(b, at):
            return True
    return False


@lru_cache(maxsize=4096)
def _point(name: str, k: int) -> Fraction:
    """The value of a symbol at the k-th point."""
    draw = random.Random(f"{name} {k}")
    if k >= len(_REGIONS):
        return Fraction(draw.randrange(2, 9 + 3 * k))
    low, high = _REGIONS[k]
    return Fraction(round(draw.uniform(low, high) * 9973) * 2 + 1, 19_946)


def _differ_roughly(a: Node, b: Node) -> bool:
    """Whether double precision shows a difference at a point where both formulas are real, or both are complex."""
    ctx, names = double(), symbols(a) | symbols(b)
    complex_allowed = has_constant(a, "i") or has_constant(b, "i")
    for k in _QUICK if names else (0,):
        evaluator = Evaluator(ctx, {name: float(_point(name, k)) for name in names})
        try:
            x, y = evaluator.value(a), evaluator.value(b)
        except Undefined:
            continue
        if not complex_allowed and names and not (is_real(x, 1e-9) and is_real(y, 1e-9)):
            continue
        size = abs(x - y)
        if size > _CLEAR * (abs(x) + abs(y)) and size > 1e-8 * evaluator.scale:
            return True
    return False


def _agree(forms: tuple[Node, ...], pairs: Pairs, rows: int) -> bool:
    """Whether the pairs that are made of the forms' values at `rows` points are equal, at all points that count."""
    names = frozenset[str]().union(*map(symbols, forms))
    if not names:
        points: tuple[int, ...] = (0,)
        if rows > 1:
            return False
    elif all(map(_is_smooth, forms)):
        points = tuple(range(_FEW + rows - 1))
    else:
        points = tuple(range(len(_REGIONS) + _WHOLE))
    complex_allowed = not names or any(has_constant(form, "i") for form in forms)
    for allowed in (complex_allowed, True) if not complex_allowed else (True,):
        agreed = _agreed(forms, pairs, rows, points, names, allowed)
        if agreed is not None:
            return agreed
    return False


def _agreed(
    forms: tuple[Node, ...],
    pairs: Pairs,
    rows: int,
    points: tuple[int, ...],
    names: frozenset[str],
    complex_allowed: bool,
) -> bool | None:
    """None where too few points have values."""
    digits = min(_MAX_DIGITS, sum(map(_count_digits, forms)))
    least = Fraction(1, 10 ** (60 + digits - MARGIN))
    kept: list[Row] = []
    doubts: list[Any] = []
    matched = 0
    for k in points:
        at = {name: _point(name, k) for name in names}
        try:
            rough, values = (_values(forms, at, digits + more) for more in (0, _MORE))
        except Undefined:
            continue
        if not complex_allowed and not all(is_real(value, 1e-30) for value in values):
            continue
        kept = [*kept[-1:], values] if rows > 1 else [values]
        doubts = [*doubts[-1:], rough] if rows > 1 else [rough]
        if len(kept) < rows:
            continue
        if not all(
            _equal(pair, doubt, least) for pair, doubt in zip(pairs(kept), pairs(doubts), strict=True)
        ):
            return False
        matched += 1
    return True if matched >= min(_FEW, len(points)) else None


def _values(forms: tuple[Node, ...], at: Mapping[str, Fraction], digits: int) -> Row:
    ctx = precise(digits)
    evaluator = Evaluator(ctx, {name: mpf_of(ctx, value) for name, value in at.items()})
    return tuple(map(evaluator.value, forms))


def _equal(pair: Row, rough: Row, least: Fraction) -> bool:
    """Whether two values differ by no more than what is not known of them, as a rougher evaluation shows."""
    x, y = pair
    unknown = abs(x - rough[0]) + abs(y - rough[1])
    difference = abs(x - y)
    return bool(difference <= 8 * unknown < _NOISE or difference * least.denominator <= abs(x) + abs(y))


_SMOOTH = frozenset(["sin", "cos", "exp", "sinh", "cosh"])


def _is_smooth(node: Node) -> bool:
    """Whether a formula is analytic wherever it is defined, so that a few points decide."""
    if node.op == "f" and node.value not in _SMOOTH:
        return False
    if node.op == "^" and not (node.args[1].op in "n-" and is_whole(node.args[1])):
        return node.args[0].op == "c" and all(map(_is_smooth, node.args))
    return all(map(_is_smooth, node.args))
