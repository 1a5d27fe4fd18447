"""Text clean-up shared by extraction and every comparison: look-alike characters, wrappers, braces, boxes.

Everything here is linear in its input. It leaves out meaning: what a number, a word or an option is belongs to the
module of that answer type.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Full-width ASCII to ASCII, and the many minus signs, blanks and quotes to one of each. Not NFKC, which would turn
#: "5²" into "52".
_ALIKE = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_ALIKE |= dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63", "-")
_ALIKE |= dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " ")
_ALIKE |= dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufe0f\ufeff", "")
_ALIKE |= {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u3002": ".", "\u2236": ":"}
_TO_PLAIN = str.maketrans(_ALIKE)

_BRACES = re.compile(r"\\(boxed|fbox)\s{0,4}\{|\\.|[{}]", re.DOTALL)
#: `\boxed 5`, the box without braces: up to the end of its formula, else one word.
_BARE_BOX = re.compile(
    r"\\(?:boxed|fbox)(?:[ \t]{1,4}|(?=[0-9]))(?:([^${}\\\n]{1,40}?) ?(?=\$)|([^\s${}\\]{1,40}))"
)
_WRAPPER = re.compile(
    r"\\(?:boxed|fbox|mbox|text|textbf|textit|textrm|textsf|texttt|textnormal|textup|emph|underline|mathrm|mathbf"
    r"|mathit|mathsf|mathtt|mathnormal|boldsymbol|bm|bold|operatorname\*?|textcolor\s?\{[A-Za-z]{1,20}\}"
    r"|color\s?\{[A-Za-z]{1,20}\})\s{0,4}\{"
)
_STYLED = re.compile(r"\{\s?\\(?:rm|bf|it|sf|tt|bfseries|itshape)(?![A-Za-z])")
_STYLE = re.compile(
    r"(?:~|\\(?:[,;:! ]|(?:displaystyle|textstyle|scriptstyle|large|Large|bf|rm|it|sf|quad|qquad)(?![A-Za-z]))\s{0,4}){1,8}"
)
_MATH = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_QUOTES = "\"'`*_"
#: A blank in LaTeX ends in a backslash once the comma or blank after it is gone.
_TRAILING = " .,;:\u2026\u3001\\"
_LAYERS = 8  # wrappers taken off one answer; more is not a way to write an answer


def tidy(text: str) -> str:
    """The text with look-alike characters unified and blanks collapsed."""
    return " ".join(text.translate(_TO_PLAIN).split())


def plain(text: str) -> str:
    r"""The text without what only surrounds an answer: `$..$`, `\boxed{}`, `\text{}`, quotes, bold, a final stop."""
    text = tidy(text)
    for _ in range(_LAYERS):
        bare = _peel(text)
        if bare == text:
            break
        text = bare
    return text


def _peel(text: str) -> str:
    text = text.strip().removesuffix("\\!").rstrip(_TRAILING)
    style = _STYLE.match(text)
    if style and style.end() < len(text):
        text = text[style.end() :]
    if len(text) > 2 and text[0] == text[-1] and text[0] in _QUOTES and text[0] not in text.strip(text[0]):
        return text[1:-1]
    for left, right in _MATH:
        inner = text[len(left) : -len(right)]
        if len(text) > len(left + right) and text == left + inner + right and not _delimits(right, inner):
            return inner
    wrapper = _WRAPPER.match(text) or _STYLED.match(text)
    if wrapper and closing_brace(text, wrapper.end()) == len(text) - 1:
        return text[wrapper.end() : -1]
    return text


def _delimits(right: str, inner: str) -> bool:
    """Whether the formula ends before its last delimiter; `\\$` is a currency sign and delimits nothing."""
    if right[0] != "$":
        return right in inner
    return inner.endswith("\\") or right in inner.replace("\\$", "")


def closing_brace(text: str, start: int) -> int:
    """Index of the brace that closes the one just before `start`; -1 if none does."""
    depth = 1
    for token in _BRACES.finditer(text, start):
        if token[0] == "}":
            depth -= 1
        elif token[0][-1] == "{" and (token[0] == "{" or token[1]):
            depth += 1
        if depth == 0:
            return token.start()
    return -1


class Box(NamedTuple):
    r"""A `\boxed{}` or `\fbox{}`: where it stands in its text, braces included, and what it holds."""

    start: int
    end: int
    content: str


def boxes(text: str) -> list[Box]:
    r"""The outermost closed boxes of a text, and those without braces (`\boxed 5`), in their order."""
    opened: list[tuple[int, int]] = []  # (start, content's start) of a box, or (-1, -1) for any other brace
    found: list[Box] = []
    for token in _BRACES.finditer(text):
        if token[1]:
            opened.append((token.start(), token.end()))
        elif token[0] == "{":
            opened.append((-1, -1))
        elif token[0] == "}" and opened:
            start, content = opened.pop()
            if start >= 0:
                while found and found[-1].start > start:
                    found.pop()
                found.append(Box(start, token.end(), text[content : token.start()]))
    bare = [Box(m.start(), m.end(), m[1] or m[2]) for m in _BARE_BOX.finditer(text)]
    return sorted(found + bare) if bare else found
