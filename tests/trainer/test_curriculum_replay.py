"""Replay: mastered items come back, and retired ones are never lost."""

import math
from collections import Counter
from typing import Any

import pytest
from curricula import Learner, chance, draws_of, rows_of, sampler_of, trained
from hypothesis import given
from hypothesis import strategies as st

from trainer.curriculum import Draw, GroupOutcome

KINDS = ("order", "shuffled", "stages", "weighted", "target")


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_the_draws_is_replayed(kind: str) -> None:
    sampler = sampler_of(rows_of(30), {"kind": kind, "replay": {"share": 0.2}})
    trained(sampler, Learner(lambda _: 1.0), 30)
    before = sampler.metrics()["replayed"]
    trained(sampler, Learner(lambda _: 1.0), 100)
    assert sampler.metrics()["replayed"] - before == 20


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_replayed_before_something_is_mastered(kind: str) -> None:
    """A pass rate of the split is no mastery: training has not seen the item yet."""
    plain = sampler_of(rows_of(30, [1.0]), {"kind": kind})
    with_replay = sampler_of(rows_of(30, [1.0]), {"kind": kind, "replay": {"share": 0.5}})
    unable = Learner(lambda _: 0.0)
    expected = [draw.item_id for draw in trained(plain, unable, 60)]
    assert [draw.item_id for draw in trained(with_replay, unable, 60)] == expected
    assert with_replay.metrics()["replayed"] == 0


def test_the_main_stream_loses_nothing_by_replay() -> None:
    """Replays come on top: an epoch's items all come, in their order."""
    rows = rows_of(20)
    sampler = sampler_of(rows, {"kind": "order", "replay": {"share": 0.25}}, epochs=1)
    draws = trained(sampler, Learner(lambda _: 1.0), 1000, step=4)
    firsts = list(dict.fromkeys(draw.item_id for draw in draws))
    assert firsts == list(rows.ids)
    assert len(draws) == 20 + sampler.metrics()["replayed"]
    assert sampler.metrics()["replayed"] == len(draws) // 4 - 1  # at the first turn nothing was mastered


def test_oldest_first_replays_all_in_turn() -> None:
    rows = rows_of(12)
    sampler = sampler_of(rows, {"kind": "order", "replay": {"share": 0.5, "retire": True}}, epochs=50)
    policy = Learner(lambda item: float(item != "item-011"))  # one stays to be learnt
    trained(sampler, policy, 30, step=2)
    assert sampler.metrics()["retired"] == 11
    replayed = [d.item_id for d in trained(sampler, policy, 66, step=2) if d.item_id != "item-011"]
    assert Counter(replayed) == dict.fromkeys(rows.ids[:11], 3)
    assert replayed[:11] == replayed[11:22]


def test_random_replay_reaches_every_mastered_item() -> None:
    rows = rows_of(12)
    replay = {"share": 0.5, "retire": True, "order": "random"}
    sampler = sampler_of(rows, {"kind": "order", "replay": replay}, epochs=500)
    policy = Learner(lambda item: float(item != "item-011"))
    trained(sampler, policy, 40, step=2)
    counts = Counter(d.item_id for d in trained(sampler, policy, 660, step=2) if d.item_id != "item-011")
    # of 330 draws each of 11 items expects 30 with a standard deviation of 5.2
    assert len(counts) == 11
    assert all(abs(count - 30) < 4 * 5.3 for count in counts.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_retired_item_leaves_the_main_stream_and_returns_when_forgotten(kind: str) -> None:
    rows = rows_of(9, [0.5])
    able = {"item-001"}
    policy = Learner(lambda item: float(item in able))
    settings = {"kind": kind, "replay": {"share": 0.1, "retire": True}}
    if kind == "stages":
        settings |= {"tiers": ["easy"]}
    sampler = sampler_of(rows, settings)
    trained(sampler, policy, 40, step=3)
    assert sampler.metrics()["retired"] == 1
    times = Counter(draw.item_id for draw in trained(sampler, policy, 200, step=3))
    assert times["item-001"] == 20  # its replays, and nothing else
    able.clear()
    trained(sampler, policy, 60, step=3)
    assert sampler.metrics()["retired"] == 0
    times = Counter(draw.item_id for draw in trained(sampler, policy, 90, step=3))
    assert times["item-001"] >= 2
    assert sampler.metrics()["mastered"] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epochs", [None, 3.0])
def test_a_run_is_over_when_everything_is_retired(kind: str, epochs: float | None) -> None:
    sampler = sampler_of(
        rows_of(9), {"kind": kind, "replay": {"share": 0.2, "retire": True, "mastered": 0.5}}, epochs=epochs
    )
    draws = trained(sampler, Learner(lambda _: 1.0), 1000, step=1)
    assert 9 <= len(draws) < 1000
    assert sampler.metrics()["retired"] == 9


def test_an_item_is_not_replayed_beside_itself() -> None:
    """While its group is being rolled out, a mastered item is not drawn for replay again."""
    sampler = sampler_of(rows_of(40), {"kind": "order", "replay": {"share": 0.5}}, epochs=100)
    trained(sampler, Learner(lambda _: 1.0), 4, step=4)
    waiting = draws_of(sampler, 30)
    assert len({draw.item_id for draw in waiting}) == 30


def test_a_group_without_verdicts_masters_nothing() -> None:
    sampler = sampler_of(rows_of(4, [1.0]), {"kind": "order", "replay": {"share": 0.5}})
    for draw in draws_of(sampler, 4):
        sampler.observe(GroupOutcome(draw, 0, 0, 0.0))
    assert sampler.metrics()["mastered"] == sampler.metrics()["coverage"] == 0


@given(
    count=st.integers(2, 30),
    coverage=st.sampled_from([1.0, 1.7, 4.0]),
    share=st.sampled_from([0.05, 0.3, 0.5]),
    order=st.sampled_from(["oldest", "random"]),
    retire=st.booleans(),
    seed=st.integers(0, 2**31),
    step=st.integers(1, 7),
)
def test_no_item_is_lost_whatever_retires_and_returns(
    count: int, coverage: float, share: float, order: str, retire: bool, seed: int, step: int
) -> None:
    """Weighted draws under a policy that learns and forgets at random: an item that is not retired comes within the guarantee
    (counted in draws of the stream, from its last draw or its return), and oldest-first replay reaches every mastered one."""
    rows = rows_of(count)
    replay: dict[str, Any] = {"share": share, "mastered": 0.7, "order": order, "retire": retire}
    sampler = sampler_of(rows, {"kind": "weighted", "coverage": coverage, "replay": replay}, seed)
    window, stream, met = math.floor(coverage * count), 0, dict.fromkeys(rows.ids, -1)
    for at in range(0, 6 * window, step):
        drawn: list[Draw] = []
        for _ in range(step):
            replayed = sampler.metrics()["replayed"]
            draw = sampler.next()
            if draw is None:
                assert sampler.metrics()["retired"] == count
                return
            drawn.append(draw)
            if sampler.metrics()["replayed"] == replayed:
                stream, met[draw.item_id] = stream + 1, stream
        retired = set(sampler.state_dict()["replay"]["retired"])
        for number, item in enumerate(rows.ids):
            if number in retired:
                met[item] = stream
            assert stream - 1 - met[item] < window
        for draw in drawn:
            right = 8 if chance(seed, at // 40, draw.item_id) < 0.5 else 0
            sampler.observe(GroupOutcome(draw, 8, right, 1.0))
