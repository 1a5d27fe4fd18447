"""Values of formulas at a point, in double precision or to many digits. mpmath is imported at the first use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

from ladder.verify.symbolic.exact import MAX_EXPONENT, Inexact, exact
from ladder.verify.symbolic.tree import Node, is_whole

MARGIN = 25  # digits that an evaluation may lose
_MAX_DOUBLE = 10**5  # what double precision raises to, and takes sines of, without losing too much
_MAX_GAMMA = 10**4


class Undefined(Exception):
    """A formula has no value there, or none that is worth its work."""


@cache
def double() -> Any:
    """mpmath's context of double precision."""
    import mpmath

    return mpmath.fp


@cache
def _context() -> Any:
    import mpmath

    return mpmath.MPContext()


def precise(digits: int) -> Any:
    """mpmath's context of 60 digits and so many more; one for all."""
    ctx = _context()
    ctx.dps = 60 + digits
    return ctx


def mpf_of(ctx: Any, value: Fraction) -> Any:
    """A fraction in that context."""
    return ctx.mpf(value.numerator) / value.denominator


def is_real(value: Any, least: Any) -> bool:
    """Whether a value has no imaginary part above `least` of its size."""
    if not isinstance(value, complex) and not hasattr(value, "_mpc_"):
        return True
    return bool(abs(value.imag) <= least * (1 + abs(value)))


class Evaluator:
    """Values of formulas at one point; `scale` is the largest term of a sum, by which rounding is measured."""

    def __init__(self, ctx: Any, at: Mapping[str, Any]) -> None:
        self.ctx = ctx
        self.at = at
        self.scale = ctx.mpf(0)

    def value(self, node: Node) -> Any:
        """The value, finite; raises Undefined."""
        try:
            value = self.step(node)
        except (ArithmeticError, ValueError, TypeError, KeyError) as error:
            raise Undefined from error
        if not abs(value) < self.ctx.inf:
            raise Undefined
        return value

    def real(self, node: Node) -> Any:
        """The value, if it is real; raises Undefined."""
        value = self.value(node)
        if not is_real(value, 1e-12):
            raise Undefined
        return value.real

    def step(self, node: Node) -> Any:
        """The value, finite or not."""
        op, ctx = node.op, self.ctx
        if op == "n":
            assert isinstance(node.value, Fraction)
            return mpf_of(ctx, node.value) if ctx is not double() else float(node.value)
        if op == "s":
            return self.at[str(node.value)]
        if op == "c":
            return self.constant(str(node.value))
        if op == "^":
            return self.power(node)
        args = [self.step(arg) for arg in node.args]
        return _FUNCTIONS[str(node.value)](ctx, *args) if op == "f" else self.arithmetic(op, args)

    def constant(self, name: str) -> Any:
        """pi, e or i."""
        if name == "i":
            return self.ctx.mpc(0, 1)
        if name == "oo":
            raise Undefined
        return +self.ctx.pi if name == "pi" else +self.ctx.e

    def arithmetic(self, op: str, args: list[Any]) -> Any:
        """A sum, product, quotient or negation."""
        if op == "+":
            self.scale = max(self.scale, *map(abs, args))
            return sum(args[1:], args[0])
        if op == "-":
            return -args[0]
        if op == "/":
            if self.is_noise(args[1]):
                raise Undefined
            return args[0] / args[1]
        return math.prod(args[1:], start=args[0])

    def is_noise(self, value: Any) -> bool:
        """Whether a value is zero but for what sums may have lost."""
        return bool(abs(value) <= self.scale * (1e-7 if self.ctx is double() else self.ctx.eps * 10**9))

    def power(self, node: Node) -> Any:
        """A power; real where a root of odd degree is."""
        base, exponent = self.step(node.args[0]), self.step(node.args[1])
        if abs(exponent) > (MAX_EXPONENT if self.ctx is not double() else _MAX_DOUBLE):
            raise Undefined
        if self.ctx is double() and base != 0 and self.is_noise(base):
            raise Undefined
        if base == 0:
            if not is_real(exponent, 0) or exponent.real <= 0:
                raise Undefined
            return base * 0
        if is_real(base, 0) and base.real < 0 and (degree := _odd_root(node.args[1])):
            return _signed_root(self.ctx, base.real, degree) ** degree.numerator
        if is_whole(node.args[1]):
            return base ** int(exponent)
        if abs(exponent * self.ctx.log(base)) > MAX_EXPONENT:
            raise Undefined
        return self.ctx.power(base, exponent)


