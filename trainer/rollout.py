"""From draws to judged groups: sample G responses of each item, verify them, count. Knows nothing of rewards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ladder.encode import Encoded, Encoder
from ladder.engines.base import Completion, Failed, Refused, Request, UpdatableEngine, drive
from ladder.errors import LadderError
from ladder.progress import say
from ladder.records import Item, Outcome, Verdict
from ladder.sampling import Asked
from ladder.store import Store
from ladder.verify.pool import VerifierPool
from trainer.curriculum import Draw, GroupOutcome
from trainer.parallel.ranks import ALONE, Ranks
from trainer.policy import Group

_ATTEMPTS = 3  # of a sample that an engine gives up on, and of a verdict that comes too late
_REFUSED_TOLD = 5  # items that an engine cannot take are told one by one
_Sample = tuple[str, int]  # request id, sample index


@dataclass(frozen=True)
class Response:
    """One judged response."""

    text: str
    completion: Completion
    verdict: Verdict

    @property
    def truncated(self) -> bool:
        """Cut off at the token limit: counts as wrong."""
        return self.completion.finish_reason == "length"

    @property
    def correct(self) -> bool:
        """Judged correct, and finished."""
        return self.verdict.outcome == Outcome.CORRECT and not self.truncated

    @property
    def counted(self) -> bool:
        """Whether it says something about p: a verdict that never came says nothing, nor does a gold that none can judge."""
        return self.verdict.outcome not in (Outcome.TIMEOUT, Outcome.UNVERIFIABLE)


@dataclass(frozen=True)
class JudgedGroup:
    """A draw, its item, and its G responses in sample order; none where the engine refused the item, or one of them could
    not be judged. `updates` is how often the weights had been updated that sampled it."""

    draw: Draw
    item: Item
    prompt: Encoded
    responses: tuple[Response, ...]
    updates: int

    @property
    def group(self) -> Group:
        """What the policy needs of it."""
        return Group(self.prompt, tuple(tuple(r.completion.token_ids) for r in self.responses))

    @property
    def outcome(self) -> GroupOutcome:
        """What curriculum and ladder need of it."""
        tokens = sum(r.completion.length for r in self.responses) / max(1, len(self.responses))
        return GroupOutcome(self.draw, len(self.responses), sum(r.correct for r in self.responses), tokens)

    def row(self) -> dict[str, Any]:
        """Everything but item and prompt, as JSON: for a checkpoint."""
        responses = [
            {
                "text": r.text,
                "verdict": asdict(r.verdict),
                "index": r.completion.index,
                "seed": r.completion.seed,
                "token_ids": [int(token) for token in r.completion.token_ids],
                "logprobs": [float(value) for value in r.completion.logprobs],
                "finish_reason": r.completion.finish_reason,
                "told": r.completion.text,
                "tokens": r.completion.tokens,
                "trainable": r.completion.trainable,
            }
            for r in self.responses
        ]
        return {"draw": asdict(self.draw), "updates": self.updates, "responses": responses}


class Rollouts:
    """Samples and judges groups of `group` responses; of several processes each its share, and all have all of them."""

    def __init__(
        self,
        items: Mapping[str, Item],
        store: Store,
        asked: Asked,
        encoder: Encoder,
        group: int,
        engine: UpdatableEngine,
        verifier: VerifierPool,
        ranks: Ranks = ALONE,
    ) -> None:
        self._items, self._store, self._asked, self._encoder = items, store, asked, encoder
        self._group, self.engine, self._verifier = group, engine, verifier
        self.counts = {"refused": 0, "failed": 0, "judged_too_late": 0}
        self._outcomes: list[GroupOutcome] = []
        self._ranks, self._said = ranks, list[str]()

    def groups(self, draws: Sequence[Draw], updates: int) -> list[JudgedGroup]:
        """Groups in the order of the draws; verification runs beside sampling.

        Sample j of draw s uses index s * G + j, so that every draw of an item has seeds of its own. A sample that the
        engine gives up on is asked for again; raises LadderError where that does not help. A group of which a verdict never
        came, or whose gold cannot be judged, has no responses.
        """
        before = dict(self.counts)
        own = {group.draw.sequence: group for group in self._own(self._ranks.share(list(draws)), updates)}
        counted = {name: count - before[name] for name, count in self.counts.items()}
        told = self._ranks.gather(
            ([] if self._ranks.alone else [g.row() for g in own.values()], counted, self._said)
        )
        self.counts = {name: n + sum(counted[name] for _, counted, _ in told) for name, n in before.items()}
        for line in (line for _, _, said in told for line in said):
            say(line)
        self._said = []
        rows = {row["draw"]["sequence"]: row for rows, _, _ in told for row in rows}
        out = [own.get(d.sequence) or self._restored(rows[d.sequence]) for d in draws]
        self._outcomes += [group.outcome for group in out if group.outcome.n]
        return out

    def _own(self, draws: Sequence[Draw], updates: int) -> list[JudgedGroup]:
        requests = {str(draw.sequence): self._request(draw) for draw in draws}
        item_of = {str(draw.sequence): self._items[draw.item_id] for draw in draws}
        done, refused = self._sampled(requests, item_of)
        verdicts = self._judged(done, item_of)
        out = []
        for draw in draws:
            request = requests[str(draw.sequence)]
            samples = [] if request.id in refused else [(request.id, index) for index in request.indices]
            responses = tuple(Response(done[s][1], done[s][0], verdicts[s]) for s in samples)
            if not all(r.counted for r in responses):  # what is missing is not wrong: there is no group
                responses = ()
            prompt = request.prompt.encoded(self._encoder) if responses else _NO_PROMPT
            out.append(JudgedGroup(draw, item_of[request.id], prompt, responses, updates))
        return out

    def outcomes(self) -> list[GroupOutcome]:
        """What came of every group since this was asked last, in the order of the draws; those that no gate admitted too."""
        told, self._outcomes = self._outcomes, []
        return told

    def restored(self, rows: Iterable[dict[str, Any]]) -> list[JudgedGroup]:
        """Groups again from what JudgedGroup.row made of them."""
        return [self._restored(row) for row in rows]

    def _restored(self, row: dict[str, Any]) -> JudgedGroup:
        draw = Draw(**row["draw"])
        request = self._request(draw)
        responses = tuple(
            Response(
                r["text"],
                Completion(
                    request.id,
                    r["index"],
                    r["seed"],
                    tuple(r["token_ids"]),
                    tuple(r["logprobs"]),
                    r["finish_reason"],
                    r["told"],
                    r["tokens"],
                    r["trainable"],
                ),
                Verdict(**r["verdict"] | {"outcome": Outcome(r["verdict"]["outcome"])}),
            )
            for r in row["responses"]
        )
        prompt = request.prompt.encoded(self._encoder) if responses else _NO_PROMPT
        return JudgedGroup(draw, self._items[draw.item_id], prompt, responses, row["updates"])

    def _request(self, draw: Draw) -> Request:
        indices = range(draw.sequence * self._group, (draw.sequence + 1) * self._group)
        request = self._asked.request(self._store, self._items[draw.item_id], indices)
        return replace(request, id=str(draw.sequence))  # an item may be drawn twice

    def _sampled(
        self, requests: Mapping[str, Request], item_of: Mapping[str, Item]
    ) -> tuple[dict[_Sample, tuple[Completion, str]], set[str]]:
        """Completions with their texts by sample, and the requests that were refused."""
        done: dict[_Sample, tuple[Completion, str]] = {}
        refused: set[str] = set()
        wanted: list[Request] = list(requests.values())
        for _ in range(_ATTEMPTS):
            failed: list[Failed] = []

            def other(event: Refused | Failed, failed: list[Failed] = failed) -> None:
                if isinstance(event, Failed):
                    failed.append(event)
                else:
                    self._refuse(event, item_of[event.request_id])
                    refused.add(event.request_id)

            for completion in drive(self.engine, wanted, other):
                if not completion.trainable:
                    raise LadderError(
                        f"a sample of item {item_of[completion.request_id].id} cannot be trained on: the engine does not tell "
                        "its token ids, or those are of another prompt than ours"
                    )
                sample, text = (completion.request_id, completion.index), self._asked.text(completion)
                done[sample] = (completion, text)
                self._verifier.submit(sample, text, item_of[completion.request_id])
            if not failed:
                return done, refused
            self.counts["failed"] += len(failed)
            wanted = _again(requests, failed)
        raise LadderError(
            f"a sample of item {item_of[failed[0].request_id].id} failed {_ATTEMPTS} times: {failed[0].why}"
        )

    def _refuse(self, event: Refused, item: Item) -> None:
        self.counts["refused"] += 1
        if self.counts["refused"] <= _REFUSED_TOLD:
            self._said.append(f"  item {item.id} cannot be trained on and is left out: {event.detail}")
        elif self.counts["refused"] == _REFUSED_TOLD + 1:
            self._said.append("  more are left out: the metric rollouts/refused counts them")

    def _judged(
        self, done: Mapping[_Sample, tuple[Completion, str]], item_of: Mapping[str, Item]
    ) -> dict[_Sample, Verdict]:
        """The verdicts of what was submitted while sampling; one that came too late is asked for again."""
        verdicts: dict[_Sample, Verdict] = dict(self._verifier.completed(block=True))
        for _ in range(_ATTEMPTS - 1):
            late = [sample for sample, verdict in verdicts.items() if verdict.outcome == Outcome.TIMEOUT]
            if not late:
                break
            for sample in late:
                self._verifier.submit(sample, done[sample][1], item_of[sample[0]])
            verdicts.update(self._verifier.completed(block=True))
        self.counts["judged_too_late"] += sum(v.outcome == Outcome.TIMEOUT for v in verdicts.values())
        return verdicts


def _again(requests: Mapping[str, Request], failed: Sequence[Failed]) -> list[Request]:
    """The requests of the samples that failed."""
    of: dict[str, set[int]] = {}
    for event in failed:
        of.setdefault(event.request_id, set()).add(event.index)
    out = []
    for request_id, indices in of.items():
        request = requests[request_id]
        kept = [(i, s) for i, s in zip(request.indices, request.seeds, strict=True) if i in indices]
        out.append(replace(request, indices=tuple(i for i, _ in kept), seeds=tuple(s for _, s in kept)))
    return out


_NO_PROMPT = Encoded([], [], None, None, None, (), ())  # type: ignore[arg-type]  # of an item that was refused
