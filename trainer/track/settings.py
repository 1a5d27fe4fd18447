"""Which trackers a run has, and whether they can be had here."""

from __future__ import annotations

from importlib.util import find_spec

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ladder.config import Settings
from ladder.errors import BadInput

_PACKAGES = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}  # by setting


class TrackSettings(Settings):
    """`metrics.jsonl` and the samples are always written; what else is told: TensorBoard's files in the run's directory, a
    project of trackio, one of wandb. `samples` responses of every `samples_every`-th step are kept (0: none). `peak_tflops` is
    what the device could do in the forward pass's `dtype`, for the metric `mfu`; None: by its name, where that is known."""

    tensorboard: bool = False
    trackio: str | None = Field(None, min_length=1)
    wandb: str | None = Field(None, min_length=1)
    samples_every: NonNegativeInt = 10
    samples: PositiveInt = 8
    peak_tflops: PositiveFloat | None = None

    def due(self, step: int) -> bool:
        """Whether a step's samples are to be kept."""
        return self.samples_every > 0 and step % self.samples_every == 0

    def check(self) -> None:
        """Raises BadInput for a tracker whose package is not installed: before a run, not in the middle of one."""
        for setting, package in _PACKAGES.items():
            if getattr(self, setting) and find_spec(package) is None:
                raise BadInput(
                    f"track.{setting} is set and the package {package} is not installed: "
                    f"pip install {package}, or leave the setting out"
                )
