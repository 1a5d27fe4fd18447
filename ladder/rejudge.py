"""`ladder verify LADDER`: judge the stored rollouts again after the verifier or its policy changed, and say what changed.

Nothing is sampled and no model is loaded. Every stored rollout of the ladder's present items is judged, whatever model,
prompt or sampling made it, unless this verifier has judged it; what a killed run had judged is stored. Items and rejects
stay as the last import left them: only a build audits golds anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ladder import verify
from ladder.derive import derive, derived_views, tier_counts
from ladder.errors import BadInput
from ladder.identity import gold_digest
from ladder.records import Item
from ladder.runtime import quiet, terminable
from ladder.sampling import Recorder, judge_stored
from ladder.settings import MAIN, settings_of
from ladder.store import Store
from ladder.store.sql import View
from ladder.store.verdicts import Change, changes, stored_views
from ladder.verify.pool import VerifierPool


@dataclass(frozen=True)
class RejudgeReport:
    """What was judged, and how this verifier's verdicts differ from those of the one before it."""

    path: str
    verifier: str
    before: str  # the verifier whose verdicts the ladder was derived from
    views: int  # combinations of model, prompt and sampling that rollouts are stored of
    judged: int = 0
    timeouts: int = 0
    compared: int = 0  # verdicts on the same rollout and gold by both
    changed: int = 0
    changes: list[Change] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # what became of the cases: see ladder.verify.pool
    tiers: dict[str, int] = field(default_factory=dict)
    new: bool = False  # whether the ladder was derived anew


def rejudge(
    path: Path, overrides: Iterable[str] = (), workers: int | None = None, deadline: float | None = None
) -> RejudgeReport:
    """Judge what is stored in the ladder by its own settings, and derive it anew. `overrides` become its settings,
    `workers` and `deadline` hold this time only. Raises BadInput where its build did not come to an end."""
    quiet()
    store = Store.open(path)
    settings = settings_of(path, overrides)
    with store.building("verify"), terminable():
        before, manifest = derived_views(store, settings), store.import_manifest()
        if before is None or manifest is None:
            raise BadInput(f"{path} was not built to its end: run `ladder build` again")
        items = {item.id: item for item in store.load_items()}
        now, then = verify.fingerprint(settings.verify.policy), before[MAIN].verifier
        views = stored_views(store, now)
        how = settings.verify
        with VerifierPool(workers or how.workers, deadline or how.deadline, how.policy) as verifier:
            judged = _judge(store, views, verifier, items)
            counts = verifier.counts
        golds = {item_id: gold_digest(item) for item_id, item in items.items()}
        compared, found = changes(store, golds, now, then)
        derived = {name: replace(view, verifier=now) for name, view in before.items()}
        if judged:
            store.compact()
        new = derive(settings, store, derived, manifest)
        return RejudgeReport(
            path=str(path),
            verifier=now,
            before=then,
            views=len(views),
            judged=judged,
            timeouts=counts["timeouts"],
            compared=compared,
            changed=sum(change.count for change in found),
            changes=[_with_golds(change, items) for change in found],
            counts=counts,
            tiers=tier_counts(store),
            new=new,
        )


def _judge(store: Store, views: list[View], verifier: VerifierPool, items: dict[str, Item]) -> int:
    """Judge what has no verdict yet; how many verdicts were stored. Interrupted, those that were made are."""
    judged = 0
    for view in views:
        recorder = Recorder(store, view, verifier, items)
        try:
            judge_stored(store, view, recorder, items)
        finally:
            recorder.close()
        judged += recorder.report.judged
    return judged


def _with_golds(change: Change, items: dict[str, Item]) -> Change:
    examples = [{"item": e["item"], "gold": items[e["item"]].gold} | e for e in change.examples]
    return replace(change, examples=examples)


def told(report: RejudgeReport) -> str:
    """The report for a terminal."""
    lines = [
        f"{report.path}: {report.judged:,} rollouts judged, {report.changed:,} of {report.compared:,} verdicts changed "
        f"(verifier {report.before} -> {report.verifier})"
    ]
    for change in report.changes:
        lines.append(f"  {change.before} -> {change.after}: {change.count:,}")
        lines += [f"    {_example(example)}" for example in change.examples]
    if report.timeouts:
        lines.append(f"  {report.timeouts:,} rollouts judged too late")
    return "\n".join(lines)


def _example(example: dict[str, Any]) -> str:
    return (
        f"{example['item']} gold {_short(example['gold'])}: {_short(example['extracted_before'])} "
        f"({example['reason_before']}) -> {_short(example['extracted'])} ({example['reason']})"
    )


def _short(text: str, length: int = 40) -> str:
    return repr(text if len(text) <= length else f"{text[:length]}...")
