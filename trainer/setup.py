"""Which settings a command trains or evaluates with: the recipe, the ladder's own build, and what was overridden."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.config import read_toml, shipped, validate
from ladder.engines.settings import ModelSettings
from ladder.progress import say
from ladder.settings import BuildSettings, settings_of
from ladder.splits import Split
from ladder.store import MARKER
from trainer.config import TrainSettings


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

    Template and token limit are those of the ladder unless a recipe or override says otherwise.
    """
    built = build_settings_of(split)
    values = read_toml(shipped("recipes", recipe or built.train.recipe))
    departures: dict[str, Any] = {}
    if recipe is None:
        departures = {"template": built.prompt.template, "response.max_tokens": built.sampling.max_tokens}
        departures |= built.train.set
        say(f"  recipe {built.train.recipe}, with the pipeline's departures from it:")
        for key, value in departures.items():
            say(f"    {key} = {value}")
    for key, value in departures.items():
        _put(values, key, value)
    where = recipe or f"{built.train.recipe} with [train.set] of {split.ladder / MARKER}"
    settings = validate(TrainSettings, values, overrides, where=where)
    chosen = built.model if model is None else built.model.model_copy(update={"name": model})
    return Chosen(chosen, settings)


def train(split: Split, chosen: Chosen, out: Path) -> Any:
    """Run it; see trainer.run.train."""
    from trainer.run import train as run

    return run(split, chosen.model, chosen.settings, out)


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
    values[last] = value
