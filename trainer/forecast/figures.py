"""What the forecast of a run consists of. How the figures are found is not their business."""

from __future__ import annotations

from dataclasses import dataclass

from ladder.forecast import Figure

PHASES = ("rollout", "training", "publishing")  # of a step, one after the other


@dataclass(frozen=True)
class Parameters:
    """How many there are, and how many of them learn."""

    all: int
    trainable: int

    @property
    def frozen(self) -> int:
        """Those that do not."""
        return self.all - self.trainable


@dataclass(frozen=True)
class Part:
    """Bytes of a part of the memory of each GPU; `when` is "always", or the phases of a step that alone need it, or "server":
    on the GPUs of a server, which are others."""

    name: str
    bytes: Figure
    when: str

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of a step that need it."""
        return PHASES if self.when == "always" else tuple(self.when.split(", "))


@dataclass(frozen=True)
class Remedy:
    """Settings, or a number of GPUs, with which a run would fit: what to change, and the peak of each GPU then."""

    changes: tuple[str, ...]
    peak: Figure


@dataclass(frozen=True)
class FirstItem:
    """An item of the first steps as the curriculum draws it; pass rate and tier are those of the split."""

    sequence: int
    slot: int
    item_id: str
    tier: str
    pass_rate: float | None
    question: str


@dataclass(frozen=True)
class TrainForecast:
    """What a run would take and do; None: not known. Tokens, rollouts and draws are those of training; the probe's rollouts
    are told apart. `silent` is the expected share of groups all right or all wrong if p stays what it was scored, `draws` the
    groups that are sampled for a step, `first` the items of the first steps (`first_sure` if no outcome can change
    them). Memory is that of each of the `gpus`, a process on each: `peak` the bytes of the phase that needs most,
    `device_bytes` those that there are for it, and `remedy` what would make it fit where it does not."""

    split: str
    model: str
    device: str
    gpus: int
    parameters: Parameters
    memory: tuple[Part, ...]
    peak: Figure
    device_bytes: int | None
    remedy: Remedy | None
    prompts: int
    group: int
    steps: Figure
    draws: Figure
    silent: Figure
    rollouts: Figure
    probe_rollouts: int
    prompt_tokens: Figure | None
    response_tokens: Figure
    step_prompt_tokens: Figure | None
    step_response_tokens: Figure
    tokens: Figure
    rate: Figure | None
    rollout_seconds: Figure | None
    step_seconds: Figure | None
    seconds: Figure | None
    disk_bytes: Figure
    free_bytes: int
    first: tuple[tuple[FirstItem, ...], ...]
    first_sure: bool
    warnings: tuple[str, ...]
