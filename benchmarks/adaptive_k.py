"""Adaptive k on pools whose true p are known, and on the recorded answers of a real model to the embedded pool.

    python benchmarks/adaptive_k.py --items 2000000

Simulated: p drawn from several distributions; mean cost, the share of items put in their true tier (also computed exactly, by
enumeration), and whether the stored tier probabilities are kept, for fixed k and for the stopping rule of
ladder.adaptive; then simpler rules at the same mean cost, and other tiers. Real: the embedded pool is built
with twice the samples that the rule may use; it is replayed on the first half, the second half tells the tier. Writes
benchmarks/results/adaptive_k.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from results import write_result
from scipy.stats import binomtest

from ladder.adaptive import AdaptiveSettings, StoppingRule, ends
from ladder.score import JEFFREYS, Beta, fit_prior
from ladder.store import Store
from ladder.tiers import TierSettings, tier_of

Figures = dict[str, dict[str, Any]]

K0, DEFAULT, TIERS = 8, AdaptiveSettings(), TierSettings()
BELOW_16 = AdaptiveSettings(step=4, price=0.00825)
UP_TO_32 = AdaptiveSettings(k_max=32, price=0.0055)
PRIORS = {"uniform": Beta(1, 1), "Beta(.5,.5)": JEFFREYS, "Beta(.3,.3)": Beta(0.3, 0.3)}
EXTRA_PRIORS = {"Beta(8,2)": Beta(8, 2), "Beta(2,5)": Beta(2, 5)}
OTHER_CUTS = {"halves": (0.5,), "thirds": (1 / 3, 2 / 3), "tenths": tuple(i / 10 for i in range(1, 10))}
BINS = (0.5, 0.6, 0.7, 0.8, 0.9)
PRICES, K_MAXES = (0.01, 0.0065, 0.004, 0.002, 0.001), (32, 64, 128)
POOL_SIZES = (100, 300, 1000)
EMBEDDED_ITEMS = 1000


class Rule(NamedTuple):
    """The first samples, and how many more at [n, correct]: see ladder.adaptive.ends."""

    k0: int
    more: np.ndarray


class Arm(NamedTuple):
    """The `share` of all items goes by `more`, the rest by `less`: any mean cost between the two can be had."""

    less: Rule
    more: Rule
    share: float = 0.0


def fixed(k: int) -> Arm:
    """k samples of every item."""
    rule = Rule(k, np.zeros((k + 1, k + 1), dtype=np.int64))
    return Arm(rule, rule)


def adaptive(settings: AdaptiveSettings, tiers: TierSettings = TIERS) -> Arm:
    """Ladder's stopping rule."""
    rule = Rule(K0, StoppingRule(K0, settings, tiers).more)
    return Arm(rule, rule)


def rightness(prior: Beta, tiers: TierSettings, k_max: int) -> np.ndarray:
    """Probability that the tier decided at [n, correct] is the true one where p ~ `prior`."""
    right = np.zeros((k_max + 1, k_max + 1))
    for n in range(1, k_max + 1):
        right[n, : n + 1] = [tier_of(prior, c, n, tiers)[1] for c in range(n + 1)]
    return right


def exact(rule: Rule, prior: Beta, right: np.ndarray) -> tuple[float, float]:
    """Mean cost and accuracy of a rule, by enumeration."""
    ended = list(ends(rule.more, rule.k0, prior))
    cost = sum(n * share.sum() for n, share in ended)
    return float(cost), float(sum(share @ right[n, : n + 1] for n, share in ended))


def exact_arm(arm: Arm, prior: Beta, right: np.ndarray) -> tuple[float, float]:
    """The same of a mixture."""
    less, more = exact(arm.less, prior, right), exact(arm.more, prior, right)
    cost, accuracy = ((1 - arm.share) * a + arm.share * b for a, b in zip(less, more, strict=True))
    return cost, accuracy


def at_cost(rules: Sequence[Rule], cost: float, prior: Beta, right: np.ndarray) -> Arm:
    """The most accurate mixture of two of the rules that costs just so much."""
    points = [exact(rule, prior, right) for rule in rules]
    best, best_accuracy = None, -1.0
    for i, (low, low_accuracy) in enumerate(points):
        for j, (high, high_accuracy) in enumerate(points):
            if low <= cost < high:
                share = (cost - low) / (high - low)
                accuracy = low_accuracy + share * (high_accuracy - low_accuracy)
                if accuracy > best_accuracy:
                    best, best_accuracy = Arm(rules[i], rules[j], share), accuracy
    if best is None:
        raise ValueError(f"no two of these rules have a mean cost below and above {cost}")
    return best


