"""All strategies: deterministic, complete but for what they count; and what is particular to each."""

import math
from collections import Counter

import numpy as np
import pytest
from arranged import KEEP_ALL, Arranged, Scored, arrange, in_rounds, items, key, scored
from hypothesis import given
from hypothesis import strategies as st

from ladder.strategies import (
    Balanced,
    Band,
    Curriculum,
    Gaussian,
    NeuraLadder,
    Reversed,
    Shuffled,
    Sorted,
    Stages,
)
from ladder.strategies.gaussian import LARGEST

ALL: list[Curriculum] = [
    NeuraLadder(),
    NeuraLadder(within_slot="sorted"),
    Sorted(),
    Shuffled(),
    Reversed(),
    Band(),
    Band(preset="skywork", order="sorted"),
    Stages(),
    Stages(weighting="soft"),
    Gaussian(),
    Balanced(),
    Balanced(by="subject", rest="keep"),
]
SEEDED = [s for s in ALL if not isinstance(s, Sorted) and getattr(s, "order", "") != "sorted"]


def levels(order: Arranged) -> list[int]:
    return [p.item.level for p in order.placed]


def rank(order: Arranged) -> float:
    """How level goes with position."""
    return float(np.corrcoef(np.arange(len(order.placed)), levels(order))[0, 1])


@given(scored, st.integers(0, 3), st.sampled_from(ALL))
def test_an_order_is_a_function_of_scores_and_seed(
    found: list[Scored], seed: int, strategy: Curriculum
) -> None:
    first = arrange(strategy, found, seed)
    assert arrange(strategy, found[::-1], seed, threads=2) == first
    slots = [p.slot for p in first.placed]
    assert slots == sorted(slots)


@given(scored, st.integers(0, 3), st.sampled_from(ALL))
def test_every_item_is_placed_or_counted(found: list[Scored], seed: int, strategy: Curriculum) -> None:
    order = arrange(strategy, found, seed)
    left = sum(order.left_out.values())
    if isinstance(strategy, Stages | Balanced):  # may leave out more, told as their surplus
        assert len(set(order.ids)) + left <= len(found)
    else:
        assert len(order.ids) == len(set(order.ids)) == len(found) - left


@pytest.mark.parametrize("strategy", SEEDED, ids=repr)
def test_another_seed_is_another_order(strategy: Curriculum) -> None:
    assert arrange(strategy, items(), 0) != arrange(strategy, items(), 1)


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_every_strategy_is_the_same_on_every_number_of_threads(strategy: Curriculum) -> None:
    many = items(per_level=1000)
    assert arrange(strategy, many, 0, threads=1) == arrange(strategy, many, 0, threads=8)


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_nothing_is_ordered_as_nothing(strategy: Curriculum) -> None:
    assert arrange(strategy, [], 0) == Arranged([], {})


def test_sorted_rises_in_difficulty_then_complexity_and_each_row_is_a_slot() -> None:
    order = arrange(Sorted(**KEEP_ALL), items(), 0)  # type: ignore[arg-type]
    keys = [(p.item.difficulty, p.item.complexity, p.item.id) for p in order.placed]
    assert keys == sorted(keys)
    assert [p.slot for p in order.placed] == list(range(len(keys)))


def test_shuffled_has_no_order_and_the_ladder_has() -> None:
    assert abs(rank(arrange(Shuffled(), items(), 0))) < 0.15
    assert rank(arrange(NeuraLadder(), items(), 0)) < -0.7
    assert rank(arrange(Reversed(), items(), 0)) > 0.7


@pytest.mark.parametrize(
    ("preset", "n", "kept"),
    [
        ("dapo", 8, range(1, 8)),
        ("dapo", 16, range(1, 16)),
        ("mm-eureka", 8, range(1, 8)),  # as its authors say: with n = 8 exactly 0 and 8 are dropped
        ("mm-eureka", 10, range(1, 10)),  # .1 and .9 belong to it
        ("mm-eureka", 16, range(2, 15)),
        ("skywork", 16, range(1, 16)),
        ("skywork", 32, range(2, 31)),
        ("polaris", 8, range(1, 8)),
        ("polaris", 10, range(1, 10)),
        ("polaris", 16, range(1, 15)),
    ],
)
def test_presets_cut_as_published(preset: str, n: int, kept: range) -> None:
    found = [Scored(f"{c}", 4, 1 - c / n, pass_rate=c / n) for c in range(n + 1)]
    order = arrange(Band(preset=preset), found, 0)  # type: ignore[arg-type]
    assert sorted(map(int, order.ids)) == list(kept)
    assert order.left_out == {"below_band": kept[0], "above_band": n - kept[-1]}


