"""A reward of one's own: run only where the settings say so, shown the group, and checked."""

import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch
from torch_step import Maths

from ladder.config import validate
from ladder.errors import BadInput, LadderError
from ladder.records import AnswerType, Item, Outcome
from trainer.reward import Answer, Answers, Own, load_own, rewards_PG

ITEMS = [Item(f"item{p}", "?", (), (), str(p), AnswerType.INTEGER, "here", str(p)) for p in range(2)]


def answers() -> Answers:
    return Answers(
        correct_PG=torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
        lengths_PG=torch.tensor([[3, 5], [7, 9]]),
        truncated_PG=torch.tensor([[False, False], [False, True]]),
        texts=[["a", "b"], ["c", "d"]],
        items=ITEMS,
        outcomes=[[Outcome.CORRECT, Outcome.WRONG], [Outcome.NO_ANSWER, Outcome.WRONG]],
    )


def brevity(group: Sequence[Answer]) -> list[float]:
    return [1 / answer.length for answer in group]


def seen(group: Sequence[Answer]) -> list[float]:
    SEEN.extend(group)
    return [0.0] * len(group)


def one_too_few(group: Sequence[Answer]) -> list[float]:
    return [0.0] * (len(group) - 1)


def not_finite(group: Sequence[Answer]) -> list[float]:
    return [float("nan")] * len(group)


def nothing(group: Sequence[Answer]) -> None:
    del group


def failing(group: Sequence[Answer]) -> list[float]:
    raise KeyError(group[0].text)


SEEN: list[Answer] = []
NO_FUNCTION = 3


def own(name: str, weight: float = 1.0) -> dict[str, Own]:
    return {"mine": Own(function=f"{__name__}:{name}", allow_code=True, weight=weight)}


def test_a_function_of_ones_own_pays_by_group() -> None:
    got = rewards_PG(answers(), own("brevity", 2.0))
    assert got["mine"].tolist() == [[2 / 3, 2 / 5], [2 / 7, 2 / 9]]
    assert torch.equal(got["total"], got["mine"])


def test_it_sees_each_answer_of_the_group_and_can_change_none() -> None:
    SEEN.clear()
    rewards_PG(answers(), own("seen"))
    assert SEEN[0] == Answer("a", ITEMS[0], Outcome.CORRECT, True, 3, False)
    assert SEEN[3] == Answer("d", ITEMS[1], Outcome.WRONG, False, 9, True)
    with pytest.raises(FrozenInstanceError):
        SEEN[0].correct = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("one_too_few", "gave 1 numbers for 2 responses"),
        ("not_finite", "gave a number that is not finite"),
        ("nothing", "gave None, not a list of numbers"),
    ],
)
def test_what_is_no_reward_is_told_with_function_and_item(name: str, told: str) -> None:
    with pytest.raises(LadderError, match=rf"{name}, item item0: {told}"):
        rewards_PG(answers(), own(name))


def test_what_the_function_raises_passes_with_a_note() -> None:
    with pytest.raises(KeyError) as raised:
        rewards_PG(answers(), own("failing"))
    assert "failing, item item0" in raised.value.__notes__[0]


@pytest.mark.parametrize("name", ["missing", "NO_FUNCTION"])
def test_a_function_that_is_not_there_is_told_before_anything_runs(name: str) -> None:
    with pytest.raises(BadInput, match=f"no reward function .*{name}"):
        load_own(own(name))
    assert load_own(own("brevity")) == [f"{__name__}:brevity"]


def test_code_is_not_even_imported_without_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_reward.py").write_text("def paid(group): return [1.0] * len(group)\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = {"kind": "own", "function": "hostile_reward:paid"}
    with pytest.raises(BadInput, match=r"reward\.mine: 'hostile_reward:paid' is code: set allow_code = true"):
        validate(Maths, {"reward": {"mine": named}})
    allowed = validate(Maths, {"reward": {"mine": named | {"allow_code": True}}})
    assert "hostile_reward" not in sys.modules, "settings import nothing"
    assert rewards_PG(answers(), allowed.reward)["total"].sum() == 4


@pytest.mark.parametrize("function", ["brevity", "a:b:c", "a b:c", ":f", "m:", "../m:f", "m:f()"])
def test_a_function_is_named_by_module_and_name(function: str) -> None:
    with pytest.raises(BadInput, match="is not written as module:function"):
        validate(Maths, {"reward": {"mine": {"kind": "own", "function": function, "allow_code": True}}})
