"""Adaptive k: which items another sample can still help, and how many samples to ask for.

The Bayes-optimal stopping rule for a price per sample (docs/adaptive.md). What an item is asked for depends on its own
(correct, n), the settings and the tiers' cuts: never on other items, nor on the order in which answers arrive. Knows
nothing of engines and ladders.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field, PositiveInt

from ladder.config import Settings
from ladder.score import JEFFREYS, Beta
from ladder.tiers import AnyTiers


class AdaptiveSettings(Settings):
    """An item ends with at most `k_max` samples, asked for in multiples of `step`.

    `price` is what a sample must gain on average: so much probability that the item is put in its true tier. By the
    defaults, after 8 first samples, a pool costs 18.3 to 18.6 samples an item and is as well sorted as by 27 of each.
    """

    k_max: PositiveInt = Field(64, le=1024)
    step: PositiveInt = 2
    price: float = Field(0.0065, ge=1e-6, lt=1)

    def check(self, k: int) -> None:
        """Raises ValueError where `k_max` is less than the first `k` samples."""
        if self.k_max < k:
            raise ValueError(f"k_max is {self.k_max}, less than the first k = {k} samples")


class StoppingRule:
    """When an item has samples enough: by dynamic programming over (correct, n) under Jeffreys' prior, solved once.

    `more[n, correct]` samples are to be added; shape [k_max + 1, k_max + 1], 0 where the item is done. Raises ValueError
    for tiers without fixed cuts.
    """

    def __init__(self, k0: int, settings: AdaptiveSettings, tiers: AnyTiers) -> None:
        settings.check(k0)
        self._k0 = k0
        if tiers.fixed_cuts is None:
            raise ValueError("quantile tiers have no cuts before all is sampled")
        self.more = _solve(settings, tiers.fixed_cuts)

    def wanted(self, correct: int, n: int) -> int:
        """How many samples the item should have in all, after `correct` of `n`: n where that is enough.

        More than one step at once only where the item goes on whatever the steps before show. Raises ValueError where
        not 0 <= correct <= n.
        """
        if not 0 <= correct <= n:
            raise ValueError(f"{correct} correct of {n}")
        if n < self._k0:
            return self._k0
        return n + int(self.more[n, correct]) if n < len(self.more) else n

    def expected_cost(self, prior: Beta) -> float:
        """Mean samples per item of a pool whose p follow `prior`."""
        return float(sum(n * share.sum() for n, share in ends(self.more, self._k0, prior)))


def ends(more: np.ndarray, k0: int, prior: Beta) -> Iterator[tuple[int, np.ndarray]]:
    """How items end by the rule `more` when p ~ `prior`: each n, and the probability to end there with 0 ... n correct."""
    reached = [np.zeros(n + 1) for n in range(len(more))]
    reached[k0] = _sampled(np.ones(1), k0, prior)
    for n in range(k0, len(more)):
        wants = more[n, : n + 1]
        yield n, np.where(wants == 0, reached[n], 0)
        for m in np.unique(wants[wants > 0]):
            reached[n + m] += _sampled(np.where(wants == m, reached[n], 0), m, prior)


def _solve(settings: AdaptiveSettings, cuts: tuple[float, ...]) -> np.ndarray:
    """Backward induction: V(c, n) = max(S(c, n), E[V(c', n + s)] - price * s), S the most probable tier's probability.

    Tier probabilities are martingales, hence computed at k_max alone and averaged backward.
    """
    k_max = settings.k_max
    bands = np.array([JEFFREYS.posterior(c, k_max).bands(cuts) for c in range(k_max + 1)]).T
    more = np.zeros((k_max + 1, k_max + 1), dtype=np.int64)
    values = {k_max: bands.max(axis=0)}
    for n in range(k_max - 1, -1, -1):
        bands = _expected(bands)
        stop, step = bands.max(axis=0), min(settings.step, k_max - n)
        go_on = values[n + step]
        for _ in range(step):
            go_on = _expected(go_on)
        go_on = go_on - settings.price * step
        values[n] = np.maximum(stop, go_on)
        # where every outcome of the step goes on anyway, what they all want is asked for at once
        after = np.lib.stride_tricks.sliding_window_view(more[n + step, : n + step + 1], step + 1).min(axis=1)
        more[n, : n + 1] = np.where(go_on > stop, step + after, 0)
    return more


def _expected(values: np.ndarray) -> np.ndarray:
    """From values at 0 ... n + 1 correct of n + 1, last axis, to their expectation at 0 ... n correct of n."""
    chance = _chance(values.shape[-1] - 2, JEFFREYS)
    return chance * values[..., 1:] + (1 - chance) * values[..., :-1]


def _sampled(share: np.ndarray, samples: int, prior: Beta) -> np.ndarray:
    """From the probabilities of 0 ... n correct to those of 0 ... n + samples."""
    for _ in range(samples):
        right = share * _chance(len(share) - 1, prior)
        share = np.append(share - right, 0) + np.append(0, right)
    return share


def _chance(n: int, prior: Beta) -> np.ndarray:
    """That the next sample is correct, after 0 ... n correct of n."""
    return (prior.a + np.arange(n + 1)) / (prior.a + prior.b + n)
