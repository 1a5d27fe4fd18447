"""A run of the curriculum without a model: the real sampler, gate and supply, fed with outcomes drawn from what is known of
each item's p, which stays what it was when the ladder was scored. Knows nothing of tokens or memory.

An item's p is drawn once from its posterior Beta, and its groups from a binomial of that p: over many items this is the
posterior predictive distribution. Under Beta(a, b) a group of G is all right or all wrong with the chance
[B(a + G, b) + B(a, b + G)] / B(a, b).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from ladder.errors import LadderError
from ladder.score import Beta
from trainer.curriculum import Draw, GroupOutcome, Supply
from trainer.schedule import Plan

SIMULATED = 20_000  # draws that are followed
FIRST_STEPS = 3


@dataclass(frozen=True)
class Known:
    """What is known of a split's items: posteriors of p (those of an item that the ladder no longer has are the prior), and
    mean tokens of a response."""

    posteriors: Mapping[str, Beta]
    tokens: Mapping[str, float]


@dataclass(frozen=True)
class Simulated:
    """A finished group of the simulation."""

    outcome: GroupOutcome


@dataclass
class Course:
    """What was followed: `whole` to the run's end, `stopped` by the error that it says. `progress` is the share of the run,
    `short` counts steps that the gate did not let fill up. Sums are over draws."""

    steps: int = 0
    draws: int = 0
    silent: float = 0.0
    tokens: float = 0.0
    short: int = 0
    whole: bool = False
    progress: float = 0.0
    stopped: str | None = None
    first: list[list[Draw]] = field(default_factory=list)
    items: dict[str, None] = field(default_factory=dict)  # those drawn, in order


@cache
def silence(a: float, b: float, group: int) -> float:
    """The chance that all of a group are right, or all wrong, if p is of Beta(a, b)."""
    from scipy.special import betaln

    whole = betaln(a, b)
    return float(np.exp(betaln(a + group, b) - whole) + np.exp(betaln(a, b + group) - whole))


def follow(
    supply: Supply[Simulated], known: Known, plan: Plan, prompts: int, group: int, seed: int
) -> Course:
    """Go through a run at its start, of `prompts` groups of `group` a step, to its end or for SIMULATED draws; `supply` is
    used up."""
    course, rng, p = Course(), np.random.default_rng(seed), dict[str, float]()
    last = prompts
    with redirect_stderr(io.StringIO()):  # a supply tells of each step that it cannot fill
        while not plan.over(course.steps) and course.draws < SIMULATED:
            try:
                taken = _step(supply, known, course, rng, p, group)
            except LadderError as error:
                course.stopped = str(error)
                break
            if not taken:
                course.whole = True
                break
            course.steps, last = course.steps + 1, taken
            course.short += taken < prompts
    course.short -= bool(course.whole and course.steps and last < prompts)  # the rest of the data
    course.whole = course.whole or plan.over(course.steps)
    course.progress = 1.0 if course.whole else plan.progress(course.steps, supply.progress)
    return course


def _step(
    supply: Supply[Simulated],
    known: Known,
    course: Course,
    rng: np.random.Generator,
    p: dict[str, float],
    group: int,
) -> int:
    """A step; how many groups it trains on."""
    if course.steps < FIRST_STEPS:
        course.first.append([])
    while draws := supply.round():
        if course.steps < FIRST_STEPS:
            course.first[-1].extend(draws)
        done = []
        for draw in draws:
            of = known.posteriors[draw.item_id]
            if draw.item_id not in p:
                p[draw.item_id] = float(rng.beta(of.a, of.b))
            course.draws += 1
            course.silent += silence(of.a, of.b, group)
            course.tokens += known.tokens[draw.item_id]
            course.items[draw.item_id] = None
            correct = int(rng.binomial(group, p[draw.item_id]))
            done.append(Simulated(GroupOutcome(draw, group, correct, known.tokens[draw.item_id])))
        supply.offer(done)
    return len(supply.take())
