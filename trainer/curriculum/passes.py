"""Streams that pass over rows again and again in an order known beforehand: the split's own, a shuffled one (the control that
every claim for a curriculum needs), or tier after tier."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

import numpy as np
from pydantic import PositiveFloat, model_validator

from ladder.config import did_you_mean
from ladder.digest import shuffle_key
from ladder.errors import BadInput
from trainer.curriculum.base import GroupOutcome
from trainer.curriculum.rows import Ints, Rows, elements
from trainer.curriculum.sampler import Pick, SamplerSettings, World
from trainer.curriculum.trees import exact

Order = Callable[[Ints, int], Ints]  # (rows, pass) -> the same rows in the order of that pass


class OrderSettings(SamplerSettings):
    """The split's own order; after the first pass rows keep their slots and are shuffled anew inside them, so that the same
    neighbours do not meet in every step."""

    kind: Literal["order"] = "order"

    def stream(self, world: World) -> Passes:
        """All rows; pass 0 is exactly the split."""

        def order(rows: Ints, which: int) -> Ints:
            if which == 0:
                return rows
            return rows[np.lexsort((_keys(world, rows, "order", which), world.rows.slots[rows]))]

        return Passes(world, _whole(world), order)


class ShuffledSettings(SamplerSettings):
    """The control: the same items for the same compute, another permutation in each pass."""

    kind: Literal["shuffled"] = "shuffled"

    def stream(self, world: World) -> Passes:
        """All rows, shuffled."""
        return Passes(world, _whole(world), _shuffled(world, "shuffled"))


class StagesSettings(SamplerSettings):
    """One tier after the other, shuffled anew in each pass. A stage takes `passes` passes over its tier, times the run's
    epochs, or its share of the draws in `shares` (of as many as epochs of all named tiers make). The last stage has no end
    where the run has no epochs. Items of other tiers do not come, and are counted.

    Source: VL-Cogito (arXiv 2507.22607), easy -> medium -> hard; POLARIS and Vision-R1 train in stages too.
    """

    kind: Literal["stages"] = "stages"
    tiers: tuple[str, ...] = ("easy", "medium", "hard")
    passes: tuple[PositiveFloat, ...] | None = None
    shares: tuple[PositiveFloat, ...] | None = None

    @model_validator(mode="after")
    def _one_each(self) -> StagesSettings:
        if not self.tiers:
            raise ValueError("tiers must name at least one")
        if self.passes and self.shares:
            raise ValueError("a stage has passes or a share, not both")
        if any(len(each) != len(self.tiers) for each in (self.passes, self.shares) if each is not None):
            raise ValueError(f"{len(self.tiers)} tiers need as many passes or shares")
        if self.shares and abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError("shares must add up to 1")
        return self

    def stream(self, world: World) -> Passes:
        """A stage for each tier; BadInput for a tier that no row has."""
        stages = [_rows_of(world.rows, tier) for tier in self.tiers]
        lengths = self._by_shares(world, stages) if self.shares else self._by_passes(world, stages)
        segments = [Segment(rows, draws) for rows, draws in zip(stages, lengths, strict=True)]
        return Passes(world, segments, _shuffled(world, "stage"))

    def _by_passes(self, world: World, stages: list[Ints]) -> list[int | None]:
        each = self.passes or (1.0,) * len(stages)
        stretch = exact(world.epochs or 1)
        lengths = [
            math.ceil(exact(passes) * stretch * len(rows)) for passes, rows in zip(each, stages, strict=True)
        ]
        return [*lengths[:-1], lengths[-1] if world.epochs else None]

    def _by_shares(self, world: World, stages: list[Ints]) -> list[int | None]:
        if world.epochs is None:
            raise BadInput(
                "curriculum.sampler.shares are shares of the draws of a run that ends by epochs: set epochs, or use passes"
            )
        total = exact(world.epochs) * sum(map(len, stages))
        sums = accumulate(exact(share) for share in self.shares or ())
        ends = [0, *(math.ceil(min(total, total * done)) for done in sums)]
        ends[-1] = math.ceil(total)
        return [end - start for start, end in pairwise(ends)]


@dataclass(frozen=True, eq=False)
class Segment:
    """Rows to pass over, and for how many draws; None: without end."""

    rows: Ints
    draws: int | None


class Passes:
    """Segments one after the other, each in passes over its rows. Retired items are passed by: their draws are spared."""

    def __init__(self, world: World, segments: list[Segment], order: Order) -> None:
        self._world, self._segments, self._order = world, segments, order
        self._retired = elements(world.retired_N)
        self._stage = self._place = 0
        self._held: tuple[tuple[int, int], Ints] = ((-1, -1), segments[0].rows)

    @property
    def epoch(self) -> float:
        """Places passed, in passes over the rows of all segments."""
        return self.passed / sum(len(segment.rows) for segment in self._segments)

    @property
    def passed(self) -> int:
        """Places passed in all segments."""
        return sum(segment.draws or 0 for segment in self._segments[: self._stage]) + self._place

    @property
    def places(self) -> int | None:
        """The draws of all segments; None where the last has no end."""
        draws = [segment.draws for segment in self._segments if segment.draws is not None]
        return sum(draws) if len(draws) == len(self._segments) else None

    def next(self) -> Pick | None:
        """The next row in order; O(1) but for the sorting of each pass."""
        passed = 0
        while not self._over():
            segment = self._segments[self._stage]
            which, at = divmod(self._place, len(segment.rows))
            row = int(self._pass(which)[at])
            self._place += 1
            if not self._retired[self._world.rows.items[row]]:
                return Pick(row, which)
            passed += 1
            if segment.draws is None and passed > len(segment.rows):
                return None
        return None

    def observe(self, item: int, outcome: GroupOutcome) -> None:
        """The order does not depend on outcomes."""

    def retire(self, item: int) -> None:
        """It is passed by from now on."""

    def restore(self, item: int) -> None:
        """It comes at its next place."""

    def state_dict(self) -> dict[str, Any]:
        """The place; the order is a function of rows and seed."""
        return {"stage": self._stage, "place": self._place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place."""
        self._stage, self._place = state["stage"], state["place"]

    def metrics(self) -> dict[str, float]:
        """With stages: the present one, and the rows of no stage."""
        if len(self._segments) == 1:
            return {}
        left_out = len(self._world.rows) - sum(len(segment.rows) for segment in self._segments)
        return {"stage": float(self._stage), "left_out": float(left_out)}

    def _over(self) -> bool:
        """Whether the last segment is through; moves on to the next one."""
        while self._place == self._segments[self._stage].draws:
            if self._stage == len(self._segments) - 1:
                return True
            self._stage, self._place = self._stage + 1, 0
        return False

    def _pass(self, which: int) -> Ints:
        if self._held[0] != (self._stage, which):
            self._held = (self._stage, which), self._order(self._segments[self._stage].rows, which)
        return self._held[1]


def _whole(world: World) -> list[Segment]:
    """All rows, for the epochs asked for; a part of a draw is a draw."""
    count = len(world.rows)
    draws = None if world.epochs is None else math.ceil(exact(world.epochs) * count)
    return [Segment(np.arange(count), draws)]


def _rows_of(rows: Rows, tier: str) -> Ints:
    """The rows of a tier."""
    found = np.flatnonzero([each == tier for each in rows.tiers])
    if not len(found):
        there = sorted(set(rows.tiers))
        raise BadInput(
            f"curriculum.sampler.tiers: no training item is of tier {tier!r}{did_you_mean(tier, there)}; "
            f"the split has {', '.join(there)}"
        )
    return found


def _shuffled(world: World, use: str) -> Order:
    return lambda rows, which: rows[np.argsort(_keys(world, rows, use, which), kind="stable")]


def _keys(world: World, rows: Ints, use: str, which: int) -> Ints:
    mixed, ids = world.seed * 1_000_003 + which, world.rows.ids
    return np.fromiter((shuffle_key(mixed, ids[row], use) for row in rows), np.int64, len(rows))
