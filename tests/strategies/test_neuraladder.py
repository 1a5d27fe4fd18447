"""The mixing kernel: every kept item once, near its level, by the weights; a function of scores, ids and seed."""

from collections import Counter

import numpy as np
import pytest
from arranged import KEEP_ALL, Placed, Scored, arrange, items, key, scored
from hypothesis import given
from hypothesis import strategies as st

from ladder.strategies import NeuraLadder, Reversed, Shuffled, Sorted

weights = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=9).filter(
    lambda w: len(w) % 2 == 1 and sum(w) > 0
)


def reference(found: list[Scored], seed: int, weights: list[float], within: str) -> list[Placed]:
    """The kernel in Python and float64: walk along the weights of the slots that there are until a uniform is spent."""
    present = {8 - item.level for item in found}
    reach = len(weights) // 2

    def slot(item: Scored) -> int:
        own = 8 - item.level
        choices = [(own + o, weights[o + reach]) for o in range(-reach, reach + 1)]
        choices = [(s, w) for s, w in choices if s in present and w > 0] or [(own, 1.0)]
        left = key(seed, item.id, "slot") / 2**63 * sum(w for _, w in choices)
        for s, w in choices:
            left -= w
            if left < 0:
                return s
        return choices[-1][0]

    placed = [Placed(item, slot(item)) for item in found]
    if within == "sorted":
        return sorted(placed, key=lambda p: (p.slot, p.item.difficulty, p.item.complexity, p.item.id))
    return sorted(placed, key=lambda p: (p.slot, key(seed, p.item.id, "order")))


@given(scored, st.integers(0, 5), weights, st.sampled_from(["shuffled", "sorted"]))
def test_the_kernel_in_sql_is_the_kernel_in_float64(
    found: list[Scored], seed: int, weights: list[float], within: str
) -> None:
    strategy = NeuraLadder(within_slot=within, weights=tuple(weights), **KEEP_ALL)  # type: ignore[arg-type]
    assert arrange(strategy, found, seed).placed == reference(found, seed, weights, within)


@given(scored, st.integers(0, 5), weights)
def test_every_kept_item_occurs_once_and_at_most_the_reach_of_the_weights_off(
    found: list[Scored], seed: int, weights: list[float]
) -> None:
    order = arrange(NeuraLadder(weights=tuple(weights), **KEEP_ALL), found, seed)  # type: ignore[arg-type]
    assert sorted(order.ids) == sorted(i.id for i in found)
    slots = [p.slot for p in order.placed]
    assert slots == sorted(slots)
    assert all(abs(p.slot - (8 - p.item.level)) <= len(weights) // 2 for p in order.placed)


def test_a_small_ladder_is_mixed_as_ever() -> None:
    """Frozen: a change of these would give every split another order."""
    order = arrange(NeuraLadder(), items(per_level=2), 0)
    assert [(p.item.id, p.slot) for p in order.placed] == GOLDEN


GOLDEN = [
    ("7-1", 0),
    ("6-1", 1),
    ("8-1", 1),
    ("7-0", 3),
    ("3-0", 3),
    ("5-1", 3),
    ("6-0", 4),
    ("5-0", 4),
    ("2-0", 4),
    ("1-0", 5),
    ("4-1", 5),
    ("4-0", 5),
    ("3-1", 6),
    ("2-1", 6),
    ("1-1", 7),
]


@pytest.mark.parametrize("threads", [2, 8])
def test_an_order_is_the_same_on_every_number_of_threads_and_order_of_rows(threads: int) -> None:
    many = items(per_level=3000)  # several row groups, or one thread would do it all
    first = arrange(NeuraLadder(), many, 5)
    assert arrange(NeuraLadder(), many[::-1], 5, threads) == first
    assert arrange(NeuraLadder(), many, 6, threads) != first


def test_slots_run_from_easy_to_hard_and_mix_levels_within_two_by_their_weights() -> None:
    placed = arrange(NeuraLadder(**KEEP_ALL), items(per_level=2000), 0).placed  # type: ignore[arg-type]
    share = Counter((p.item.level, p.slot) for p in placed)
    for level in range(2, 7):
        assert [share[level, 8 - level + o] / 2000 for o in range(-2, 3)] == pytest.approx(
            [0.2] * 5, abs=0.04
        )
    # at the ends the weights are truncated and renormalised
    assert [share[8, slot] / 2000 for slot in range(4)] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.04)
    assert [share[7, slot] / 2000 for slot in range(5)] == pytest.approx([0.25] * 4 + [0], abs=0.04)
    assert [share[0, slot] / 2000 for slot in (6, 7, 8)] == pytest.approx([1 / 3] * 3, abs=0.04)


