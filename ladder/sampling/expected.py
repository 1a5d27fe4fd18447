"""How many samples a plan will come to want: by its rule, if the items' pass rates are as a prior says.

What an item wants is a random walk over (correct, n), of which mean and variance follow by backward induction. Knows
nothing of where plans and priors come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ladder.adaptive import StoppingRule
from ladder.sampling.plan import State
from ladder.score import JEFFREYS, SMALL_POOL, Beta, fit_prior

_CERTAIN = 1e6  # of a prior's parameters: as good as one pass rate
_RATES = np.linspace(0.01, 0.99, 25)
_DEVIATIONS = 2.0  # standard deviations to either side: about 95%


@dataclass(frozen=True)
class Expected:
    """Samples wanted: their expectation, and about 95% of what may come."""

    mean: float
    low: float
    high: float


def expected_samples(states: Iterable[State], rule: StoppingRule | None) -> Expected:
    """Samples that items in these states will want in all from here on; exact without a rule.

    The prior is fitted to what the items have shown. Of too few for that, Jeffreys' gives the mean; the interval then
    goes from pools of the pass rate that costs least to those of the one that costs most.
    """
    many = Counter(states)
    known = float(sum(state.missing * items for state, items in many.items()))
    if rule is None or not any(not state.ends for state in many):
        return Expected(known, known, known)
    scored: Counter[tuple[int, int]] = Counter()
    for state, items in many.items():
        scored[state.correct, state.n] += items if state.n else 0
    if (shown := scored.total()) >= SMALL_POOL:
        mean, deviation = _total(many, rule, fit_prior(scored), shown)
        return Expected(mean, max(known, mean - deviation), mean + deviation)
    mean, _ = _total(many, rule, JEFFREYS, shown)
    of_one_rate = [_total(many, rule, Beta(p * _CERTAIN, (1 - p) * _CERTAIN), shown) for p in _RATES]
    low, high = min(m - d for m, d in of_one_rate), max(m + d for m, d in of_one_rate)
    return Expected(mean, max(known, min(low, mean)), max(high, mean))


def _total(many: Counter[State], rule: StoppingRule, prior: Beta, shown: int) -> tuple[float, float]:
    """Mean over all items, and what about 95% of the totals lie within to either side of it.

    How far the mean of the items that have shown nothing may be off is judged by how many have shown something.
    """
    walk = _Walk(rule, prior)
    mean = variance = fresh = fresh_variance = 0.0
    for state, items in many.items():
        first, second = (state.missing, 0.0) if state.ends else walk.from_(state)
        mean += items * first
        variance += items * second
        if not state.n:
            fresh += items
            fresh_variance = max(fresh_variance, second)
    if shown:
        variance += fresh**2 * fresh_variance / shown
    return mean, _DEVIATIONS * float(np.sqrt(variance))


class _Walk:
    """Mean and mean square of the samples that are still wanted at (correct, n), if p ~ `prior`."""

    def __init__(self, rule: StoppingRule, prior: Beta) -> None:
        self._prior = prior
        size = len(rule.more)
        self._mean, self._square = ([np.zeros(n + 1) for n in range(size)] for _ in range(2))
        for n in range(size - 1, -1, -1):
            wants = np.array([rule.wanted(c, n) - n for c in range(n + 1)])
            for m in (int(m) for m in np.unique(wants[wants > 0])):
                mean, square = self._after(n, m)
                here = wants == m
                self._mean[n][here] = mean[here]
                self._square[n][here] = square[here]

    def from_(self, state: State) -> tuple[float, float]:
        """Mean and variance of what an item in that state wants, with what is missing now."""
        n = min(state.n, len(self._mean) - 1)
        m = min(state.missing + state.unjudged, len(self._mean) - 1 - n)
        mean, square = (values[min(state.correct, n)] for values in self._after(n, m))
        # what is stored and not judged is not sampled again
        return float(mean) - state.unjudged, float(square - mean**2)

    def _after(self, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and mean square at 0 ... n correct of n where m samples are wanted first."""
        mean, square = self._mean[n + m], self._square[n + m]
        for k in range(n + m - 1, n - 1, -1):
            mean, square = self._expected(k, mean), self._expected(k, square)
        return mean + m, square + 2 * m * mean + m**2

    def _expected(self, n: int, values: np.ndarray) -> np.ndarray:
        """From values at 0 ... n + 1 correct of n + 1 to their expectation at 0 ... n of n."""
        chance = (self._prior.a + np.arange(n + 1)) / (self._prior.a + self._prior.b + n)
        return chance * values[1:] + (1 - chance) * values[:-1]
