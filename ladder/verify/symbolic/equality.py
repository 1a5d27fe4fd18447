r"""Whether two forms mean the same: the rules for lists, sets, intervals, equations, ratios, units around formulas.

An answer may leave out what only names it (`x =`, a unit, as the policy says) and may be a chain of equal values; a gold
is what it is. Nothing is bounded in time where `thorough`; else, what would need many digits raises NeedsWork.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ladder.verify.policy import Policy, Tolerance
from ladder.verify.symbolic import evaluate, quantity
from ladder.verify.symbolic.formula import Reading
from ladder.verify.symbolic.regions import Interval, read_region
from ladder.verify.symbolic.statement import (
    Form,
    Group,
    Matrix,
    Ratio,
    Relation,
    Scalar,
    Sets,
    Text,
    text_key,
)
from ladder.verify.symbolic.tree import Node, difference
from ladder.verify.symbolic.values import Undefined
from ladder.verify.units import Unit

_INDEX = r"(?: ?_ ?(?:\{[^{}]{1,20}\}|\w))?'{0,3}"
_SYMBOL = rf"(?:[A-Za-z]|\\[a-zA-Z]+){_INDEX}"
_NAMED = rf"(?:[A-Z]{{2,4}}|{_SYMBOL}){_INDEX}"
#: What may stand to the left of a gold's value: a symbol, a segment, an angle, a function of symbols.
_LABEL = re.compile(
    rf"(?:m ?)?(?:\\(?:angle|triangle|odot|square) ?)?{_NAMED}|(?:m ?)?\\angle ?\d|\\(?:overline|vec|overrightarrow|hat|bar) ?\{{?{_NAMED}\}}?"
    rf"|\|? ?(?:\\(?:vec|overrightarrow|overline) ?)?\{{?{_NAMED}\}}? ?\|?"
    rf"|{_SYMBOL}(?: ?\^ ?\{{ ?-1 ?\}}| ?\^ ?-1)? ?\( ?{_SYMBOL}(?: ?, ?{_SYMBOL})* ?\)|d ?y ?/ ?d ?x|\\frac ?\{{ ?d ?y ?\}} ?\{{ ?d ?x ?\}}"
)
_SINGLE = re.compile(_SYMBOL)
_DIGITS = re.compile(r"\\angle ?\d|_ ?(?:\{[^{}]{0,20}\}|\w)|\^ ?\{? ?-1 ?\}?")
_SYMMETRIC = frozenset(
    ("=", "\\neq", "\\cong", "\\sim", "\\perp", "\\parallel", "\\equiv", "\\Leftrightarrow")
)
_LESS = {"<": "<", "\\leq": "\\leq", ">": "<", "\\geq": "\\leq"}
#: How near a stated approximation is to what it approximates.
_APPROXIMATION = Fraction(1, 50)


class NeedsWork(Exception):
    """Only many digits could tell."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How forms are compared: with which policy, tolerance and unit of the gold; thorough or only cheaply."""

    policy: Policy
    tolerance: Tolerance | None = None
    unit: Unit | None = None
    thorough: bool = True
    measured: bool = True  # whether units and nouns are read

    def same(self, gold: Form, answer: Form) -> bool:
        """Whether the answer means what the gold means."""
        if gold == answer and self.unit is None:
            return True
        for rule in (self._by_region, self._by_label, self._by_ratio, self._by_kind):
            told = rule(gold, answer)
            if told is not None:
                return told
        return False

    # Sets of numbers

    def _by_region(self, gold: Form, answer: Form) -> bool | None:
        if not (_is_region(gold) or _is_region(answer)):
            return None
        a, b = read_region(gold), read_region(answer)
        if a is None or b is None:
            return None
        if a.name and b.name and a.name != b.name:
            return False
        return len(a.intervals) == len(b.intervals) and all(
            map(self._same_interval, a.intervals, b.intervals)
        )

    def _same_interval(self, a: Interval, b: Interval) -> bool:
        if (a.low.closed, a.high.closed) != (b.low.closed, b.high.closed):
            return False
        return self.same(a.low.form, b.low.form) and self.same(a.high.form, b.high.form)

    # Names of values

    def _by_label(self, gold: Form, answer: Form) -> bool | None:
        gold_name, gold_value = _unlabelled(gold)
        name, value = _unlabelled(answer)
        if gold_name is not None and name is not None:
            if _names_agree(gold_name, name) and self.same(gold_value, value):
                return True
            if _SINGLE.fullmatch(gold_name) and self._is_constant(gold_value):
                return False
            return self._relations(gold, answer)
        if gold_name is not None:
            if isinstance(answer, Relation):
                solved = bool(_SINGLE.fullmatch(gold_name)) and self._is_constant(gold_value)
                return bool((not solved and self._relations(gold, answer)) or self._chain(gold_value, answer))
            return self.same(gold_value, answer)
        if isinstance(gold, Relation) or not isinstance(answer, Relation | Group):
            return None
        if name is not None:
            return self.same(gold, value)
        if isinstance(gold, Group) and isinstance(answer, Group):
            return self._by_coordinates(gold, answer)
        return self._chain(gold, answer)

    def _by_coordinates(self, gold: Group, answer: Group) -> bool | None:
        """x = 1, y = 2 for the point (1, 2), and 1, 2 for x = 1, y = 2: in this order, as nothing else tells."""
        if gold.brackets == "()" and not answer.brackets and (values := _coordinates(answer, ordered=True)):
            return self._all(gold.parts, values)
        if not gold.brackets and answer.brackets in ("", "()") and (values := _coordinates(gold)):
            bare = not any(isinstance(part, Relation) for part in answer.parts)
            return self._all(values, answer.parts) if bare else None
        return None

    def _is_constant(self, form: Form) -> bool:
        node = self._node(form, Reading())
        return node is not None and evaluate.is_constant(node)

    def _chain(self, gold: Form, answer: Form) -> bool | None:
        """An answer such as `2 + 3 = 5` or `AB + CD = 5`: its value if all of it agrees."""
        if not isinstance(answer, Relation) or not set(answer.signs) <= {"=", "\\approx"}:
            return None
        sides, signs = list(answer.sides), list(answer.signs)
        if _is_loose_label(sides[0]):
            sides, signs = sides[1:], signs[1:]
        near = signs.index("\\approx") if "\\approx" in signs else len(signs)
        values, rounded = sides[: near + 1], sides[near + 1 :]
        plain = replace(self, tolerance=None, unit=None)
        if len(set(values)) < len(values):
            return False  # 3 = 3 states nothing
        if not values or not all(plain.same(values[-1], value) for value in values[:-1]):
            return False
        if not all(self._is_near(values[-1], value) for value in rounded):
            return False
        return any(self.same(gold, value) for value in (values[-1], *rounded[-1:]))

    def _is_near(self, exact: Form, rounded: Form) -> bool:
        try:
            a, b = (evaluate.number(self._value(form)) for form in (exact, rounded))
        except Undefined:
            return False
        return abs(a - b) <= _APPROXIMATION * abs(a)

    def _value(self, form: Form) -> Node:
        node = self._node(form, Reading())
        if node is None:
            raise Undefined
        return node

    # Equations and inequalities

    def _relations(self, gold: Form, answer: Form) -> bool | None:
        if not (isinstance(gold, Relation) and isinstance(answer, Relation)):
            return None
        if self._same_sides(gold, answer):
            return True
        a, b = self._normalised(gold), self._normalised(answer)
        if a is None or b is None or len(a) != len(b):
            return False
        return all(
            sign == other and self._same_relation(sign, x, y)
            for (sign, x), (other, y) in zip(a, b, strict=True)
        )

    def _same_sides(self, gold: Relation, answer: Relation) -> bool:
        if gold.signs == answer.signs and self._all(gold.sides, answer.sides):
            return True
        turned = answer.signs[::-1]
        return (
            gold.signs == turned and set(turned) <= _SYMMETRIC and self._all(gold.sides, answer.sides[::-1])
        )

    def _normalised(self, relation: Relation) -> list[tuple[str, Node]] | None:
        """Left minus right of every pair of neighbours, all less-than."""
        nodes = [self._node(side, Reading()) for side in relation.sides]
        kinds = {_LESS.get(sign, sign) for sign in relation.signs}
        if None in nodes or not kinds <= {"<", "\\leq", "=", "\\neq"}:
            return None
        down = [sign in (">", "\\geq") for sign in relation.signs]
        known = [node for node in nodes if node is not None]
        signs = [_LESS.get(sign, sign) for sign in relation.signs]
        if any(down):
            if not all(down) and "=" not in signs and "\\neq" not in signs:
                return None
            known, signs = known[::-1], signs[::-1]
        return [(sign, difference(known[i], known[i + 1])) for i, sign in enumerate(signs)]

    def _same_relation(self, sign: str, a: Node, b: Node) -> bool:
        self._need()
        if evaluate.is_constant(a) or evaluate.is_constant(b):
            return False
        if sign in ("<", "\\leq"):
            return evaluate.proportional(a, b, positive=True)
        return evaluate.proportional(a, b) or evaluate.same_solution(a, b)

    # Ratios

    def _by_ratio(self, gold: Form, answer: Form) -> bool | None:
        a, b = _ratio(gold), _ratio(answer)
        if isinstance(gold, Ratio) and isinstance(answer, Ratio):
            return a is not None and b is not None and len(a) == len(b) and self._proportional(a, b)
        if isinstance(gold, Ratio) and a is not None and len(a) == 2 and isinstance(answer, Scalar):
            return self.same(_quotient(a), answer)
        if isinstance(answer, Ratio) and b is not None and len(b) == 2 and isinstance(gold, Scalar):
            return self.same(gold, _quotient(b))
        return False if isinstance(gold, Ratio) or isinstance(answer, Ratio) else None

    def _proportional(self, a: Sequence[Scalar], b: Sequence[Scalar]) -> bool:
        pairs = [(_product(a[i], b[0]), _product(b[i], a[0])) for i in range(1, len(a))]
        return all(self._same_scalar(x, y) for x, y in pairs)

    # Everything else, by its kind

    def _by_kind(self, gold: Form, answer: Form) -> bool:
        if isinstance(gold, Scalar) and isinstance(answer, Scalar):
            return self._same_scalar(gold, answer)
        if isinstance(gold, Matrix) or isinstance(answer, Matrix):
            return self._same_matrix(gold, answer)
        if isinstance(gold, Group) and isinstance(answer, Group):
            return self._same_group(gold, answer)
        if isinstance(gold, Relation) and isinstance(answer, Relation):
            return bool(self._relations(gold, answer))
        if isinstance(gold, Sets) and isinstance(answer, Sets):
            return gold.sign == answer.sign and self._matched(gold.parts, answer.parts)
        return (
            isinstance(gold, Text | Scalar)
            and isinstance(answer, Text | Scalar)
            and _key(gold) == _key(answer)
        )

    def _same_matrix(self, gold: Form, answer: Form) -> bool:
        a, b = _rows(gold), _rows(answer)
        if a is None or b is None:
            return False
        if not (isinstance(gold, Matrix) and isinstance(answer, Matrix)):
            vector = all(1 in (len(rows), len(rows[0])) for rows in (a, b))
            if vector:
                a, b = (tuple((entry,) for row in rows for entry in row) for rows in (a, b))
        return len(a) == len(b) and all(map(self._all, a, b))

    def _same_group(self, gold: Group, answer: Group) -> bool:
        a, b = _kind(gold), _kind(answer)
        if {a, b} == {"", "{}"}:
            a = b = "{}"
        if a != b:
            return False
        if a in ("", "{}"):
            return self._matched(gold.parts, answer.parts)
        return self._all(gold.parts, answer.parts)

    def _all(self, gold: Sequence[Form], answer: Sequence[Form]) -> bool:
        return len(gold) == len(answer) and all(map(self.same, gold, answer))

    def _matched(self, gold: Sequence[Form], answer: Sequence[Form]) -> bool:
        """Whether every part of one has a part of its own in the other, in any order."""
        if len(gold) != len(answer):
            return False
        left = list(answer)
        for part in gold:
            found = next((i for i, other in enumerate(left) if self.same(part, other)), None)
            if found is None:
                return False
            del left[found]
        return True

    # Scalars

    def _same_scalar(self, gold: Scalar, answer: Scalar) -> bool:
        if _key(gold) == _key(answer) and gold.sign == answer.sign and self.unit is None:
            return True
        both = self._with_constants(gold, answer)
        if both is not None:
            return both
        readings = self._readings(gold.text + answer.text)
        return any(self._same_as_read(gold, answer, a, b) for a, b in readings)

    def _with_constants(self, gold: Scalar, answer: Scalar) -> bool | None:
        """Antiderivatives: equal but for a constant where both have a constant of integration."""
        a, b = quantity.without_constant(gold.text), quantity.without_constant(answer.text)
        if a is None or b is None:
            return None
        x, y = self._node(Scalar(a), Reading()), self._node(Scalar(b), Reading())
        if x is None or y is None:
            return None
        self._need()
        return evaluate.same(x, y) or evaluate.same_but_constant(x, y)

    def _readings(self, text: str) -> list[tuple[Reading, Reading]]:
        """How the gold and the answer may be read: both alike, but for what 28% stands for."""
        logs = ("log", "ln") if "log" in text else ("log",)
        whole, hundredth = Fraction(1), Fraction(1, 100)
        percents = {
            "value": [(hundredth, hundredth)],
            "number": [(whole, whole)],
            "either": [(hundredth, hundredth), (whole, hundredth), (hundredth, whole)],
        }[self.policy.percent if "\\%" in text else "value"]
        return [(Reading(1, a, log), Reading(1, b, log)) for log in logs for a, b in percents]

    def _same_as_read(self, gold: Scalar, answer: Scalar, gold_reading: Reading, reading: Reading) -> bool:
        a, b = self._formula(gold, gold_reading), self._formula(answer, reading)
        if a is not None and b is not None and self.unit is None and self._equal(a, b):
            return True
        if not self.measured:
            return False
        x, y = _quantity(gold, gold_reading), _quantity(answer, reading)
        if x is None and y is None and self.unit is None:
            return False
        unit = x.unit if x is not None and x.unit is not None else self.unit
        if x is None and a is not None:
            x = quantity.Quantity(a)
        if y is None and b is not None:
            y = quantity.Quantity(b)
        if x is None or y is None:
            return False
        return self._same_quantity(x, y, unit)

    def _same_quantity(self, gold: quantity.Quantity, answer: quantity.Quantity, unit: Unit | None) -> bool:
        if unit is not None and answer.unit is not None:
            if not unit.same_kind(answer.unit):
                return not answer.unit.dimension and self._equal(gold.node, answer.node)
            if unit == answer.unit:
                return self._equal(gold.node, answer.node)
            return self._equal(gold.node, quantity.unscaled(quantity.scaled(answer.node, answer.unit), unit))
        if gold.noun and answer.noun and gold.noun != answer.noun:
            return False
        if (unit is not None or gold.noun) and not answer.noun and self.policy.missing_unit == "reject":
            return False
        return self._equal(gold.node, answer.node)

    def _node(self, form: Form, reading: Reading) -> Node | None:
        if isinstance(form, Ratio) and (parts := _ratio(form)) is not None and len(parts) == 2:
            form = _quotient(parts)
        return self._formula(form, reading) if isinstance(form, Scalar) else None

    def _formula(self, scalar: Scalar, reading: Reading) -> Node | None:
        return _formula(scalar, reading)

    def _equal(self, gold: Node, answer: Node) -> bool:
        if self.tolerance is not None:
            try:
                return self.tolerance.allows(evaluate.number(gold), evaluate.number(answer))
            except Undefined:
                return False
        differ = evaluate.clearly_differ(gold, answer)
        if differ is not None:
            return not differ
        self._need()
        return evaluate.same(gold, answer)

    def _need(self) -> None:
        if not self.thorough:
            raise NeedsWork