def test_shares_are_the_weights_truncated_and_renormalised() -> None:
    """By hand, for weights 1, 2, 3, 2, 1 of the offsets -2 ... +2."""
    kernel, every = NeuraLadder(weights=(1, 2, 3, 2, 1)), set(range(9))
    assert kernel.shares(4, every) == {2: 1 / 9, 3: 2 / 9, 4: 3 / 9, 5: 2 / 9, 6: 1 / 9}
    assert kernel.shares(0, every) == {0: 3 / 6, 1: 2 / 6, 2: 1 / 6}
    assert kernel.shares(7, every) == {5: 1 / 8, 6: 2 / 8, 7: 3 / 8, 8: 2 / 8}
    assert kernel.shares(4, {0, 4, 6}) == {4: 3 / 4, 6: 1 / 4}
    assert NeuraLadder(weights=(1, 0, 1)).shares(4, {4}) == {4: 1.0}, "there is nowhere else to go"


def test_weights_say_how_much_is_mixed() -> None:
    alone = arrange(NeuraLadder(weights=(0, 0, 1, 0, 0), **KEEP_ALL), items(), 0).placed  # type: ignore[arg-type]
    assert all(p.slot == 8 - p.item.level for p in alone)
    harder = arrange(NeuraLadder(weights=(0, 0, 3, 1, 0), **KEEP_ALL), items(per_level=2000), 0).placed  # type: ignore[arg-type]
    moved = [p.slot - (8 - p.item.level) for p in harder if p.item.level > 0]
    assert set(moved) == {0, 1}
    assert np.mean(moved) == pytest.approx(0.25, abs=0.02)


def test_no_item_is_moved_to_a_level_that_has_no_items() -> None:
    placed = arrange(NeuraLadder(**KEEP_ALL), items(levels=(2, 3, 6)), 0).placed  # type: ignore[arg-type]
    assert {p.slot for p in placed} == {2, 5, 6}
    assert all(p.slot == 2 for p in placed if p.item.level == 6), "its neighbours 4, 5, 7 and 8 are absent"


def test_what_is_never_solved_goes_to_review_and_the_solved_with_least_thought_are_dropped() -> None:
    order = arrange(NeuraLadder(), items(per_level=21), 0)
    kept = Counter(p.item.level for p in order.placed)
    assert kept == Counter(dict.fromkeys(range(1, 8), 21)) + Counter({8: 11})
    assert order.left_out == {"unsolved": 21, "solved": 10}
    dropped = [i for i in items(per_level=21, levels=(8,)) if i.id not in order.ids]
    solved = [(p.item.complexity, p.item.id) for p in order.placed if p.item.level == 8]
    assert max((i.complexity, i.id) for i in dropped) < min(solved)


def test_all_solved_or_none_can_be_dropped() -> None:
    without = arrange(NeuraLadder(drop_solved_share=1), items(), 0).placed
    assert {p.item.level for p in without} == set(range(1, 8))
    assert len(arrange(NeuraLadder(**KEEP_ALL), items(), 0).placed) == 9 * 40  # type: ignore[arg-type]


@given(scored, st.integers(0, 3), st.sampled_from(["shuffled", "sorted"]))
def test_reversed_is_the_order_backwards(found: list[Scored], seed: int, within: str) -> None:
    forward, backward = (
        arrange(kind(within_slot=within, **KEEP_ALL), found, seed)  # type: ignore[arg-type]
        for kind in (NeuraLadder, Reversed)
    )
    assert backward.ids == forward.ids[::-1]
    assert [p.slot for p in backward.placed] == [8 - p.slot for p in forward.placed[::-1]]


def test_the_controls_keep_the_same_items() -> None:
    for dropping in ({}, KEEP_ALL):
        whole = arrange(NeuraLadder(**dropping), items(), 0)  # type: ignore[arg-type]
        for control in (Shuffled, Reversed, Sorted):
            order = arrange(control(**dropping), items(), 0)  # type: ignore[arg-type]
            assert sorted(order.ids) == sorted(whole.ids)
            assert order.left_out == whole.left_out


@pytest.mark.parametrize(
    "weights", [(1, 1), (1, -1, 1), (0, 0, 0), (), (float("inf"),), (float("nan"),), (1e308, 1e308, 1e308)]
)
def test_impossible_weights_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights"):
        NeuraLadder(weights=weights)
