"""What a forecast consists of: figures that know how far they can be trusted. How they are found is not their business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ladder.forecast.footprint import Footprint

Basis = Literal["exact", "about", "at most"]
_BASES: tuple[Basis, ...] = ("exact", "about", "at most")  # from sure to unsure


@dataclass(frozen=True)
class Figure:
    """A number, what it is worth, what it comes from in words, and about 95% of what may come where that is known."""

    value: float
    basis: Basis = "exact"
    source: str = ""
    low: float | None = None
    high: float | None = None

    def scaled(self, by: float) -> Figure:
        """So many times the number."""
        low, high = (None if end is None else end * by for end in (self.low, self.high))
        return replace(self, value=self.value * by, low=low, high=high)

    def times(self, other: Figure) -> Figure:
        """The product, worth as much as the lesser of both: of two of which one is a bound, a bound."""
        basis = worst(self.basis, other.basis)
        if basis == "at most":
            return Figure((self.high or self.value) * other.value, basis)
        return replace(self.scaled(other.value), basis=basis, source="")


def worst(*bases: Basis) -> Basis:
    """The least sure of some bases."""
    return max(bases, key=_BASES.index)


def total(figures: Sequence[Figure | None]) -> Figure | None:
    """The sum; None where one is not known."""
    known = [figure for figure in figures if figure is not None]
    if len(known) < len(figures):
        return None
    value = sum(figure.value for figure in known)
    basis = worst("exact", *(figure.basis for figure in known if figure.value))
    if basis == "at most" or all(figure.low is None for figure in known):
        return Figure(value, basis)
    low = sum(figure.value if figure.low is None else figure.low for figure in known)
    high = sum(figure.value if figure.high is None else figure.high for figure in known)
    return Figure(value, basis, "", low, high)


@dataclass(frozen=True)
class Prompts:
    """Of so many items that were encoded, the mean prompt in tokens; those too long with their answers; those that the
    model's encoder cannot take."""

    encoded: int
    tokens: float
    too_long: int
    unencodable: int


@dataclass(frozen=True)
class PassForecast:
    """What one pass would do. None: not known. `seconds` are those of sampling, at `rate` generated tokens per second."""

    name: str
    engine: str
    model: str
    asked: str  # samples per item, in words
    stored: int
    rollouts: Figure | None
    tokens_each: Figure
    tokens: Figure | None
    disk_bytes: Figure | None
    rate: Figure | None
    seconds: Figure | None
    prompts: Prompts | None
    footprint: Footprint | None


@dataclass(frozen=True)
class Forecast:
    """What a build would do, pass by pass and in all; None: not known."""

    path: str
    items: Figure | None
    passes: tuple[PassForecast, ...]
    rollouts: Figure | None
    tokens: Figure | None
    disk_bytes: Figure | None
    seconds: Figure | None
    free_bytes: int
