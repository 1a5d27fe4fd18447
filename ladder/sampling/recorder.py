"""Turns completions into stored rollouts, and has each judged beside the sampling."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from ladder.engines.base import Completion, Failed, Refused
from ladder.identity import gold_digest
from ladder.records import Item, Outcome, Rollout, RolloutKey, Verdict, response_digest
from ladder.store import Store
from ladder.store.parts import Writer
from ladder.store.sql import View
from ladder.verify.pool import VerifierPool


@dataclass
class SamplingReport:
    """What one run did: nothing silent."""

    sampled: int = 0
    judged: int = 0
    tokens: int = 0
    truncated: int = 0
    timeouts: int = 0
    refused: dict[str, str] = field(default_factory=dict)  # item id -> why no engine can take it
    failed: int = 0  # samples that the engine gave up on: missing, the next run asks again
    failure: str = ""  # the last one's reason
    verifier: dict[str, int] = field(default_factory=dict)  # what became of the cases: see ladder.verify.pool
    engine: dict[str, int] = field(default_factory=dict)  # what engines counted: retries, ...


@dataclass(frozen=True)
class _Judged:
    """What is known of a response while the verifier has it."""

    response: int
    truncated: bool = False
    again: bool = False


class Recorder:
    """Stores the rollouts and verdicts of one view; `on_verdict(item id, index, outcome)` is told each as it is made."""

    def __init__(
        self,
        store: Store,
        view: View,
        verifier: VerifierPool,
        items: dict[str, Item],
        report: SamplingReport | None = None,
    ) -> None:
        self._view, self._verifier, self._items = view, verifier, items
        self._rollouts = Writer(store.rollouts)
        self._verdicts = Writer(
            store.verdicts, first=self._rollouts
        )  # no verdict on disk without its rollout
        self._refusals = Writer(store.refusals, first=self._rollouts)  # a refused item is not asked again
        self._judging: dict[RolloutKey, _Judged] = {}  # what the verifier has
        self._golds = {item.id: gold_digest(item) for item in items.values()}
        self.report = report or SamplingReport()
        self.on_verdict: Callable[[str, int, Outcome], None] | None = None

    def rollout(self, completion: Completion, text: str, engine: str) -> None:
        """Store a finished sample and hand it to the verifier."""
        key = self._key(completion.request_id, completion.index)
        rollout = Rollout(
            key=key,
            text=text,
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            finish_reason=completion.finish_reason,
            seed=completion.seed,
            engine=engine,
            tokens=completion.length,
            trainable=completion.trainable,
        )
        row = rollout.row()
        self._rollouts.add(row)
        truncated = completion.finish_reason == "length"
        self.report.sampled += 1
        self.report.tokens += completion.length
        self.report.truncated += truncated
        self._judge(key, text, _Judged(row["response"], truncated))

    def leave_out(self, event: Refused | Failed) -> None:
        """Store a refusal, count a failure."""
        if isinstance(event, Failed):
            self.report.failed += 1
            self.report.failure = event.why
            return
        self.report.refused[event.request_id] = event.detail
        view = self._view
        own = {"prompt": view.prompt, "model": view.model, "sampling": view.sampling}
        said = {"reason": event.reason, "detail": event.detail, "need": event.need}
        self._refusals.add({"item_id": event.request_id} | own | said)

    def judge(self, key: RolloutKey, text: str, again: bool = False) -> None:
        """Hand a stored response to the verifier (`again` after a timeout); store the verdicts that are ready."""
        self._judge(key, text, _Judged(response_digest(text), again=again))

    def _judge(self, key: RolloutKey, text: str, judged: _Judged) -> None:
        self._judging[key] = judged
        self._verifier.submit(key, text, self._items[key.item_id])
        self.collect(block=False)

    def collect(self, block: bool) -> None:
        """Store verdicts that are ready, or all."""
        for key, verdict in self._verifier.completed(block=block):
            judged = self._judging.pop(key)
            late = verdict.outcome == Outcome.TIMEOUT
            self.report.timeouts += late
            if self.on_verdict is not None:
                cut = judged.truncated and verdict.outcome == Outcome.CORRECT
                self.on_verdict(key.item_id, key.index, Outcome.WRONG if cut else verdict.outcome)
            if late and judged.again:
                continue  # says nothing that is not stored
            self._verdicts.add(self._verdict_row(key, verdict, judged.response))
            self.report.judged += 1

    def close(self) -> None:
        """Flush the logs."""
        with ExitStack() as closing:  # whatever one of them raises
            for writer in (self._refusals, self._verdicts, self._rollouts):
                closing.callback(writer.close)

    def _key(self, item_id: str, index: int) -> RolloutKey:
        return RolloutKey(item_id, self._view.prompt, self._view.model, self._view.sampling, index)

    def _verdict_row(self, key: RolloutKey, verdict: Verdict, response: int) -> dict[str, Any]:
        own = {"gold": self._golds[key.item_id], "verifier": self._view.verifier, "response": response}
        said = {"outcome": verdict.outcome, "extracted": verdict.extracted, "reason": verdict.reason}
        return key.row() | said | own
