"""The supply of a step's groups: refills in the order of the draws, surplus kept, nothing lost, resumed anywhere."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from curricula import chance, rows_of, through_json
from hypothesis import given
from hypothesis import strategies as st

from ladder.errors import BadInput, LadderError
from trainer.curriculum import CurriculumSettings, Draw, GroupOutcome, Supply

ORDER = {"kind": "order"}
SAMPLERS = (
    ORDER,
    {"kind": "shuffled"},
    {"kind": "stages"},
    {"kind": "target", "groups": 4},
    {"kind": "weighted", "coverage": 1.5},
    {"kind": "weighted", "replay": {"share": 0.3, "mastered": 0.7, "retire": True}},
)
GATES = ({"kind": "everything"}, {"kind": "signal"}, {"kind": "band", "low": 0.25, "high": 0.75})


@dataclass(frozen=True)
class Finished:
    """What the trainer keeps of a group."""

    outcome: GroupOutcome
    weights: int = 0

    @property
    def sequence(self) -> int:
        return self.outcome.draw.sequence


def outcome_of(draw: Draw, seed: int = 0, n: int = 4) -> GroupOutcome:
    """Items differ in p; a share of groups is silent, some have no verdict at all."""
    p = chance(seed, draw.item_id)
    correct = sum(chance(seed, draw.sequence, j) < p for j in range(n))
    return GroupOutcome(draw, *((0, 0) if chance(seed, "lost", draw.sequence) < 0.05 else (n, correct)), 10.0)


def supply_of(
    prompts: int, count: int = 20, seed: int = 3, epochs: float | None = 2.0, **settings: Any
) -> Supply[Finished]:
    return CurriculumSettings.model_validate(settings).build(rows_of(count), seed, epochs, prompts)


def step_of(supply: Supply[Finished], judge: Callable[[Draw], GroupOutcome] = outcome_of) -> list[Finished]:
    """The groups of the next step, finished in order."""
    while draws := supply.round():
        supply.offer([Finished(judge(draw)) for draw in draws])
    return supply.take()


def signal(*corrects: int) -> Callable[[Draw], GroupOutcome]:
    """A judge that gives these numbers of correct rollouts of 4, in turn of the draws."""
    return lambda draw: GroupOutcome(draw, 4, corrects[draw.sequence % len(corrects)], 10.0)


def sequences(groups: Sequence[Finished]) -> list[int]:
    return [group.sequence for group in groups]


def naive(
    settings: dict[str, Any], prompts: int, count: int, seed: int, epochs: float | None
) -> list[list[int]]:
    """The steps' sequence numbers, by the plainest program: whole rounds, nothing interrupted, everything in order."""
    curriculum = CurriculumSettings.model_validate(settings)
    sampler, gate = curriculum.sampler.build(rows_of(count), seed, epochs), curriculum.gate.build()
    limit = math.floor(Fraction(str(curriculum.max_draws)) * prompts)
    steps: list[list[int]] = []
    ready: list[int] = []
    over = False
    while True:
        drawn = 0
        while len(ready) < prompts and not over and drawn < limit:
            missing = (prompts - len(ready)) * Fraction(str(curriculum.oversample))
            batch: list[Draw] = []
            for _ in range(min(math.ceil(missing), limit - drawn)):
                draw = sampler.next()
                over = over or draw is None
                batch += [draw] if draw and not over else []
            for draw in batch:
                outcome = outcome_of(draw, seed)
                sampler.observe(outcome)
                if gate.admit(outcome):
                    ready.append(draw.sequence)
            drawn += len(batch)
        if not ready or len(steps) == 12:
            return steps
        steps.append(ready[:prompts])
        ready = ready[prompts:]


class Interrupted:
    """A supply that is now and then saved, thrown away and loaded."""

    def __init__(self, make: Callable[[], Supply[Finished]], chooser: random.Random) -> None:
        self.make, self.chooser, self.supply = make, chooser, make()

    def maybe(self) -> Supply[Finished]:
        if self.chooser.random() < 0.3:
            state, surplus = through_json(self.supply.state_dict()), self.supply.surplus
            told = self.supply.metrics()
            self.supply = self.make()
            self.supply.load_state_dict(state, surplus)
            assert self.supply.metrics() == told
            assert through_json(self.supply.state_dict()) == state
            assert self.supply.surplus == surplus
        return self.supply


