"""Lists, in any order or in the given one: as many parts as the gold has, each right by its own type.

Each gold's part is matched with one answer's part, so that repeated parts count. Values that are assigned to symbols
("x = 3, y = 4") go by symbol, and by order where the symbols are left out. Lists of lists, and lists in a sentence,
are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ladder.records import AnswerType, Reference
from ladder.verify.infer import infer_type
from ladder.verify.notation import latex_key
from ladder.verify.policy import Policy
from ladder.verify.rule import Judgement, Rule, UnverifiableGold
from ladder.verify.rules import SCALARS
from ladder.verify.separators import Parts, parts_of

#: Parts that are written differently in gold and answer, of which each may have to be compared with each.
_MAX_UNLIKE = 16
#: What judging one part says: right or not; None if only symbolic work can tell.
Judge = Callable[[int, str], bool | None]


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold list: for each part the rule of its type and what that made of it; the symbols the parts belong to."""

    texts: tuple[str, ...]
    rules: tuple[Rule, ...]
    parts: tuple[Any, ...]
    symbols: tuple[str, ...]
    ordered: bool
    solutions: bool  # alternatives ("x = 1 or x = 2") are all of its parts, and no doubt

    @property
    def named(self) -> bool:
        """Whether its parts belong to different symbols."""
        return all(self.symbols) and len(set(self.symbols)) == len(self.symbols) > 1


def _read(reference: Reference, policy: Policy, ordered: bool) -> Gold:
    parts = _gold_parts(reference.gold)
    read = [_read_part(text, reference, policy) for text in parts.texts]
    rules, golds = tuple(rule for rule, _ in read), tuple(gold for _, gold in read)
    return Gold(parts.texts, rules, golds, parts.symbols, ordered, parts.alternatives or any(parts.symbols))


def _gold_parts(gold: str) -> Parts:
    parts = parts_of(gold)
    if parts is not None and len(parts.texts) == 1:
        parts = parts_of(gold, thousands=False)  # no list has a single part if it can have several
    if parts is None:
        raise UnverifiableGold("gold_too_long")
    if not parts.texts:
        raise UnverifiableGold("gold_empty")
    return parts


def _read_part(text: str, reference: Reference, policy: Policy) -> tuple[Rule, Any]:
    kind = infer_type(text, ())
    kind = kind if kind in SCALARS else AnswerType.EXPRESSION
    rule = SCALARS[kind]
    return rule, rule.read(Reference(text, (), kind, reference.tolerance, reference.unit), policy)


def _judge(answer: str, gold: Gold, policy: Policy) -> Judgement | None:
    def judge(i: int, part: str) -> bool | None:
        judgement = gold.rules[i].judge(part, gold.parts[i], policy)
        return None if judgement is None else judgement.right

    return _compare(answer, gold, judge)


def _decide(answer: str, gold: Gold, policy: Policy) -> Judgement:
    def judge(i: int, part: str) -> bool:
        rule = gold.rules[i]
        judgement = rule.judge(part, gold.parts[i], policy)
        if judgement is None:
            assert rule.decide is not None
            judgement = rule.decide(part, gold.parts[i], policy)
        return judgement.right

    judgement = _compare(answer, gold, judge)
    assert judgement is not None
    return judgement


def _check(gold: Gold) -> None:
    for rule, part in zip(gold.rules, gold.parts, strict=True):
        if rule.check is not None:
            rule.check(part)


def _compare(answer: str, gold: Gold, judge: Judge) -> Judgement | None:
    parts = _answer_parts(answer, len(gold.parts))
    if parts is None:
        return Judgement(False, "parts")
    if parts.alternatives and not (gold.solutions or any(parts.symbols)):
        return Judgement(False, "several")
    placed = _placed(parts, gold)
    if placed is None:
        return Judgement(False, "symbols")
    told = _in_order(placed, judge) if _is_ordered(parts, gold) else _in_any_order(placed, gold, judge)
    return None if told is None else Judgement(told, "sequence" if gold.ordered else "list")


def _answer_parts(answer: str, count: int) -> Parts | None:
    """The answer's parts if they are as many as the gold's."""
    for thousands in (True, False):
        parts = parts_of(answer, thousands)
        if parts is not None and len(parts.texts) == count:
            return parts
    return None


def _is_ordered(parts: Parts, gold: Gold) -> bool:
    """Whether parts have their places: by the type, or because they belong to different symbols."""
    return gold.ordered or gold.named or len(set(filter(None, parts.symbols))) > 1


def _placed(parts: Parts, gold: Gold) -> Sequence[str] | None:
    """The answer's parts in the order of the gold's symbols; None if it has other symbols."""
    if not any(parts.symbols) or not any(gold.symbols):
        return parts.texts
    if set(filter(None, parts.symbols)) != set(filter(None, gold.symbols)):
        return None
    if not gold.named:
        return parts.texts
    if gold.ordered and parts.symbols != gold.symbols:
        return None
    return [parts.texts[parts.symbols.index(symbol)] for symbol in gold.symbols]


def _in_order(parts: Sequence[str], judge: Judge) -> bool | None:
    told = [judge(i, part) for i, part in enumerate(parts)]
    if False in told:
        return False
    return None if None in told else True


def _in_any_order(parts: Sequence[str], gold: Gold, judge: Judge) -> bool | None:
    """Whether each gold's part can have one of the answer's to itself; None if that hangs on symbolic work."""
    wanted, given = _unlike(gold.texts, parts)
    if len(wanted) > _MAX_UNLIKE:
        return False
    told = {(i, part): judge(i, part) for i in wanted for part in dict.fromkeys(given)}
    if _matches([[j for j, part in enumerate(given) if told[i, part]] for i in wanted]):
        return True
    possible = [[j for j, part in enumerate(given) if told[i, part] is not False] for i in wanted]
    return None if None in told.values() and _matches(possible) else False


def _unlike(golds: Sequence[str], parts: Sequence[str]) -> tuple[list[int], list[str]]:
    """Which of the gold's parts and which of the answer's are left once those that are spelled alike are paired."""
    left: dict[str, list[str]] = {}
    for part in parts:
        left.setdefault(latex_key(part), []).append(part)
    wanted = []
    for i, key in enumerate(map(latex_key, golds)):
        if left.get(key):
            left[key].pop()
        else:
            wanted.append(i)
    return wanted, [part for same in left.values() for part in same]


def _matches(edges: Sequence[Sequence[int]]) -> bool:
    """Whether a bipartite graph with these edges has a perfect matching (augmenting paths)."""
    owner: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j in edges[i]:
            if j not in tried:
                tried.add(j)
                if j not in owner or place(owner[j], tried):
                    owner[j] = i
                    return True
        return False

    return all(place(i, set()) for i in range(len(edges)))


LIST = Rule(partial(_read, ordered=False), _judge, _check, _decide)
SEQUENCE = Rule(partial(_read, ordered=True), _judge, _check, _decide)
