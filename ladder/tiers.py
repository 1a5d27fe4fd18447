"""Tiers: bands of the true pass rate p. An item's tier is stored with the probability that its p lies in that band."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ladder.config import Settings
from ladder.score import JEFFREYS, Beta


class TierSettings(Settings):
    """Names from hard to easy, and the cuts of p between them. The default cuts are unions of the paper's levels: at
    n=8 they read 0, 1-2, 3-5, 6-7 and 8 correct.

    `prior` decides which tier an item is put in: under `jeffreys` the same counts mean the same tier in every pool; under
    `pool` it is the most probable tier given the pool, which leaves the end tiers empty where few items are extreme.
    Either way the stored probability is the pool's, hence calibrated.
    """

    names: tuple[str, ...] = ("unsolved", "hard", "medium", "easy", "solved")
    cuts: tuple[float, ...] = (1 / 16, 5 / 16, 11 / 16, 15 / 16)
    prior: Literal["jeffreys", "pool"] = "jeffreys"

    @model_validator(mode="after")
    def _ordered(self) -> TierSettings:
        if len(self.cuts) != len(self.names) - 1:
            raise ValueError(f"{len(self.names)} names need {len(self.names) - 1} cuts, not {len(self.cuts)}")
        if list(self.cuts) != sorted(set(self.cuts)) or not all(0 < c < 1 for c in self.cuts):
            raise ValueError("cuts must rise strictly between 0 and 1")
        if len(set(self.names)) != len(self.names) or not all(n.isidentifier() for n in self.names):
            raise ValueError("names must differ and be identifiers, for they name directories and configs")
        return self


def tier_of(prior: Beta, correct: int, n: int, settings: TierSettings) -> tuple[str, float]:
    """The tier of an item with `correct` of `n`, and its probability under the pool's prior."""
    bands = prior.posterior(correct, n).bands(settings.cuts)
    deciding = bands if settings.prior == "pool" else JEFFREYS.posterior(correct, n).bands(settings.cuts)
    best = max(range(len(deciding)), key=deciding.__getitem__)
    return settings.names[best], bands[best]
