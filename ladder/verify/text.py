"""Text clean-up shared by extraction and every comparison: look-alike characters, wrappers, braces.

Everything here is linear in its input. It leaves out meaning: what a number, a word or an option is belongs to the
module of that answer type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: Full-width ASCII to ASCII, and the many minus signs, blanks and quotes to one of each. Not NFKC, which would turn
#: "5²" into "52".
_ALIKE = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_ALIKE |= dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63", "-")
_ALIKE |= dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f\u3000", " ")
_ALIKE |= dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
_ALIKE |= {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u3002": "."}
_TO_PLAIN = str.maketrans(_ALIKE)

_BRACES = re.compile(r"\\(boxed|fbox)\s{0,4}\{|\\.|[{}]", re.DOTALL)
_WRAPPER = re.compile(
    r"\\(?:boxed|fbox|mbox|text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname)\s{0,4}\{"
)
_MATH = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_QUOTES = "\"'`*_"
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
    text = text.strip().rstrip(".,;:").rstrip()
    if len(text) > 2 and text[0] == text[-1] and text[0] in _QUOTES:
        return text[1:-1]
    for left, right in _MATH:
        inner = text[len(left) : -len(right)]
        if len(text) > len(left + right) and text == left + inner + right and right not in inner:
            return inner
    wrapper = _WRAPPER.match(text)
    if wrapper and closing_brace(text, wrapper.end()) == len(text) - 1:
        return text[wrapper.end() : -1]
    return text


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


def boxes(text: str) -> Iterator[str]:
    r"""The contents of every closed `\boxed{}` (or `\fbox{}`), inner ones first, each in the order of its end."""
    opened: list[int] = []  # where the content of a box begins, or -1 for any other brace
    for token in _BRACES.finditer(text):
        if token[1]:
            opened.append(token.end())
        elif token[0] == "{":
            opened.append(-1)
        elif token[0] == "}" and opened and (start := opened.pop()) >= 0:
            yield text[start : token.start()]