@given(
    sampler=st.sampled_from(SAMPLERS),
    gate=st.sampled_from(GATES),
    oversample=st.sampled_from([1.0, 1.1, 1.5, 3.0]),
    max_draws=st.sampled_from([1.0, 2.5, 10.0]),
    prompts=st.integers(1, 7),
    count=st.integers(3, 20),
    epochs=st.sampled_from([None, 0.4, 1.0, 2.5]),
    seed=st.integers(0, 2**31),
    choices=st.integers(0, 2**31),
)
def test_steps_are_those_of_the_plainest_program(
    sampler: dict[str, Any],
    gate: dict[str, Any],
    oversample: float,
    max_draws: float,
    prompts: int,
    count: int,
    epochs: float | None,
    seed: int,
    choices: int,
) -> None:
    """However completions are shuffled and cut into offers, and wherever the run is stopped and resumed."""
    settings = {"sampler": sampler, "gate": gate, "oversample": oversample, "max_draws": max_draws}
    chooser = random.Random(choices)
    run = Interrupted(lambda: supply_of(prompts, count, seed, epochs, **settings), chooser)
    steps: list[list[int]] = []
    while len(steps) < 12:
        while draws := run.maybe().round():
            chooser.shuffle(draws)
            part = draws[: chooser.randint(0, len(draws))]
            run.maybe().offer([Finished(outcome_of(draw, seed)) for draw in part])
        try:
            taken = run.maybe().take()
        except LadderError:
            break
        if not taken:
            break
        steps.append(sequences(taken))
    assert steps == naive(settings, prompts, count, seed, epochs)


@given(
    sampler=st.sampled_from(SAMPLERS),
    gate=st.sampled_from(GATES),
    oversample=st.sampled_from([1.0, 1.5, 2.7]),
    prompts=st.integers(1, 7),
    seed=st.integers(0, 2**31),
)
def test_every_admitted_group_is_taken_exactly_once(
    sampler: dict[str, Any], gate: dict[str, Any], oversample: float, prompts: int, seed: int
) -> None:
    """Up to the last items of the last epoch, and in the order of the draws."""
    supply = supply_of(
        prompts, 15, seed, 2.0, sampler=sampler, gate=gate, oversample=oversample, max_draws=1000
    )
    admits = CurriculumSettings.model_validate({"gate": gate}).gate.build().admit
    expected: list[int] = []

    def judged(draw: Draw) -> GroupOutcome:
        outcome = outcome_of(draw, seed)
        expected.extend([draw.sequence] if admits(outcome) else [])
        return outcome

    steps: list[list[Finished]] = []
    while step := step_of(supply, judged):
        steps.append(step)
    assert [sequence for step in steps for sequence in sequences(step)] == expected
    assert all(len(step) == prompts for step in steps[:-1])
    assert supply.take() == []
    assert supply.surplus == []
    assert supply.metrics()["admitted"] == len(expected)


def test_refills_are_the_next_items_in_order() -> None:
    supply = supply_of(3, sampler=ORDER, gate={"kind": "signal"})
    first = supply.round()
    assert [draw.item_id for draw in first] == ["item-000", "item-001", "item-002"]
    supply.offer([Finished(signal(0, 2, 4)(draw)) for draw in first])
    assert [draw.item_id for draw in supply.round()] == ["item-003", "item-004"]


def test_surplus_is_used_first_and_in_order() -> None:
    supply = supply_of(2, gate={"kind": "signal"}, oversample=2.0)
    assert sequences(step_of(supply, signal(1))) == [0, 1]
    assert sequences(supply.surplus) == [2, 3]
    assert supply.metrics()["surplus"] == 2
    assert supply.round() == []
    assert sequences(supply.take()) == [2, 3]
    assert sequences(step_of(supply, signal(1))) == [4, 5]


def test_a_kept_group_remembers_what_the_trainer_put_into_it() -> None:
    supply = supply_of(2, oversample=2.0)
    supply.offer([Finished(signal(2)(draw), weights=7) for draw in supply.round()])
    supply.take()
    supply.offer([Finished(signal(2)(draw), weights=8) for draw in supply.round()])
    assert [group.weights for group in supply.take()] == [7, 7]


def test_decisions_wait_for_the_groups_before_them() -> None:
    """The sampler learns of no outcome before those of all earlier draws."""
    supply = supply_of(3, sampler={"kind": "weighted"})
    draws = supply.round()
    supply.offer([Finished(signal(2)(draw)) for draw in draws[1:]])
    assert supply.metrics()["admitted"] == 0
    assert supply.round() == draws[:1]
    assert sequences(supply.surplus) == [1, 2]
    supply.offer([Finished(signal(2)(draws[0]))])
    assert supply.metrics()["admitted"] == 3


