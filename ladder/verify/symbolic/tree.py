"""Trees of formulas: what `ladder.verify.symbolic.formula` reads and `ladder.verify.symbolic.evaluate` compares."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple


class Node(NamedTuple):
    """A number, symbol or constant (with a value), or an operation on other nodes."""

    op: str  # n, s, c; +, -, *, /, ^; f for a function, with its name as value
    args: tuple[Node, ...] = ()
    value: Fraction | str = ""


def number_node(value: Fraction | int) -> Node:
    """A number."""
    return Node("n", (), Fraction(value))


def walk(node: Node) -> Iterator[Node]:
    """All nodes of a tree."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(top.args)


def symbols(node: Node) -> frozenset[str]:
    """The names of the symbols of a tree."""
    return frozenset(str(top.value) for top in walk(node) if top.op == "s")


def has_constant(node: Node, name: str) -> bool:
    """Whether a constant (pi, e, i, oo) stands in a tree."""
    return any(top.op == "c" and top.value == name for top in walk(node))


def negative(node: Node) -> Node:
    """The tree times -1."""
    if isinstance(node.value, Fraction):
        return Node("n", (), -node.value)
    return Node("-", (node,))


def difference(left: Node, right: Node) -> Node:
    """The tree of left - right."""
    return Node("+", (left, negative(right)))


def replaced(node: Node, name: str, value: int) -> Node:
    """The tree with a number for a symbol."""
    if node.op == "s":
        return number_node(value) if node.value == name else node
    return Node(node.op, tuple(replaced(arg, name, value) for arg in node.args), node.value)


def is_whole(node: Node) -> bool:
    """Whether a node is a literal whole number, maybe negative."""
    inner = node.args[0] if node.op == "-" else node
    return isinstance(inner.value, Fraction) and inner.value.denominator == 1
