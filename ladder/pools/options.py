"""The options of a question, in whatever form a pool writes them: a list, an object by letters, one text, one column
each, or inside the question. Their letters are taken off: a prompt gives them new ones.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Any, Literal

from ladder.config import Settings
from ladder.pools.cells import MAX_TEXT, CellError, empty, text, unescaped

MAX_OPTIONS = len(ascii_uppercase)  # one letter each
#: Styles of letters before options; full-width signs (of Chinese and Japanese texts) among them.
_LABELS = (
    re.compile(r"[(\uFF08]([A-Z])[)\uFF09]"),
    re.compile(r"(?<![^\s;,\uFF0C\uFF1B])([A-Z])\s?[.:)\u3001\uFF0E\uFF1A]"),
    re.compile(r"\(([a-z])\)"),
)
_LABEL = re.compile(r"\s*(?:[(\[\uFF08]([A-Za-z])[)\]\uFF09]|([A-Za-z])\s?[.:)\u3001\uFF0E\uFF1A])\s*")
_BETWEEN = ";,\uff0c\uff1b"
#: What announces options, by itself; it goes with them.
_HEADING = re.compile(
    r"(?:^[ \t]{0,20}|(?<=[.?!]\s))(?:answer )?(?:choices|options)\s?[:\uff1a]\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
_LONGEST_HEADING = 40
#: How numpy prints an array of texts; Python would join the texts into one.
_NUMPY = re.compile(r"['\"]\s+['\"]")
#: What an option that is an object calls its text.
_TEXTS = ("text", "content", "value", "option")
_LETTER_OR_NUMBER = re.compile(r"\(?(?:[A-Za-z]|[0-9]{1,2})[.)]{0,2}")
#: What it calls its letter.
_NAMES = ("label", "key", "letter", "id", "option")


class OptionSettings(Settings):
    """How options are written, where that cannot be told from them."""

    separator: str | None = None  # between options that stand in one text
    inside: Literal["keep", "cut"] | None = (
        None  # they stand in the question: leave them there, or take them out
    )


def read_options(value: Any, separator: str | None = None) -> tuple[str, ...]:
    """Options from a list, `{"A": ..}`, a list written as text, "A. ..;B. ..", or texts joined by `separator`.

    Raises CellError: options_unreadable, too_many_options.
    """
    if isinstance(value, str):
        value = _written(value.strip(), separator)
    if isinstance(value, dict):
        value = _lettered(value)
    if empty(value):
        return ()
    if not isinstance(value, list | tuple):
        raise CellError("options_unreadable", f"a {type(value).__name__}, not a list")
    if len(value) > MAX_OPTIONS:
        raise CellError("too_many_options", str(len(value)))
    value = _in_order(value)
    texts = [_option(option) for option in value]
    while texts and not texts[-1]:
        texts.pop()
    if not all(texts):
        raise CellError("options_unreadable", f"option {ascii_uppercase[texts.index('')]} is empty")
    return _unlabelled(texts)


def _in_order(options: Sequence[Any]) -> Sequence[Any]:
    """Options that are objects with a letter each in the order of these, `[{"A": ..}, {"B": ..}]` among them."""
    if not options or not all(isinstance(option, dict) for option in options):
        return options
    letters = [key for option in options for key in option]
    if len(letters) == len(options) and all(_LETTER_OR_NUMBER.fullmatch(str(key)) for key in letters):
        return _sorted(letters, [one for option in options for one in option.values()])
    names = [next((option[n] for n in _NAMES if option.get(n) is not None), None) for option in options]
    texts = [next((option[n] for n in _TEXTS if n in option), option) for option in options]
    return _sorted(names, texts) if all(one is not names[i] for i, one in enumerate(texts)) else texts


def _sorted(names: Sequence[Any], texts: Sequence[Any]) -> Sequence[Any]:
    """Texts in the order of their letters or numbers; as they are, where they have other names."""
    given = [str(name).strip().strip("().").upper() for name in names]
    if all(re.fullmatch("[A-Z]", one) for one in given):
        if len(set(given)) < len(given):
            raise CellError("options_unreadable", f"a letter twice: {', '.join(given)}")
        return _lettered(dict(zip(given, texts, strict=True)))
    numbers = [int(one) if re.fullmatch("[0-9]{1,2}", one) else -1 for one in given]
    if sorted(numbers) in (list(range(len(texts))), list(range(1, len(texts) + 1))):
        return [texts[numbers.index(number)] for number in sorted(numbers)]
    return texts


def _option(value: Any) -> str:
    if isinstance(value, dict):
        value = next((value[name] for name in _TEXTS if name in value), value)
    try:
        return text(value)
    except CellError as error:
        raise CellError("options_unreadable", error.detail) from None


def _written(value: str, separator: str | None) -> Any:
    if not value:
        return None
    if len(value) > MAX_TEXT:
        raise CellError("text_too_long", f"options of {len(value)} characters")
    if value[0] + value[-1] in ("[]", "{}", "()") and (found := literal(value)) is not None:
        return found
    value = unescaped(value)
    parts = [part for part in value.split(separator) if part.strip()] if separator is not None else []
    if parts and labels_of(parts) == list(ascii_uppercase[: len(parts)]):
        return parts
    marked = marked_options(value)
    if marked is None or value[: marked[0]].strip():
        if parts:
            return parts
        raise CellError("options_unreadable", f"neither a list nor lettered: {value[:60]}")
    return list(marked[1])


def literal(value: str) -> list[Any] | dict[Any, Any] | None:
    """A list or an object written as JSON or as Python writes it; None for anything else. Never evaluates anything."""
    if len(value) > MAX_TEXT:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(found, tuple):
            found = list(found)
        if isinstance(found, list) and read is ast.literal_eval and _NUMPY.search(value):
            return None
        return found if isinstance(found, list | dict) else None
    return None


def _lettered(options: dict[Any, Any]) -> Any:
    """Options by their letters; or as columns of labels and texts, as ARC has them."""
    columns = [options[name] for name in _TEXTS if isinstance(options.get(name), list)]
    if len(columns) == 1:
        names = [
            options[n] for n in _NAMES if isinstance(options.get(n), list) and options[n] is not columns[0]
        ]
        fit = len(names) == 1 and len(names[0]) == len(columns[0])
        return _sorted(names[0], columns[0]) if fit else columns[0]
    given = {str(key).strip().strip("()."): option for key, option in options.items() if not empty(option)}
    for first in ("A", "a", "1", "0"):
        keys = [chr(ord(first) + i) if first.isalpha() else str(int(first) + i) for i in range(len(given))]
        if set(keys) == set(given):
            return [given[key] for key in keys]
    raise CellError("options_unreadable", f"not lettered A, B, C, ...: {', '.join(given)}"[:80])


def labels_of(texts: Sequence[str]) -> list[str]:
    """The letter before each text; empty where there is none."""
    matches = [_LABEL.match(one) for one in texts]
    return [(m[1] or m[2]).upper() if m else "" for m in matches]


def _unlabelled(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts without the letters before them, if each has its own; the letters, if there is nothing else."""
    matches = [_LABEL.match(option) for option in texts]
    letters = labels_of(texts)
    if letters != list(ascii_uppercase[: len(texts)]):
        return tuple(texts)
    rests = [option[m.end() :].strip() for option, m in zip(texts, matches, strict=True) if m]
    if any(rests) and not all(rests):
        return tuple(texts)
    return tuple(rests) if any(rests) else tuple(letters)


