"""The sampler: numbers its draws, keeps what is known of every item, and replays mastered ones. Which item comes next is
its stream's affair (`passes`, `weighted`, `target`)."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from pydantic import Field

from ladder.config import Settings
from ladder.digest import digest
from ladder.errors import BadInput
from trainer.curriculum.base import Draw, GroupOutcome
from trainer.curriculum.history import History
from trainer.curriculum.replay import Replay, ReplaySettings
from trainer.curriculum.rows import Bools, Rows
from trainer.curriculum.trees import exact

_LATEST = 256  # draws of which `mean_p` tells


class Pick(NamedTuple):
    """A row, and the pass that it belongs to."""

    row: int
    epoch: int


class Stream(Protocol):
    """The order in which items that are not retired come."""

    @property
    def epoch(self) -> float:
        """Passes over the items so far."""

    @property
    def passed(self) -> int:
        """Places that are over: those drawn, and those of retired items, which are passed by."""

    @property
    def places(self) -> int | None:
        """All places of the run; None: without end."""

    def next(self) -> Pick | None:
        """The next row; None when the epochs asked for are over, or every item is retired."""

    def observe(self, item: int, outcome: GroupOutcome) -> None:
        """What is known of an item has changed by this outcome."""

    def retire(self, item: int) -> None:
        """The item comes no more."""

    def restore(self, item: int) -> None:
        """A retired item comes again."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs beside history and retired items, as JSON."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; history and retired items are loaded already."""

    def metrics(self) -> dict[str, float]:
        """What there is to tell of this stream alone."""


@dataclass(frozen=True)
class World:
    """What a stream draws from. `epochs` None: the run ends by itself. `retired_N` changes while training."""

    rows: Rows
    history: History
    retired_N: Bools
    seed: int
    epochs: float | None


class SamplerSettings(Settings):
    """Base of every sampler's settings. p starts as `prior_rollouts` rollouts at the split's pass rate; an outcome
    multiplies what was known of its item by `discount`."""

    prior_rollouts: float = Field(4.0, ge=0)
    discount: float = Field(0.5, gt=0, le=1)
    replay: ReplaySettings | None = None

    def stream(self, world: World) -> Stream:
        """The stream of this kind."""
        raise NotImplementedError

    def build(
        self, rows: Rows | Iterable[Mapping[str, Any]], seed: int, epochs: float | None = None
    ) -> ItemSampler:
        """The sampler of a split's training rows; over after `epochs` passes, never where that is None.

        Raises BadInput where there are no rows, or none of those that the settings name.
        """
        return ItemSampler(rows if isinstance(rows, Rows) else Rows.of(rows), self, seed, epochs)


class ItemSampler:
    """A stream with history and replay. `epochs` counts the stream's draws; replays come on top, and none after the last."""

    def __init__(self, rows: Rows, settings: SamplerSettings, seed: int, epochs: float | None) -> None:
        self._rows, self._settings, self._seed = rows, settings, seed
        self._history = History(rows, settings.prior_rollouts, settings.discount)
        self._replay = Replay(settings.replay, rows.item_count, seed) if settings.replay else None
        retired_N = self._replay.retired_N if self._replay else np.zeros(rows.item_count, np.bool_)
        self._stream = settings.stream(World(rows, self._history, retired_N, seed, epochs))
        self._drawn = 0
        self._pending: dict[int, int] = {}
        self._latest: deque[float] = deque(maxlen=_LATEST)

    @property
    def passed(self) -> int:
        """Places of the stream that are over."""
        return self._stream.passed

    @property
    def places(self) -> int | None:
        """All places of the stream; None: without end."""
        return self._stream.places

    @property
    def most_draws(self) -> int | None:
        """The stream's places, and as many replays as their share lets come between them."""
        if self.places is None or self._settings.replay is None:
            return self.places
        return math.floor(self.places / (1 - exact(self._settings.replay.share)))

    def next(self) -> Draw | None:
        """The next draw: a replay where it is one's turn, else the stream's."""
        if self.passed == self.places:
            return None
        pick = self._replayed() or self._stream.next()
        if pick is None:
            return None
        draw = Draw(self._drawn, self._rows.ids[pick.row], pick.epoch, int(self._rows.slots[pick.row]))
        item = int(self._rows.items[pick.row])
        self._pending[self._drawn] = item
        self._latest.append(self._history.p(item))
        self._drawn += 1
        if self._replay:
            self._replay.drawn(item)
        return draw

    def observe(self, outcome: GroupOutcome) -> None:
        """Learn how a draw turned out; KeyError for one that was not drawn, or was observed before."""
        item = self._pending.pop(outcome.draw.sequence)
        self._history.observe(item, outcome.correct, outcome.n)
        if self._replay:
            mastered = self._history.mastered(item, self._replay.settings.mastered)
            retires = self._replay.observed(item, mastered)
            if retires is not None:
                (self._stream.retire if retires else self._stream.restore)(item)
        self._stream.observe(item, outcome)

    def state_dict(self) -> dict[str, Any]:
        """The draws' number, those not yet observed, and what training has changed; the mark says what they belong to."""
        return {
            "mark": self._mark,
            "drawn": self._drawn,
            "pending": sorted(self._pending.items()),
            "latest": list(self._latest),
            "history": self._history.state_dict(),
            "replay": self._replay.state_dict() if self._replay else None,
            "stream": self._stream.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same rows, settings and seed, else BadInput."""
        if state["mark"] != self._mark:
            raise BadInput(
                "the checkpoint belongs to another split or seed, or other settings of curriculum.sampler; "
                "start a new run directory"
            )
        self._drawn, self._pending = state["drawn"], dict(state["pending"])
        self._latest.extend(state["latest"])
        self._history.load_state_dict(state["history"])
        if self._replay:
            self._replay.load_state_dict(state["replay"])
        self._stream.load_state_dict(state["stream"])

    def metrics(self) -> dict[str, float]:
        """Draws; passes; the share of items with an outcome; the mean p of the latest 256 draws, as known when they were drawn."""
        told = {"drawn": float(self._drawn), "epoch": self._stream.epoch}
        told["coverage"] = self._history.coverage
        if self._latest:
            told["mean_p"] = sum(self._latest) / len(self._latest)
        return told | (self._replay.metrics() if self._replay else {}) | self._stream.metrics()

    @property
    def _mark(self) -> str:
        settings = json.dumps(self._settings.model_dump(mode="json"), sort_keys=True)
        return digest("curriculum-mark", self._rows.mark, settings, str(self._seed))

    def _replayed(self) -> Pick | None:
        item = self._replay.turn(self._drawn) if self._replay else None
        return None if item is None else Pick(int(self._rows.first[item]), int(self._stream.epoch))
