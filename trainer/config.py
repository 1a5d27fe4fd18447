"""The settings of a training run; a recipe is a TOML file of them (`trainer/recipes/`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ladder.config import Settings
from ladder.settings import COLDEST, HOTTEST
from trainer.adapter import LoraSettings
from trainer.advantage import AdvantageSettings, Grpo
from trainer.curriculum import CurriculumSettings
from trainer.engines import RolloutSettings
from trainer.kl import KlSettings
from trainer.loss import LossSettings
from trainer.optim import OptimSettings
from trainer.probe import EvalSettings
from trainer.reward import RewardSettings, default_reward
from trainer.track import TrackSettings


class BatchSettings(Settings):
    """`prompts` x `group` responses make a step; they are trained on in updates of `responses_per_update`, one update
    where it is not set. `tokens_per_micro_batch`, `layout` and `attention` cost memory and time and never change the
    result."""

    prompts: PositiveInt = 128
    group: int = Field(8, ge=2)
    responses_per_update: PositiveInt | None = None
    tokens_per_micro_batch: PositiveInt = 16_384
    layout: Literal["auto", "packed", "padded"] = "auto"
    attention: Literal["auto", "dense", "flex"] = "auto"  # of packed rows; "auto": flex where it has kernels

    @model_validator(mode="after")
    def _whole(self) -> BatchSettings:
        if self.responses_per_update is not None and self.responses_per_update % self.group:
            raise ValueError("responses_per_update must be a multiple of group: a group trains as a whole")
        return self

    def updates(self, groups: int) -> list[slice]:
        """The updates of a step of so many groups."""
        size = groups if self.responses_per_update is None else self.responses_per_update // self.group
        return [slice(start, min(start + size, groups)) for start in range(0, groups, size)]


class ResponseSettings(Settings):
    """How responses are sampled."""

    temperature: float = Field(1.0, ge=COLDEST, le=HOTTEST)
    max_tokens: PositiveInt = 8192


class SaveSettings(Settings):
    """A checkpoint every so many steps, and at the end; the `keep` latest stay, and the best where the probe is measured."""

    every: PositiveInt = 20
    keep: PositiveInt = 2


class TrainSettings(Settings):
    """One run of progressive GRPO."""

    steps: PositiveInt | None = None  # these count where both are set; None: `epochs` passes over the split
    epochs: float = Field(1.0, gt=0)
    seed: NonNegativeInt = 0
    template: str = "observe-think-answer"
    dtype: Literal["float32", "bfloat16"] = (
        "bfloat16"  # of the forward pass; weights, gradients and moments are float32
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    freeze: tuple[str, ...] = ()  # "vision", "language", or patterns of parameter names
    adapter: LoraSettings | None = None  # None: the weights themselves learn
    gradient_checkpointing: bool = False
    batch: BatchSettings = BatchSettings()
    response: ResponseSettings = ResponseSettings()
    rollout: RolloutSettings = RolloutSettings()
    reward: RewardSettings = Field(default_factory=default_reward)
    advantage: AdvantageSettings = Grpo()
    loss: LossSettings = LossSettings()
    kl: KlSettings = KlSettings()
    curriculum: CurriculumSettings = CurriculumSettings()
    optim: OptimSettings = OptimSettings()
    save: SaveSettings = SaveSettings()
    eval: EvalSettings = EvalSettings()
    track: TrackSettings = TrackSettings()
