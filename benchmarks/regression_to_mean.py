"""Regression to the mean: a model that does not change at all, measured "before" and "after" on the probe.

    python benchmarks/regression_to_mean.py            # both parts
    python benchmarks/regression_to_mean.py --no-model # the simulation alone

An item is in an end tier partly by luck. Who takes the rollouts that put it there for "before" sees hard items improve and
easy ones get worse, whatever is trained. Simulation: a pool of items of known pass rate, put in tiers by the ladder's own
code from 8 rollouts each; many probes are drawn from it, and each is measured three times. The real part does it with the
embedded policy: build, sample, and two evaluations of the same weights, as the commands do it. Writes
benchmarks/results/regression_to_mean.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from results import write_result

from ladder.build import build
from ladder.config import load, shipped
from ladder.score import fit_prior
from ladder.settings import BuildSettings
from ladder.splits import SampleSettings, Split, sample
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.tiers import TierSettings
from trainer.evaluate import Evaluation, ItemResult, compare, evaluate
from trainer.setup import build_settings_of

K = 8
PER_TIER = 80  # of a probe
TIERS = TierSettings()


def pool(items: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True pass rates (N,), correct of K rollouts (N,), and the tiers that the ladder derives from these."""
    truth = rng.beta(0.5, 0.5, items)
    correct = rng.binomial(K, truth)
    found, counts = np.unique(correct, return_counts=True)
    tally = {(int(c), K): int(n) for c, n in zip(found, counts, strict=True)}
    tiering = TIERS.tiering(fit_prior(tally), tally)
    tiers = [tiering.of(c, K)[0] for c in range(K + 1)]
    return truth, correct, [tiers[c] for c in correct.tolist()]


def measured(places: np.ndarray, correct: np.ndarray, tiers: list[str]) -> Evaluation:
    """An evaluation of some items as `ladder eval` writes it, from counts."""
    results = [
        ItemResult(str(place), tiers[place], "-", K, int(c), False, 0.0)
        for place, c in zip(places.tolist(), correct.tolist(), strict=True)
    ]
    return Evaluation("unchanged", "simulated", K, 1.0, 0, results)


def draw_probe(tiers: list[str], rng: np.random.Generator) -> np.ndarray:
    """Places of PER_TIER items of each tier."""
    names = np.array(tiers)
    return np.concatenate(
        [rng.choice(np.flatnonzero(names == tier), PER_TIER, replace=False) for tier in TIERS.names]
    )


def changes(before: Evaluation, after: Evaluation) -> dict[str, dict[str, float]]:
    """The paired difference of mean@K by tier, with its 95% interval, as `ladder compare` tells it."""
    rows = compare(before, after)
    return {
        tier: rows[f"tier:{tier}"]["mean"]["difference"] for tier in TIERS.names if f"tier:{tier}" in rows
    }


def simulate(probes: int, seed: int = 0, items: int = 20_000) -> dict[str, dict[str, tuple[float, float]]]:
    """Of `probes` probes, by tier and by what "before" was: the mean change, and the share of probes whose interval
    excludes 0."""
    rng = np.random.default_rng(seed)
    truth, correct, tiers = pool(items, rng)
    seen: dict[str, list[dict[str, dict[str, float]]]] = {"fresh": [], "naive": []}
    for _ in range(probes):
        places = draw_probe(tiers, rng)
        fresh, after = (measured(places, rng.binomial(K, truth[places]), tiers) for _ in range(2))
        seen["fresh"].append(changes(fresh, after))
        seen["naive"].append(changes(measured(places, correct[places], tiers), after))
    return {
        kind: {tier: _told([row[tier] for row in rows]) for tier in TIERS.names}
        for kind, rows in seen.items()
    }


def _told(differences: list[dict[str, float]]) -> tuple[float, float]:
    excluded = [d["low"] > 0 or d["high"] < 0 for d in differences]
    return float(np.mean([d["mean"] for d in differences])), float(np.mean(excluded))


def with_model(root: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Changes by tier of the embedded policy, which nothing trains; "before" fresh, and from the tiering rollouts."""
    values = {"pool.root": f'"{root / "pool"}"', "pool.make.items": 220, "pool.make.probe_items": 660}
    overrides = [f"{key}={value}" for key, value in values.items()]
    settings = load(BuildSettings, shipped("pipelines", "digits"), overrides)
    build(settings, root / "ladder")
    split = sample(Store.open(root / "ladder"), SampleSettings(), "split")
    built = build_settings_of(split)
    before, after = (evaluate(split, split.probe, built.model.name, built, K, seed) for seed in (1, 2))
    return {"fresh": changes(before, after), "naive": changes(_tiering(split), after)}


def _tiering(split: Split) -> Evaluation:
    """The rollouts that put the probe's items in their tiers, as if they had been an evaluation."""
    with catalogue(Store.open(split.ladder)) as connection:
        counts = dict(connection.execute("SELECT id, correct FROM ladder").fetchall())
    results = [
        ItemResult(r["id"], r["tier"], r["subject"] or "-", K, counts[r["id"]], False, 0.0)
        for r in split.probe
    ]
    return Evaluation("unchanged", "ladder", K, 1.0, 0, results)


def figures(probes: int, model: bool) -> dict[str, dict[str, Any]]:
    """All figures, by name."""
    simulated = simulate(probes)
    found: dict[str, dict[str, Any]] = {}
    for tier in TIERS.names:
        fresh, naive = simulated["fresh"][tier], simulated["naive"][tier]
        for number, (name, unit) in enumerate((("mean change", "mean@8"), ("intervals without 0", "share"))):
            found[f"simulated, {tier}: {name}"] = {
                "value": round(fresh[number], 4),
                "unit": unit,
                "against": "before = the tiering rollouts",
                "against_value": round(naive[number], 4),
                "runs": probes,
            }
    if model:
        with tempfile.TemporaryDirectory() as place:
            real = with_model(Path(place))
        for tier, difference in real["fresh"].items():
            found[f"embedded policy, {tier}: change"] = {
                "value": difference,
                "unit": "mean@8, 95% interval",
                "against": "before = the tiering rollouts",
                "against_value": real["naive"][tier],
            }
    return found


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--no-model", action="store_true")
    arguments = parser.parse_args()
    all_figures = figures(arguments.probes, not arguments.no_model)
    for name, figure in all_figures.items():
        print(f"{name:<44} {figure['value']}  against {figure['against_value']}")
    write_result("regression_to_mean", all_figures)


if __name__ == "__main__":
    main()