def readable(form: Form) -> bool:
    """Whether all formulas of a form are read here; names and words are not."""
    if isinstance(form, Scalar):
        reading = Reading()
        return (
            form.text == "\\mathbb{R}"
            or _formula(form, reading) is not None
            or _quantity(form, reading) is not None
        )
    if isinstance(form, Matrix):
        return all(readable(entry) for row in form.rows for entry in row)
    if isinstance(form, Relation):
        return all(readable(side) or _label_of(side) is not None for side in form.sides)
    return not isinstance(form, Text) and all(map(readable, form.parts))


def _formula(scalar: Scalar, reading: Reading) -> Node | None:
    return quantity.formula(scalar.text, Reading(scalar.sign, reading.percent, reading.log))


def _quantity(scalar: Scalar, reading: Reading) -> quantity.Quantity | None:
    return quantity.quantity(scalar.text, Reading(scalar.sign, reading.percent, reading.log))


def _key(form: Text | Scalar) -> str:
    return form.key if isinstance(form, Text) else text_key(form.text)


def _kind(group: Group) -> str:
    return "()" if group.brackets == "<>" else group.brackets


def _rows(form: Form) -> tuple[tuple[Form, ...], ...] | None:
    if isinstance(form, Matrix):
        return form.rows
    if not isinstance(form, Group) or _kind(form) not in ("()", "[]"):
        return None
    inner = [part.parts for part in form.parts if isinstance(part, Group) and part.brackets in ("()", "[]")]
    if len(inner) == len(form.parts) and len({len(row) for row in inner}) == 1:
        return tuple(inner)
    return tuple((part,) for part in form.parts) if not inner else None


