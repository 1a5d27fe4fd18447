"""Checks on items before a GPU-hour is spent on them; each failed one is a reject with a reason code.

| reason | meaning |
| --- | --- |
| placeholders_mismatch | question and options name more or fewer images than the item has |
| gold_unverifiable | the verifier cannot parse the gold, or not in time |
| gold_fails_itself | the gold, rendered as a response, is not judged correct |
| duplicate | the same question, options and pixels came before, with the same gold |
| conflicting_gold | the same question, options and pixels with a gold that is another answer: all of them are out |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ladder.records import IMAGE_PLACEHOLDER, Item, Outcome, Reject
from ladder.verify import renderings
from ladder.verify.pool import VerifierPool

STAGE = "audit"


def audit(items: Mapping[int, Item], verifier: VerifierPool) -> tuple[list[Item], list[Reject]]:
    """Items (by the pool's row) that pass, in order, and rejects; needs them all, for an item's twin may come last."""
    conflicts = _conflicts(items.values(), verifier)
    seen: set[str] = set()
    problems: dict[int, tuple[str, str]] = {}
    for row, item in items.items():
        if problem := _problem(item, conflicts, seen):
            problems[row] = problem
        seen.add(item.id)
    problems |= _gold_problems({row: item for row, item in items.items() if row not in problems}, verifier)
    rejects = [
        Reject(items[row].source, items[row].source_id, row, STAGE, reason, detail, items[row].id)
        for row, (reason, detail) in sorted(problems.items())
    ]
    return [item for row, item in items.items() if row not in problems], rejects


def _conflicts(items: Iterable[Item], verifier: VerifierPool) -> set[str]:
    """Ids of questions with golds of which one would not be right for the other."""
    first: dict[str, Item] = {}
    for item in items:
        other = first.setdefault(item.id, item)
        if other.gold != item.gold:
            verifier.submit(item.id, f"<answer>{item.gold}</answer>", other)
    judged = verifier.completed(block=True)
    return {item_id for item_id, verdict in judged if verdict.outcome is not Outcome.CORRECT}


def _problem(item: Item, conflicts: set[str], seen: set[str]) -> tuple[str, str] | None:
    if item.id in conflicts:
        return "conflicting_gold", item.gold
    if item.id in seen:
        return "duplicate", ""
    named = sum(text.count(IMAGE_PLACEHOLDER) for text in (item.question, *item.options))
    if named != len(item.images):
        return "placeholders_mismatch", f"{named} for {len(item.images)} images"
    return None


def _gold_problems(items: Mapping[int, Item], verifier: VerifierPool) -> dict[int, tuple[str, str]]:
    """Render each gold as a response in several forms: the cheapest gate there is against a broken gold."""
    problems: dict[int, tuple[str, str]] = {}
    for row, item in items.items():
        for response in renderings(item, verifier.policy):
            verifier.submit((row, response), response, item)
        for tag, verdict in verifier.completed():
            _note(problems, items, tag, verdict.outcome)
    for tag, verdict in verifier.completed(block=True):
        _note(problems, items, tag, verdict.outcome)
    return problems


def _note(
    problems: dict[int, tuple[str, str]], items: Mapping[int, Item], tag: tuple[int, str], outcome: Outcome
) -> None:
    row, response = tag
    if outcome in (Outcome.UNVERIFIABLE, Outcome.TIMEOUT):
        problems[row] = ("gold_unverifiable", items[row].gold)
    elif outcome != Outcome.CORRECT:
        problems.setdefault(row, ("gold_fails_itself", f"{outcome}: {response}"[:200]))
