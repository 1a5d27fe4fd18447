"""The settings of `ladder warmup`."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from ladder.config import Settings


class WarmupSettings(Settings):
    """Steps are optimiser steps of `batch` samples; shares are of the demonstrations; a kind of question that is fully
    taught has weight 1."""

    seed: int = 0
    vision_steps: PositiveInt = 700
    imitation_steps: PositiveInt = 1000
    imperfect_steps: PositiveInt = 300
    batch: PositiveInt = 64
    learning_rate: float = Field(2e-3, gt=0)
    imperfect_learning_rate: float = Field(5e-4, gt=0)
    direct: float = Field(0.08, ge=0, le=1)  # answered without observing and thinking
    blind: float = Field(0.04, ge=0, le=1)  # asked without the image, answered with a guess
    flawed: float = Field(0.5, ge=0, le=1)  # of the imperfect stage: misread, confused or slipped
    half: float = Field(0.5, ge=0)  # weight of each half-taught kind
    barely: float = Field(0.025, ge=0)  # weight of each barely taught kind
    simple: float = Field(0.15, ge=0, le=1)  # of the imitation, at its start: the simplest kinds only
