"""The key-value store of the transformers engine: prompts once per request, answers once per sample, by length.

Entries of like length lie on one shelf (one tensor per layer), so that a long one costs its own length and not that of
all its neighbours. A sample's attention over its prompt, which its siblings share, and over its own answer are merged by
their log-sum-exps, as in Hydragen (Juravsky et al. 2024, section 3.1). Leaves out sliding windows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface

Layers = list[torch.Tensor]  # (N, heads, positions, size) each: of layer i, keys at 2 i and values at 2 i + 1

_NAME = "ladder_shelves"
_LOWEST = 128  # positions that the lowest shelf takes; each shelf above takes twice as many
_GRAIN = 32  # positions by which the lowest shelf lengthens


@dataclass(eq=False)
class _Entry:
    """Keys and values of one prompt or one answer, and the samples that look at it."""

    length: int
    rows: list[Hashable]


class _Shelf:
    """Entries of up to `limit` positions. Keys and values are (N, heads, width, size); N may be more than there
    are entries."""

    def __init__(self, limit: int, like: Layers) -> None:
        self.limit = limit
        self.entries: list[_Entry] = []
        self.layers = [layer[:0] for layer in like]

    @property
    def device(self) -> torch.device:
        return self.layers[0].device

    @property
    def bytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    def add(self, layers: Layers, entries: Sequence[_Entry]) -> None:
        """Add entries with their keys and values (N, heads, at least their lengths, size)."""
        self._rebuild(max(e.length for e in (*self.entries, *entries)), layers)
        self.entries += entries

    def lengthen(self) -> None:
        """Make room for one position more in each entry."""
        longest = 1 + max(entry.length for entry in self.entries)
        if longest > self.layers[0].shape[2]:
            self._rebuild(longest, [layer[:0] for layer in self.layers])

    def _rebuild(self, longest: int, added: Layers) -> None:
        grain = max(_GRAIN, self.limit // 8)
        width = -(-max(longest, 1) // grain) * grain
        held = len(self.entries)
        for i, new in enumerate(added):
            self.layers[i] = _joined((self.layers[i][:held], new), width)

    def take(self, places: Sequence[int]) -> tuple[Layers, list[_Entry]]:
        """Remove the entries at some places (ascending), and give them with their keys and values."""
        at = torch.tensor(places, device=self.device)
        layers = [layer[at] for layer in self.layers]
        entries = [self.entries[i] for i in places]
        self.drop(places)
        return layers, entries

    def drop(self, places: Sequence[int]) -> None:
        """Remove the entries at some places (ascending); the last ones fill the holes."""
        left, gone = len(self.entries) - len(places), set(places)
        holes = [i for i in places if i < left]
        movers = [i for i in range(left, len(self.entries)) if i not in gone]
        if holes:
            to, source = torch.tensor(holes, device=self.device), torch.tensor(movers, device=self.device)
            for layer in self.layers:
                layer[to] = layer[source]
        for hole, mover in zip(holes, movers, strict=True):
            self.entries[hole] = self.entries[mover]
        del self.entries[left:]


class _View:
    """A shelf during one step of a batch of R rows: which of them ask each of its N entries, and how much of it counts.

    Each entry has S places for who asks it, S the most that any has; `rows` is who is at which of the N * S places.
    """

    def __init__(self, shelf: _Shelf, lengths: Sequence[int], number: dict[Hashable, int]) -> None:
        asking = [[number[row] for row in entry.rows] for entry in shelf.entries]
        most = max(map(len, asking))
        self.rows = {row: i * most + j for i, rows in enumerate(asking) for j, row in enumerate(rows)}
        self.places, self.device = len(asking) * most, shelf.device
        self._shelf, self._width = shelf, max(lengths)
        self._asking = torch.tensor([rows + [0] * (most - len(rows)) for rows in asking], device=shelf.device)
        ends = torch.tensor(lengths, device=shelf.device)
        self._every, self._last = torch.arange(len(ends), device=shelf.device), ends - 1
        self._beyond: torch.Tensor | None = None
        if min(lengths) < self._width:
            beyond = torch.arange(self._width, device=shelf.device) > self._last[:, None]
            self._beyond = beyond[:, None, None]

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put the rows' keys and values (R, heads, 1, size) at the ends of their entries, of which each has one row."""
        rows = self._asking[:, 0]
        for store, new in zip(self._layers(layer), (keys, values), strict=True):
            store[self._every, :, self._last] = new[rows, :, 0].to(store.dtype)

    def _layers(self, layer: int) -> Layers:
        return self._shelf.layers[2 * layer : 2 * layer + 2]

    def attend(self, layer: int, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs (N * S, heads, group, size) and log-sum-exps (N * S, heads, group, 1) of who asks, given the scaled
        queries (R, heads, group, size) of all rows."""
        keys, values = (t[: len(self._last), :, : self._width] for t in self._layers(layer))
        asked = query[self._asking].transpose(1, 2)
        scores = (asked.flatten(2, 3).to(keys.dtype) @ keys.transpose(-1, -2)).float()
        if self._beyond is not None:
            scores.masked_fill_(self._beyond, float("-inf"))
        highest = scores.amax(-1, keepdim=True)
        weights = scores.sub_(highest).exp_()
        total = weights.sum(-1, keepdim=True)
        out = (weights.to(values.dtype) @ values).float() / total
        shape = asked.shape[:4]
        seen = (t.view(*shape, -1).transpose(1, 2).flatten(0, 1) for t in (out, total.log_().add_(highest)))
        return next(seen), next(seen)


class _Side:
    """The views of all prompts, or of all answers: each row of the batch asks one entry of one of them."""

    def __init__(self, views: Sequence[_View], rows: int) -> None:
        self.views = views
        place, first = [0] * rows, 0
        for view in views:
            for row, at in view.rows.items():
                place[row] = first + at
            first += view.places
        self._place = torch.tensor(place, device=views[0].device)

    def attend(self, layer: int, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What each row sees: outputs (R, heads, group, size) and log-sum-exps (R, heads, group, 1)."""
        outs, totals = zip(*(view.attend(layer, query) for view in self.views), strict=True)
        return torch.cat(outs)[self._place], torch.cat(totals)[self._place]


class KeyValueStore:
    """Keys and values of the running samples. Holding more than `limit` bytes raises torch.OutOfMemoryError, as a device does
    that has no more; the store is then of no use but to be left."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._prompts: dict[int, _Shelf] = {}
        self._answers: dict[int, _Shelf] = {}
        self._sides: tuple[_Side, _Side] | None = None

    @property
    def bytes(self) -> int:
        """What it holds now."""
        return sum(shelf.bytes for shelf in self._shelves())

    def _shelves(self) -> list[_Shelf]:
        return [*self._prompts.values(), *self._answers.values()]

    def add(
        self,
        layers: Sequence[tuple[torch.Tensor, torch.Tensor]],
        lengths: Sequence[int],
        rows: Sequence[Sequence[Hashable]],
    ) -> None:
        """Add prefilled prompts, per layer keys and values (B, heads, at least their lengths, size), and for each the
        samples that answer it."""
        flat = [t for pair in layers for t in pair]
        prompts = [_Entry(length, list(of)) for length, of in zip(lengths, rows, strict=True)]
        by_limit = defaultdict(list)
        for place, prompt in enumerate(prompts):
            by_limit[_limit_for(prompt.length)].append(place)
        for limit, places in by_limit.items():
            part = [layer[places] for layer in flat]
            self._put(self._prompts, limit, part, [prompts[i] for i in places])
        answers = [_Entry(0, [row]) for prompt in prompts for row in prompt.rows]
        empty = [t.new_empty(len(answers), t.shape[1], 0, t.shape[3]) for t in flat]
        self._put(self._answers, _LOWEST, empty, answers)

    def drop(self, rows: set[Any]) -> None:
        """Forget samples that have ended, and prompts that nobody answers any more."""
        for shelves in (self._prompts, self._answers):
            for limit, shelf in list(shelves.items()):
                for entry in shelf.entries:
                    entry.rows = [row for row in entry.rows if row not in rows]
                shelf.drop([i for i, entry in enumerate(shelf.entries) if not entry.rows])
                if not shelf.entries:
                    del shelves[limit]

    @contextmanager
    def step(self, model: Any, rows: Sequence[Hashable]) -> Iterator[None]:
        """While it lasts, `model` (a text model) decodes a batch of `rows` against this store, given as `store`; then each
        of them is one position longer."""
        for limit, shelf in sorted(self._answers.items()):
            if full := [i for i, entry in enumerate(shelf.entries) if entry.length == limit]:
                self._put(self._answers, 2 * limit, *shelf.take(full))
                if not shelf.entries:
                    del self._answers[limit]
        for shelf in self._answers.values():
            shelf.lengthen()
        self._check()
        self._sides = self._look(rows)
        before, model.config._attn_implementation = model.config._attn_implementation, _NAME
        try:
            yield
        finally:
            model.config._attn_implementation = before
            self._sides = None
        for entry in (entry for shelf in self._answers.values() for entry in shelf.entries):
            entry.length += 1

    def attend(
        self, layer: int, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Attention (R, 1, query heads, size) of one new position per row: queries (R, query heads, 1, size), keys and
        values (R, heads, 1, size)."""
        assert self._sides is not None
        prompts, answers = self._sides
        for view in answers.views:
            view.write(layer, keys, values)
        grouped = (query * scale).view(len(query), keys.shape[1], -1, query.shape[-1])
        on_prompts, of_prompts = prompts.attend(layer, grouped)
        on_answers, of_answers = answers.attend(layer, grouped)
        merged = torch.lerp(on_answers, on_prompts, (of_prompts - of_answers).sigmoid_())
        return merged.to(query.dtype).view(len(query), 1, -1, query.shape[-1])

    def _put(self, shelves: dict[int, _Shelf], limit: int, layers: Layers, entries: Sequence[_Entry]) -> None:
        if limit not in shelves:
            shelves[limit] = _Shelf(limit, layers)
        shelves[limit].add(layers, entries)
        self._check()

    def _check(self) -> None:
        if self._limit is not None and self.bytes > self._limit:
            raise torch.OutOfMemoryError(f"{self.bytes:,} bytes of keys and values are out of memory")

    def _look(self, rows: Sequence[Hashable]) -> tuple[_Side, _Side]:
        number = {row: i for i, row in enumerate(rows)}
        prompts = [_View(s, [e.length for e in s.entries], number) for s in self._prompts.values()]
        answers = [_View(s, [e.length + 1 for e in s.entries], number) for s in self._answers.values()]
        return _Side(prompts, len(rows)), _Side(answers, len(rows))


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: None,
    *,
    scaling: float,
    store: KeyValueStore,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it."""
    return store.attend(module.layer_idx, query, key, value, scaling), None


AttentionInterface.register(_NAME, _attend)


def _limit_for(length: int) -> int:
    """Of the lowest shelf that takes so many positions."""
    return max(_LOWEST, 1 << (length - 1).bit_length())


def _joined(parts: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """Entries (N, heads, any width, size) one after the other, cut or filled up with zeros to a width."""
    like = parts[0]
    out = like.new_zeros(sum(map(len, parts)), like.shape[1], width, like.shape[3])
    at = 0
    for part in parts:
        out[at : at + len(part), :, : part.shape[2]] = part[:, :, :width]
        at += len(part)
    return out