def priced(settings: AdaptiveSettings = DEFAULT) -> list[Rule]:
    """Ladder's rule at many prices."""
    prices = np.geomspace(0.002, 0.03, 50)
    return [adaptive(settings.model_copy(update={"price": float(price)})).less for price in prices]


def simpler(kind: str) -> list[Rule]:
    """Rules one might use instead, each at many settings: all look `DEFAULT.step` samples ahead at a time, under Jeffreys'
    prior.

    threshold: stop where the tier's probability reaches t. interval: stop where the equal-tailed interval lies in one
    tier. prediction: stop where the tier at k_max is another one with less probability than e.
    """
    measure = {"threshold": _doubt, "interval": _tail, "prediction": _change}[kind]
    k_max, step = DEFAULT.k_max, DEFAULT.step
    table = measure(k_max)
    left = np.arange(k_max, -1, -1)[:, None]
    steps = np.where(np.tril(np.ones_like(table)) > 0, np.minimum(step, left), 0).astype(np.int64)
    return [Rule(K0, np.where(table > limit, steps, 0)) for limit in np.geomspace(0.005, 0.7, 60)]


def _doubt(k_max: int) -> np.ndarray:
    return 1 - rightness(JEFFREYS, TIERS, k_max)


def _tail(k_max: int) -> np.ndarray:
    """The probability outside of the most probable tier, on its heavier side."""
    tails = np.ones((k_max + 1, k_max + 1))
    for n in range(1, k_max + 1):
        for c in range(n + 1):
            bands = JEFFREYS.posterior(c, n).bands(TIERS.cuts)
            best = int(np.argmax(bands))
            tails[n, c] = max(sum(bands[:best]), sum(bands[best + 1 :]))
    return tails


def _change(k_max: int) -> np.ndarray:
    """The probability that the tier at k_max is not that of now."""
    tier = [
        [TIERS.names.index(tier_of(JEFFREYS, c, n, TIERS)[0]) for c in range(n + 1)] for n in range(k_max + 1)
    ]
    final = np.eye(len(TIERS.names))[tier[k_max]]
    change = np.zeros((k_max + 1, k_max + 1))
    for n in range(k_max - 1, 0, -1):
        chance = ((JEFFREYS.a + np.arange(n + 1)) / (JEFFREYS.a + JEFFREYS.b + n))[:, None]
        final = chance * final[1:] + (1 - chance) * final[:-1]
        change[n, : n + 1] = 1 - final[np.arange(n + 1), tier[n]]
    return change


class Pool(NamedTuple):
    """A simulated pool after scoring, by item: correct, n, the tier's stored probability, and whether p lies in it."""

    correct: np.ndarray
    n: np.ndarray
    told: np.ndarray
    right: np.ndarray
    rounds: float

    @property
    def accuracy(self) -> tuple[int, int]:
        """Items in their true tier, and all."""
        return int(self.right.sum()), len(self.right)


def simulate(arm: Arm, p: np.ndarray, rng: np.random.Generator, tiers: TierSettings = TIERS) -> Pool:
    """Sample items of the given p by a rule, then score and tier them as a build does."""
    correct, n = np.zeros(len(p), dtype=np.int64), np.zeros(len(p), dtype=np.int64)
    by_more = rng.random(len(p)) < arm.share
    asked = sum(
        _sample(rule, p, np.flatnonzero(chosen), correct, n, rng)
        for rule, chosen in ((arm.less, ~by_more), (arm.more, by_more))
    )
    pairs, where, items = np.unique(np.stack([correct, n]), axis=1, return_inverse=True, return_counts=True)
    counts = {(int(c), int(m)): int(i) for c, m, i in zip(*pairs, items, strict=True)}
    prior = fit_prior(counts)
    decided = [tier_of(prior, c, m, tiers) for c, m in counts]
    tier = np.array([tiers.names.index(name) for name, _ in decided])[where]
    told = np.array([probability for _, probability in decided])[where]
    return Pool(correct, n, told, tier == np.digitize(p, tiers.cuts), asked / len(p))


