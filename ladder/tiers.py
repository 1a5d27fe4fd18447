"""Tiers: bands of the true pass rate p. An item's tier is stored with the probability that its p lies in that band.

Three ways to cut them, a tagged union under `tiers.by`: at values of p, at the paper's nine levels, or into shares of the
pool. All three come to cuts of p, which is what makes the probability mean the same under each. Knows nothing of files.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, PositiveInt, Tag, model_validator

from ladder.config import Settings
from ladder.score import JEFFREYS, LEVELS, Beta, level

Counts = Mapping[tuple[int, int], int]


class _Named(Settings):
    """Names from hard to easy; they name directories and configs. `grid` is how many bands of difficulty and of
    complexity the view `grid` has."""

    names: tuple[str, ...] = ("unsolved", "hard", "medium", "easy", "solved")
    cuts: tuple[float, ...]
    grid: tuple[PositiveInt, PositiveInt] = (3, 3)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if len(self.cuts) != len(self.names) - 1:
            raise ValueError(f"{len(self.names)} names need {len(self.names) - 1} cuts, not {len(self.cuts)}")
        most = self._most()
        if list(self.cuts) != sorted(set(self.cuts)) or not all(0 < c < most for c in self.cuts):
            raise ValueError(f"cuts must rise strictly between 0 and {most}")
        if len(set(self.names)) != len(self.names) or not all(n.isidentifier() for n in self.names):
            raise ValueError("names must differ and be identifiers, for they name directories and configs")
        return self

    def _most(self) -> int:
        return 1

    @property
    def fixed_cuts(self) -> tuple[float, ...] | None:
        """The cuts of p where they are known before anything is sampled, else None."""
        return self.cuts

    @abstractmethod
    def tiering(self, prior: Beta, counts: Counts) -> Tiering:
        """The tiers of a pool: its prior, and how many items have shown each (correct, n)."""


class TierSettings(_Named):
    """Bands of p. The default cuts are unions of the paper's levels: at n=8 they read 0, 1-2, 3-5, 6-7 and 8 correct.

    `prior` decides which tier an item is put in: under `jeffreys` the same counts mean the same tier in every pool; under
    `pool` it is the most probable tier given the pool, which leaves the end tiers empty where few items are extreme.
    Either way the stored probability is the pool's, hence calibrated.
    """

    by: Literal["pass_rate"] = "pass_rate"
    cuts: tuple[float, ...] = (1 / 16, 5 / 16, 11 / 16, 15 / 16)
    prior: Literal["jeffreys", "pool"] = "jeffreys"

    def tiering(self, prior: Beta, counts: Counts) -> Tiering:
        """By the most probable band."""
        del counts
        deciding = prior if self.prior == "pool" else JEFFREYS
        return Tiering(
            self.names, self.cuts, prior, lambda correct, n: _best(deciding, correct, n, self.cuts)
        )


class LevelTiers(_Named):
    """Unions of levels: `cuts` are the first levels of the second tier, the third, and so on. An item is put where its
    observed pass rate lies. The band of p of level l is (l - 1/2)/8 ... (l + 1/2)/8, and the probability is that of the
    bands of the tier's levels, under the pool's prior."""

    by: Literal["level"]
    cuts: tuple[int, ...] = (1, 3, 6, 8)  # type: ignore[assignment]

    def _most(self) -> int:
        return LEVELS + 1

    @property
    def fixed_cuts(self) -> tuple[float, ...]:
        """The lower ends of the levels at which a tier begins."""
        return tuple((cut - 0.5) / LEVELS for cut in self.cuts)

    def tiering(self, prior: Beta, counts: Counts) -> Tiering:
        """By the level of the observed pass rate."""
        del counts
        return Tiering(
            self.names, self.fixed_cuts, prior, lambda correct, n: bisect_right(self.cuts, level(correct, n))
        )


class QuantileTiers(_Named):
    """Shares of the pool, from its hardest items to its easiest: `cuts` are cumulative shares. Items are ranked by the
    posterior mean of p; those of equal mean stay together, so that a tier is off its share by at most half of those that
    tie at its ends. The cut of p lies midway between the means on its two sides, and the probability is that of p lying
    between a tier's cuts, under the pool's prior."""

    by: Literal["quantile"]
    cuts: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)

    @property
    def fixed_cuts(self) -> None:
        """Known only when all is sampled."""
        return None

    def tiering(self, prior: Beta, counts: Counts) -> Tiering:
        """By the posterior mean."""
        cuts = _quantiles(prior, counts, self.cuts)
        return Tiering(
            self.names, cuts, prior, lambda correct, n: bisect_right(cuts, _mean(prior, correct, n))
        )


def _by(value: Any) -> str:
    said = value.get("by", "pass_rate") if isinstance(value, dict) else getattr(value, "by", "pass_rate")
    return str(said)


AnyTiers = Annotated[
    Annotated[TierSettings, Tag("pass_rate")]
    | Annotated[LevelTiers, Tag("level")]
    | Annotated[QuantileTiers, Tag("quantile")],
    Discriminator(_by),
]


@dataclass(frozen=True)
class Tiering:
    """The tiers of one pool: `names` from hard to easy, the `cuts` of p between them, and which one is chosen."""

    names: tuple[str, ...]
    cuts: tuple[float, ...]
    prior: Beta
    choose: Any  # (correct, n) -> number of the tier

    def of(self, correct: int, n: int) -> tuple[str, float]:
        """The tier of an item with `correct` of `n`, and the probability under the pool's prior that its p lies there."""
        chosen = self.choose(correct, n)
        return self.names[chosen], self.prior.posterior(correct, n).bands(self.cuts)[chosen]

    def bands(self) -> list[tuple[str, float, float]]:
        """Name, lower and upper end of p of each tier."""
        ends = pairwise((0.0, *self.cuts, 1.0))
        return [(name, low, high) for name, (low, high) in zip(self.names, ends, strict=True)]


def tier_of(prior: Beta, correct: int, n: int, settings: TierSettings) -> tuple[str, float]:
    """The tier of an item with `correct` of `n` under fixed cuts of p, and its probability under the pool's prior."""
    return settings.tiering(prior, {}).of(correct, n)


def _best(deciding: Beta, correct: int, n: int, cuts: tuple[float, ...]) -> int:
    bands = deciding.posterior(correct, n).bands(cuts)
    return max(range(len(bands)), key=bands.__getitem__)


def _mean(prior: Beta, correct: int, n: int) -> float:
    """The posterior mean, equal for what is equal but for rounding."""
    return round(prior.posterior(correct, n).mean, 12)


def _quantiles(prior: Beta, counts: Counts, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Cuts of p with about such shares of the items below them: midway between neighbouring posterior means, the nearest
    that there is. 0 and 1 are cuts too, where a tier is empty rather than far too large."""
    items: dict[float, int] = {}
    for (correct, n), count in counts.items():
        mean = _mean(prior, correct, n)
        items[mean] = items.get(mean, 0) + count
    means = sorted(items)
    cuts = [0.0, *((low + high) / 2 for low, high in pairwise(means)), 1.0]
    below = [0]
    for mean in means:
        below.append(below[-1] + items[mean])
    total = below[-1]
    return tuple(
        cuts[min(range(len(below)), key=lambda at: abs(below[at] - share * total))] for share in shares
    )
