"""The terms of the reward, against published examples and the behaviour of published code."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.reward import (
    Accuracy,
    Answers,
    Bonus,
    DyLR,
    Format,
    Lead,
    Length,
    Overlong,
    Repetition,
    Strict,
    Term,
    default_reward,
    rewards_PG,
    well_formed,
)
from trainer.reward.repetition import repeated_share

OBS, T, A = "<observe>o</observe>", "<think>t</think>", "<answer>a</answer>"


def answers(
    correct: list[list[int]], lengths: list[list[int]] | None = None, texts: list[list[str]] | None = None
) -> Answers:
    shape = torch.tensor(correct)
    return Answers(
        correct_PG=shape.float(),
        lengths_PG=torch.tensor(lengths) if lengths else torch.ones_like(shape),
        truncated_PG=torch.zeros_like(shape, dtype=torch.bool),
        texts=texts or [[OBS + T + A] * len(row) for row in correct],
    )


def value(term: Term, *given: Any) -> list[list[float]]:
    rows: list[list[float]] = term.value_PG(answers(*given)).tolist()
    return rows


@pytest.mark.parametrize(
    ("response", "formed"),
    [
        (OBS + T + A, True),
        (f"before {OBS}\n{T}\n{A} after", True),
        (f"{OBS} between {T}{A}", False),
        (T + OBS + A, False),
        (T + A, False),
        ("<observe></observe>" + T + A, False),
        ("<observe> </observe>" + T + A, False),
        ("<think>a<observe>o</observe>b</think>" + A, True),
        ("<think><observe>o</observe>b</think>" + A, False),
        ("<think>a<observe>o</observe></think>" + A, False),
        (OBS + OBS + T + A, False),
        (OBS + T + T + A, False),
        (OBS + T + A + A, False),
        # what the paper's code lets pass: alternation binds looser than its lookaheads
        ("<think>a<observe>o</observe>b</think>" + A + A, False),
        (T + "<think>a<observe>o</observe>b</think>" + A, False),
        ("", False),
        ("<observe>1\n2</observe>\n<think>\nx\n</think>\n<answer>\n3\n</answer>", True),
    ],
)
def test_the_format_is_the_papers_without_its_loopholes(response: str, formed: bool) -> None:
    assert well_formed(response, "observe-think-answer") is formed


def test_think_answer_needs_its_two_blocks_in_order() -> None:
    assert well_formed(T + A, "think-answer")
    assert well_formed(f"so: {T}\n{A}.", "think-answer")
    assert not well_formed(A + T, "think-answer")


@pytest.mark.parametrize("form", ["think-answer", "observe-think-answer"])
def test_anchored_allows_nothing_around_the_blocks(form: Any) -> None:
    whole = T + "\n" + A if form == "think-answer" else OBS + T + A
    assert well_formed(whole, form, anchored=True)
    for around in (f"x{whole}", f"{whole}x", f"{whole}\n"):
        assert well_formed(around, form)
        assert not well_formed(around, form, anchored=True)


def test_the_worked_example_of_observe_r1() -> None:
    given = answers([[1, 1, 1, 0, 0, 0, 0, 0]], [[350, 180, 420, 200, 90, 500, 610, 300]])
    terms = rewards_PG(given, default_reward())
    assert terms["total"].tolist()[0] == pytest.approx([1.5, 1.7, 1.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert list(terms) == ["accuracy", "format", "bonus", "total"]


def test_the_total_is_the_sum_of_weighted_terms_of_any_names() -> None:
    given = answers([[1, 0]], [[3, 9]])
    terms = rewards_PG(
        given, {"a": Accuracy(weight=2.0), "b": Accuracy(weight=-0.5), "c": Length(weight=0.0)}
    )
    assert terms["a"].tolist() == [[2.0, 0.0]]
    assert terms["c"].tolist() == [[0.0, 0.0]]
    assert terms["total"].tolist() == [[1.5, 0.0]]


def test_a_lower_bound_does_not_fall_through_to_the_next_shortest() -> None:
    assert value(Bonus(), [[1, 1, 0]], [[90, 150, 120]]) == [[0, 0, 0]]
    assert value(Bonus(constraint=80), [[1, 1, 0]], [[90, 150, 120]]) == [[0.2, 0, 0]]
    assert value(Bonus(constraint=90), [[1, 1, 0]], [[90, 150, 120]]) == [[0, 0, 0]], (
        "more than, not as many as"
    )


def test_an_upper_bound_pays_the_concise_and_nobody_else() -> None:
    concise = Bonus(bound="upper", constraint=16)
    paid = value(concise, [[1, 1, 0], [1, 1, 0], [1, 0, 1]], [[15, 12, 3], [17, 40, 3], [16, 1, 16]])
    assert paid == [[0, 0.2, 0], [0, 0, 0], [0.2, 0, 0]]


@pytest.mark.parametrize("bound", ["lower", "upper"])
def test_an_all_wrong_group_gets_no_bonus(bound: Any) -> None:
    assert value(Bonus(bound=bound, constraint=100), [[0, 0, 0]], [[500, 10, 300]]) == [[0, 0, 0]]


def test_kimis_length_reward() -> None:
    assert value(Length(), [[1, 0, 1]], [[100, 200, 300]]) == [[0.5, 0.0, -0.5]]
    assert value(Length(), [[0, 0, 1]], [[100, 300, 200]]) == [[0.0, -0.5, 0.0]]
    assert value(Length(), [[1, 0]], [[100, 100]]) == [[0, 0]], "all equally long"


def test_vl_cogitos_dynamic_length_reward_of_a_solved_prompt() -> None:
    lengths = [0, 100, 200, 400, 600, 800, 900]
    (paid,) = value(DyLR(), [[0] * 7 + [1, 1]], [[*lengths, 300, 500]])
    assert paid == pytest.approx([-0.5, -0.4268, -0.25, 0, -0.25, -0.5, -0.5, 0, 0], abs=1e-4)


def test_vl_cogitos_dynamic_length_reward_of_an_unsolved_prompt() -> None:
    lengths = [0, 375, 749, 750, 4095, 4096, 9000]
    (paid,) = value(DyLR(), [[0] * 7], [lengths])
    expected = -0.125 * (1 + math.cos(math.pi * 749 / 750))
    assert paid == pytest.approx([-0.25, -0.125, expected, 0, 0, -0.25, -0.25])


def test_dapos_soft_overlong_punishment() -> None:
    assert value(Overlong(), [[0] * 5], [[16384, 18432, 20480, 20481, 5]]) == [[0, -0.5, -1, -1, 0]]
    assert value(Overlong(max_tokens=10, buffer=10), [[1] * 3], [[0, 5, 10]]) == [[0, -0.5, -1]]


def test_leads_length_term_prefers_the_short_among_the_correct() -> None:
    (paid,) = value(Lead(), [[1, 1, 1, 0]], [[100, 200, 300, 50]])
    assert paid == pytest.approx(
        [math.exp(0.05), 1.0, math.exp(-0.05), -1.0], abs=1e-6
    )  # std 100: z = -1, 0, 1


def test_leads_length_term_is_1_for_a_single_correct_one_and_behind_the_gate_of_its_code() -> None:
    assert value(Lead(), [[1, 0, 0]], [[10, 20, 30]]) == [[1, -1, -1]]
    assert value(Lead(gate=4000), [[1, 1, 0, 0]], [[3000, 9000, 5000, 4000]]) == [[1, 1, -1, -1]]
    (paid,) = value(Lead(gate=3999), [[1, 1, 0, 0]], [[3000, 9000, 5000, 4000]])
    assert paid[0] > 1 > paid[1] > 0


def test_repetition_is_the_share_of_ngrams_that_were_there_before() -> None:
    assert repeated_share("a b c d", 2) == 0
    assert repeated_share("a b A B a b", 2) == pytest.approx(1 - 2 / 5)
    assert repeated_share("word " * 19, 20) == 0, "too short for an n-gram"
    assert repeated_share("word " * 40, 20) == pytest.approx(20 / 21)
    assert repeated_share("", 1) == 0


def test_repetition_may_be_charged_to_the_wrong_only() -> None:
    texts = [["x x x", "x x x"]]
    assert value(Repetition(n=1), [[1, 0]], [[3, 3]], texts) == [[pytest.approx(-2 / 3)] * 2]
    assert value(Repetition(n=1, of="wrong"), [[1, 0]], [[3, 3]], texts) == [[0, pytest.approx(-2 / 3)]]


def test_strict_pays_only_what_is_both_right_and_well_formed() -> None:
    texts = [[T + A, "x", T + A, "x"]]
    assert value(Strict(), [[1, 1, 0, 0]], None, texts) == [[1, 0, 0, 0]]
    assert value(Format(form="think-answer"), [[1, 1, 0, 0]], None, texts) == [[1, 0, 1, 0]]


BOUNDS: list[tuple[Term, float, float]] = [
    (Accuracy(), 0, 1), (Format(), 0, 1), (Strict(), 0, 1), (Bonus(), 0, 0.2), (Length(), -0.5, 0.5), (DyLR(), -0.5, 0),
    (Lead(), -1, math.inf), (Overlong(max_tokens=50, buffer=20), -1, 0), (Repetition(n=1), -1, 0),
]  # fmt: skip


@given(
    st.integers(2, 6).flatmap(
        lambda group: st.lists(
            st.lists(st.tuples(st.integers(0, 1), st.integers(0, 90)), min_size=group, max_size=group),
            min_size=1,
            max_size=4,
        )
    )
)
def test_every_term_is_bounded_and_a_matter_of_its_own_group(drawn: list[list[tuple[int, int]]]) -> None:
    correct, lengths = [[c for c, _ in row] for row in drawn], [[n for _, n in row] for row in drawn]
    for term, low, high in BOUNDS:
        together = value(term, correct, lengths)
        apart = [value(term, [c], [n])[0] for c, n in zip(correct, lengths, strict=True)]
        assert all(low <= v <= high for row in together for v in row)
        for row, own in zip(together, apart, strict=True):
            assert row == pytest.approx(own, abs=1e-12)
