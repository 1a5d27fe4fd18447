"""Observe-R1's reward, against the published behaviour of its code and where this departs from it."""

import pytest
import torch

from trainer.reward import BonusSettings, RewardSettings, bonus_PG, rewards_PG, well_formed

OBS, T, A = "<observe>o</observe>", "<think>t</think>", "<answer>a</answer>"


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


def test_think_answer_format_and_none() -> None:
    assert well_formed(T + A, "think-answer")
    assert not well_formed(A + T, "think-answer")
    assert well_formed("anything", "none")


def test_the_worked_example_of_the_paper() -> None:
    correct = torch.tensor([[1, 1, 1, 0, 0, 0, 0, 0]])
    lengths = torch.tensor([[350, 180, 420, 200, 90, 500, 610, 300]])
    terms = rewards_PG(correct, torch.ones_like(correct), lengths, RewardSettings())
    assert terms["total"].tolist()[0] == pytest.approx([1.5, 1.7, 1.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert set(terms) == {"accuracy", "format", "bonus", "total"}


def test_a_lower_bound_does_not_fall_through_to_the_next_shortest() -> None:
    correct, lengths = torch.tensor([[1, 1, 0]]), torch.tensor([[90, 150, 120]])
    assert bonus_PG(correct, lengths, BonusSettings()).sum() == 0
    assert bonus_PG(correct, lengths, BonusSettings(constraint=80)).tolist()[0] == pytest.approx([0.2, 0, 0])


def test_an_upper_bound_pays_the_concise_and_nobody_else() -> None:
    settings = BonusSettings(bound="upper", constraint=16)
    correct = torch.tensor([[1, 1, 0], [1, 1, 0]])
    lengths = torch.tensor([[15, 12, 3], [17, 40, 3]])
    paid = bonus_PG(correct, lengths, settings)
    assert paid[0].tolist() == pytest.approx([0, 0.2, 0])
    assert paid[1].sum() == 0


@pytest.mark.parametrize("bound", ["lower", "upper"])
def test_an_all_wrong_group_gets_no_bonus(bound: str) -> None:
    lengths = torch.tensor([[500, 10, 300]])
    settings = BonusSettings(bound=bound, constraint=100)
    assert bonus_PG(torch.zeros(1, 3), lengths, settings).sum() == 0
