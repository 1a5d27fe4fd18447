"""Compare an answer with its gold by answer type, and guess the type of a gold.

One rule per type (`RULES`), each in its own module: options, numeric, words, expressions. What an answer is and where
it stands in a response is left to `ladder.verify.extract`; time limits, to `ladder.verify.pool`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ladder.records import AnswerType, Outcome, Verdict
from ladder.verify.expressions import EXPRESSION
from ladder.verify.extract import Extracted
from ladder.verify.notation import has_prose, latex
from ladder.verify.numeric import INTEGER, NUMBER, parse_integer, parse_number
from ladder.verify.options import OPTION
from ladder.verify.rule import Rule, UnverifiableGold
from ladder.verify.text import plain
from ladder.verify.words import WORD

RULES: dict[AnswerType, Rule] = {
    AnswerType.OPTION: OPTION,
    AnswerType.INTEGER: INTEGER,
    AnswerType.NUMBER: NUMBER,
    AnswerType.WORD: WORD,
    AnswerType.EXPRESSION: EXPRESSION,
}

#: Longer answers (characters) are wrong: they are no answers but texts. Also bounds what a verdict keeps of them.
MAX_ANSWER = 1_000

_NO_WORDS = re.compile(r"[\\=<>^+*/|{}$%≤≥≠√°∠∵∴]")
_DIGIT = re.compile(r"\d")
_CONSTANTS = frozenset(("pi", "π", "e", "∞"))


def infer_type(gold: str, options: Sequence[str]) -> AnswerType:
    """The answer type of a gold: options if there are any, else what the gold itself is."""
    if options:
        return AnswerType.OPTION
    value = parse_number(gold)
    if value is not None:
        integral = value.denominator == 1 and not re.search(r"[./%eE]|frac", plain(gold))
        return AnswerType.INTEGER if integral else AnswerType.NUMBER
    if parse_integer(gold) is not None:
        return AnswerType.INTEGER
    return AnswerType.WORD if _is_wording(plain(gold)) else AnswerType.EXPRESSION


def _is_wording(text: str) -> bool:
    """Words without mathematical signs; with digits or brackets only if there is a real word beside them."""
    if not text or _NO_WORDS.search(text) or text.casefold() in _CONSTANTS:
        return False
    if has_prose(latex(text)):
        return True
    return not _DIGIT.search(text) and "(" not in text and any(map(str.isalpha, text))


def compare(answer: str, gold: str, options: Sequence[str], answer_type: AnswerType) -> Verdict:
    """The verdict on an extracted answer. Never raises; unbounded in time for expressions (see the pool)."""
    kept = answer[:MAX_ANSWER]
    try:
        return _judged(answer, kept, gold, options, RULES[answer_type])
    except UnverifiableGold as reason:
        return Verdict(Outcome.UNVERIFIABLE, kept, str(reason))
    except MemoryError:
        return Verdict(Outcome.TIMEOUT, kept, "memory")


def _judged(answer: str, kept: str, gold: str, options: Sequence[str], rule: Rule) -> Verdict:
    if not plain(gold):
        raise UnverifiableGold("gold_empty")
    reference = rule.read(gold, options)
    if not plain(answer):
        return Verdict(Outcome.NO_ANSWER, kept, "empty")
    if len(answer) > MAX_ANSWER:
        return Verdict(Outcome.WRONG, kept, "too_long")
    right, how = rule.judge(answer, reference, options)
    return Verdict(Outcome.CORRECT if right else Outcome.WRONG, kept, how)


def judge(found: Extracted, gold: str, options: Sequence[str], answer_type: AnswerType) -> Verdict:
    """As compare, for what extraction found; the reason says where that stood and how it compared ("boxed/value")."""
    verdict = compare(found.answer or "", gold, options, answer_type)
    outcome = verdict.outcome
    if outcome is Outcome.NO_ANSWER and found.where == "conflict":
        outcome = Outcome.WRONG  # it did answer, more than once
    reason = verdict.reason
    if outcome in (Outcome.CORRECT, Outcome.WRONG):
        reason = found.where if found.where == "conflict" else f"{found.where}/{reason}"
    return Verdict(outcome, verdict.extracted, reason)
