"""Samplers: the split's order, the shuffled control, stages, the target; what holds for all of them."""

import random
from collections import Counter
from typing import Any

import pytest
from curricula import Learner, chance, draws_of, rows_of, sampler_of, through_json, trained
from hypothesis import given
from hypothesis import strategies as st

from ladder.errors import BadInput
from trainer.curriculum import ItemSampler, Rows, TargetSettings

ORDER, SHUFFLED = {"kind": "order"}, {"kind": "shuffled"}
REPLAY = {"share": 0.3, "mastered": 0.8}
KINDS: list[dict[str, Any]] = [
    ORDER,
    SHUFFLED,
    {"kind": "stages", "passes": [1, 2.5, 1]},
    {"kind": "weighted", "coverage": 1.5},
    {"kind": "weighted", "weight": {"kind": "band"}, "rest": 0.1},
    {"kind": "target", "groups": 3},
]
WITH_REPLAY = [
    kind | {"replay": REPLAY | {"order": order, "retire": retire}}
    for kind in KINDS
    for order in ("oldest", "random")
    for retire in (False, True)
]
kinds = st.sampled_from(KINDS + WITH_REPLAY)


def ids_of(sampler: ItemSampler, count: int) -> list[str]:
    return [draw.item_id for draw in draws_of(sampler, count)]


def test_the_first_epoch_is_exactly_the_split() -> None:
    rows = rows_of(20)
    assert ids_of(sampler_of(rows, ORDER), 20) == list(rows.ids)


def test_later_epochs_keep_slots_and_cover_everything() -> None:
    rows = rows_of(20)
    draws = draws_of(sampler_of(rows, ORDER), 60)
    second, third = draws[20:40], draws[40:]
    for epoch, pass_ in ((1, second), (2, third)):
        assert sorted(d.item_id for d in pass_) == list(rows.ids)
        assert [d.slot for d in pass_] == rows.slots.tolist()
        assert {d.epoch for d in pass_} == {epoch}
    assert len({tuple(d.item_id for d in pass_) for pass_ in (draws[:20], second, third)}) == 3


def test_an_item_of_several_rows_is_drawn_in_each() -> None:
    ids, slots = ["a", "b", "c", "b", "a"], [0, 0, 1, 1, 2]
    sampler = sampler_of(Rows.of_columns(ids, slots, ["easy"] * 5, [0.5] * 5), ORDER)
    for epoch in range(3):
        draws = draws_of(sampler, 5)
        assert [d.slot for d in draws] == slots
        assert sorted((d.slot, d.item_id) for d in draws) == sorted(zip(slots, ids, strict=True))
        assert epoch or [d.item_id for d in draws] == ids


def test_the_control_has_the_same_items_in_another_permutation_each_epoch() -> None:
    rows = rows_of(20)
    drawn = ids_of(sampler_of(rows, SHUFFLED), 60)
    passes = [tuple(drawn[start : start + 20]) for start in (0, 20, 40)]
    assert all(sorted(each) == list(rows.ids) for each in passes)
    assert len({*passes, tuple(rows.ids)}) == 4
    assert ids_of(sampler_of(rows, SHUFFLED, seed=4), 20) != list(passes[0])


def test_shuffles_are_the_same_on_every_platform_and_version() -> None:
    rows = rows_of(6)
    assert ids_of(sampler_of(rows, SHUFFLED), 6) == [f"item-00{i}" for i in (4, 0, 5, 3, 2, 1)]
    weighted = sampler_of(rows_of(6, [0.0, 0.5, 1.0]), {"kind": "weighted"})
    assert ids_of(weighted, 10) == [f"item-00{i}" for i in (4, 0, 3, 4, 1, 4, 1, 0, 4, 1)]


def test_stages_take_tier_after_tier() -> None:
    rows = rows_of(12)
    draws = draws_of(sampler_of(rows, {"kind": "stages"}, epochs=2), 100)
    assert len(draws) == 24
    for stage, start in enumerate((0, 8, 16)):
        counts = Counter(d.item_id for d in draws[start : start + 8])
        assert counts == dict.fromkeys(rows.ids[4 * stage : 4 * stage + 4], 2)


def test_a_stage_takes_its_passes_or_its_share() -> None:
    rows = rows_of(30)
    tier = dict(zip(rows.ids, rows.tiers, strict=True))

    def counts(epochs: float, **settings: Any) -> dict[str, int]:
        sampler = sampler_of(rows, {"kind": "stages", **settings}, epochs=epochs)
        return dict(Counter(tier[item] for item in ids_of(sampler, 1000)))

    assert counts(1, passes=[0.5, 1, 2.25]) == {"easy": 5, "medium": 10, "hard": 23}
    assert counts(2, shares=[0.1, 0.3, 0.6]) == {"easy": 6, "medium": 18, "hard": 36}
    assert counts(1, tiers=["hard", "easy"], shares=[0.333, 0.667]) == {"hard": 7, "easy": 13}