def _is_region(form: Form) -> bool:
    """Whether a form is a set of numbers as such; an interval could be a point as well."""
    if isinstance(form, Group):
        return not form.brackets and bool(form.parts) and all(map(_is_region, form.parts))
    if isinstance(form, Relation):
        return any(sign in _LESS or sign in ("\\in", "\\neq") for sign in form.signs)
    return isinstance(form, Sets) or (isinstance(form, Scalar) and form.text == "\\mathbb{R}")


def _label_of(form: Form) -> str | None:
    """A name that may stand to the left of a value, in one spelling."""
    if isinstance(form, Ratio):
        names = [_label_of(part) for part in form.parts]
        return None if None in names else ":".join(name or "" for name in names)
    if isinstance(form, Group) and form.brackets == "()":
        names = [_label_of(part) for part in form.parts]
        return None if None in names else f"({','.join(name or '' for name in names)})"
    if isinstance(form, Scalar | Text):
        text = form.text if isinstance(form, Scalar) else form.key
        if _LABEL.fullmatch(text) and text not in ("e", "i", "\\pi", "\\infty"):
            return re.sub(r"[\s{}|]|\\(?:angle|triangle|overline)|\Am(?=\\angle)", "", text)
    return None


def _is_loose_label(form: Form) -> bool:
    """What an answer may put before its value: an expression of symbols only, as what was asked for."""
    if _label_of(form) is not None:
        return True
    if isinstance(form, Ratio):
        return all(map(_is_loose_label, form.parts))
    return isinstance(form, Scalar) and not re.search(r"\d", _DIGITS.sub("", form.text)) and _has_symbol(form)


