"""Judging what is stored, and sampling what is missing, until nothing is.

Adding items or raising k samples only the difference; killed at any moment, the next run goes on where the last flush
ended (a few seconds before).
"""

from __future__ import annotations

from ladder.engines.base import Engine, Failed, Meter, Refused, Request, drive
from ladder.identity import gold_digest
from ladder.progress import Progress
from ladder.records import Item, Outcome, RolloutKey
from ladder.sampling.asked import Asked
from ladder.sampling.live import Live
from ladder.sampling.plan import Plan
from ladder.sampling.recorder import Recorder
from ladder.store import Store
from ladder.store.sql import View
from ladder.store.wanted import count_unjudged, unjudged_rollouts


def judge_stored(store: Store, view: View, recorder: Recorder, items: dict[str, Item]) -> None:
    """Judge the stored rollouts that have no verdict against the current gold by this verifier, or only a timeout."""
    golds = {item_id: gold_digest(item) for item_id, item in items.items()}
    with Progress("judging", count_unjudged(store, view, golds), "rollouts") as progress:
        for item_id, index, text, again in unjudged_rollouts(store, view, golds):
            recorder.judge(RolloutKey(item_id, view.prompt, view.model, view.sampling, index), text, again)
            progress.advance()
        recorder.collect(block=True)


def sample_missing(
    store: Store,
    plan: Plan,
    asked: Asked,
    engine: Engine,
    recorder: Recorder,
    items: dict[str, Item],
    meter: Meter | None = None,
) -> Meter:
    """Sample what the plan wants; finished samples are stored as they end, whatever else happens. Returns the meter, or
    a new one."""
    meter = meter or Meter()
    missing = [len(indices) for _, indices in plan.missing()]
    with Live(sum(missing), len(missing), meter, recorder.report) as live:
        source = _Wanted(store, plan, asked, recorder, items, live)
        recorder.on_verdict = source.judged
        for completion in drive(engine, source, source.leave_out, meter):
            recorder.rollout(completion, asked.text(completion), engine.name)
        recorder.collect(block=True)
    return meter


class _Wanted:
    """Requests for what a plan wants, as verdicts come in."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        asked: Asked,
        recorder: Recorder,
        items: dict[str, Item],
        live: Live,
    ) -> None:
        self._store, self._plan, self._asked = store, plan, asked
        self._recorder, self._items, self._live = recorder, items, live

    def take(self, idle: bool) -> Request | None:
        """The next request. Idle, what was sampled is judged first: it may call for more."""
        wanted = self._plan.next_wanted()
        if wanted is None and idle and self._plan.under_way:
            self._recorder.collect(block=True)
            wanted = self._plan.next_wanted()
        if wanted is None:
            return None
        item_id, indices = wanted
        return self._asked.request(self._store, self._items[item_id], indices)

    def judged(self, item_id: str, index: int, outcome: Outcome) -> None:
        """Take a sample's outcome."""
        more = self._plan.record(item_id, index, outcome)
        if more:
            self._live.more(more)
        elif more is not None:
            self._live.item_done()

    def leave_out(self, event: Refused | Failed) -> None:
        """Store or count what was not sampled, and ask no more of its item."""
        if self._plan.give_up(event.request_id):
            self._live.item_done()
        self._live.lost(len(event.indices) if isinstance(event, Refused) else 1)
        self._recorder.leave_out(event)
