"""Orders: functions of scores and seed in which every kept item occurs once, near its level."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.order import NeuraLadder, Placed, Scored, Shuffled

KEEP_ALL = {"drop_unsolved": False, "drop_solved_share": 0.0}


def items(per_level: int = 40, levels: Sequence[int] = range(9)) -> list[Scored]:
    return [Scored(f"{lv}-{i}", lv, 1 - lv / 8, float(i % 7)) for lv in levels for i in range(per_level)]


scored = st.lists(
    st.builds(
        Scored, st.uuids().map(str), st.integers(0, 8), st.integers(0, 20).map(lambda d: d / 20), st.integers(0, 5).map(float)
    ),
    max_size=60,
    unique_by=lambda i: i.id,
)  # fmt: skip


def ids(placed: list[Placed]) -> list[str]:
    return [p.item.id for p in placed]


@given(scored, st.integers(0, 5), st.sampled_from(["shuffled", "sorted"]))
def test_every_kept_item_occurs_once_and_slots_never_fall(
    found: list[Scored], seed: int, within: str
) -> None:
    placed = NeuraLadder(within_slot=within, **KEEP_ALL).arrange(found, seed)  # type: ignore[arg-type]
    assert sorted(ids(placed)) == sorted(i.id for i in found)
    slots = [p.slot for p in placed]
    assert slots == sorted(slots)
    assert all(abs(p.slot - (8 - p.item.level)) <= 2 for p in placed)


@given(scored, st.permutations(range(6)), st.integers(0, 3))
def test_an_order_is_a_function_of_scores_and_seed(found: list[Scored], _: list[int], seed: int) -> None:
    for strategy in (NeuraLadder(), NeuraLadder(within_slot="sorted"), Shuffled()):
        assert strategy.arrange(found, seed) == strategy.arrange(found[::-1], seed)


def test_another_seed_is_another_order_of_the_same_items() -> None:
    for strategy in (NeuraLadder(), Shuffled()):
        first, second = (ids(strategy.arrange(items(), seed)) for seed in (0, 1))
        assert first != second
        assert sorted(first) == sorted(second)


def test_slots_run_from_easy_to_hard_and_mix_levels_within_two_by_their_weights() -> None:
    placed = NeuraLadder(**KEEP_ALL).arrange(items(per_level=2000), 0)
    share = Counter((p.item.level, p.slot) for p in placed)
    for level in range(2, 7):
        assert [share[level, 8 - level + o] / 2000 for o in range(-2, 3)] == pytest.approx(
            [0.2] * 5, abs=0.04
        )
    # at the ends the weights are truncated and renormalised
    assert [share[8, slot] / 2000 for slot in range(4)] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.04)
    assert [share[7, slot] / 2000 for slot in range(5)] == pytest.approx([0.25] * 4 + [0], abs=0.04)
    assert [share[0, slot] / 2000 for slot in (6, 7, 8)] == pytest.approx([1 / 3] * 3, abs=0.04)


def test_weights_say_how_much_is_mixed() -> None:
    alone = NeuraLadder(weights=(0, 0, 1, 0, 0), **KEEP_ALL).arrange(items(), 0)
    assert all(p.slot == 8 - p.item.level for p in alone)
    harder = NeuraLadder(weights=(0, 0, 3, 1, 0), **KEEP_ALL).arrange(items(per_level=2000), 0)
    moved = [p.slot - (8 - p.item.level) for p in harder if p.item.level > 0]
    assert set(moved) == {0, 1}
    assert np.mean(moved) == pytest.approx(0.25, abs=0.02)


def test_no_item_is_moved_to_a_level_that_has_no_items() -> None:
    placed = NeuraLadder(**KEEP_ALL).arrange(items(levels=(2, 3, 6)), 0)
    assert {p.slot for p in placed} == {2, 5, 6}
    assert all(p.slot == 2 for p in placed if p.item.level == 6), "its neighbours 4, 5, 7 and 8 are absent"


def test_what_is_never_solved_goes_to_review_and_the_solved_with_least_thought_are_dropped() -> None:
    placed = NeuraLadder().arrange(items(per_level=21), 0)
    kept = Counter(p.item.level for p in placed)
    assert kept == Counter(dict.fromkeys(range(1, 8), 21)) + Counter({8: 11})
    dropped = [i for i in items(per_level=21, levels=(8,)) if i.id not in ids(placed)]
    solved = [p.item for p in placed if p.item.level == 8]
    assert max(i.complexity for i in dropped) <= min(i.complexity for i in solved)


def test_all_solved_or_none_can_be_dropped() -> None:
    assert {p.item.level for p in NeuraLadder(drop_solved_share=1).arrange(items(), 0)} == set(range(1, 8))
    assert len(NeuraLadder(**KEEP_ALL).arrange(items(), 0)) == 9 * 40


def test_sorted_slots_rise_in_difficulty_then_complexity_and_shuffled_ones_do_not() -> None:
    for within, expected in (("sorted", True), ("shuffled", False)):
        placed = NeuraLadder(within_slot=within, **KEEP_ALL).arrange(items(), 0)  # type: ignore[arg-type]
        keys = [(p.slot, p.item.difficulty, p.item.complexity, p.item.id) for p in placed]
        assert (keys == sorted(keys)) == expected


def test_the_control_keeps_the_same_items_in_no_order() -> None:
    for dropping in ({}, KEEP_ALL):
        control = Shuffled(**dropping).arrange(items(), 0)  # type: ignore[arg-type]
        assert sorted(ids(control)) == sorted(ids(NeuraLadder(**dropping).arrange(items(), 0)))  # type: ignore[arg-type]
        rank = np.corrcoef(np.arange(len(control)), [p.item.level for p in control])[0, 1]
        assert abs(rank) < 0.15
    ladder = NeuraLadder().arrange(items(), 0)
    assert np.corrcoef(np.arange(len(ladder)), [p.item.level for p in ladder])[0, 1] < -0.7


@pytest.mark.parametrize("weights", [(1, 1), (1, -1, 1), (0, 0, 0), ()])
def test_impossible_weights_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights"):
        NeuraLadder(weights=weights)


def test_nothing_is_ordered_as_nothing() -> None:
    assert NeuraLadder().arrange([], 0) == Shuffled().arrange([], 0) == []
