"""Cuts groups into forwards of bounded size and chooses how each is laid out. Changes memory and time, never the result.

What is weighed, in multiply-adds of one forward: linear work grows with the tokens, with those of padding and of prompts that
are repeated for another piece; attention grows with the square of a row, of which a dense mask computes all and a padded
row, which is causal, half; with FlexAttention (`sparse`) a packed row computes what is seen, and nothing is gained by a second
row. The constants are the model's own sizes. Images are encoded once per forward under any plan, and logits are the same, so
both are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.flops import decoder
from trainer.policy.layout import Batch, Group, Layout, Piece

_LAUNCH = 128  # tokens whose linear work a forward costs before its first: it may waste as much on padding


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of a decoder: `per_token` linear ones, `per_pair` of a query and a key."""

    per_token: int
    per_pair: int
    sparse: bool = False

    @classmethod
    def of(cls, text: Any, sparse: bool = False) -> Cost:
        """Of a text model's configuration."""
        return cls(*decoder(text), sparse)

    def row(self, length: int, layout: Layout) -> int:
        """Of one row of some tokens."""
        pairs = length * length if layout == "packed" else length * (length + 1) // 2
        return self.per_token * length + self.per_pair * pairs

    def piece(self, prompt: int, responses: Sequence[int]) -> int:
        """Of a prompt and some responses of so many tokens, packed."""
        length = prompt + sum(responses)
        if not self.sparse:
            return self.row(length, "packed")
        pairs = sum(r * prompt + r * (r + 1) // 2 for r in responses) + prompt * (prompt + 1) // 2
        return self.per_token * length + self.per_pair * pairs


def cut(groups: Sequence[Group], tokens: int, cost: Cost, layout: Layout | None) -> list[Batch]:
    """Forwards that hold every response once, each of at most `tokens` tokens or of a single response; `layout` None
    chooses the cheaper for every group."""
    chosen: dict[Layout, list[Piece]] = {"packed": [], "padded": []}
    for g, group in enumerate(groups):
        best, pieces = min(_ways(g, group, tokens, cost, layout), key=lambda way: way[0])[1:]
        chosen[best] += pieces
    if cost.sparse:
        packed = _filled(chosen["packed"], groups, tokens)
    else:
        packed = _batches(chosen["packed"], groups, tokens, cost, "packed")
    return packed + _batches(chosen["padded"], groups, tokens, cost, "padded")


def _ways(
    g: int, group: Group, tokens: int, cost: Cost, layout: Layout | None
) -> Iterable[tuple[int, Layout, list[Piece]]]:
    """What a group can be cut into, with its cost: one piece in a packed row, two pieces, ..., or a padded row for every
    response. Pieces that are longer than `tokens` are none, but of one response."""
    prompt, count = len(group.prompt.prompt_ids), len(group.responses)
    alone = [prompt + len(response) for response in group.responses]
    if layout != "packed":
        pieces = [Piece(g, (r,)) for r in range(count)]
        yield sum(cost.row(length, "padded") for length in alone), "padded", pieces
    if layout == "padded":
        return
    for parts in range(1, count + 1):
        dealt, lengths = _dealt(group, parts)
        if parts == count or max(lengths) <= tokens:
            pieces = [Piece(g, tuple(part)) for part in dealt]
            sizes = [[len(group.responses[r]) for r in part] for part in dealt]
            yield sum(cost.piece(prompt, part) for part in sizes), "packed", pieces


def _dealt(group: Group, parts: int) -> tuple[list[list[int]], list[int]]:
    """The responses dealt to some pieces of about the same length, the longest first; and the pieces' lengths."""
    dealt: list[list[int]] = [[] for _ in range(parts)]
    lengths = [len(group.prompt.prompt_ids)] * parts
    for r in sorted(range(len(group.responses)), key=lambda r: -len(group.responses[r])):
        to = lengths.index(min(lengths))
        dealt[to].append(r)
        lengths[to] += len(group.responses[r])
    return [sorted(part) for part in dealt], lengths


@dataclass
class _Open:
    """A batch that is being filled; its first piece was its longest."""

    width: int
    rows: list[list[Piece]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)  # of each row: tokens that are still padding

    def add(self, piece: Piece, length: int, row: int | None) -> None:
        if row is None:
            self.rows.append([])
            self.left.append(self.width)
            row = -1
        self.rows[row].append(piece)
        self.left[row] -= length


def _filled(pieces: Iterable[Piece], groups: Sequence[Group], tokens: int) -> list[Batch]:
    """One row a forward, filled from the longest piece to the shortest."""
    lengths = {piece: piece.length(groups) for piece in pieces}
    rows: list[list[Piece]] = []
    left: list[int] = []
    for piece in sorted(lengths, key=lambda piece: (-lengths[piece], piece)):
        length = lengths[piece]
        row = next((row for row, free in enumerate(left) if free >= length), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(tokens)
        rows[row].append(piece)
        left[row] -= length
    return [Batch((tuple(row),), "packed") for row in rows]


def _batches(
    pieces: Iterable[Piece], groups: Sequence[Group], tokens: int, cost: Cost, layout: Layout
) -> list[Batch]:
    """From the longest piece to the shortest: into padding that there is, else as a row of its own where that pads no more
    than a forward costs anyway, else into another forward."""
    lengths = {piece: piece.length(groups) for piece in pieces}
    opened: list[_Open] = []
    for piece in sorted(lengths, key=lambda piece: (-lengths[piece], piece)):
        length = lengths[piece]
        place = _room(opened, length) if layout == "packed" else None
        if place is not None:
            place[0].add(piece, length, place[1])
            continue
        if not opened or not _worth(opened[-1], length, tokens, cost, layout):
            opened.append(_Open(length))
        opened[-1].add(piece, length, None)
    return [Batch(tuple(map(tuple, batch.rows)), layout) for batch in opened]


def _room(opened: Sequence[_Open], length: int) -> tuple[_Open, int] | None:
    """A row whose padding takes so many tokens."""
    places = ((batch, row) for batch in opened for row, left in enumerate(batch.left) if left >= length)
    return next(places, None)


def _worth(batch: _Open, length: int, tokens: int, cost: Cost, layout: Layout) -> bool:
    """Whether a piece may have a row of its own in a batch."""
    if (len(batch.rows) + 1) * batch.width > tokens:
        return False
    full = cost.row(batch.width, layout)
    wasted = sum(full - cost.row(batch.width - left, layout) for left in batch.left)
    return wasted + full - cost.row(length, layout) <= _LAUNCH * cost.per_token