def _sample(
    rule: Rule, p: np.ndarray, going: np.ndarray, correct: np.ndarray, n: np.ndarray, rng: np.random.Generator
) -> int:
    """Sample the items `going` to their end; returns how often one was asked."""
    correct[going], n[going] = rng.binomial(rule.k0, p[going]), rule.k0
    asked = len(going)
    while len(going):
        more = rule.more[n[going], correct[going]]
        going, more = going[more > 0], more[more > 0]
        correct[going] += rng.binomial(more, p[going])
        n[going] += more
        asked += len(going)
    return asked


def share(right: int, items: int) -> dict[str, Any]:
    """A share of items with its Wilson 95% interval."""
    low, high = binomtest(right, items).proportion_ci(method="wilson") if items else (0.0, 1.0)
    return {
        "value": round(right / max(items, 1), 4),
        "interval": [round(low, 4), round(high, 4)],
        "unit": "share",
    }


def calibration(pools: Sequence[Pool]) -> Figures:
    """Of the items stored with a tier probability in each bin, the share that is truly in its tier."""
    found: Figures = {}
    for low, high in zip(BINS, (*BINS[1:], 1.001), strict=True):
        inside = [(pool.told >= low) & (pool.told < high) for pool in pools]
        right = sum(int(pool.right[chosen].sum()) for pool, chosen in zip(pools, inside, strict=True))
        items = sum(int(chosen.sum()) for chosen in inside)
        name = f"[{low}, {min(high, 1.0)}{']' if high > 1 else ')'}"
        told = sum(float(pool.told[chosen].sum()) for pool, chosen in zip(pools, inside, strict=True))
        found[name] = share(right, items) | {"items": items, "told": round(told / max(items, 1), 4)}
    return found


def arms_of(prior: Beta) -> dict[str, Arm]:
    """The rules of the main table."""
    right = rightness(prior, TIERS, DEFAULT.k_max)
    return {
        "fixed 8": fixed(8),
        "fixed 16": fixed(16),
        "fixed 32": fixed(32),
        "adaptive": adaptive(DEFAULT),
        "adaptive, step 4, price 0.00825": adaptive(BELOW_16),
        "adaptive, at 16": at_cost(priced(), 16, prior, right),
        "adaptive, k_max 32, price 0.0055": adaptive(UP_TO_32),
    }


def worth(accuracy: float, prior: Beta, right: np.ndarray) -> int:
    """The smallest fixed k that is as accurate."""
    for k in range(1, len(right)):
        if exact(fixed(k).less, prior, right)[1] >= accuracy:
            return k
    raise ValueError(f"no fixed k below {len(right)} is as accurate as {accuracy}")


def main_table(items: int, seed: int) -> Figures:
    """Fixed and adaptive k on the simulated pools."""
    figures: Figures = {}
    for name, prior in PRIORS.items():
        rng = np.random.default_rng(seed)
        p = rng.beta(prior.a, prior.b, items)
        right = rightness(prior, TIERS, DEFAULT.k_max)
        against = exact(fixed(32).less, prior, right)[1]
        for label, arm in arms_of(prior).items():
            pool = simulate(arm, p, rng)
            cost, accuracy = exact_arm(arm, prior, right)
            key = f"{name}: {label}"
            figures[f"{key}: mean cost"] = {
                "value": round(float(pool.n.mean()), 3),
                "exact": round(cost, 3),
                "unit": "samples per item",
                "against": "fixed 32",
                "against_value": 32,
                "ratio": round(cost / 32, 4),
                "rounds": round(pool.rounds, 2),
            }
            figures[f"{key}: accuracy"] = share(*pool.accuracy) | {
                "exact": round(accuracy, 4),
                "against": "fixed 32, exact",
                "against_value": round(against, 4),
                "ratio": round(accuracy / against, 4),
                "as fixed k": worth(accuracy, prior, right),
            }
            for bin_name, figure in calibration([pool]).items():
                figures[f"{key}: truly in the tier at a probability in {bin_name}"] = figure
    return figures


