r"""Scalars as quantities: a formula, and the unit or noun after it. Reading is bounded; nothing is compared here."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from ladder.verify.notation import has_prose
from ladder.verify.symbolic.formula import Reading, read_formula
from ladder.verify.symbolic.tokens import Unread
from ladder.verify.symbolic.tree import Node, number_node
from ladder.verify.units import Unit, split_unit

#: Words after a value that only name what is counted; anything that could change the value is none.
_NOUN = re.compile(
    r"(?P<value>.*(?:[\d)}\]|!%]|\\pi|\\circ|(?<![a-zA-Z])[a-zA-Z]))(?![a-zA-Z]) ?(?P<noun>[A-Za-z]{2,20}(?:[ -][A-Za-z]{1,20}){0,3})"
)
_HEDGE = re.compile(
    r"\b(?:or|and|not|no|if|when|more|less|most|least|than|over|under|about|plus|minus|times|half|thirds?|percent|per"
    r"|hundreds?|thousands?|millions?|billions?|dozens?|squared|cubed|factorial|degrees?|only|except|unless|mod|to|in|is"
    r"|at|up|other|either|neither|both|point|equals?|divided|multiplied|by|of|for|but|maybe|approximately|is|are)\b",
    re.IGNORECASE,
)
_ARC = re.compile(r"(\d{1,6}) ?\^\\circ ?(\d{1,2}) ?'(?!')(?: ?(\d{1,2}(?:\.\d+)?) ?'')?")
_CONSTANT = re.compile(r" ?\+ ?(?:[CcKk]|C_ ?\{?[0-9]\}?|(?:const|constant)\.?)\Z")


class Quantity(NamedTuple):
    """A formula's tree, and the unit or else the noun that stands after it in the text."""

    node: Node
    unit: Unit | None = None
    noun: str = ""


@lru_cache(maxsize=8192)
def formula(text: str, reading: Reading) -> Node | None:
    """The tree of a scalar's text; None where it is none, or has a unit or noun."""
    text = _ARC.sub(_degrees, text)
    try:
        return read_formula(text, reading)
    except (Unread, RecursionError):
        return None


def _degrees(match: re.Match[str]) -> str:
    """Degrees, minutes and seconds of arc."""
    value = Fraction(match[1]) + Fraction(match[2]) / 60 + Fraction(match[3] or 0) / 3600
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}^\circ "


@lru_cache(maxsize=8192)
def quantity(text: str, reading: Reading) -> Quantity | None:
    """The quantity of a text that has a unit or a noun; None where it has none."""
    rest, unit = split_unit(text)
    if rest.strip() != text:  # "square units" are taken off too, and are no unit
        node = formula(rest.strip(), reading)
        return None if node is None else Quantity(node, unit)
    match = _NOUN.fullmatch(text)
    if match is None or not has_prose(match["noun"]) or _HEDGE.search(match["noun"]):
        return None
    node = formula(match["value"].strip(), reading)
    return None if node is None else Quantity(node, None, match["noun"].casefold().rstrip("s"))


def without_constant(text: str) -> str | None:
    """An antiderivative without its constant of integration; None where it has none."""
    bare = _CONSTANT.sub("", text)
    return None if bare == text else bare


def scaled(node: Node, unit: Unit) -> Node:
    """A value in a unit as one in base units: x * factor * pi**pi + offset."""
    product = Node("*", (node, _size(unit)))
    return Node("+", (product, number_node(unit.offset))) if unit.offset else product


def unscaled(node: Node, unit: Unit) -> Node:
    """A value in base units as one in a unit."""
    if unit.offset:
        node = Node("+", (node, number_node(-unit.offset)))
    return Node("/", (node, _size(unit)))


def _size(unit: Unit) -> Node:
    factor = number_node(unit.factor)
    if not unit.pi:
        return factor
    return Node("*", (factor, Node("^", (Node("c", (), "pi"), number_node(unit.pi)))))
