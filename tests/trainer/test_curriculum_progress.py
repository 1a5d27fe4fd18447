"""How far a run is, by its supply: every step moves it on, surplus is still to come, and its end is the end of the draws."""

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from curricula import chance, rows_of, through_json
from hypothesis import given
from hypothesis import strategies as st
from test_curriculum_supply import GATES, ORDER, SAMPLERS, Finished, outcome_of, signal, step_of, supply_of

from ladder.config import validate
from ladder.errors import BadInput, LadderError
from ladder.splits import Split
from trainer.config import TrainSettings
from trainer.curriculum import CurriculumSettings, Draw, GroupOutcome, Supply
from trainer.forecast import forecast
from trainer.optim import OptimSettings, learning_rate
from trainer.schedule import Plan, Span
from trainer.setup import settings_for

ALL_RIGHT = signal(4)
TO_ZERO = OptimSettings(learning_rate=1.0, schedule="linear", warmup_share=0, min_share=0)


def spans_of(supply: Supply[Finished], plan: Plan, judge: Any = ALL_RIGHT) -> list[Span]:
    """What each step of a run covers, as the trainer takes it."""
    spans: list[Span] = []
    while not plan.over(len(spans)):
        start = plan.progress(len(spans), supply.progress)
        if not step_of(supply, judge):
            break
        spans.append(Span(start, plan.progress(len(spans) + 1, supply.progress)))
    return spans


def run_of(
    prompts: int, count: int, epochs: float = 1.0, judge: Any = ALL_RIGHT, **curriculum: Any
) -> tuple[Plan, list[Span]]:
    """The plan of a run, and its steps."""
    supply = supply_of(prompts, count, epochs=epochs, **curriculum)
    settings = TrainSettings.model_validate({"epochs": epochs, "batch": {"prompts": prompts}})
    plan = Plan.of(settings, supply.most_draws)
    return plan, spans_of(supply, plan, judge)


def ends(spans: list[Span]) -> list[float]:
    return [span.end for span in spans]


@pytest.mark.parametrize("oversample", [1.0, 1.5, 3.0, 9.0])
def test_oversampling_leaves_the_schedule_as_it_is(oversample: float) -> None:
    plan, spans = run_of(4, 24, oversample=oversample)
    assert plan.steps == len(spans) == 6
    assert ends(spans) == pytest.approx([n / 6 for n in range(1, 7)])
    rates = [learning_rate(TO_ZERO, span.start, span.end) for span in spans]
    assert rates == pytest.approx([1 - n / 6 for n in range(6)])


@pytest.mark.parametrize(
    ("settings", "draws"),
    [
        ({"passes": [3, 3]}, 120),
        ({"passes": [0.5, 0.5]}, 20),
        ({"passes": [0.25, 2]}, 45),
        ({"shares": [0.2, 0.8]}, 40),
        ({}, 40),
    ],
)
def test_stages_go_from_0_to_1_whatever_their_passes(settings: dict[str, Any], draws: int) -> None:
    """Of 60 items the tiers named have 40."""
    plan, spans = run_of(4, 60, sampler={"kind": "stages", "tiers": ["easy", "hard"], **settings})
    assert plan.steps == len(spans) == math.ceil(draws / 4)
    assert ends(spans) == pytest.approx([min(1, 4 * n / draws) for n in range(1, len(spans) + 1)])


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_replays_slow_a_run_down_and_the_plan_has_room_for_them(share: float) -> None:
    """Nothing can be replayed before the first steps are through: a few steps less than planned."""
    sampler = ORDER | {"replay": {"share": share, "mastered": 0.7}}
    plan, spans = run_of(4, 80, sampler=sampler)
    assert plan.steps == math.ceil(math.floor(80 / (1 - share) + 1e-9) / 4)
    assert plan.steps - 1 <= len(spans) <= plan.steps
    assert spans[-1].end == 1
    sizes = [span.end - span.start for span in spans[2:-1]]
    assert max(sizes) - min(sizes) <= 1.01 / 80  # a place more or less


def test_a_run_is_over_with_its_last_item_not_with_a_replay() -> None:
    supply = supply_of(1, 8, epochs=1.0, sampler=ORDER | {"replay": {"share": 0.5, "mastered": 0.7}})
    drawn = []
    while groups := step_of(supply, ALL_RIGHT):
        drawn += [group.outcome.draw.item_id for group in groups]
    assert drawn[-1] == "item-007"


def test_what_retires_is_passed_by_and_counts_as_done() -> None:
    """Every other item is mastered in the first of three passes."""

    def judge(draw: Draw) -> GroupOutcome:
        return GroupOutcome(draw, 4, 4 * (int(draw.item_id[-1]) % 2), 10.0)

    replay = {"share": 0.1, "mastered": 0.7, "retire": True}
    plan, spans = run_of(4, 40, epochs=3.0, judge=judge, sampler=ORDER | {"replay": replay})
    assert len(spans) < plan.steps
    first, second = (next(n for n, span in enumerate(spans) if span.end >= third / 3) for third in (1, 2))
    assert 2 * (second - first) == pytest.approx(first + 1, abs=3)  # half as many are left
    assert spans[-1].end > 0.98


def test_what_a_gate_refuses_is_over_and_surplus_is_not() -> None:
    supply = supply_of(2, 16, epochs=1.0, gate={"kind": "signal"}, oversample=3.0)
    assert supply.progress == 0
    step_of(supply, signal(4, 2))  # 1, 3 and 5 of six draws are admitted
    assert supply.progress == 5 / 16
    step_of(supply, signal(2))
    assert [group.sequence for group in supply.surplus] == [7, 8]
    assert supply.progress == 7 / 16


