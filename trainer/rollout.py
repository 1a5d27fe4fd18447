"""From draws to judged groups: sample G responses of each item, verify them, count. Knows nothing of rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ladder.encode import Encoded, Encoder
from ladder.engines.base import Completion, Engine, Request, drive
from ladder.records import Item, Outcome, Verdict
from ladder.sampling import Asked
from ladder.store import Store
from ladder.verify.pool import VerifierPool
from trainer.curriculum import Draw, GroupOutcome
from trainer.policy import Group


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


@dataclass(frozen=True)
class JudgedGroup:
    """A draw, its item, and its G responses in sample order."""

    draw: Draw
    item: Item
    prompt: Encoded
    responses: tuple[Response, ...]

    @property
    def group(self) -> Group:
        """What the policy needs of it."""
        return Group(self.prompt, tuple(tuple(r.completion.token_ids) for r in self.responses))

    @property
    def outcome(self) -> GroupOutcome:
        """What curriculum and ladder need of it."""
        lengths = [len(r.completion.token_ids) for r in self.responses]
        correct = sum(r.correct for r in self.responses)
        return GroupOutcome(self.draw, len(self.responses), correct, sum(lengths) / len(lengths))


def roll_out(
    draws: Sequence[Draw],
    items: Mapping[str, Item],
    store: Store,
    asked: Asked,
    encoder: Encoder,
    group: int,
    engine: Engine,
    verifier: VerifierPool,
) -> list[JudgedGroup]:
    """Groups in the order of the draws; verification runs beside sampling.

    Sample j of draw s uses index s * G + j, so that every draw of an item has seeds of its own.
    """
    requests: dict[str, Request] = {}
    for draw in draws:
        indices = range(draw.sequence * group, (draw.sequence + 1) * group)
        request = asked.request(store, items[draw.item_id], indices)
        requests[str(draw.sequence)] = replace(request, id=str(draw.sequence))  # an item may be drawn twice
    item_of = {str(draw.sequence): items[draw.item_id] for draw in draws}
    done: dict[_Sample, tuple[Completion, str]] = {}
    verdicts: dict[_Sample, Verdict] = {}
    for completion in drive(engine, requests.values()):
        sample = (completion.request_id, completion.index)
        text = asked.text(completion)
        done[sample] = (completion, text)
        verifier.submit(sample, text, item_of[completion.request_id])
        verdicts.update(verifier.completed())
    verdicts.update(verifier.completed(block=True))
    return [
        _judged(draw, item_of[str(draw.sequence)], requests[str(draw.sequence)], encoder, done, verdicts)
        for draw in draws
    ]


_Sample = tuple[str, int]  # request id, sample index


def _judged(
    draw: Draw,
    item: Item,
    request: Request,
    encoder: Encoder,
    done: Mapping[_Sample, tuple[Completion, str]],
    verdicts: Mapping[_Sample, Verdict],
) -> JudgedGroup:
    samples = [(request.id, index) for index in request.indices]
    responses = tuple(Response(done[s][1], done[s][0], verdicts[s]) for s in samples)
    return JudgedGroup(draw, item, request.prompt.encoded(encoder), responses)
