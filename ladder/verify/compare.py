"""Compare an answer with its gold by answer type: one rule per type (`RULES`), each in its own module.

`quick` tells what can be told in bounded time, `decided` everything. What an answer is and where it stands in a response
is left to `ladder.verify.extract`; time limits, to `ladder.verify.pool`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ladder.records import AnswerType, Outcome, Reference, Verdict
from ladder.verify.extract import Extracted, narrow
from ladder.verify.lists import LIST, SEQUENCE
from ladder.verify.policy import Policy, parse_tolerance
from ladder.verify.rule import Judgement, Rule, UnverifiableGold
from ladder.verify.rules import SCALARS
from ladder.verify.text import plain

RULES: dict[AnswerType, Rule] = SCALARS | {AnswerType.LIST: LIST, AnswerType.SEQUENCE: SEQUENCE}

_Judge = Callable[[str, Any, Policy], Judgement | None]

#: Longer answers (characters) are wrong: they are no answers but texts. Also bounds what a verdict keeps of them.
MAX_ANSWER = 1_000


@lru_cache(maxsize=4096)
def _read(reference: Reference, policy: Policy) -> Any:
    """The gold, parsed once for all of its answers; of an unverifiable one, why it is (not raised, to be kept too)."""
    if not plain(reference.gold):
        return UnverifiableGold("gold_empty")
    if reference.tolerance is not None:
        try:
            parse_tolerance(reference.tolerance)
        except ValueError:
            return UnverifiableGold("gold_tolerance")
    try:
        return RULES[reference.answer_type].read(reference, policy)
    except UnverifiableGold as reason:
        return reason.with_traceback(None)
    except Exception:
        return UnverifiableGold("gold_error")


def quick(found: Extracted, reference: Reference, policy: Policy, known: bool = False) -> Verdict | None:
    """The verdict where it can be told in bounded time, else None. Never raises.

    `known` says that `decided` has seen this gold before and did not find it unverifiable; without that, a gold that
    has to be parsed gives None whatever the answer is.
    """
    gold, rule = _read(reference, policy), RULES[reference.answer_type]
    if isinstance(gold, UnverifiableGold):
        return _unverifiable(found, gold)
    if rule.check is not None and not known:
        return None
    return _unread(found) or _told(found, gold, policy, rule.judge)


def decided(found: Extracted, reference: Reference, policy: Policy) -> Verdict:
    """The verdict, whatever work it takes: unbounded in time for hostile expressions (see the pool). Never raises."""
    gold, rule = _read(reference, policy), RULES[reference.answer_type]
    if isinstance(gold, UnverifiableGold):
        return _unverifiable(found, gold)

    def judge(answer: str, gold: Any, policy: Policy) -> Judgement:
        judgement = rule.judge(answer, gold, policy)
        if judgement is None:
            assert rule.decide is not None, reference.answer_type
            judgement = rule.decide(answer, gold, policy)
        return judgement

    try:
        if rule.check is not None:
            rule.check(gold)
        verdict = _unread(found) or _told(found, gold, policy, judge)
    except UnverifiableGold as reason:
        return _unverifiable(found, reason)
    except MemoryError:
        return Verdict(Outcome.TIMEOUT, _kept(found), "memory")
    except Exception:
        return _unverifiable(found, UnverifiableGold("gold_error"))
    assert verdict is not None
    return verdict


def _told(found: Extracted, gold: Any, policy: Policy, judge: _Judge) -> Verdict | None:
    try:
        return _compared(found, gold, policy, judge)
    except MemoryError:
        raise
    except Exception:
        # The boundary to whatever a model writes. Told by its reason, and wrong: it would end the same way every time.
        return Verdict(Outcome.WRONG, _kept(found), f"{found.where}/error")


def _compared(found: Extracted, gold: Any, policy: Policy, judge: _Judge) -> Verdict | None:
    """The verdict on the answer as it stands or, if that is not right, on what its sentence states."""
    answer = found.answer or ""
    whole = judge(answer, gold, policy)
    if whole is None or whole.right or (stated := narrow(answer)) == answer or not plain(stated):
        return _verdict(found, answer, whole)
    narrowed = judge(stated, gold, policy)
    told = narrowed is None or narrowed.right
    return _verdict(found, stated, narrowed) if told else _verdict(found, answer, whole)


def _verdict(found: Extracted, answer: str, judgement: Judgement | None) -> Verdict | None:
    """The reason says where the answer stood and how it compared ("boxed/value")."""
    if judgement is None:
        return None
    outcome = Outcome.CORRECT if judgement.right else Outcome.WRONG
    return Verdict(outcome, answer[:MAX_ANSWER], f"{found.where}/{judgement.how}")


def _unread(found: Extracted) -> Verdict | None:
    """The verdict on what cannot be an answer, whatever the gold is."""
    if found.where == "conflict":
        return Verdict(Outcome.WRONG, "", "conflict")  # it did answer, more than once
    if not plain(found.answer or ""):
        return Verdict(Outcome.NO_ANSWER, _kept(found), "empty")
    if len(found.answer or "") > MAX_ANSWER:
        return Verdict(Outcome.WRONG, _kept(found), f"{found.where}/too_long")
    return None


def _unverifiable(found: Extracted, reason: UnverifiableGold) -> Verdict:
    return Verdict(Outcome.UNVERIFIABLE, _kept(found), str(reason))


def _kept(found: Extracted) -> str:
    return (found.answer or "")[:MAX_ANSWER]
