"""What is wanted of each item: k samples, or as many as its own outcomes call for."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from ladder.records import Outcome
from ladder.sampling.plan import Plan

Judge = Callable[[str, int], Outcome]


class UntilMixed:
    """Two more samples, until there is a correct and a wrong one."""

    def wanted(self, correct: int, n: int) -> int:
        return n if 0 < correct < n else n + 2


def run(plan: Plan, judge: Judge, stop_after: int | None = None) -> list[tuple[str, int]]:
    """Sample whatever the plan wants, as an engine would; what was sampled, in order."""
    sampled: list[tuple[str, int]] = []
    while (wanted := plan.next_wanted()) is not None:
        item, indices = wanted
        for index in indices:
            if len(sampled) == stop_after:
                return sampled
            sampled.append((item, index))
            plan.record(item, index, judge(item, index))
    return sampled


def always(outcome: Outcome) -> Judge:
    return lambda _item, _index: outcome


def third(_item: str, index: int) -> Outcome:
    """Correct from the fourth sample on."""
    return Outcome.CORRECT if index >= 3 else Outcome.WRONG


def test_a_fixed_plan_wants_the_missing_samples_and_no_more() -> None:
    plan = Plan(["a", "b", "c"], {"a": {0: Outcome.WRONG, 2: None}, "b": dict.fromkeys(range(3))}, 3)
    assert list(plan.missing()) == [("a", [1]), ("c", [0, 1, 2])]
    assert run(plan, always(Outcome.WRONG)) == [("a", 1), ("c", 0), ("c", 1), ("c", 2)]
    assert plan.next_wanted() is None
    assert not list(plan.missing())


def test_what_was_sampled_beyond_k_is_left_alone() -> None:
    plan = Plan(["a"], {"a": dict.fromkeys(range(9), Outcome.WRONG)}, 4)
    assert not list(plan.missing())


def test_an_adaptive_plan_goes_on_until_its_rule_says_enough() -> None:
    plan = Plan(["a", "b"], {}, 8, UntilMixed(), 2)
    judge = lambda item, index: third(item, index) if item == "a" else Outcome.CORRECT  # noqa: E731
    sampled = run(plan, judge)
    assert [j for item, j in sampled if item == "a"] == [0, 1, 2, 3]
    assert [j for item, j in sampled if item == "b"] == list(range(8)), "never more than k"


def test_an_item_under_way_comes_before_a_fresh_one() -> None:
    plan = Plan(["a", "b"], {}, 8, UntilMixed(), 2)
    assert plan.next_wanted() == ("a", [0, 1])
    plan.record("a", 0, Outcome.WRONG)
    assert plan.under_way
    plan.record("a", 1, Outcome.WRONG)
    assert plan.next_wanted() == ("a", [2, 3])
    assert plan.next_wanted() == ("b", [0, 1])


def test_an_unverifiable_gold_is_asked_no_further() -> None:
    plan = Plan(["a"], {}, 8, UntilMixed(), 2)
    assert len(run(plan, always(Outcome.UNVERIFIABLE))) == 2


def test_timeouts_alone_call_for_no_more_and_one_of_several_costs_one() -> None:
    assert len(run(Plan(["a"], {}, 6, UntilMixed(), 2), always(Outcome.TIMEOUT))) == 2
    late = [Outcome.TIMEOUT, Outcome.WRONG, Outcome.WRONG, Outcome.CORRECT, Outcome.CORRECT]
    assert len(run(Plan(["a"], {}, 6, UntilMixed(), 2), lambda _item, index: late[index])) == 4


def test_an_item_that_was_given_up_is_asked_no_more() -> None:
    plan = Plan(["a"], {}, 8, UntilMixed(), 2)
    assert plan.next_wanted() == ("a", [0, 1])
    plan.give_up("a")
    plan.record("a", 0, Outcome.WRONG)
    plan.record("a", 1, Outcome.WRONG)
    assert plan.next_wanted() is None


def test_a_stored_sample_without_a_verdict_is_waited_for() -> None:
    plan = Plan(["a"], {"a": {0: None, 1: Outcome.WRONG}}, 8, UntilMixed(), 2)
    assert plan.next_wanted() is None
    assert not list(plan.missing())


outcomes = st.lists(st.sampled_from(list(Outcome)), min_size=16, max_size=16)


@given(st.lists(outcomes, min_size=1, max_size=4), st.integers(0, 40), st.integers(1, 5))
def test_killed_anywhere_a_plan_goes_on_to_the_same_samples(
    pool: list[list[Outcome]], killed_after: int, k0: int
) -> None:
    ids = [str(i) for i in range(len(pool))]

    def judge(item: str, index: int) -> Outcome:
        return pool[int(item)][index]

    whole = run(Plan(ids, {}, 16, UntilMixed(), k0), judge)
    before = run(Plan(ids, {}, 16, UntilMixed(), k0), judge, stop_after=killed_after)
    stored = {i: {j: judge(i, j) for item, j in before if item == i} for i in ids}
    after = run(Plan(ids, stored, 16, UntilMixed(), k0), judge)
    assert not set(before) & set(after)
    assert sorted(before + after) == sorted(whole)
