"""The key-value store of the transformers engine: one row per running sample, compacted as samples end."""

from __future__ import annotations

from typing import Any

import torch

_GROW = 64  # positions, the grain in which rows lengthen


class SlotCache:
    """Keys and values of up to `slots` rows of different lengths; looks like a `transformers.Cache` while decoding.

    Per layer: (slots, key-value heads, capacity, head size). `lengths` (slots,) counts the valid positions of each row.
    """

    is_compileable = False

    def __init__(self, slots: int, device: torch.device) -> None:
        self.slots, self.rows = slots, 0
        self.lengths = torch.zeros(slots, dtype=torch.long, device=device)
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._arange = torch.arange(slots, device=device)
        self._width = 0

    def append(
        self, layers: list[tuple[torch.Tensor, torch.Tensor]], row: int, length: int, copies: int
    ) -> None:
        """Add `copies` rows that start with `length` prefilled positions of `row` of (B, heads, positions, size)."""
        self._reserve(layers, length + 1)
        at = slice(self.rows, self.rows + copies)
        for store, part in ((self._keys, 0), (self._values, 1)):
            for layer, pair in zip(store, layers, strict=True):
                layer[at, :, :length] = pair[part][row, :, :length]
        self.lengths[at] = length
        self.rows += copies

    def keep(self, rows: list[int]) -> None:
        """Drop all rows but these (ascending); row i of the result is the old `rows[i]`."""
        moved = [(new, old) for new, old in enumerate(rows) if new != old]
        if moved:
            new, old = (torch.tensor(side, device=self.lengths.device) for side in zip(*moved, strict=True))
            for layer in (*self._keys, *self._values):
                layer[new] = layer[old]
            self.lengths[new] = self.lengths[old]
        self.rows = len(rows)

    def begin_step(self) -> torch.Tensor:
        """Make room for one position per row; returns the additive-mask template (rows, 1, 1, width) as booleans."""
        self._width = int(self.lengths[: self.rows].max()) + 1
        self._reserve(None, self._width)
        ahead = torch.arange(self._width, device=self.lengths.device)
        return (ahead[None] <= self.lengths[: self.rows, None])[:, None, None]

    def end_step(self) -> None:
        """Count the position that the step wrote."""
        self.lengths[: self.rows] += 1

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the step's keys and values (rows, heads, 1, size), return all up to the step's width."""
        rows, at = self._arange[: self.rows], self.lengths[: self.rows]
        for store, new in ((self._keys[layer], keys), (self._values[layer], values)):
            store[rows, :, at] = new[:, :, 0]
        return self._keys[layer][: self.rows, :, : self._width], self._values[layer][
            : self.rows, :, : self._width
        ]

    def get_seq_length(self, _layer: int = 0) -> int:
        """Longest row: what transformers asks of a cache before it trusts the positions it was given."""
        return int(self.lengths[: self.rows].max()) if self.rows else 0

    def _reserve(self, like: list[tuple[torch.Tensor, torch.Tensor]] | None, width: int) -> None:
        if like is not None and not self._keys:
            shape = like[0][0].shape
            empty = (self.slots, shape[1], 0, shape[3])
            self._keys = [pair[0].new_zeros(empty) for pair in like]
            self._values = [pair[1].new_zeros(empty) for pair in like]
        if self._keys[0].shape[2] >= width:
            return
        capacity = -(-width // _GROW) * _GROW
        self._keys = [_lengthened(t, capacity) for t in self._keys]
        self._values = [_lengthened(t, capacity) for t in self._values]


def _lengthened(t: torch.Tensor, capacity: int) -> torch.Tensor:
    out = t.new_zeros(t.shape[0], t.shape[1], capacity, t.shape[3])
    out[:, :, : t.shape[2]] = t
    return out
