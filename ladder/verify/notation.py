r"""Mathematical notation as strings: one LaTeX spelling for Unicode and plain-text forms, and a key for equality.

It parses nothing and imports nothing heavy; symbolic equality is in `ladder.verify.expressions`.
"""

from __future__ import annotations

import re

from ladder.verify.text import plain

_UNICODE = str.maketrans(
    {
        "π": r"\pi ",
        "θ": r"\theta ",
        "\u03b1": r"\alpha ",
        "β": r"\beta ",
        "√": r"\sqrt ",
        "\u00d7": r"\times ",
        "·": r"\cdot ",
        "÷": r"\div ",
        "≤": r"\leq ",
        "≥": r"\geq ",
        "≠": r"\neq ",
        "∞": r"\infty ",
        "\u222a": r"\cup ",
        "∠": r"\angle ",
        "°": r"^\circ ",
        "²": "^{2}",
        "³": "^{3}",
    }
)
_SPELLINGS = (
    (re.compile(r"\\(?:left|right|displaystyle|quad|[,!;: ])(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dt]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\le(?:qslant)?(?![a-zA-Z])"), r"\\leq"),
    (re.compile(r"\\ge(?:qslant)?(?![a-zA-Z])"), r"\\geq"),
    (re.compile(r"\\math(?:rm|bf|it) ?(?=\\)|(?<!\\)~|(?<![a-zA-Z}\]])\{\}"), " "),
    (re.compile(r"\^ ?\{ ?\\circ ?\}"), r"^\\circ "),
    (re.compile(r"\\degrees?(?![a-zA-Z])"), r"^\\circ "),
    (re.compile(r"(?<!\\)%"), r"\\%"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\$"), " "),
)
_COMMANDS = re.compile(r"\\(?:begin|end)\{[a-z*]{1,12}\}|\\[a-zA-Z]+")
_RUNS = re.compile(r"[^\W\d_]{3,}")
_NAMES = re.compile(
    r"sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|exp|sqrt|max|min|lim|det|gcd|lcm|mod|and"
)


def latex(text: str) -> str:
    """The text in one LaTeX spelling, without delimiters."""
    text = plain(text).translate(_UNICODE)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    return text.strip()


def latex_key(text: str) -> str:
    """Equal for texts that are spelled the same but for blanks, sizes of brackets and fractions."""
    return "".join(latex(text).split())


def has_prose(text: str) -> bool:
    """Whether a LaTeX text holds words or names of figures (ABC): as a product of letters they would commute."""
    return any(not _NAMES.fullmatch(run.lower()) for run in _RUNS.findall(_COMMANDS.sub(" ", text)))


def brackets(text: str) -> str:
    """The outer brackets of a tuple, interval or set, as two characters; empty where none encloses the whole."""
    text = text.replace("\\{", "{").replace("\\}", "}").replace(" ", "")
    if len(text) < 2 or text[0] not in "([{" or text[-1] not in ")]}":
        return ""
    closes_early = any(depth == 0 for depth, _ in _depths(text[:-1]))
    return "" if closes_early or not components(text[1:-1]) else text[0] + text[-1]


def components(text: str) -> list[str]:
    """The parts of a text between its top-level commas; empty where there is no such comma."""
    parts, last = [], 0
    for i, (depth, character) in enumerate(_depths(text)):
        if depth == 0 and character == ",":
            parts.append(text[last:i])
            last = i + 1
    return [*parts, text[last:]] if parts else []


def _depths(text: str) -> list[tuple[int, str]]:
    """Each character with the depth of brackets after it."""
    depth, depths = 0, []
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        depths.append((depth, character))
    return depths
