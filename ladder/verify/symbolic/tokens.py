"""Tokens of a formula: numbers, commands, signs, and runs of letters as functions, names and symbols."""

from __future__ import annotations

import re
from typing import NamedTuple

from ladder.verify.notation import FUNCTIONS, is_product

_TOKEN = re.compile(
    r"(?P<blank>\s+)"
    r"|(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?(?:[eE][+-]?\d{1,3}(?!\d))?|\.\d+(?:[eE][+-]?\d{1,3}(?!\d))?)"
    r"|(?P<command>\\[a-zA-Z]+|\\[{}%])"
    r"|(?P<letters>[a-zA-Z]+)"
    r"|(?P<sign>[-+*/^_!()\[\]{}|,:'])"
)
_WORDS = "|".join((*FUNCTIONS, "infinity", "infty", "theta", "alpha", "beta", "pi"))
_SPLIT = re.compile(rf"{_WORDS}|[A-Z]{{2,}}(?![a-z])|[a-zA-Z]")
_SHORT_WORDS = frozenset(("is", "of", "to", "if", "no", "in", "or", "it", "we", "on", "Re", "Im"))


class Unread(Exception):
    """The text is not a formula that is read here."""


class Token(NamedTuple):
    """A piece of a formula's text."""

    text: str
    kind: str
    blank: bool  # after a blank


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text; raises Unread for words and for signs of other things than formulas."""
    tokens: list[Token] = []
    last, blank = 0, False
    for match in _TOKEN.finditer(text):
        if match.start() != last:
            raise Unread
        last = match.end()
        kind = match.lastgroup or ""
        if kind == "blank":
            blank = True
            continue
        if kind == "letters":
            pieces = _pieces(match[0])
            tokens.extend(Token(piece, "letters", blank and i == 0) for i, piece in enumerate(pieces))
        else:
            tokens.append(Token(match[0], kind, blank))
        blank = False
    if last != len(text) or not tokens:
        raise Unread
    return tokens


def _pieces(run: str) -> list[str]:
    """A run of letters as functions, names of segments (AB) and symbols; Unread for words."""
    if run in _SHORT_WORDS:
        raise Unread
    pieces = _SPLIT.findall(run)
    single = sum(len(piece) == 1 for piece in pieces)
    if single > 2 and not is_product("".join(piece for piece in pieces if len(piece) == 1)):
        raise Unread
    return pieces
