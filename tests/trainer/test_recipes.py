"""The shipped recipes have the constants of their papers, and say nothing that the settings do not know."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ladder.config import load, shipped
from ladder.errors import BadInput
from ladder.prompts import template
from ladder.splits import Split
from trainer.advantage import Grpo
from trainer.config import TrainSettings
from trainer.group_weights import Alike, Uncertainty
from trainer.kl import Constant, GrpoD, KlWeight
from trainer.reward import Accuracy, Bonus, Format
from trainer.setup import settings_for, train

RECIPES = ("grpo", "observe-r1", "othink-mr1")


def recipe(name: str) -> TrainSettings:
    return load(TrainSettings, shipped("recipes", name))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_of_known_settings(name: str) -> None:
    assert recipe(name).reward["accuracy"] == Accuracy()


def test_observe_r1_has_the_papers_constants() -> None:
    settings = recipe("observe-r1")
    batch, optim = settings.batch, settings.optim
    assert (batch.prompts, batch.group, batch.responses_per_update) == (128, 8, 64)
    assert len(batch.updates(batch.prompts)) == 16
    assert settings.reward["format"] == Format(form="observe-think-answer", weight=0.5)
    assert settings.reward["bonus"] == Bonus(amount=0.2, bound="lower", constraint=100)
    assert settings.advantage == Grpo(std="unbiased", eps=1e-9, clip=10.0, weight=Uncertainty(sigma=1.8))
    assert (settings.loss.clip_low, settings.loss.clip_high, settings.loss.average) == (0.2, 0.2, "token")
    assert settings.kl.weight == Constant(value=0.01)
    assert (settings.kl.estimator, settings.kl.place) == ("k1", "reward")
    assert (settings.response.temperature, settings.response.max_tokens) == (1.0, 8192)
    assert (optim.learning_rate, optim.betas, optim.weight_decay) == (1e-6, (0.9, 0.95), 0.0)
    assert (optim.schedule, optim.warmup_share, optim.min_share, optim.max_grad_norm) == (
        "cosine",
        0.03,
        0.1,
        1.0,
    )
    assert (settings.epochs, settings.save.every) == (1.0, 20)


def test_othink_mr1_has_the_papers_constants() -> None:
    settings = recipe("othink-mr1")
    assert settings.kl.weight == GrpoD(low=0.04, high=0.1, turn=0.3)
    assert (settings.kl.estimator, settings.kl.place) == ("k3", "loss")
    assert settings.reward["format"] == Format(form="think-answer", anchored=True, weight=1.0)
    assert "bonus" not in settings.reward
    assert settings.advantage == Grpo(std="unbiased", eps=1e-4, weight=Alike())
    assert (settings.batch.group, settings.batch.responses_per_update) == (8, None)
    assert (settings.epochs, settings.response.max_tokens) == (2.0, 512)


@pytest.mark.parametrize(
    ("low", "high", "weights"),
    [(0.04, 0.1, [0.07, 0.055, 0.04, 0.07, 0.10]), (0.0, 0.02, [0.01, 0.005, 0.0, 0.01, 0.02])],
)
def test_grpo_d_gives_the_papers_weights_for_both_tasks(
    low: float, high: float, weights: list[float]
) -> None:
    made = KlWeight(GrpoD(low=low, high=high))
    assert [made.at(s / 100) for s in (0, 15, 30, 65, 100)] == pytest.approx(weights)


def test_grpo_weighs_every_response_alike_and_has_its_kl_in_the_loss() -> None:
    settings = recipe("grpo")
    assert settings.loss.average == "sequence"
    assert (settings.kl.estimator, settings.kl.place, settings.kl.weight) == (
        "k3",
        "loss",
        Constant(value=0.04),
    )
    assert settings.advantage.weight == Alike()


def asking(split: Split, folder: Path, line: str) -> Split:
    """A copy of the split's ladder whose [train.set] has one line more, before the others."""
    ladder = Path(shutil.copytree(split.ladder, folder / "ladder"))
    file = ladder / "build.toml"
    file.write_text(file.read_text().replace("[build.train.set]", f"[build.train.set]\n{line}"))
    return replace(split, ladder=ladder)


def test_a_ladder_that_asks_for_code_is_refused_and_a_recipe_of_ones_own_is_not(
    split: Split, tmp_path: Path
) -> None:
    function = 'function = "json:loads", allow_code = true'
    with pytest.raises(BadInput, match=r"reward\.mine runs code"):
        settings_for(asking(split, tmp_path, f'"reward.mine" = {{kind = "own", {function}}}'), None, None, [])
    mine = tmp_path / "mine.toml"
    mine.write_text(f'[reward.mine]\nkind = "own"\n{function.replace(", ", chr(10))}\n')
    assert settings_for(split, None, str(mine), []).settings.reward["mine"].kind == "own"


