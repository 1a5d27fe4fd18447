"""Which settings a command trains or evaluates with: the recipe, the ladder's own build, and what was overridden."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.config import put, read_toml, said, shipped, validate
from ladder.engines.settings import ModelSettings
from ladder.errors import BadInput
from ladder.progress import say
from ladder.settings import BuildSettings, settings_of
from ladder.splits import Split
from ladder.store import MARKER
from trainer.config import TrainSettings
from trainer.reward import Own


@dataclass(frozen=True)
class Chosen:
    """A model and the settings to train it with."""

    model: ModelSettings
    settings: TrainSettings


def build_settings_of(split: Split, overrides: Iterable[str] = ()) -> BuildSettings:
    """The settings that the split's ladder was built with."""
    return settings_of(split.ladder, overrides)


def settings_for(split: Split, model: str | None, recipe: str | None, overrides: Iterable[str]) -> Chosen:
    """A named recipe as it is; without one, the recipe and the departures from it that the ladder's pipeline declares.

    Template and token limit are those of the ladder unless a recipe or override says otherwise. Epochs that the pipeline
    or an override asks for take the place of the steps of what they depart from.
    """
    built = build_settings_of(split)
    overrides = list(overrides)
    values = read_toml(shipped("recipes", recipe or built.train.recipe))
    where = recipe or f"{built.train.recipe} with [train.set] of {split.ladder / MARKER}"
    if recipe is None:
        _depart(values, built, overrides)
        _refuse_foreign(validate(TrainSettings, copy.deepcopy(values), where=where), where)
    _epochs_for_steps(values, overrides, where)
    settings = validate(TrainSettings, values, overrides, where=f"{where} and --set" if overrides else where)
    chosen = built.model if model is None else built.model.model_copy(update={"name": model})
    return Chosen(chosen, settings)


def train(split: Split, chosen: Chosen, out: Path) -> Any:
    """Run it; see trainer.run.train."""
    from trainer.run import train as run

    return run(split, chosen.model, chosen.settings, out)


def _depart(values: dict[str, Any], built: BuildSettings, overrides: list[str]) -> None:
    """Lay what a ladder's build says of training over a recipe's values, and tell of it, less what overrides take back."""
    asked = {"template": built.prompt.template, "response.max_tokens": built.sampling.max_tokens}
    departures = asked | copy.deepcopy(built.train.set)
    if "epochs" in departures:
        values.pop("steps", None)
    say(f"  recipe {built.train.recipe}, with the pipeline's departures from it:")
    for key, value in departures.items():
        if said(overrides, key) is None:
            say(f"    {key} = {json.dumps(value)}")
        put(values, key, value)


def _epochs_for_steps(values: dict[str, Any], overrides: list[str], where: str) -> None:
    """Where `--set` asks for epochs, the steps that would hide them go. Raises BadInput where it asks for both."""
    epochs, steps = said(overrides, "epochs"), said(overrides, "steps")
    if epochs is None:
        return
    if steps is not None:
        raise BadInput(f"--set epochs={epochs} and --set steps={steps} are two lengths of one run: give one")
    if (hidden := values.pop("steps", None)) is not None:
        say(f"  epochs = {epochs} in the place of steps = {hidden} of {where}")


def _refuse_foreign(settings: TrainSettings, where: str) -> None:
    """A ladder may come from elsewhere: what it says of training must not run code, nor tell others of the questions."""
    own = [f"reward.{name}" for name, term in settings.reward.items() if isinstance(term, Own)]
    told = [f"track.{name}" for name in settings.track.model_dump(exclude_defaults=True)]
    for refused, what in ((own, "runs code"), (told, "says who is told of a run")):
        if refused:
            raise BadInput(
                f"{where}: {refused[0]} {what}, and a ladder must not ask for that; name a recipe of your own that "
                "has it with --recipe, or give it with --set"
            )
