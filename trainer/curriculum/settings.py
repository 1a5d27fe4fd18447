"""The curriculum of a run, as a recipe spells it: `[curriculum]`, `[curriculum.sampler]`, `[curriculum.gate]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from trainer.curriculum.gates import EverythingSettings, GateSettings
from trainer.curriculum.passes import OrderSettings, ShuffledSettings, StagesSettings
from trainer.curriculum.rows import Rows
from trainer.curriculum.supply import Supply, SupplySettings, T
from trainer.curriculum.target import TargetSettings
from trainer.curriculum.weighted import WeightedSettings

AnySampler = Annotated[
    OrderSettings | ShuffledSettings | StagesSettings | WeightedSettings | TargetSettings,
    Field(discriminator="kind"),
]


class CurriculumSettings(SupplySettings):
    """Which items come in which order, and which of their groups train. As it is: the split's order, every group."""

    sampler: AnySampler = OrderSettings()
    gate: GateSettings = EverythingSettings()

    def build(
        self, rows: Rows | Iterable[Mapping[str, Any]], seed: int, epochs: float | None, prompts: int
    ) -> Supply[T]:
        """The supply of a run of `prompts` groups a step; BadInput where the split does not suit the settings."""
        return Supply(self.sampler.build(rows, seed, epochs), self.gate.build(), self, prompts)