def test_the_last_stage_goes_on_where_the_run_has_no_epochs() -> None:
    sampler = sampler_of(rows_of(12), {"kind": "stages", "tiers": ["easy", "hard"]})
    draws = draws_of(sampler, 50)
    assert {d.item_id for d in draws[4:]} == {f"item-{i:03d}" for i in range(8, 12)}
    assert draws[-1].epoch == 11
    assert sampler.metrics()["stage"] == 1
    assert sampler.metrics()["left_out"] == 4  # the medium ones


def test_stages_that_the_split_does_not_have_are_refused() -> None:
    with pytest.raises(
        BadInput, match=r"tier 'esay', did you mean 'easy'\?; the split has easy, hard, medium"
    ):
        sampler_of(rows_of(12), {"kind": "stages", "tiers": ["esay"]})
    with pytest.raises(BadInput, match="set epochs, or use passes"):
        sampler_of(rows_of(12), {"kind": "stages", "shares": [0.2, 0.3, 0.5]})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"passes": [1, 1]}, "3 tiers need as many"),
        ({"shares": [0.5, 0.4, 0.2]}, "add up to 1"),
        ({"shares": [0.5, 0.3, 0.2], "passes": [1, 1, 1]}, "not both"),
        ({"tiers": []}, "at least one"),
    ],
)
def test_impossible_stages_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sampler_of(rows_of(12), {"kind": "stages", **settings})


@pytest.mark.parametrize(
    ("target", "correct", "expected"), [(0, 0.5, 0), (0, 0.9, 33.202), (50, 0.2, 23.148)]
)
def test_the_target_moves_as_published(target: float, correct: float, expected: float) -> None:
    """AdaRFT (arXiv 2504.05520), whose difficulties go from 0 to 100."""
    assert TargetSettings().moved(target / 100, correct) * 100 == pytest.approx(expected, abs=1e-3)


def test_the_nearest_items_to_the_target_come_first_and_none_twice_in_a_pass() -> None:
    rows = rows_of(40, [i / 40 for i in range(40)])
    sampler = sampler_of(rows, {"kind": "target", "start": 0.71, "groups": 1000})
    drawn = ids_of(sampler, 40)
    # difficulty 0.71 lies between item 11 (0.725) and item 12 (0.7)
    assert drawn == [f"item-{i:03d}" for i in sorted(range(40), key=lambda i: abs(0.71 - (1 - i / 40)))]
    assert {d.epoch for d in draws_of(sampler, 40)} == {1}


def test_the_target_follows_the_policy() -> None:
    rows = rows_of(60, [i / 60 for i in range(60)])
    able = sampler_of(rows, {"kind": "target", "start": 0.5, "groups": 4, "eta": 0.1})
    trained(able, Learner(lambda _: 0.95), 40)
    unable = sampler_of(rows, {"kind": "target", "start": 0.5, "groups": 4, "eta": 0.1})
    trained(unable, Learner(lambda _: 0.05), 40)
    assert able.metrics()["target"] > 0.9
    assert unable.metrics()["target"] < 0.1


@pytest.mark.parametrize("settings", [kind for kind in KINDS if kind["kind"] != "stages"])
@pytest.mark.parametrize(("epochs", "draws"), [(1, 10), (0.3, 3), (2.15, 22), (0.01, 1)])
def test_epochs_bound_the_draws_and_lose_none(settings: dict[str, Any], epochs: float, draws: int) -> None:
    sampler = sampler_of(rows_of(10), settings, epochs=epochs)
    assert [draw.sequence for draw in draws_of(sampler, 100)] == list(range(draws))
    assert sampler.next() is None
    assert sampler.metrics()["epoch"] == draws / 10


def test_metrics_tell_coverage_and_the_p_of_what_was_drawn() -> None:
    sampler = sampler_of(rows_of(10, [0.0, 1.0]), ORDER)
    assert "mean_p" not in sampler.metrics()
    trained(sampler, Learner(lambda _: 1.0), 5)
    told = sampler.metrics()
    assert (told["drawn"], told["coverage"], told["epoch"]) == (5, 0.5, 0.5)
    # at draw time three of them stood at 0.1 and two at 0.9: four rollouts of the split under Jeffreys' prior
    assert told["mean_p"] == pytest.approx((3 * 0.1 + 2 * 0.9) / 5)
    trained(sampler, Learner(lambda _: 1.0), 15)
    assert sampler.metrics()["coverage"] == 1


