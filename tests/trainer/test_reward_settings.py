"""The tables of a recipe's mathematics: named terms, kinds, overrides, and what is told of a wrong one."""

import tomllib
from typing import Any

import pytest
from torch_step import Maths

from ladder.config import dump, validate
from ladder.errors import BadInput
from trainer.advantage import DrGrpo, Grpo
from trainer.group_weights import Uncertainty
from trainer.kl import Constant, GrpoD
from trainer.reward import KINDS, Accuracy, Bonus, Format

RECIPE = """
[reward.accuracy]

[reward.format]
weight = 0.5
form = "observe-think-answer"

[reward.bonus]
amount = 0.2
bound = "lower"
constraint = 100

[advantage]
kind = "grpo"
eps = 1e-9

[advantage.weight]
kind = "uncertainty"
sigma = 1.8

[kl]
weight = 0.01
"""


def maths(*overrides: str, recipe: str = RECIPE) -> Maths:
    return validate(Maths, tomllib.loads(recipe), overrides)


def complaint(*overrides: str) -> str:
    with pytest.raises(BadInput) as told:
        maths(*overrides)
    text = str(told.value)
    assert "\n" not in text
    return text


def test_a_recipes_tables_are_its_terms() -> None:
    got = maths()
    assert got.reward == {"accuracy": Accuracy(), "format": Format(weight=0.5), "bonus": Bonus()}
    assert got.advantage == Grpo(eps=1e-9, weight=Uncertainty(sigma=1.8))
    assert got.kl.weight == Constant(value=0.01)


def test_dotted_overrides_reach_a_term_of_the_recipe() -> None:
    got = maths("reward.bonus.bound=upper", "reward.bonus.constraint=16", "reward.format.weight=0").reward
    assert got["bonus"] == Bonus(bound="upper", constraint=16)
    assert got["format"] == Format(weight=0)


def test_two_terms_of_a_kind_and_a_new_one() -> None:
    got = maths(
        "reward.wordy.kind=repetition", "reward.wordy.n=3", "reward.stutter.kind=repetition", "reward.lead={}"
    )
    assert [got.reward[name].kind for name in ("wordy", "stutter", "lead")] == [
        "repetition",
        "repetition",
        "lead",
    ]


def test_what_is_resolved_can_be_written_and_read_again() -> None:
    got = maths("kl.weight={kind='grpo-d', low=0.04, high=0.1}", "loss.dual_clip=3", "advantage.clip=10")
    assert got.kl.weight == GrpoD(low=0.04, high=0.1)
    assert validate(Maths, tomllib.loads(dump(got))) == got


def test_an_estimator_without_its_kind_is_grpo() -> None:
    values: dict[str, Any] = {"reward": {"accuracy": {}}}
    assert validate(Maths, values | {"advantage": {"std": "population"}}).advantage == Grpo(std="population")
    assert validate(Maths, values | {"advantage": {"kind": "dr-grpo"}}).advantage == DrGrpo()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("reward.bonus.bond=upper", "unknown key 'reward.bonus.bond', did you mean 'reward.bonus.bound'?"),
        ("reward.acuracy.weight=1", "reward: 'acuracy' is no kind of term, did you mean 'accuracy'?"),
        ("reward.mine.weight=1", "needs a `kind`: accuracy, format"),
        ("reward.mine.kind=lenght", "reward.mine: 'lenght' is none of 'accuracy'"),
        ("reward.format.form=think", "reward.format.form"),
        ("reward.accuracy.weight=inf", "reward.accuracy.weight"),
        ("reward.total.kind=accuracy", "'total' is the sum of all terms"),
        ("reward={}", "reward: a reward needs a term"),
        ("reward=3", "reward"),
        ("reward.overlong={max_tokens=10, buffer=20}", "reward.overlong: buffer must not exceed max_tokens"),
        ("reward.dylr={target=10, limit=5}", "reward.dylr: target must not exceed limit"),
        ("advantage.sigma=2", "unknown key 'advantage.sigma'"),
        ("advantage.weight.sigmaa=2", "unknown key 'advantage.weight.sigmaa', did you mean 'advantage.weight.sigma'?"),
        ("advantage.kind=grop", "advantage: 'grop' is none of 'grpo'"),
        ("advantage.weight={kind='odsw', stage='warm'}", "advantage.weight.stage"),
        ("kl.weight=-1", "kl.weight.value"),
        ("kl.weight={kind='grpo-d', low=0.1, high=0.05}", "kl.weight: low must not exceed high"),
        ("kl.weight={kind='linear', start=0.1}", "kl.weight.end"),
        ("kl.place=loss", "k1 in the loss has a gradient of mean 0"),
        ("loss.cliplow=0.1", "unknown key 'loss.cliplow', did you mean 'loss.clip_low'?"),
        ("loss.dual_clip=0.5", "loss.dual_clip"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_key(override: str, told: str) -> None:
    assert told in complaint(override)


def test_the_kinds_are_those_of_the_union() -> None:
    for kind in KINDS:
        extra = {"function": "math:prod", "allow_code": True} if kind == "own" else {}
        assert validate(Maths, {"reward": {kind: extra}}).reward[kind].kind == kind
