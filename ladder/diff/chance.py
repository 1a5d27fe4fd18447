"""How many items' pass rates differ by more than chance would have it, though no item's true pass rate changed.

Each item is tested by Fisher's exact test of its two counts (Fisher 1935, The Design of Experiments, chapter 2; the
two-sided one, of all tables no more probable than the one seen). Counts are few and discrete, so that far fewer items than
`ALPHA` of them come out by chance: how many are to be expected is counted exactly, given each item's total, not taken as
`ALPHA` of the items. Holds for samples that are independent; ladders that count the same samples differ by their verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import sqrt

import numpy as np

ALPHA = 0.05
_TIES = 1 + 1e-7  # tables of equal probability, whatever the last bits say


@dataclass(frozen=True)
class Shifts:
    """Items whose pass rates differ at the level `ALPHA`, and how many of them chance gives: mean and standard deviation."""

    up: int
    down: int
    expected: float
    deviation: float


def shifts(counts: Iterable[tuple[int, int, int, int, int]]) -> Shifts:
    """Of rows (correct before, n before, correct after, n after, items)."""
    up = down = 0
    expected = variance = 0.0
    for c, n, d, m, items in counts:
        small, probability = _tables(n, m, c + d)
        expected += items * probability
        variance += items * probability * (1 - probability)
        if small[c - max(0, c + d - m)]:
            up, down = (up + items, down) if d * n > c * m else (up, down + items)
    return Shifts(up, down, expected, sqrt(variance))


@cache
def _tables(n: int, m: int, total: int) -> tuple[np.ndarray, float]:
    """Of the tables with `total` correct of n and m samples, by how many of n are correct (from the fewest that can be):
    which are significant, and the probability of these."""
    from scipy.stats import hypergeom

    fewest, most = max(0, total - m), min(n, total)
    probability = hypergeom.pmf(np.arange(fewest, most + 1), n + m, total, n)
    order = np.argsort(probability, kind="stable")
    tails = np.cumsum(probability[order])
    last = np.searchsorted(probability[order], probability * _TIES, side="right") - 1
    small = tails[last] <= ALPHA
    return small, float(probability[small].sum())
