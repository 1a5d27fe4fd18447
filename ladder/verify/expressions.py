r"""Mathematical expressions: equal as strings, or symbolically equal for math-verify.

math-verify alone is looser than a reward can be (measured with 0.9.0): units are dropped, 28% equals 28, a point equals
a set, six decimals are enough, and letters commute so that "increasing" equals its anagrams. So expressions are given
to it whole (never searched for a number in a text), with units kept, the rounding far below any written decimals,
and only where both sides have the same brackets and percent signs; texts with words are compared as strings.

Nothing here is bounded in time: `ladder.verify.pool` is. math_verify and sympy are imported at the first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from ladder.verify.notation import brackets, components, has_prose, latex, latex_key
from ladder.verify.numeric import parse_number
from ladder.verify.rule import Judgement, Options, Rule, UnverifiableGold

MAX_EXPRESSION = 1_000  # characters; longer answers are wrong, longer golds unverifiable
_DECIMALS = 12  # of a float; what a double holds
_DIGITS = 30  # for numeric evaluation


@dataclass(frozen=True, slots=True)
class Expression:
    """A gold: its key, its LaTeX, and its parsed parts (one, or those of a tuple); no parts where it holds words."""

    key: str
    latex: str
    parts: tuple[Any, ...]


@cache
def _config() -> tuple[Any, ...]:
    import logging

    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify import LatexExtractionConfig

    # It warns, once per process, that its own timeout is off: ours bounds it.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    normalise = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
    )
    return (LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalise),)


def _parse(text: str) -> Any | None:
    config = _config()
    from math_verify import parse

    if "__" in text:  # no mathematics, but the way from a parsed string to Python's internals
        return None
    found = parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
    return found[0] if len(found) == 1 else None


def _parse_parts(text: str) -> tuple[Any, ...]:
    # Part by part: math-verify reads (2, 1) as an open interval. A set stays whole, as its order does not matter.
    texts = components(text[1:-1]) if brackets(text)[:1] in {"(", "["} else [text]
    parsed = tuple(map(_parse, texts))
    return () if any(part is None for part in parsed) else parsed


@lru_cache(maxsize=256)
def _read_text(gold: str) -> Expression:
    text = latex(gold)
    if not text:
        raise UnverifiableGold("gold_empty")
    if len(gold) > MAX_EXPRESSION:
        raise UnverifiableGold("gold_too_long")
    if has_prose(text):
        return Expression(latex_key(gold), text, ())
    parts = _parse_parts(text)
    if not parts:
        raise UnverifiableGold("gold_unreadable")
    return Expression(latex_key(gold), text, parts)


def _read(gold: str, _: Options) -> Expression:
    return _read_text(gold)


def _judge(answer: str, gold: Expression, _: Options) -> Judgement:
    if len(answer) > MAX_EXPRESSION:
        return Judgement(False, "too_long")
    if latex_key(answer) == gold.key:
        return Judgement(True, "string")
    text = _exact(answer)
    if not gold.parts or has_prose(text) or not _same_form(text, gold.latex):
        return Judgement(False, "form")
    parts = _parse_parts(text)
    if len(parts) != len(gold.parts):
        return Judgement(False, "unreadable" if not parts else "form")
    return Judgement(all(map(_equal, gold.parts, parts)), "symbolic")


def _exact(answer: str) -> str:
    """The answer's LaTeX, a decimal as a fraction: no decimal is equal to a root or to pi."""
    value = parse_number(answer)
    if value is None:
        return latex(answer)
    return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _same_form(a: str, b: str) -> bool:
    return brackets(a) == brackets(b) and ("%" in a) == ("%" in b)


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
        # sympy raises anything on hostile input (also RecursionError): what cannot be compared is not equal.
        return False


def warm_up() -> None:
    """Import and exercise what the first comparison would otherwise pay for (about half a second)."""
    _equal(_parse(r"\frac{1}{2}+x"), _parse("x+0.5"))


EXPRESSION = Rule(_read, _judge)
