"""Rollouts by the real engine and verifier: groups, what fails and is asked again, what is refused, and what a checkpoint keeps."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import HANGING

from ladder.engines.base import Event, Failed, Request
from ladder.engines.transformers import TransformersEngine
from ladder.errors import LadderError
from ladder.models import load_model
from ladder.records import AnswerType, Item
from ladder.splits import Split
from ladder.verify.pool import VerifierPool
from trainer.assemble import World, world_of
from trainer.curriculum import Draw
from trainer.rollout import JudgedGroup, Rollouts
from trainer.setup import settings_for

G = 4


class Faulty:
    """The real engine, some of whose samples fail, each as often as it is said."""

    def __init__(self, engine: TransformersEngine, fails: dict[tuple[str, int], int]) -> None:
        self._engine, self._fails = engine, dict(fails)
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, request: Request) -> None:
        self.asked.append((request.id, request.indices))
        self._engine.submit(request)

    def completed(self) -> Iterator[Event]:
        for event in self._engine.completed():
            sample = (event.request_id, getattr(event, "index", -1))
            if self._fails.get(sample):
                self._fails[sample] -= 1
                yield Failed(*sample, "the worker died")
            else:
                yield event


@pytest.fixture(scope="module")
def world(split: Split, tmp_path_factory: pytest.TempPathFactory) -> World:
    use = settings_for(split, None, None, [f"batch.group={G}", "response.max_tokens=24", "seed=5"])
    return world_of(split, use.model, use.settings, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def engine(world: World) -> TransformersEngine:
    return TransformersEngine(
        load_model(world.source, dtype="float32", device="cpu"), world.encoder, "digits", slots=32
    )


@pytest.fixture(scope="module")
def verifier() -> Iterator[VerifierPool]:
    with VerifierPool() as pool:
        yield pool


@pytest.fixture
def draws(world: World) -> list[Draw]:
    """Three draws, the third of the first's item again."""
    ids = [world.rows.ids[0], world.rows.ids[1], world.rows.ids[0]]
    return [Draw(sequence, item_id, 0, sequence) for sequence, item_id in enumerate(ids)]


def rollouts(world: World, engine: Any, verifier: VerifierPool, **changed: Item) -> Rollouts:
    """Rollouts of the split's items, some of them changed."""
    items = {**world.items, **{item.id: item for item in changed.values()}}
    return Rollouts(items, world.store, world.asked, world.encoder, G, engine, verifier)


def bits(values: Any) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def test_groups_come_in_the_order_of_their_draws_and_no_two_share_a_seed(
    world: World, engine: TransformersEngine, verifier: VerifierPool, draws: list[Draw]
) -> None:
    made = rollouts(world, engine, verifier)
    groups = made.groups(draws, updates=2)
    assert [group.draw for group in groups] == draws
    assert all(len(group.responses) == G and group.updates == 2 for group in groups)
    indices = [[r.completion.index for r in group.responses] for group in groups]
    assert indices == [list(range(d.sequence * G, (d.sequence + 1) * G)) for d in draws]
    seeds = {r.completion.seed for group in groups for r in group.responses}
    assert len(seeds) == G * len(draws)
    for group in groups:
        assert len(group.group.responses) == G
        assert group.outcome.n == G
        assert group.outcome.correct == sum(r.correct for r in group.responses)
    assert [outcome.draw for outcome in made.outcomes()] == draws
    assert made.outcomes() == []


def test_draws_in_two_rounds_give_the_groups_of_one(
    world: World, engine: TransformersEngine, verifier: VerifierPool, draws: list[Draw]
) -> None:
    made = rollouts(world, engine, verifier)
    together = made.groups(draws, 0)
    apart = [*made.groups(draws[:1], 0), *made.groups(draws[1:], 0)]
    tokens = [[r.completion.token_ids for r in group.responses] for group in together]
    assert tokens == [[r.completion.token_ids for r in group.responses] for group in apart]


def test_a_group_comes_back_from_a_checkpoint_to_the_last_bit(
    world: World, engine: TransformersEngine, verifier: VerifierPool, draws: list[Draw]
) -> None:
    made = rollouts(world, engine, verifier)
    groups = made.groups(draws, 3)
    rows = json.loads(json.dumps([group.row() for group in groups]))
    back = made.restored(rows)
    for group, again in zip(groups, back, strict=True):
        assert (again.draw, again.item, again.updates) == (group.draw, group.item, group.updates)
        assert again.responses == group.responses
        assert again.outcome == group.outcome
        assert again.group.responses == group.group.responses
        assert again.prompt.prompt_ids == group.prompt.prompt_ids
        assert (again.prompt.pixels == group.prompt.pixels).all()
        for one, other in zip(group.responses, again.responses, strict=True):
            assert bits(one.completion.logprobs) == bits(other.completion.logprobs)


