"""What `ladder export` is told: which trainer, which parts of the split, which prompt, which pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from ladder.config import Settings


class PairSettings(Settings):
    """Preference pairs (`mmpr`): at most so many of an item, each of another right and wrong response as long as there are
    such. `chosen` takes the shortest right responses first, or any in a fixed order; never a truncated one. `rejected`
    says whether a truncated response may be the wrong one."""

    per_item: PositiveInt = 1
    chosen: Literal["shortest", "any"] = "shortest"
    rejected: Literal["finished", "any"] = "finished"
    seed: int = 0  # of the order of "any", and of the wrong responses


class ExportSettings(Settings):
    """An export to one trainer. `part` is a part of the split, or "all"; `prompt` a template's name [default: the one that
    the ladder was scored with]. `images_only` leaves out items without an image, for trainers that cannot mix the two."""

    to: str
    part: str = "all"
    prompt: str | None = None
    images_only: bool = False
    pairs: PairSettings = PairSettings()
