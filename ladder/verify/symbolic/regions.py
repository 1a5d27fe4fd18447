r"""Sets of real numbers as unions of intervals, read from intervals, inequalities, memberships and sets of points.

Ends are kept as forms, to be compared exactly; their order is found in double precision. Left out are conditions on more
than one symbol and inequalities that are not solved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ladder.verify.symbolic import evaluate
from ladder.verify.symbolic.formula import Reading
from ladder.verify.symbolic.quantity import formula, quantity
from ladder.verify.symbolic.statement import Form, Group, Relation, Scalar, Sets
from ladder.verify.symbolic.tree import Node, symbols
from ladder.verify.symbolic.values import Undefined

_NEAR = 1e-12  # relative; ends that are nearer are the same end
_REALS = "\\mathbb{R}"


class End(NamedTuple):
    """One end of an interval: what it is, where it is, and whether it belongs to the interval."""

    form: Form
    value: float
    closed: bool


class Interval(NamedTuple):
    """From low to high."""

    low: End
    high: End


class Region(NamedTuple):
    """Disjoint intervals in order, and the symbol that they are for, where one is named."""

    name: str | None
    intervals: tuple[Interval, ...]


class _Unknown(Exception):
    """The form is no set of numbers."""


_MINUS = End(Scalar("-\\infty"), -math.inf, False)
_PLUS = End(Scalar("\\infty"), math.inf, False)


def read_region(form: Form) -> Region | None:
    """The set of numbers that a form is; None where it is none."""
    try:
        return _region(form)
    except (_Unknown, Undefined):
        return None


def _region(form: Form) -> Region:
    if isinstance(form, Group):
        return _of_group(form)
    if isinstance(form, Sets):
        return _of_sets(form)
    if isinstance(form, Relation):
        return _of_relation(form)
    if isinstance(form, Scalar) and form.text == _REALS:
        return Region(None, (Interval(_MINUS, _PLUS),))
    raise _Unknown


def _of_group(group: Group) -> Region:
    if group.brackets == "{}":
        return Region(
            None, _united([Interval(end, end) for end in (_end(part, True) for part in group.parts)])
        )
    if group.brackets:
        if len(group.parts) != 2 or "<" in group.brackets or "{" in group.brackets:
            raise _Unknown
        low, high = (
            _end(part, bracket in "[]") for part, bracket in zip(group.parts, group.brackets, strict=True)
        )
        return Region(None, (_interval(low, high),))
    regions = [_of_relation(part) for part in group.parts if isinstance(part, Relation)]
    names = {region.name for region in regions}
    if len(regions) != len(group.parts) or len(names) != 1 or None in names:
        raise _Unknown
    lists = [region.intervals for region in regions]
    united = _united([interval for intervals in lists for interval in intervals])
    common = _folded(lists, _common)
    if group.joined == "and" or (group.joined != "or" and common):
        return Region(names.pop(), common)
    return Region(names.pop(), united)


def _of_sets(sets: Sets) -> Region:
    regions = [_region(part) for part in sets.parts]
    names = {region.name for region in regions} - {None}
    if len(names) > 1:
        raise _Unknown
    lists = [region.intervals for region in regions]
    if sets.sign == "\\cup":
        found = _united([interval for intervals in lists for interval in intervals])
    elif sets.sign == "\\cap":
        found = _folded(lists, _common)
    else:
        found = _folded([lists[0], *map(_complement, lists[1:])], _common)
    return Region(next(iter(names), None), found)


def _of_relation(relation: Relation) -> Region:
    sides, signs = relation.sides, relation.signs
    if signs in (("\\in",), ("=",)):
        name = _symbol(sides[0])
        if name is None or (signs == ("=",) and not isinstance(sides[1], Scalar)):
            raise _Unknown
        inner = _region(sides[1]) if signs == ("\\in",) else _of_group(Group("{}", (sides[1],)))
        return Region(name, inner.intervals)
    if signs in (("\\neq",), ("\\notin",)):
        name, other = _symbol(sides[0]), sides[1]
        points = _of_group(Group("{}", (other,))) if signs == ("\\neq",) else _region(other)
        if name is None:
            raise _Unknown
        return Region(name, _complement(points.intervals))
    return _of_inequality(sides, signs)


def _of_inequality(sides: Sequence[Form], signs: Sequence[str]) -> Region:
    if set(signs) <= {">", "\\geq"}:
        turned = {">": "<", "\\geq": "\\leq"}
        sides, signs = sides[::-1], [turned[sign] for sign in reversed(signs)]
    if not set(signs) <= {"<", "\\leq"} or len(sides) > 3:
        raise _Unknown
    closed = [sign == "\\leq" for sign in signs]
    if len(sides) == 3:
        name, low, high = _symbol(sides[1]), _end(sides[0], closed[0]), _end(sides[2], closed[1])
    elif (name := _symbol(sides[0])) is not None and _symbol(sides[1]) is None:
        low, high = _MINUS, _end(sides[1], closed[0])
    else:
        name, low, high = _symbol(sides[1]), _end(sides[0], closed[0]), _PLUS
    if name is None or (len(sides) == 2 and _symbol(sides[0]) is not None and _symbol(sides[1]) is not None):
        raise _Unknown
    if any(name in symbols(node) for end in (low, high) if (node := _node(end.form)) is not None):
        raise _Unknown
    return Region(name, (_interval(low, high),))


def _symbol(form: Form) -> str | None:
    node = _node(form)
    return str(node.value) if node is not None and node.op == "s" else None


def _node(form: Form) -> Node | None:
    if not isinstance(form, Scalar):
        return None
    reading = Reading(form.sign)
    node = formula(form.text, reading)
    if node is not None:
        return node
    measured = quantity(form.text, reading)
    return None if measured is None else measured.node


def _end(form: Form, closed: bool) -> End:
    node = _node(form)
    if node is None:
        raise _Unknown
    value = evaluate.approximate(node)
    return End(form, value, closed and math.isfinite(value))


def _interval(low: End, high: End) -> Interval:
    if not (low.value < high.value or (_near(low.value, high.value) and low.closed and high.closed)):
        raise _Unknown
    return Interval(low, high)


def _near(a: float, b: float) -> bool:
    return a == b or (math.isfinite(a - b) and abs(a - b) <= _NEAR * max(abs(a), abs(b), 1))


def _united(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """The intervals in order, those that touch or overlap as one."""
    found: list[Interval] = []
    for interval in sorted(intervals, key=lambda each: (each.low.value, not each.low.closed)):
        if found and _touch(found[-1].high, interval.low):
            last = found.pop()
            found.append(Interval(_shared(last.low, interval.low), max(last.high, interval.high, key=_upper)))
        else:
            found.append(interval)
    return tuple(found)


def _shared(low: End, other: End) -> End:
    return low._replace(closed=low.closed or other.closed) if _near(low.value, other.value) else low


def _upper(end: End) -> tuple[float, bool]:
    return end.value, end.closed


def _touch(high: End, low: End) -> bool:
    if _near(high.value, low.value):
        return high.closed or low.closed
    return high.value > low.value


def _common(a: Sequence[Interval], b: Sequence[Interval]) -> tuple[Interval, ...]:
    found = []
    for x in a:
        for y in b:
            low = max(x.low, y.low, key=lambda end: (end.value, not end.closed))
            high = min(x.high, y.high, key=_upper)
            if (low.value < high.value and not _near(low.value, high.value)) or (
                _near(low.value, high.value) and low.closed and high.closed
            ):
                found.append(Interval(low, high))
    return _united(found)


def _complement(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    found, low = [], _MINUS
    for interval in intervals:
        if math.isfinite(interval.low.value):
            found.append(Interval(low, interval.low._replace(closed=not interval.low.closed)))
        low = interval.high._replace(closed=not interval.high.closed)
    if not intervals or math.isfinite(low.value) or low is _MINUS:
        found.append(Interval(low, _PLUS))
    return tuple(found)


def _folded(
    lists: Sequence[Sequence[Interval]],
    join: Callable[[Sequence[Interval], Sequence[Interval]], tuple[Interval, ...]],
) -> tuple[Interval, ...]:
    found = tuple(lists[0])
    for intervals in lists[1:]:
        found = join(found, intervals)
    return found