def marked_options(value: str) -> tuple[int, tuple[str, ...]] | None:
    """Where lettered options begin in a text and what they are: the last run of letters from A on, one style of them.

    They begin at their heading ("Choices:"), if there is one.
    """
    runs = [run for style in _LABELS for run in _runs(value, style)]
    if not runs:
        return None
    run = max(runs, key=lambda marks: (len(marks), marks[0].start()))
    ends = [mark.start() for mark in run[1:]] + [len(value)]
    texts = [
        value[mark.end() : end].strip().rstrip(_BETWEEN).strip() for mark, end in zip(run, ends, strict=True)
    ]
    if any(texts) and not all(texts):
        return None
    letters = tuple(ascii_uppercase[: len(run)])
    return _headed(value, run[0].start()), tuple(texts) if any(texts) else letters


def _headed(value: str, start: int) -> int:
    heading = _HEADING.search(value, max(0, start - _LONGEST_HEADING), start)
    return heading.start() if heading else start


def _runs(value: str, style: re.Pattern[str]) -> Iterator[list[re.Match[str]]]:
    """Runs of at least two letters in a row that begin with A; a letter mentioned again before its turn is passed over."""
    run: list[re.Match[str]] = []
    for mark in style.finditer(value):
        letter = mark[1].upper()
        if letter == "A":
            if len(run) > 1:
                yield run
            run = [mark]
        elif run and len(run) < MAX_OPTIONS and letter == ascii_uppercase[len(run)]:
            run.append(mark)
    if len(run) > 1:
        yield run