def test_items_without_a_pass_rate_stand_at_one_half() -> None:
    sampler = sampler_of(rows_of(4, [None]), ORDER)
    draws_of(sampler, 4)
    assert sampler.metrics()["mean_p"] == 0.5


@given(kinds, st.integers(0, 2**31), st.data())
def test_a_resumed_sampler_goes_on_exactly(settings: dict[str, Any], seed: int, data: st.DataObject) -> None:
    """Saved anywhere, also between draw and outcome."""
    rows = rows_of(data.draw(st.integers(3, 25)), [0.0, 0.1, 0.5, None, 0.9, 1.0])
    whole = sampler_of(rows, settings, seed, epochs=20)
    policy = Learner(lambda item: chance(seed, item), gain=data.draw(st.sampled_from([0.0, 0.4])))
    trained(whole, policy, data.draw(st.integers(0, 80)), step=data.draw(st.integers(1, 9)))
    waiting = draws_of(whole, data.draw(st.integers(0, 6)))
    resumed = sampler_of(rows, settings, seed, epochs=20)
    resumed.load_state_dict(through_json(whole.state_dict()))
    assert resumed.state_dict() == whole.state_dict()
    for outcome in map(policy, waiting):
        whole.observe(outcome)
        resumed.observe(outcome)
    met = policy.met.copy()
    expected = trained(whole, policy, 60, step=4)
    policy.met = met
    assert trained(resumed, policy, 60, step=4) == expected
    assert resumed.metrics() == whole.metrics()
    assert resumed.state_dict() == whole.state_dict()


@given(kinds, st.integers(0, 2**31))
def test_draws_are_numbered_throughout_and_are_of_the_split(settings: dict[str, Any], seed: int) -> None:
    rows = rows_of(15, [0.2, 0.6, 1.0])
    slots = dict(zip(rows.ids, rows.slots.tolist(), strict=True))
    draws = trained(sampler_of(rows, settings, seed), Learner(lambda item: chance(seed, item), 0.3), 60)
    assert [draw.sequence for draw in draws] == list(range(len(draws)))
    assert all(slots[draw.item_id] == draw.slot for draw in draws)


@pytest.mark.parametrize("settings", KINDS)
def test_a_state_of_another_split_seed_or_curriculum_is_refused(settings: dict[str, Any]) -> None:
    rows = rows_of(12)
    state = through_json(sampler_of(rows, settings).state_dict())
    others = [
        sampler_of(rows, settings, seed=4),
        sampler_of(rows_of(13), settings),
        sampler_of(rows_of(12, [0.25]), settings),
        sampler_of(rows, settings | {"discount": 0.75}),
    ]
    for other in others:
        with pytest.raises(BadInput, match="another split or seed, or other settings"):
            other.load_state_dict(state)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(BadInput, match="no training items"):
        Rows.of([])


def test_a_splits_rows_are_read_by_name() -> None:
    kept = [{"id": "a", "slot": 2, "tier": "hard", "pass_rate": 0.25, "complexity": 9.0, "position": 0}]
    rows = Rows.of(kept)
    assert (rows.ids, rows.slots.tolist(), rows.tiers, rows.pass_rates.tolist()) == (
        ("a",),
        [2],
        ("hard",),
        [0.25],
    )


def test_an_outcome_counts_once() -> None:
    sampler, policy = sampler_of(rows_of(5), ORDER), Learner(lambda _: 0.5)
    (draw,) = draws_of(sampler, 1)
    sampler.observe(policy(draw))
    with pytest.raises(KeyError):
        sampler.observe(policy(draw))


def test_a_state_holds_only_what_training_has_seen() -> None:
    sampler = sampler_of(rows_of(1000), {"kind": "weighted", "replay": REPLAY})
    trained(sampler, Learner(lambda _: 0.9), 3)
    assert len(str(sampler.state_dict())) < 700


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_order_of_outcomes_of_other_items_leaves_no_trace(count: int, shuffler: random.Random) -> None:
    """Weights are integers, so that their sums do not depend on the order of changes."""
    rows, policy = rows_of(count), Learner(lambda item: chance(item))
    one, other = (sampler_of(rows, {"kind": "weighted", "rest": 0}) for _ in range(2))
    outcomes = {draw.item_id: policy(draw) for draw in draws_of(one, 2 * count)}
    draws_of(other, 2 * count)
    mixed = list(outcomes.values())
    shuffler.shuffle(mixed)
    for outcome in outcomes.values():
        one.observe(outcome)
    for outcome in mixed:
        other.observe(outcome)
    assert draws_of(one, 30) == draws_of(other, 30)
