"""The split's order as a sampler, and the gate."""

import pytest

from ladder.errors import BadInput
from trainer.curriculum import Draw, Everything, GroupOutcome, SplitOrder

IDS = [f"item-{i:02d}" for i in range(20)]
SLOTS = [i // 5 for i in range(20)]


def drawn(sampler: SplitOrder, n: int) -> list[str]:
    return [sampler.next().item_id for _ in range(n)]


def test_the_first_epoch_is_exactly_the_split() -> None:
    assert drawn(SplitOrder(IDS, SLOTS, seed=3), 20) == IDS


def test_later_epochs_keep_slots_and_cover_everything() -> None:
    sampler = SplitOrder(IDS, SLOTS, seed=3)
    drawn(sampler, 20)
    second = [sampler.next() for _ in range(20)]
    assert sorted(d.item_id for d in second) == IDS
    assert [d.slot for d in second] == SLOTS
    assert [d.item_id for d in second] != IDS
    assert {d.epoch for d in second} == {1}


@pytest.mark.parametrize("position", [0, 7, 20, 33])
def test_a_resumed_sampler_goes_on_exactly(position: int) -> None:
    whole = SplitOrder(IDS, SLOTS, seed=3)
    drawn(whole, position)
    resumed = SplitOrder(IDS, SLOTS, seed=3)
    resumed.load_state_dict(whole.state_dict())
    assert drawn(resumed, 45) == drawn(whole, 45)
    assert resumed.metrics() == whole.metrics()


def test_a_state_of_another_split_or_seed_is_refused() -> None:
    state = SplitOrder(IDS, SLOTS, seed=3).state_dict()
    with pytest.raises(BadInput, match="another split or seed"):
        SplitOrder(IDS, SLOTS, seed=4).load_state_dict(state)
    with pytest.raises(BadInput, match="another split or seed"):
        SplitOrder(IDS[::-1], SLOTS, seed=3).load_state_dict(state)


def test_an_item_of_several_stages_is_drawn_in_each() -> None:
    ids, slots = ["a", "b", "c", "b", "a"], [0, 0, 1, 1, 2]
    sampler = SplitOrder(ids, slots, seed=3)
    for epoch in range(3):
        draws = [sampler.next() for _ in range(5)]
        assert [d.slot for d in draws] == slots
        assert sorted((d.slot, d.item_id) for d in draws) == sorted(zip(slots, ids, strict=True))
        assert epoch or [d.item_id for d in draws] == ids


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(BadInput, match="no training items"):
        SplitOrder([], [], seed=0)


def test_draws_are_numbered_throughout() -> None:
    sampler = SplitOrder(IDS, SLOTS, seed=0)
    assert [sampler.next().sequence for _ in range(45)] == list(range(45))


def test_the_gate_counts_groups_without_signal() -> None:
    gate = Everything()
    draw = Draw(0, "x", 0, 0)
    assert all(gate.admit(GroupOutcome(draw, 8, c, 10.0)) for c in (0, 3, 8))
    assert gate.metrics() == {"admitted": 3, "without_signal": 2}
