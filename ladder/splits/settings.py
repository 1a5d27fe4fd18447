"""The settings of `ladder sample`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ladder.audit.blocks import MOST_BITS
from ladder.config import Settings
from ladder.strategies import NeuraLadder, Strategy


class ProbeSettings(Settings):
    """The probe: `per_tier` items of each tier, from the upstream split `split` if the ladder has one, else drawn from
    all items. Either way no item of that upstream split trains.

    `near_bits`: images whose perceptual hashes differ in at most so many of 64 bits are near-identical. What is
    near-identical to something near-identical belongs to the same cluster, and no cluster of a held-out item trains.
    """

    per_tier: int = Field(80, ge=0)
    split: str = "probe"
    near_bits: int = Field(4, ge=0, le=MOST_BITS)


class ValidationSettings(Settings):
    """A second held-out set, drawn and held out as the probe is; none where `per_tier` is 0."""

    per_tier: int = Field(0, ge=0)
    split: str = "validation"


Quota = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, le=1)]


class QuotaSettings(Settings):
    """How many items of a source, subject or answer type train at most: a number of items, or, with a decimal point, a
    share of the training items. `"*"` is for each one that is not named; an item without a subject is of `"-"`."""

    source: dict[str, Quota] = Field(default_factory=dict)
    subject: dict[str, Quota] = Field(default_factory=dict)
    answer_type: dict[str, Quota] = Field(default_factory=dict)


class OnlineSettings(Settings):
    """How outcomes of training change difficulties, see ladder.splits.online."""

    run: str | None = None  # whose outcomes; default: the run that wrote last
    memory: float = Field(0.5, ge=0, le=1)  # weight of what was known before each new group


class SampleSettings(Settings):
    """What `ladder sample` draws. The budgets count what the training split asks for in one epoch."""

    strategy: Strategy = Field(NeuraLadder(), discriminator="strategy")
    difficulty: Literal["offline", "online"] = "offline"
    online: OnlineSettings = OnlineSettings()
    probe: ProbeSettings = ProbeSettings()
    validation: ValidationSettings = ValidationSettings()
    quota: QuotaSettings = QuotaSettings()
    evaluation_set: bool = False  # whether items of published evaluation sets take part
    max_items: int | None = Field(None, ge=1)  # rows of the training split
    max_tokens: int | None = Field(
        None, ge=1
    )  # generated tokens: complexity x group, summed; prompts are not counted
    group: int = Field(8, ge=1)  # rollouts of an item in a training step, for `max_tokens`
    take: Literal["spread", "first"] = (
        "spread"  # a budget takes items of all levels, or the first of the order
    )
    seed: int = 0
