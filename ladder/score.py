"""From verdict counts to what is known of an item's pass rate p: a Beta posterior, its interval, pass@j.

The prior is fitted to the pool (empirical Bayes), Jeffreys' for small pools. Everything depends on (correct, n) alone,
so it is computed once per distinct pair and joined to the items by SQL. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: Fewer scored items than this say too little about a pool's prior.
SMALL_POOL = 100
LEVELS = 8
_BOUNDS = (0.05, 50.0)  # of the prior's parameters: outside, a pool of equal items would make it a spike


@dataclass(frozen=True)
class Beta:
    """A Beta distribution of p."""

    a: float
    b: float

    def posterior(self, correct: int, n: int) -> Beta:
        """After `correct` of `n`."""
        return Beta(self.a + correct, self.b + n - correct)

    @property
    def mean(self) -> float:
        """E[p]."""
        return self.a / (self.a + self.b)

    def interval(self, mass: float = 0.95) -> tuple[float, float]:
        """The equal-tailed credible interval that holds `mass`."""
        from scipy.special import betaincinv

        tail = (1 - mass) / 2
        return float(betaincinv(self.a, self.b, tail)), float(betaincinv(self.a, self.b, 1 - tail))

    def bands(self, cuts: tuple[float, ...]) -> list[float]:
        """Probability that p lies in each band between 0, the cuts and 1."""
        from scipy.special import betainc

        edges = [0.0, *(float(betainc(self.a, self.b, c)) for c in cuts), 1.0]
        return [high - low for low, high in pairwise(edges)]


JEFFREYS = Beta(0.5, 0.5)


def fit_prior(counts: Mapping[tuple[int, int], int]) -> Beta:
    """Maximum-likelihood Beta prior of a pool: `counts[(correct, n)]` items (beta-binomial; empirical Bayes)."""
    from scipy.optimize import minimize
    from scipy.special import betaln

    counts = {pair: items for pair, items in counts.items() if pair[1] > 0}
    if sum(counts.values()) < SMALL_POOL:
        return JEFFREYS
    pairs = np.array(list(counts), dtype=np.float64)
    weight = np.array(list(counts.values()), dtype=np.float64)
    correct, wrong = pairs[:, 0], pairs[:, 1] - pairs[:, 0]

    def loss(log_ab: np.ndarray) -> float:
        a, b = np.exp(log_ab)
        return -float(weight @ (betaln(a + correct, b + wrong) - betaln(a, b)))

    bounds = [(np.log(_BOUNDS[0]), np.log(_BOUNDS[1]))] * 2
    best = minimize(loss, np.log([JEFFREYS.a, JEFFREYS.b]), bounds=bounds, method="L-BFGS-B")
    return Beta(float(np.exp(best.x[0])), float(np.exp(best.x[1])))


def pass_at(n: int, correct: int, j: int) -> float:
    """Unbiased pass@j from `correct` of `n` samples: 1 - C(n-c, j) / C(n, j) (Chen et al. 2021, arXiv 2107.03374).

    Raises ValueError where n < j.
    """
    if n < j:
        raise ValueError(f"pass@{j} needs at least {j} samples, not {n}")
    if n - correct < j:
        return 1.0
    return float(1.0 - np.prod(1.0 - j / np.arange(n - correct + 1, n + 1)))


def level(correct: float, n: float) -> int:
    """The nearest of the paper's nine levels 0/8 ... 8/8 to the observed pass rate, whatever n is; halves go up. Counts may
    be discounted ones."""
    return int((correct * LEVELS * 2 + n) // (2 * n))