def test_a_checkpoint_keeps_what_an_engine_without_token_ids_said(
    world: World, engine: TransformersEngine, verifier: VerifierPool, draws: list[Draw]
) -> None:
    made = rollouts(world, engine, verifier)
    (group,) = made.groups(draws[:1], 0)
    said = {"token_ids": (), "logprobs": (), "tokens": 7, "trainable": False}
    responses = tuple(
        replace(r, completion=replace(r.completion, text=r.text, **said)) for r in group.responses
    )
    group = replace(group, responses=responses)
    (again,) = made.restored([json.loads(json.dumps(group.row()))])
    assert again.responses == group.responses


def test_what_cannot_be_trained_on_ends_the_run(
    world: World,
    engine: TransformersEngine,
    verifier: VerifierPool,
    draws: list[Draw],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    completed = engine.completed
    monkeypatch.setattr(engine, "completed", lambda: (replace(e, trainable=False) for e in completed()))
    with pytest.raises(LadderError, match="cannot be trained on: the engine does not tell"):
        rollouts(world, engine, verifier).groups(draws, 0)
    engine.close()


def long(world: World) -> Item:
    """An item that no prompt of this model holds."""
    item = world.items[world.rows.ids[1]]
    return replace(item, question=item.question + " and again" * 2000)


def test_an_item_that_is_refused_gives_an_empty_group_is_told_and_counts_for_nothing(
    world: World,
    engine: TransformersEngine,
    verifier: VerifierPool,
    draws: list[Draw],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = rollouts(world, engine, verifier, changed=long(world))
    groups = made.groups(draws, 0)
    assert [len(group.responses) for group in groups] == [G, 0, G]
    assert groups[1].outcome.n == 0
    assert made.counts == {"refused": 1, "failed": 0, "judged_too_late": 0}
    assert f"item {draws[1].item_id} cannot be trained on and is left out" in capsys.readouterr().err
    assert [outcome.draw for outcome in made.outcomes()] == [draws[0], draws[2]]
    empty = made.restored([json.loads(json.dumps(groups[1].row()))])
    assert empty == [groups[1]]
    made.groups([replace(draws[1], sequence=100 + turn) for turn in range(8)], 0)
    told = capsys.readouterr().err
    assert told.count("is left out") == 4  # five in all
    assert told.count("more are left out: the metric rollouts/refused counts them") == 1


def test_a_sample_that_fails_is_asked_for_again_alone_and_is_the_same(
    world: World, engine: TransformersEngine, verifier: VerifierPool, draws: list[Draw]
) -> None:
    wanted = rollouts(world, engine, verifier).groups(draws, 0)
    faulty = Faulty(engine, {("0", 1): 1, ("2", 9): 2, ("2", 11): 1})
    made = rollouts(world, faulty, verifier)
    groups = made.groups(draws, 0)

    def told(some: list[JudgedGroup]) -> list[Any]:
        return [[(r.text, r.verdict, r.completion.seed) for r in group.responses] for group in some]

    assert told(groups) == told(wanted)
    assert made.counts["failed"] == 4
    assert sorted(faulty.asked[len(draws) :]) == [("0", (1,)), ("2", (9,)), ("2", (9, 11))]


def test_a_sample_that_fails_three_times_ends_the_run(
    world: World, engine: TransformersEngine, verifier: VerifierPool, draws: list[Draw]
) -> None:
    made = rollouts(world, Faulty(engine, {("1", 5): 3}), verifier)
    with pytest.raises(LadderError, match=f"item {draws[1].item_id} failed 3 times: the worker died"):
        made.groups(draws, 0)


@pytest.mark.usefixtures("hanging")
def test_a_verdict_that_comes_too_late_is_asked_for_again_and_then_there_is_no_group(
    world: World, engine: TransformersEngine, draws: list[Draw]
) -> None:
    item = replace(world.items[draws[1].item_id], gold=HANGING, answer_type=AnswerType.EXPRESSION, options=())
    with VerifierPool(deadline=0.2) as pool:
        made = rollouts(world, engine, pool, changed=item)
        groups = made.groups(draws, 0)
        assert pool.timeouts >= 3
    assert groups[1].responses == ()  # its other responses would train against a wrong mean
    assert groups[1].outcome.n == 0
    assert 0 < made.counts["judged_too_late"] <= G
    assert [outcome.draw.sequence for outcome in made.outcomes()] == [0, 2]
    assert [group.outcome.n for group in (groups[0], groups[2])] == [G, G]


def test_a_response_that_was_cut_off_is_wrong_and_counts(
    world: World, engine: TransformersEngine, verifier: VerifierPool, draws: list[Draw], tmp_path: Path
) -> None:
    del tmp_path
    asked = replace(world.asked, sampling=replace(world.asked.sampling, max_tokens=2))
    made = Rollouts(world.items, world.store, asked, world.encoder, G, engine, verifier)
    (group,) = made.groups(draws[:1], 0)
    assert all(r.truncated and not r.correct for r in group.responses)
    assert (group.outcome.n, group.outcome.correct, group.outcome.mean_tokens) == (G, 0, 2.0)
