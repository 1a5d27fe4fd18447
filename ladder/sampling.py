"""The sampling stage of a build: what is missing is sampled and judged beside it, and stored as it ends.

Adding items or raising k samples only the difference; killed at any moment, the next run goes on where the last flush
ended (a few seconds before).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ladder.encode import Encoder
from ladder.engines.base import Completion, Engine, Request, Sampling, drive
from ladder.identity import gold_digest, sample_seed
from ladder.progress import Progress
from ladder.prompts import Template, render
from ladder.records import Item, Outcome, Rollout, RolloutKey, Verdict
from ladder.store import Store
from ladder.store.catalogue import View, missing_samples, unjudged_rollouts
from ladder.store.parts import Writer
from ladder.verify.pool import VerifierPool


@dataclass
class SamplingReport:
    """What one run did: nothing silent."""

    sampled: int = 0
    judged: int = 0
    tokens: int = 0
    truncated: int = 0
    timeouts: int = 0
    refused: dict[str, str] = field(default_factory=dict)  # item id -> why the engine cannot take it
    verifier: dict[str, int] = field(default_factory=dict)  # what became of the cases: see ladder.verify.pool


@dataclass(frozen=True)
class Asked:
    """How items are asked: the encoder, the template, the sampling specification and the base seed."""

    encoder: Encoder
    template: Template
    sampling: Sampling
    seed: int

    @property
    def prompt(self) -> str:
        """The prompt fingerprint: wording and pixel budget."""
        return f"{self.template.fingerprint}{self.encoder.fingerprint}"

    def request(self, store: Store, item: Item, indices: Sequence[int]) -> Request:
        """The request for some samples of an item."""
        pictures = store.pictures(item) if self.template.images else []
        seeds = (sample_seed(self.seed, item.id, self.prompt, self.sampling.fingerprint, j) for j in indices)
        return Request(
            id=item.id,
            prompt=self.encoder.encode(render(item, self.template), pictures),
            sampling=self.sampling,
            indices=tuple(indices),
            seeds=tuple(seeds),
        )


class Recorder:
    """Turns completions into stored rollouts, and verdicts beside them."""

    def __init__(self, store: Store, view: View, verifier: VerifierPool, items: dict[str, Item]) -> None:
        self._view, self._verifier, self._items = view, verifier, items
        self._rollouts = Writer(store.rollouts)
        self._verdicts = Writer(
            store.verdicts, first=self._rollouts
        )  # no verdict on disk without its rollout
        self._again: set[RolloutKey] = set()
        self.report = SamplingReport()

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
        )
        self._rollouts.add(rollout.row())
        self.report.sampled += 1
        self.report.tokens += len(completion.token_ids)
        self.report.truncated += completion.finish_reason == "length"
        self.judge(key, text)

    def judge(self, key: RolloutKey, text: str, again: bool = False) -> None:
        """Hand a response to the verifier (`again` after a timeout); store the verdicts that are ready."""
        if again:
            self._again.add(key)
        self._verifier.submit(key, text, self._items[key.item_id])
        self.collect(block=False)

    def collect(self, block: bool) -> None:
        """Store verdicts that are ready, or all."""
        for key, verdict in self._verifier.completed(block=block):
            late = verdict.outcome == Outcome.TIMEOUT
            self.report.timeouts += late
            if late and key in self._again:
                continue  # says nothing that is not stored
            self._verdicts.add(self._verdict_row(key, verdict))
            self.report.judged += 1

    def close(self) -> None:
        """Flush both logs."""
        self._rollouts.close()
        self._verdicts.close()

    def _key(self, item_id: str, index: int) -> RolloutKey:
        return RolloutKey(item_id, self._view.prompt, self._view.model, self._view.sampling, index)

    def _verdict_row(self, key: RolloutKey, verdict: Verdict) -> dict[str, Any]:
        own = {"gold": gold_digest(self._items[key.item_id]), "verifier": self._view.verifier}
        return asdict(key) | asdict(verdict) | own


def judge_stored(store: Store, view: View, recorder: Recorder, items: dict[str, Item]) -> None:
    """Judge the stored rollouts that have no verdict against the current gold by this verifier, or only a timeout."""
    golds = {item_id: gold_digest(item) for item_id, item in items.items()}
    todo = unjudged_rollouts(store, view, golds)
    with Progress("judging", len(todo), "rollouts") as progress:
        for item_id, index, text, again in todo:
            recorder.judge(RolloutKey(item_id, view.prompt, view.model, view.sampling, index), text, again)
            progress.advance()
        recorder.collect(block=True)


def sample_missing(
    store: Store, view: View, asked: Asked, engine: Engine, recorder: Recorder, items: dict[str, Item]
) -> None:
    """Sample what is missing of every item; finished samples are stored as they end, whatever else happens.

    Items that cannot be encoded, or that the engine cannot take, are counted as refused.
    """
    missing = missing_samples(store, view, list(items))
    total = sum(len(indices) for _, indices in missing)

    def requests() -> Iterator[Request]:
        for item_id, indices in missing:
            try:
                request = asked.request(store, items[item_id], indices)
            except ValueError as error:
                recorder.report.refused[item_id] = str(error)
            else:
                yield request

    def refuse(request: Request, why: str) -> None:
        recorder.report.refused[request.id] = why

    with Progress("sampling", total, "rollouts") as progress:
        for completion in drive(engine, requests(), refuse):
            recorder.rollout(completion, asked.encoder.decode(completion.token_ids), engine.name)
            progress.advance(1, f"{recorder.report.tokens:,} tokens")
        recorder.collect(block=True)