@pytest.mark.parametrize("line", ['"track.wandb" = "project"', 'track.trackio = "x"'])
def test_a_ladder_never_says_who_is_told_of_a_run_but_the_user_does(
    split: Split, tmp_path: Path, line: str
) -> None:
    with pytest.raises(BadInput, match=r"track\.(wandb|trackio) says who is told"):
        settings_for(asking(split, tmp_path, line), None, None, [])
    assert settings_for(split, None, None, ["track.wandb=mine"]).settings.track.wandb == "mine"


@pytest.mark.parametrize(
    "line", ['"epochs.x" = 1', '"optim.learning_rate.x" = 1', '"batch.prompts" = "many"']
)
def test_what_a_ladder_says_wrongly_of_training_is_told_with_its_file(
    split: Split, tmp_path: Path, line: str
) -> None:
    foreign = asking(split, tmp_path, line)
    file = foreign.ladder / "build.toml"
    file.write_text(
        "\n".join(
            text
            for text in file.read_text().splitlines()
            if text == line or text.split(" =")[0] not in ('"optim.learning_rate"', '"batch.prompts"')
        )
    )
    with pytest.raises(BadInput, match=r"build\.toml: (epochs|optim\.learning_rate|batch\.prompts): "):
        settings_for(foreign, None, None, [])


def test_a_ladder_may_schedule_a_weight_that_its_recipe_has_as_a_number(split: Split, tmp_path: Path) -> None:
    line = '"kl.weight.kind" = "grpo-d"\n"kl.weight.low" = 0.04\n"kl.weight.high" = 0.1'
    settings = settings_for(asking(split, tmp_path, line), None, None, []).settings
    assert settings.kl.weight == GrpoD(low=0.04, high=0.1)


@pytest.mark.parametrize("name", RECIPES)
def test_set_schedules_the_kl_of_every_recipe(split: Split, name: str) -> None:
    overrides = ["kl.weight.kind=grpo-d", "kl.weight.low=0.01", "kl.weight.high=0.02"]
    assert settings_for(split, None, name, overrides).settings.kl.weight == GrpoD(low=0.01, high=0.02)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipes_prompt_template_is_there_and_asks_for_what_its_format_pays(name: str) -> None:
    settings = recipe(name)
    asked = template(settings.template).instruction
    wanted = settings.reward["format"]
    assert isinstance(wanted, Format)
    assert [tag for tag in ("observe", "think", "answer") if f"<{tag}>" in asked] == wanted.form.split("-")


def test_epochs_that_are_asked_for_take_the_place_of_the_pipelines_steps(
    split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(split, None, None, ["epochs=2"]).settings
    assert (settings.steps, settings.epochs) == (None, 2.0)
    assert "epochs = 2 in the place of steps = 130" in capsys.readouterr().err
    assert settings_for(split, None, None, []).settings.steps == 130
    assert settings_for(split, None, None, ["steps=7"]).settings.steps == 7


def test_epochs_and_steps_at_once_are_told(split: Split) -> None:
    with pytest.raises(BadInput, match="epochs=2 and --set steps=3 are two lengths"):
        settings_for(split, None, None, ["epochs=2", "steps=3"])


def test_epochs_of_a_ladder_take_the_place_of_its_recipes_steps(split: Split, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("steps = 5\n")
    foreign = asking(split, tmp_path, "epochs = 3.0")
    file = foreign.ladder / "build.toml"
    file.write_text(
        file.read_text().replace('recipe = "observe-r1"', f'recipe = "{mine}"').replace("steps = 130\n", "")
    )
    assert settings_for(split, None, str(mine), []).settings.steps == 5
    settings = settings_for(foreign, None, None, ["reward.bonus.kind=bonus"]).settings
    assert (settings.steps, settings.epochs) == (None, 3.0)


@pytest.mark.parametrize(
    "override",
    [
        "epochs=inf",
        "optim.learning_rate=inf",
        "optim.eps=nan",
        "loss.clip_high=inf",
        "response.temperature=inf",
        "response.temperature=1e-42",
        "device=banana",
        "seed=-1",
    ],
)
def test_what_no_run_can_take_is_told_with_its_key(split: Split, override: str) -> None:
    with pytest.raises(BadInput, match=rf": {override.split('=')[0]}: "):
        settings_for(split, None, None, [override])


def test_a_device_that_is_not_there_is_told_as_the_key_of_a_training(split: Split, tmp_path: Path) -> None:
    use = settings_for(split, None, None, ["device=cuda:99", "steps=1"])
    with pytest.raises(BadInput, match=r"^device = 'cuda:99' cannot take the model"):
        train(split, use, tmp_path / "run")
