"""The curriculum: a sampler chooses items, a gate admits finished groups, a supply makes steps of them."""

from trainer.curriculum.base import Draw, Gate, GroupOutcome, Sampler
from trainer.curriculum.gates import (
    BandSettings,
    CountingGate,
    EverythingSettings,
    GateSettings,
    SignalSettings,
)
from trainer.curriculum.passes import OrderSettings, ShuffledSettings, StagesSettings
from trainer.curriculum.replay import ReplaySettings
from trainer.curriculum.rows import Rows
from trainer.curriculum.sampler import ItemSampler, SamplerSettings
from trainer.curriculum.settings import CurriculumSettings
from trainer.curriculum.supply import Judged, Supply, SupplySettings
from trainer.curriculum.target import TargetSettings
from trainer.curriculum.weighted import WeightedSettings

__all__ = [
    "BandSettings",
    "CountingGate",
    "CurriculumSettings",
    "Draw",
    "EverythingSettings",
    "Gate",
    "GateSettings",
    "GroupOutcome",
    "ItemSampler",
    "Judged",
    "OrderSettings",
    "ReplaySettings",
    "Rows",
    "Sampler",
    "SamplerSettings",
    "ShuffledSettings",
    "SignalSettings",
    "StagesSettings",
    "Supply",
    "SupplySettings",
    "TargetSettings",
    "WeightedSettings",
]
