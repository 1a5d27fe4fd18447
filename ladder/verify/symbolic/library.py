r"""math-verify, for what is not read here: sums, integrals, limits, determinants and the rest of LaTeX.

It is looser than a reward can be (measured with 0.9.0): units are dropped, 28% equals 28, a point equals a set, six
decimals are enough, letters commute and lose their case. So it is given whole expressions (never searches a text for
one), with the case of symbols kept, rounding far below any written decimals, and only where both sides have the same
brackets and percent signs. Unbounded in time. math_verify and sympy are imported at the first use.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from ladder.verify.notation import brackets, components, has_prose

MAX_TEXT = 400  # characters
_MAX_DEPTH = 10
_OWN = re.compile(
    r"\\(?:i*nt|oint|sum|prod|lim|det|begin|partial|mathbb|nabla|[pb]?mod|Re|Im|arg|Vert|choose|overset|underset|cup|cap)"
    r"(?![a-zA-Z])|(?<![a-zA-Z])(?:[a-zA-Z]'{0,3}|Re|Im|tr|rank|det|arg) ?\(|\\frac ?\{ ?d|d ?/ ?d[a-z]|(?<![a-zA-Z])mod(?![a-zA-Z])"
)
_BRACKET = re.compile(r"[\[\](){}]")
_DECIMALS = 12  # of a float; what a double holds
_DIGITS = 30  # for numeric evaluation


@cache
def _configs() -> tuple[Any, Any]:
    import logging

    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, NormalizationConfig

    # It warns, once per process, that its own timeout is off: ours bounds it.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    normalise = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
    )
    return normalise, ConversionConfig(lowercase_symbols=False)


@lru_cache(maxsize=1024)
def parse(text: str) -> Any | None:
    """The sympy object of a LaTeX text; None where it is none."""
    if "__" in text or not _is_sane(text):  # "__" is the way from a parsed string to Python's internals
        return None
    normalise, convert = _configs()
    from latex2sympy2_extended.latex2sympy2 import latex2sympy
    from math_verify.grader import should_treat_as_complex

    try:
        return latex2sympy(
            text,
            is_real=not should_treat_as_complex(text),
            normalization_config=normalise,
            conversion_config=convert,
        )
    except MemoryError:
        raise
    except Exception:
        # The parser raises anything on what it does not know (also RecursionError).
        return None


def may_read(text: str) -> bool:
    """Whether a text has notation that it may read and `formula` does not. Bounded."""
    return bool(_OWN.search(text)) and "__" not in text and _is_sane(text) and not has_prose(text)


def _is_sane(text: str) -> bool:
    """Whether brackets match in number and are not too deep: the parser takes seconds to say no."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth += 1 if bracket in "([{" else -1
        deepest = max(depth, deepest)
        if depth < 0:
            return False
    return depth == 0 and deepest <= _MAX_DEPTH and len(text) <= MAX_TEXT


def _parts(text: str) -> tuple[Any, ...]:
    # Part by part: math-verify reads (2, 1) as an open interval. A set stays whole, as its order does not matter.
    texts = components(text[1:-1]) if brackets(text)[:1] in {"(", "["} else [text]
    parsed = tuple(map(parse, texts))
    return () if any(part is None for part in parsed) else parsed


def is_readable(text: str) -> bool:
    """Whether a text without words is mathematics for it."""
    return may_read(text) and bool(_parts(text))


def equal(gold: str, answer: str) -> bool | None:
    """Whether two LaTeX texts are equal; None where one of them is not readable."""
    if has_prose(gold) or has_prose(answer) or not (may_read(gold) or may_read(answer)):
        return None
    if brackets(gold) != brackets(answer) or ("%" in gold) != ("%" in answer):
        return False
    a, b = _parts(gold), _parts(answer)
    if not a or not b:
        return None
    return len(a) == len(b) and all(map(_equal, a, b))


def _equal(gold: Any, answer: Any) -> bool:
    from math_verify import verify

    try:
        return verify(
            gold,
            answer,
            float_rounding=_DECIMALS,
            numeric_precision=_DIGITS,
            timeout_seconds=None,
            raise_on_error=True,
        )
    except MemoryError:
        raise
    except Exception:
        # sympy raises anything on hostile input: what cannot be compared is not equal.
        return False


def warm_up() -> None:
    """Import and exercise what the first comparison would otherwise pay for (about half a second)."""
    _equal(parse(r"\frac{1}{2}+x"), parse("x+0.5"))
