"""The settings of a training run; a recipe is a TOML file of them (`trainer/recipes/`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from ladder.config import Settings
from trainer.advantage import AdvantageSettings
from trainer.kl import KlSettings
from trainer.loss import ClipSettings
from trainer.reward import RewardSettings


class BatchSettings(Settings):
    """`prompts` x `group` responses are sampled per step, and trained on in updates of `responses_per_update`."""

    prompts: PositiveInt = 128
    group: int = Field(8, ge=2)
    responses_per_update: PositiveInt = 64
    tokens_per_micro_batch: PositiveInt = 16_384  # padded tokens of one forward: memory, never the result

    @model_validator(mode="after")
    def _whole(self) -> BatchSettings:
        if self.responses_per_update % self.group:
            raise ValueError("responses_per_update must be a multiple of group: a group trains as a whole")
        return self


class OptimSettings(Settings):
    """AdamW; the rate warms up linearly and falls along a cosine to `min_share` of itself, or stays."""

    learning_rate: float = Field(1e-6, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_share: float = Field(0.03, ge=0, le=1)
    min_share: float = Field(0.1, ge=0, le=1)


class ResponseSettings(Settings):
    """How responses are sampled."""

    temperature: float = Field(1.0, gt=0)
    max_tokens: PositiveInt = 8192


class TrainSettings(Settings):
    """One run of progressive GRPO."""

    steps: PositiveInt | None = None  # None: `epochs` passes over the split
    epochs: float = Field(1.0, gt=0)
    seed: int = 0
    template: str = "observe-think-answer"
    dtype: Literal["float32", "bfloat16"] = (
        "bfloat16"  # of the forward pass; weights and optimiser are float32
    )
    device: str = "auto"
    slots: PositiveInt = 256  # responses sampled at once
    save_every: PositiveInt = 20
    batch: BatchSettings = BatchSettings()
    response: ResponseSettings = ResponseSettings()
    reward: RewardSettings = RewardSettings()
    advantage: AdvantageSettings = AdvantageSettings()
    clip: ClipSettings = ClipSettings()
    kl: KlSettings = KlSettings()
    optim: OptimSettings = OptimSettings()