def _odd_root(node: Node) -> Fraction | None:
    """A fraction with an odd denominator, as an exponent."""
    try:
        value = exact(node)
    except (Inexact, ZeroDivisionError):
        return None
    return value if value.denominator % 2 and value.denominator > 1 else None


def _signed_root(ctx: Any, base: Any, exponent: Fraction) -> Any:
    return -ctx.power(-base, ctx.mpf(1) / exponent.denominator)


def _root(ctx: Any, base: Any, degree: Any) -> Any:
    if (
        is_real(degree, 0)
        and degree == int(degree.real)
        and int(degree.real) % 2
        and is_real(base, 0)
        and base.real < 0
    ):
        return -ctx.power(-base.real, 1 / degree)
    if base == 0:
        return base
    return ctx.power(base, 1 / degree)


def _rounded(function: str) -> Callable[[Any, Any], Any]:
    def rounded(ctx: Any, x: Any) -> Any:
        if not is_real(x, 0):
            raise Undefined
        x = x.real
        nearest = ctx.nint(x) if ctx is not double() else float(round(x))
        # floor(3 - 1e-50) is 3 within what is known of it.
        if abs(x - nearest) < ctx.mpf(10) ** (-9 if ctx is double() else MARGIN - ctx.dps):
            return ctx.mpf(nearest)
        return ctx.mpf(getattr(ctx, function)(x))

    return rounded


def _factorial(ctx: Any, x: Any) -> Any:
    if abs(x) > _MAX_GAMMA:
        raise Undefined
    if ctx is double() and is_real(x, 0):
        return math.gamma(x.real + 1)
    return ctx.gamma(x + 1)


def _binomial(ctx: Any, n: Any, k: Any) -> Any:
    if max(abs(n), abs(k)) > _MAX_GAMMA:
        raise Undefined
    return ctx.binomial(n, k)


def _largest(_: Any, *values: Any) -> Any:
    if not all(is_real(value, 0) for value in values):
        raise Undefined
    return max(value.real for value in values)


def _smallest(ctx: Any, *values: Any) -> Any:
    return -_largest(ctx, *(-value for value in values))


def _undefined(*_: Any) -> Any:
    raise Undefined


def _trigonometric(name: str) -> Callable[[Any, Any], Any]:
    def function(ctx: Any, x: Any) -> Any:
        if abs(x) > (MAX_EXPONENT if ctx is not double() else _MAX_DOUBLE):
            raise Undefined
        top, bottom = {"tan": "sin cos", "cot": "cos sin", "sec": "one cos", "csc": "one sin"}[name].split()
        low = getattr(ctx, bottom)(x)
        if abs(low) < (1e-6 if ctx is double() else ctx.eps * 10**9):
            raise Undefined
        return (1 if top == "one" else getattr(ctx, top)(x)) / low

    return function


def _plain(name: str) -> Callable[[Any, Any], Any]:
    def function(ctx: Any, x: Any) -> Any:
        if abs(x) > (MAX_EXPONENT if ctx is not double() else _MAX_DOUBLE) and name in (
            "sin",
            "cos",
            "exp",
            "sinh",
            "cosh",
            "tanh",
        ):
            raise Undefined
        return getattr(ctx, name)(x)

    return function


def _logarithm(ctx: Any, x: Any, base: Any = 10) -> Any:
    if x == 0 or base in (0, 1):
        raise Undefined
    return ctx.ln(x) / ctx.ln(base)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _plain(name) for name in ("sin", "cos", "exp", "sinh", "cosh", "tanh", "coth", "sech", "csch")},
    **{name: _trigonometric(name) for name in ("tan", "cot", "sec", "csc")},
    **{f"arc{name}": _plain(f"a{name}") for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{f"ar{name}": _plain(f"a{name}") for name in ("sinh", "cosh", "tanh")},
    "ln": lambda ctx, x: _logarithm(ctx, x, ctx.e),
    "log": _logarithm,
    "lg": _logarithm,
    "logb": _logarithm,
    "abs": lambda _, x: abs(x),
    "floor": _rounded("floor"),
    "ceil": _rounded("ceil"),
    "factorial": _factorial,
    "binom": _binomial,
    "root": _root,
    "max": _largest,
    "min": _smallest,
    "gcd": _undefined,
    "lcm": _undefined,
}