def test_what_was_not_asked_for_is_refused() -> None:
    supply = supply_of(2)
    draws = supply.round()
    group = Finished(signal(2)(draws[1]))
    supply.offer([group])
    with pytest.raises(ValueError, match="group 1 is not a missing one"):
        supply.offer([group])
    with pytest.raises(ValueError, match="group 9 is not a missing one"):
        supply.offer([Finished(GroupOutcome(Draw(9, "item-009", 0, 0), 4, 2, 1.0))])
    with pytest.raises(ValueError, match="1 groups of the round are still missing"):
        supply.take()


def test_a_step_that_stays_short_is_told_and_trains(capsys: pytest.CaptureFixture[str]) -> None:
    supply = supply_of(4, 100, gate={"kind": "signal"}, max_draws=2)
    silent_but_one = signal(0, 4, 4, 2, 4, 4, 4, 4)
    assert sequences(step_of(supply, silent_but_one)) == [3]
    told = capsys.readouterr().err
    assert "8 draws gave 1 of 4 groups (refused: 6 solved, 1 unsolved)" in told
    assert "raise curriculum.max_draws" in told
    assert told.count("\n") == 1
    assert supply.metrics()["step_draws"] == 8
    assert sequences(step_of(supply, silent_but_one)) == [11]


def test_many_short_steps_are_told_now_and_then_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    silent_but_one = signal(0, 4, 4, 2, 4, 4, 4, 4)
    make = lambda: supply_of(4, 100, epochs=None, gate={"kind": "signal"}, max_draws=2)  # noqa: E731
    supply, told = make(), []
    for step in range(25):
        if step == 13:  # a resumed run goes on counting
            state = through_json(supply.state_dict())
            supply = make()
            supply.load_state_dict(state)
        step_of(supply, silent_but_one)
        told += [step + 1] if capsys.readouterr().err else []
    assert told == [1, 10, 20]
    assert supply.metrics()["short_steps"] == 25


def test_a_step_that_stays_short_may_stop_the_run() -> None:
    supply = supply_of(4, 100, gate={"kind": "signal"}, max_draws=2, on_shortage="stop")
    with pytest.raises(LadderError, match="8 draws gave 3 of 4 groups"):
        step_of(supply, signal(0, 4, 4, 2, 4, 4, 2, 2))
    assert len(supply.surplus) == 3  # nothing is lost: the run can go on with other settings


def test_a_step_without_any_group_stops_the_run() -> None:
    supply = supply_of(4, 100, gate={"kind": "signal"})
    with pytest.raises(LadderError, match=r"40 draws gave 0 of 4 groups \(refused: 40 unsolved\)"):
        step_of(supply, signal(0))


def test_where_nothing_could_be_sampled_the_advice_is_another() -> None:
    supply = supply_of(4, 100, gate={"kind": "signal"})
    with pytest.raises(LadderError, match=r"refused: 40 empty\); .*lower response.max_tokens"):
        step_of(supply, lambda draw: GroupOutcome(draw, 0, 0, 0.0))


def test_the_last_step_takes_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    supply = supply_of(6, 10, epochs=1.0)
    assert [len(step_of(supply, signal(2))) for _ in range(3)] == [6, 4, 0]
    assert capsys.readouterr().err == ""  # the end is no shortage


def test_a_checkpoint_without_its_surplus_is_refused() -> None:
    supply = supply_of(2, oversample=2.0)
    step_of(supply, signal(2))
    with pytest.raises(BadInput, match="surplus groups are not those"):
        supply_of(2, oversample=2.0).load_state_dict(supply.state_dict(), supply.surplus[:1])


@given(sampler=st.sampled_from(SAMPLERS), seed=st.integers(0, 2**31))
def test_metrics_are_numbers_under_short_names(sampler: dict[str, Any], seed: int) -> None:
    supply = supply_of(4, seed=seed, sampler=sampler)
    step_of(supply)
    told = supply.metrics()
    assert {
        "drawn",
        "epoch",
        "coverage",
        "mean_p",
        "admitted",
        "surplus",
        "step_draws",
        "step_rounds",
    } <= told.keys()
    assert all(isinstance(value, (int, float)) and name.isidentifier() for name, value in told.items())
