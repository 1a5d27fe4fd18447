"""Which responses one forward takes, and how they lie in its rows. Knows nothing of tensors or costs.

A packed row holds pieces one after the other; a piece is a prompt and then some of its responses, each whole. A padded row
holds one piece of one response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ladder.encode import Encoded

Layout = Literal["packed", "padded"]


@dataclass(frozen=True)
class Group:
    """A prompt and its responses as token ids, each of one token or more."""

    prompt: Encoded
    responses: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, order=True)
class Piece:
    """A prompt followed by some of its responses: indices into the groups, and into the group's responses."""

    group: int
    responses: tuple[int, ...]

    def length(self, groups: Sequence[Group]) -> int:
        """Its tokens."""
        group = groups[self.group]
        return len(group.prompt.prompt_ids) + sum(len(group.responses[r]) for r in self.responses)


@dataclass(frozen=True)
class Batch:
    """One forward: its rows, each of one piece or more. A `filler` is what several processes forward beside them to keep in
    step, and is none of the members."""

    rows: tuple[tuple[Piece, ...], ...]
    layout: Layout
    filler: Literal["text", "picture"] | None = None

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces, row by row."""
        return tuple(piece for row in self.rows for piece in row)

    @cached_property
    def members(self) -> tuple[tuple[int, int], ...]:
        """(index of the group, index of the response) along the R axis."""
        return tuple((piece.group, r) for piece in self.pieces for r in piece.responses)

    def in_one_row(self) -> Batch:
        """The same pieces in the same order, one after the other."""
        return Batch((self.pieces,), self.layout)

    def width(self, groups: Sequence[Group]) -> int:
        """Tokens of its longest row."""
        return max(sum(piece.length(groups) for piece in row) for row in self.rows)

    def tokens(self, groups: Sequence[Group]) -> int:
        """Tokens that the forward computes, with the padding."""
        return len(self.rows) * self.width(groups)