def _has_symbol(form: Scalar) -> bool:
    node = _formula(form, Reading())
    return node is None or not evaluate.is_constant(node)


def _unlabelled(form: Form) -> tuple[str | None, Form]:
    """The name of what an equation states and its value; None and the form itself where it states none."""
    if isinstance(form, Group) and not form.brackets and form.parts:
        pairs = [_unlabelled(part) for part in form.parts]
        names = {name for name, _ in pairs}
        if len(names) == 1 and None not in names:
            return pairs[0][0], Group("", tuple(value for _, value in pairs), form.joined)
        return None, form
    if not isinstance(form, Relation) or form.signs not in (("=",), ("\\approx",), ("\\in",)):
        return None, form
    left, right = form.sides
    name = _label_of(left)
    if name is not None:
        return name, right
    other = _label_of(right)
    return (other, left) if other is not None and form.signs == ("=",) else (None, form)


def _coordinates(group: Group, ordered: bool = False) -> list[Form] | None:
    """The values of equations for different names; `ordered`, for single symbols in alphabetical order."""
    pairs = [_unlabelled(part) for part in group.parts]
    names = [name for name, _ in pairs if name is not None]
    if len(set(names)) != len(pairs) or len(pairs) < 2:
        return None
    if ordered and not (names == sorted(names) and all(map(_SINGLE.fullmatch, names))):
        return None
    return [value for _, value in pairs]


def _names_agree(a: str, b: str) -> bool:
    """x and y differ; y and f(x) do not, nor do AB and BA."""
    if a == b or sorted(a) == sorted(b):
        return True
    return ("(" in a) != ("(" in b) and "y" in (a, b)


def _ratio(form: Form) -> list[Scalar] | None:
    if not isinstance(form, Ratio):
        return None
    parts = [part for part in form.parts if isinstance(part, Scalar)]
    return parts if len(parts) == len(form.parts) else None


def _quotient(parts: Sequence[Scalar]) -> Scalar:
    return Scalar(rf"\frac{{{parts[0].text}}}{{{parts[1].text}}}")


def _product(a: Scalar, b: Scalar) -> Scalar:
    return Scalar(rf"({a.text}) \cdot ({b.text})")