@given(
    sampler=st.sampled_from(SAMPLERS),
    gate=st.sampled_from(GATES),
    oversample=st.sampled_from([1.0, 1.4, 3.0]),
    prompts=st.integers(1, 7),
    count=st.integers(3, 30),
    epochs=st.sampled_from([0.4, 1.0, 2.5]),
    seed=st.integers(0, 2**31),
    resumed=st.integers(0, 20),
)
def test_every_step_moves_a_run_on_and_none_trains_at_rate_0(
    sampler: dict[str, Any],
    gate: dict[str, Any],
    oversample: float,
    prompts: int,
    count: int,
    epochs: float,
    seed: int,
    resumed: int,
) -> None:
    """Steps cover the run without gap or overlap, are no more than planned, and the same where it is resumed."""

    def made() -> Supply[Finished]:
        return supply_of(prompts, count, seed, epochs, sampler=sampler, gate=gate, oversample=oversample)

    def spans(supply: Supply[Finished], most: int) -> list[Span]:
        found: list[Span] = []
        while len(found) < most:
            start = plan.progress(0, supply.progress)
            try:
                if not step_of(supply, lambda draw: outcome_of(draw, seed)):
                    break
            except LadderError:  # a gate that lets nothing through
                break
            found.append(Span(start, plan.progress(0, supply.progress)))
        return found

    settings = TrainSettings.model_validate({"epochs": epochs, "batch": {"prompts": prompts}})
    whole, cut = made(), made()
    plan = Plan.of(settings, whole.most_draws)
    expected = spans(whole, 1000)
    before = spans(cut, resumed)
    again = made()
    again.load_state_dict(through_json(cut.state_dict()), cut.surplus)
    assert [*before, *spans(again, 1000)] == expected
    assert len(expected) <= plan.steps
    assert all(0 <= span.start <= span.end <= 1 for span in expected)
    assert all(a.end == b.start for a, b in pairwise(expected))
    assert all(learning_rate(TO_ZERO, span.start, span.end) > 0 for span in expected)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_without_end_has_no_progress_of_its_own(sampler: dict[str, Any]) -> None:
    supply = supply_of(4, epochs=None, sampler=sampler)
    step_of(supply)
    assert supply.progress is None
    assert supply.most_draws is None


@given(
    oversample=st.floats(1, 12),
    max_draws=st.sampled_from([1.0, 3.5, 10.0]),
    prompts=st.integers(1, 8),
    odds=st.sampled_from([0.05, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_no_group_waits_longer_than_oversampling_allows(
    oversample: float, max_draws: float, prompts: int, odds: float, seed: int
) -> None:
    """Whatever the gate lets through, and however that changes from stretch to stretch."""
    supply = supply_of(
        prompts, 50, epochs=None, gate={"kind": "signal"}, oversample=oversample, max_draws=max_draws
    )
    sampled_in: dict[int, int] = {}
    ages: Counter[int] = Counter()

    def judge(draw: Draw) -> GroupOutcome:
        sampled_in[draw.sequence] = step
        usual = odds if (draw.sequence // 40) % 2 else 1.0
        return GroupOutcome(draw, 4, 2 if chance(seed, draw.sequence) < usual else 4, 1.0)

    for step in range(30):
        try:
            taken = step_of(supply, judge)
        except LadderError:
            break
        ages.update(step - sampled_in[group.sequence] for group in taken)
    assert max(ages, default=0) <= min(math.ceil(oversample) - 1, math.ceil(max_draws))


@pytest.mark.parametrize(
    "key",
    ["oversample", "max_draws", "sampler.coverage", "sampler.rest", "sampler.prior_rollouts", "gate.high"],
)
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_number_that_is_none_is_refused(key: str, value: str) -> None:
    values: dict[str, Any] = {"sampler": {"kind": "weighted"}, "gate": {"kind": "band"}}
    with pytest.raises(BadInput, match=key.split(".")[-1]):
        validate(CurriculumSettings, values, [f"{key}={value}"])


@pytest.mark.parametrize("passes", [[1, math.inf], [math.nan, 1]])
def test_passes_without_end_are_refused(passes: list[float]) -> None:
    sampler = {"kind": "stages", "tiers": ["easy", "hard"], "passes": passes}
    with pytest.raises(BadInput, match="passes"):
        validate(CurriculumSettings, {"sampler": sampler})
    with pytest.raises(BadInput, match="epochs"):
        validate(TrainSettings, {"epochs": passes[1] if passes[0] == 1 else passes[0]})


def test_a_coverage_beyond_every_run_is_taken() -> None:
    sampler = CurriculumSettings.model_validate({"sampler": {"kind": "weighted", "coverage": 1e300}}).sampler
    built = sampler.build(rows_of(30), 0)
    drawn = [built.next() for _ in range(100)]
    assert len({draw.sequence for draw in drawn if draw}) == 100
    assert built.metrics()["due"] == 0


def test_the_forecast_counts_the_passes_of_stages_and_no_surplus(split: Split) -> None:
    there = sorted({row["tier"] for row in split.train})
    stages = [
        f"curriculum.sampler.{key}"
        for key in ('kind="stages"', f"tiers={there}", f"passes={[3] * len(there)}")
    ]
    overrides = ["batch.prompts=4", "epochs=1.0", *stages]
    use = settings_for(split, None, None, overrides)
    made = forecast(split, use.model, use.settings)
    draws = 3 * len(split.train)
    assert (made.steps.value, made.rollouts.value) == (math.ceil(draws / 4), draws * use.settings.batch.group)
    use = settings_for(split, None, None, [*overrides, "curriculum.oversample=3"])
    assert forecast(split, use.model, use.settings).rollouts.value == draws * use.settings.batch.group
