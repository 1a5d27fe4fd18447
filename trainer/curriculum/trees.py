"""The two structures by which draws stay cheap at any size: a tree of integer weights, and a list by last use.

Both are flat arrays: a million items cost 16 MB each at most. Neither knows what it is used for.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from ladder.digest import digest
from trainer.curriculum.rows import Ints, elements


def exact(value: float) -> Fraction:
    """The decimal number that a setting was written as, so that 0.1 of 30 is 3 and no more."""
    return Fraction(repr(float(value)))


def chance_below(bound: int, seed: int, use: str, counter: int) -> int:
    """A number below `bound`, uniform, which depends on nothing but seed, use and counter."""
    return int(digest("curriculum-draw", use, str(seed), str(counter)), 16) % bound


class SumTree:
    """Integer weights of N items: changed and found in O(log N). Integers, so that the order of changes leaves no trace."""

    def __init__(self, weights_N: Ints) -> None:
        self._size = size = 1 << max(0, len(weights_N) - 1).bit_length()
        nodes = np.zeros(2 * size, np.int64)
        nodes[size : size + len(weights_N)] = weights_N
        while size > 1:
            nodes[size // 2 : size] = nodes[size : 2 * size : 2] + nodes[size + 1 : 2 * size : 2]
            size //= 2
        self._nodes = elements(nodes)

    @property
    def total(self) -> int:
        """The sum of all weights."""
        return int(self._nodes[1])

    def __getitem__(self, item: int) -> int:
        return int(self._nodes[self._size + item])

    def __setitem__(self, item: int, weight: int) -> None:
        nodes, node = self._nodes, self._size + item
        change = weight - nodes[node]
        while change and node:
            nodes[node] += change
            node >>= 1

    def find(self, point: int) -> int:
        """The item in whose share of the line from 0 to `total` the point lies; an item of weight 0 has none."""
        nodes, size, node = self._nodes, self._size, 1
        while node < size:
            node *= 2
            if point >= (left := nodes[node]):
                point -= left
                node += 1
        return node - size


class Recency:
    """Some of N items in the order of their last use, oldest first; every operation is O(1)."""

    def __init__(self, count: int, order: Ints) -> None:
        ring = np.concatenate([[count], order, [count]])
        after, before = np.full((2, count + 1), -1, np.int64)
        after[ring[:-1]], before[ring[1:]] = ring[1:], ring[:-1]
        self._end, self._after, self._before = count, elements(after), elements(before)

    def __contains__(self, item: int) -> bool:
        return self._after[item] >= 0

    def __iter__(self) -> Iterator[int]:
        item = self._after[self._end]
        while item != self._end:
            yield item
            item = self._after[item]

    @property
    def oldest(self) -> int | None:
        """The item unused for longest; None where there is none."""
        item = int(self._after[self._end])
        return None if item == self._end else item

    def discard(self, item: int) -> None:
        """Take an item out, if it is in."""
        if item in self:
            before, after = self._before[item], self._after[item]
            self._after[before], self._before[after] = after, before
            self._after[item] = -1

    def use(self, item: int) -> None:
        """Put an item last."""
        self.discard(item)
        last = self._before[self._end]
        self._after[last] = self._before[self._end] = item
        self._before[item], self._after[item] = last, self._end