def small_pools(items: int, seed: int) -> Figures:
    """Whether tier probabilities are kept in small pools, where the fitted prior is uncertain."""
    figures: Figures = {}
    arm = adaptive(DEFAULT)
    for name, prior in PRIORS.items():
        for size in POOL_SIZES:
            rng = np.random.default_rng(seed)
            pools = [
                simulate(arm, rng.beta(prior.a, prior.b, size), rng) for _ in range(min(400, items // size))
            ]
            for bin_name, figure in calibration(pools).items():
                figures[f"{name}: pools of {size}: truly in the tier at a probability in {bin_name}"] = figure
    return figures


def mismatched(items: int, seed: int) -> Figures:
    """Pools far from Jeffreys' prior, one of them of no Beta at all; and other cuts."""
    figures: Figures = {}
    rng = np.random.default_rng(seed)
    pools = {name: rng.beta(prior.a, prior.b, items) for name, prior in EXTRA_PRIORS.items()}
    spikes = rng.choice([0.0, 1.0, np.nan], items, p=[0.2, 0.2, 0.6])
    pools["a fifth each at 0 and 1, the rest Beta(2,2)"] = np.where(
        np.isnan(spikes), rng.beta(2, 2, items), spikes
    )
    tierings = {"default": TIERS} | {
        name: TierSettings(names=tuple(f"t{i}" for i in range(len(cuts) + 1)), cuts=cuts)
        for name, cuts in OTHER_CUTS.items()
    }
    cases = [(name, p, "default") for name, p in pools.items()]
    cases += [(f"uniform, {cuts}", rng.beta(1, 1, items), cuts) for cuts in OTHER_CUTS]
    for name, p, cuts in cases:
        tiers = tierings[cuts]
        base = simulate(fixed(32), p, rng, tiers)
        pool = simulate(adaptive(DEFAULT, tiers), p, rng, tiers)
        figures[f"{name}: adaptive: mean cost"] = _against(float(pool.n.mean()), 32, "samples per item")
        accuracy, against = share(*pool.accuracy), share(*base.accuracy)["value"]
        figures[f"{name}: adaptive: accuracy"] = accuracy | _against(accuracy["value"], against, "share")
        for bin_name, figure in calibration([pool]).items():
            figures[f"{name}: adaptive: truly in the tier at a probability in {bin_name}"] = figure
    return figures


def _against(value: float, against: float, unit: str) -> dict[str, Any]:
    return {
        "value": round(value, 4),
        "unit": unit,
        "against": "fixed 32",
        "against_value": against,
        "ratio": round(value / against, 4),
    }


def compare_rules() -> Figures:
    """Accuracy, exact, of simpler rules at the same mean cost; each at its best settings for that pool."""
    figures: Figures = {}
    kinds: dict[str, Callable[[], list[Rule]]] = {
        "price": priced,
        "threshold": lambda: simpler("threshold"),
        "interval": lambda: simpler("interval"),
        "prediction": lambda: simpler("prediction"),
    }
    rules = {kind: make() for kind, make in kinds.items()}
    for name, prior in (PRIORS | EXTRA_PRIORS).items():
        right = rightness(prior, TIERS, DEFAULT.k_max)
        for cost in (16, 20):
            level = exact(fixed(cost).less, prior, right)[1]
            for kind in rules:
                arm = at_cost(rules[kind], cost, prior, right)
                accuracy = exact_arm(arm, prior, right)[1]
                figures[f"{name}: rule {kind} at a mean cost of {cost}: accuracy"] = {
                    "value": round(accuracy, 4),
                    "unit": "share",
                    "against": f"fixed {cost}",
                    "against_value": round(level, 4),
                }
    return figures


def choices() -> Figures:
    """What other prices and other k_max cost and give, exact."""
    figures: Figures = {}
    right = rightness(JEFFREYS, TIERS, max(K_MAXES))
    for k_max in K_MAXES:
        for price in PRICES:
            rule = adaptive(AdaptiveSettings(k_max=k_max, price=price)).less
            cost, accuracy = exact(rule, JEFFREYS, right)
            key = f"Beta(.5,.5): k_max {k_max}, price {price}"
            figures[f"{key}: mean cost"] = {"value": round(cost, 2), "unit": "samples per item"}
            figures[f"{key}: accuracy"] = {"value": round(accuracy, 4), "unit": "share"}
    return figures


def speed() -> Figures:
    """Seconds to solve the rule."""
    figures: Figures = {}
    for k_max in (32, 64, 256):
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            StoppingRule(K0, AdaptiveSettings(k_max=k_max), TIERS)
            taken.append(time.perf_counter() - start)
        figures[f"solving the rule, k_max {k_max}"] = {
            "value": round(sorted(taken)[2], 4),
            "unit": "s",
            "runs": 5,
        }
    return figures


def build_embedded(root: Path, items: int, k: int) -> Path:
    """A ladder of the embedded pool with k samples of each item."""
    values = {"pool.root": f'"{root / "pool"}"', "pool.make.items": items, "pool.make.probe_items": 0}
    values |= {"sampling.k": k}
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    command = [
        sys.executable,
        "-m",
        "ladder.cli",
        "build",
        "digits",
        "--out",
        str(root / "ladder"),
        *settings,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return root / "ladder"


def recorded(ladder: Path) -> np.ndarray:
    """Which samples of a ladder of fixed k were correct, by item and index: [items, k]. Items whose verdicts are
    incomplete are left out."""
    rows = Store.open(ladder).verdicts.table(["item_id", "index", "outcome"]).to_pylist()
    judged = {
        (row["item_id"], row["index"]): row["outcome"] == "correct"
        for row in rows
        if row["outcome"] in ("correct", "wrong", "no_answer")
    }
    k = 1 + max(index for _, index in judged)
    ids = sorted({item for item, _ in judged})
    whole = [item for item in ids if all((item, j) in judged for j in range(k))]
    return np.array([[judged[item, j] for j in range(k)] for item in whole])


def replay(rule: StoppingRule, correct: np.ndarray) -> np.ndarray:
    """The samples that the rule would have taken of each item, in the order of their indices; `correct` [items, k]."""
    taken = []
    for row in correct:
        n = rule.wanted(0, 0)
        while (wanted := rule.wanted(int(row[:n].sum()), n)) > n:
            n = wanted
        taken.append(n)
    return np.array(taken)


def embedded(ladder: Path) -> Figures:
    """Cost on recorded answers, and how often the tier is that of as many held-back answers, or that of fixed 32."""
    correct = recorded(ladder)
    half = correct.shape[1] // 2
    if half < DEFAULT.k_max:
        raise ValueError(
            f"{ladder} has {correct.shape[1]} samples of an item, less than twice {DEFAULT.k_max}"
        )
    first, held_back = correct[:, :half], correct[:, half:]
    reference, at_32 = (
        _tiers(held_back, np.full(len(correct), half)),
        _tiers(first, np.full(len(correct), 32)),
    )
    ends_at = {f"fixed {k}": np.full(len(correct), k) for k in (8, 16, 32, half)}
    for label, settings in (("adaptive", DEFAULT), ("adaptive, k_max 32, price 0.0055", UP_TO_32)):
        ends_at[label] = replay(StoppingRule(K0, settings, TIERS), first)
    figures: Figures = {}
    for label, n in ends_at.items():
        tiers = _tiers(first, n)
        key = f"embedded pool: {label}"
        figures[f"{key}: mean cost"] = _against(float(n.mean()), 32, "samples per item")
        same = int((tiers == reference).sum())
        figures[f"{key}: tier as by {half} held-back samples"] = share(same, len(n)) | {"items": len(n)}
        figures[f"{key}: tier as by fixed 32"] = share(int((tiers == at_32).sum()), len(n))
    return figures


def _tiers(correct: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.array(
        [tier_of(JEFFREYS, int(row[:m].sum()), int(m), TIERS)[0] for row, m in zip(correct, n, strict=True)]
    )


def main(items: int, seed: int, ladder: Path | None) -> None:
    """Simulate, build, replay, write."""
    figures = main_table(items, seed) | mismatched(items // 4, seed) | small_pools(items, seed)
    figures |= compare_rules() | choices() | speed()
    with tempfile.TemporaryDirectory() as place:
        figures |= embedded(ladder or build_embedded(Path(place), EMBEDDED_ITEMS, 2 * DEFAULT.k_max))
    write_result("adaptive_k", figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=2_000_000, help="simulated items per pool")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--ladder", type=Path, help="replay on this one, of fixed k, instead of building the embedded pool"
    )
    asked = parser.parse_args()
    main(asked.items, asked.seed, asked.ladder)
