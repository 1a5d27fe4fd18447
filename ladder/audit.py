"""Checks on items before a GPU-hour is spent on them; each failed one is a reject with a reason code.

| reason | meaning |
| --- | --- |
| placeholders_mismatch | the question names more or fewer images than the item has |
| gold_unverifiable | the verifier cannot parse the gold |
| gold_fails_itself | the gold, rendered as a response, is not judged correct |
| duplicate | the same question, options and pixels came before, with the same gold |
| conflicting_gold | the same question, options and pixels with another gold: all of them are out |
"""

from __future__ import annotations

from collections.abc import Sequence

from ladder.records import IMAGE_PLACEHOLDER, Item, Outcome, Reject
from ladder.verify import renderings, verify

STAGE = "audit"


def audit(items: Sequence[Item]) -> tuple[list[Item], list[Reject]]:
    """Items that pass, in order, and rejects; needs them all at once, for an item's twin may come last."""
    golds: dict[str, str] = {}
    conflicts = {item.id for item in items if golds.setdefault(item.id, item.gold) != item.gold}
    seen: set[str] = set()
    kept, rejects = [], []
    for row, item in enumerate(items):
        reason, detail = _problem(item, conflicts, seen)
        seen.add(item.id)
        if reason:
            rejects.append(Reject(item.source, item.source_id, row, STAGE, reason, detail, item.id))
        else:
            kept.append(item)
    return kept, rejects


def _problem(item: Item, conflicts: set[str], seen: set[str]) -> tuple[str, str]:
    if item.id in conflicts:
        return "conflicting_gold", item.gold
    if item.id in seen:
        return "duplicate", ""
    if item.question.count(IMAGE_PLACEHOLDER) != len(item.images):
        return (
            "placeholders_mismatch",
            f"{item.question.count(IMAGE_PLACEHOLDER)} for {len(item.images)} images",
        )
    return _gold_problem(item)


def _gold_problem(item: Item) -> tuple[str, str]:
    """Render the gold as a response in several forms: the cheapest gate there is against a broken gold."""
    for response in renderings(item):
        outcome = verify(response, item).outcome
        if outcome == Outcome.UNVERIFIABLE:
            return "gold_unverifiable", item.gold
        if outcome != Outcome.CORRECT:
            return "gold_fails_itself", f"{outcome}: {response}"[:200]
    return "", ""
