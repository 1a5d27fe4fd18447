r"""Multiple choice: an answer names an option by its letter, by its text, or by its value.

Letters are read as B, b, (B), B., \text{B}, "option b", and with the option's text after them ("B. red"), unless that
text names another option too. The gold may be a letter or an option's text. Where an item has no options (they stand
in its question or its image), letters are compared. Several letters, or all options, are never right. An option's
value without its unit is left out.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ladder.verify.notation import latex_key
from ladder.verify.numeric import parse_number
from ladder.verify.rule import Judgement, Options, Rule, UnverifiableGold
from ladder.verify.text import plain
from ladder.verify.words import word_key

_LETTERS = string.ascii_uppercase
_LETTER = re.compile(r"(?:(?:option|choice|answer) ?)?[(\[]?([A-Za-z])[)\]]?[.:]?", re.IGNORECASE)
_LABELLED = re.compile(
    r"(?:(?:option|choice|answer) )?(?:[(\[]([A-Za-z])[)\]][.:]?|([A-Za-z])[.):,])\s*(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
#: Another letter after the first; a capital A before a small letter is the article.
_OTHER_LETTER = re.compile(r"\((?P<small>[A-Za-z])\)|(?<![\w\\])(?!A [a-z])(?P<capital>[A-Z])(?![\w'])")
_HEDGE = re.compile(r"\b(?:or|either|both|all|none|not)\b", re.IGNORECASE)

Key = Callable[[str], Hashable]
#: Two options are the same option if this says so.
_same_text: Key = latex_key


@dataclass(frozen=True, slots=True)
class Named:
    """The option that a gold names, by position."""

    index: int


def _bare_letter(text: str, options: Options) -> int | None:
    match = _LETTER.fullmatch(plain(text))
    return _position(match[1], options) if match else None


def _position(letter: str, options: Options) -> int | None:
    index = _LETTERS.index(letter.upper())
    return index if index < (len(options) or len(_LETTERS)) else None


def _by_text(text: str, options: Options) -> int | None:
    """The option that a text or value is, if the strictest reading that finds any finds only one."""
    keys: tuple[Key, ...] = (_same_text, word_key, parse_number)
    for key in keys:
        wanted = key(text)
        if wanted is None or wanted == "":
            continue
        found = [i for i, option in enumerate(options) if key(option) == wanted]
        if found:
            distinct = {_same_text(options[i]) for i in found}
            return found[0] if len(distinct) == 1 else None
    return None


def _labelled(text: str, options: Options) -> int | None:
    """The option of an answer such as "(B) red": a letter, and after it nothing that names another option."""
    match = _LABELLED.fullmatch(plain(text))
    index = _position(match[1] or match[2], options) if match else None
    if match is None or index is None:
        return None
    rest = match[3]
    if options and _by_text(rest, options[index : index + 1]) == 0:
        return index
    return None if _names_another(rest, index, options) else index


def _names_another(rest: str, index: int, options: Options) -> bool:
    letters = (m["small"] or m["capital"] for m in _OTHER_LETTER.finditer(rest))
    if any(_position(letter, options) not in (None, index) for letter in letters) or _HEDGE.search(rest):
        return True
    padded = f" {word_key(re.sub(r'[,;:()]', ' ', rest))} "
    others = (word_key(option) for i, option in enumerate(options) if i != index)
    return any(f" {other} " in padded for other in others if other)


def _read(gold: str, options: Options) -> Named:
    letter = _bare_letter(gold, options)
    text = _by_text(gold, options)
    if letter is not None and text is not None and _same_text(options[letter]) != _same_text(options[text]):
        raise UnverifiableGold("gold_ambiguous")
    for index in (letter, text, _labelled(gold, options)):
        if index is not None:
            return Named(index)
    raise UnverifiableGold("gold_not_in_options")


def _judge(answer: str, gold: Named, options: Options) -> Judgement:
    for how, find in (("letter", _bare_letter), ("text", _by_text), ("labelled", _labelled)):
        index = find(answer, options)
        if index is not None:
            return Judgement(_same_option(index, gold.index, options), how)
    return Judgement(False, "no_single_option")


def _same_option(a: int, b: int, options: Options) -> bool:
    return a == b or (bool(options) and _same_text(options[a]) == _same_text(options[b]))


def option_index(gold: str, options: Options) -> int | None:
    """The position of the option that a gold names; None if it names none, or not a single one."""
    try:
        index = _read(gold, options).index
    except UnverifiableGold:
        return None
    return index if index < len(options) else None


def option_letter(index: int) -> str:
    """A for the first option."""
    return _LETTERS[index]


OPTION = Rule(_read, _judge)