def test_a_band_of_ones_own_is_open_or_closed() -> None:
    found = [Scored(f"{c}", c, 1 - c / 8, pass_rate=c / 8) for c in range(9)]
    closed = arrange(Band(at_least=0.25, at_most=0.5, order="sorted"), found, 0)
    assert closed.ids == ["4", "3", "2"]
    assert arrange(Band(above=0.25, below=0.5), found, 0).ids == ["3"]
    with pytest.raises(ValueError, match="not both"):
        Band(preset="dapo", above=0.1)


def test_stages_hold_the_items_of_their_bands_each_shuffled_anew() -> None:
    found = [Scored(f"{i}-{c}", c, 1 - c / 8, pass_rate=c / 8) for c in range(9) for i in range(20)]
    order = arrange(Stages(), found, 0)
    stage = [[p.item for p in order.placed if p.slot == s] for s in range(3)]
    assert [Counter(i.level for i in part) for part in stage] == [
        dict.fromkeys(range(4, 9), 20),
        dict.fromkeys(range(2, 7), 20),
        dict.fromkeys(range(1, 5), 20),
    ]
    assert order.left_out == {"no_stage": 20}, "p = 0 is in none"
    both = [[i.id for i in part if i.level in (4,)] for part in stage]
    assert both[0] != both[1] != both[2]


def test_soft_stages_take_an_item_with_the_published_weight_as_its_chance() -> None:
    """recipes of VL-Cogito: s_3, s_2 and s_1 at p = c/8."""
    sine = [math.sin(math.pi * c / 8) for c in range(9)]
    expected = [
        [*sine[:4], 1, 1, 1, 1, 1],
        [*sine[:8], 0],
        [0.25, 1, 1, 1, 1, *sine[5:8], 0],
    ]
    found = [Scored(f"{i}-{c}", c, 1 - c / 8, pass_rate=c / 8) for c in range(9) for i in range(1000)]
    order = arrange(Stages(weighting="soft"), found, 0)
    taken = Counter((p.slot, p.item.level) for p in order.placed)
    for slot in range(3):
        assert [taken[slot, c] / 1000 for c in range(9)] == pytest.approx(expected[slot], abs=0.06)


def test_a_target_that_rises_without_scatter_is_sorted_and_with_much_is_shuffled() -> None:
    still = arrange(Gaussian(sigma=0, **KEEP_ALL), items(), 0)  # type: ignore[arg-type]
    assert still.ids == arrange(Sorted(**KEEP_ALL), items(), 0).ids  # type: ignore[arg-type]
    assert abs(rank(arrange(Gaussian(sigma=100), items(per_level=400), 0))) < 0.1


def test_difficulty_scatters_normally_about_the_target() -> None:
    found = items(per_level=2000)
    placed = arrange(Gaussian(sigma=0.8, **KEEP_ALL), found, 0).placed  # type: ignore[arg-type]
    keys = {i.id: 8 * i.difficulty + 0.8 * normal(i.id) for i in found}
    place = {i.id: n for n, i in enumerate(sorted(found, key=lambda i: (i.difficulty, i.complexity, i.id)))}
    assert [p.item.id for p in placed] == sorted(keys, key=lambda i: (keys[i], place[i]))
    away = [abs(p.slot - 8 * p.item.difficulty) for p in placed]
    assert max(away) <= 0.8 * LARGEST + 0.5
    middle = [p.item.level for p in placed[len(placed) // 2 - 500 : len(placed) // 2 + 500]]
    assert np.mean(middle) == pytest.approx(4, abs=0.1)
    assert np.std(middle) == pytest.approx(0.8, abs=0.1)


def normal(item_id: str) -> float:
    """Seven nine-bit pieces of a key: their sum, standardised."""
    drawn = key(0, item_id, "normal")
    pieces = [(drawn >> 9 * i) & 511 for i in range(7)]
    return (sum(pieces) - 7 * 511 / 2) / (7 * (512**2 - 1) / 12) ** 0.5


def test_classes_have_equal_shares_all_along() -> None:
    found = in_rounds(700, tier=["a", "a", "a", "b", "b", "b", "c"])
    placed = arrange(Balanced(**KEEP_ALL), found, 0).placed  # type: ignore[arg-type]
    tiers = [p.item.tier for p in placed]
    assert len(tiers) == 300
    for end in range(3, 301, 3):
        assert Counter(tiers[:end]) == dict.fromkeys("abc", end // 3)
    assert len({tuple(tiers[i : i + 3]) for i in range(0, 300, 3)}) > 1, "no class always comes first"


def test_what_the_smallest_class_has_no_partner_for_may_be_kept() -> None:
    found = in_rounds(600, subject=["x", "x", "y", "y", "y", None])  # type: ignore[list-item]
    placed = arrange(Balanced(by="subject", rest="keep", **KEEP_ALL), found, 0).placed  # type: ignore[arg-type]
    subjects = [p.item.subject for p in placed]
    assert Counter(subjects[:300]) == dict.fromkeys(["x", "y", None], 100)
    assert Counter(subjects[300:500]) == {"x": 100, "y": 100}
    assert set(subjects[500:]) == {"y"}
