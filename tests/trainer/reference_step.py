"""One whole update again, in plain loops over float64 numbers: rewards, advantages, the loss, and its gradient worked out by
hand. Written from the papers, without torch and without a line of trainer/, so that the two can be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Rows = list[list[float]]


@dataclass
class Update:
    """P groups of G responses; log-probs are arrays of a response's own length, in the order of the groups."""

    correct: list[list[int]]
    formed: list[list[int]]
    truncated: list[list[bool]]
    new: list[np.ndarray]
    old: list[np.ndarray]
    reference: list[np.ndarray]
    entropy: list[np.ndarray]

    @property
    def lengths(self) -> list[list[int]]:
        group = len(self.correct[0])
        flat = [len(row) for row in self.new]
        return [flat[i : i + group] for i in range(0, len(flat), group)]


@dataclass
class Choice:
    """How it is trained on."""

    estimator: str = "grpo"
    std: str = "unbiased"
    eps: float = 1e-6
    sigma: float | None = None
    ratio: str = "token"
    low: float = 0.2
    high: float = 0.2
    dual: float | None = None
    average: str = "token"
    mask_truncated: bool = False
    max_tokens: int = 12
    entropy: float = 0.0
    kl: str = "k3"
    place: str = "loss"
    beta: float = 0.05
    by_ratio: bool = False


def made(seed: int, groups: int = 3, group: int = 4, longest: int = 9, apart: float = 0.4) -> Update:
    """A random update of ragged responses, the last token of a truncated one being its `longest`th."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, (groups, group))
    rows = [rng.normal(-1.5, 1.0, length) for length in lengths.ravel()]
    return Update(
        correct=(rng.random((groups, group)) < 0.5).astype(int).tolist(),
        formed=(rng.random((groups, group)) < 0.7).astype(int).tolist(),
        truncated=(lengths == longest).tolist(),
        new=rows,
        old=[row + rng.normal(0, apart, len(row)) for row in rows],
        reference=[row + rng.normal(0, 0.5, len(row)) for row in rows],
        entropy=[rng.random(len(row)) for row in rows],
    )


def rewards(update: Update, constraint: int = 4) -> Rows:
    """Accuracy, half the format, and the bonus of the shortest correct response longer than `constraint`."""
    out = []
    for correct, formed, lengths in zip(update.correct, update.formed, update.lengths, strict=True):
        row = [c + 0.5 * f for c, f in zip(correct, formed, strict=True)]
        right = [i for i, c in enumerate(correct) if c]
        if right:
            shortest = min(right, key=lambda i: (lengths[i], i))
            row[shortest] += 0.2 if lengths[shortest] > constraint else 0.0
        out.append(row)
    return out


def advantages(paid: Rows, correct: list[list[int]], how: Choice) -> Rows:
    centred = [[r - math.fsum(row) / len(row) for r in row] for row in paid]
    flat = [a for row in centred for a in row]
    whole = math.sqrt(math.fsum(a * a for a in flat) / (len(flat) - 1))
    out = []
    for row, own, verdicts in zip(paid, centred, correct, strict=True):
        n, p = len(row), sum(verdicts) / len(verdicts)
        weight = 1.0 if how.sigma is None else 4 * how.sigma * p * (1 - p)
        if max(row) == min(row):
            out.append([0.0] * n)
            continue
        if how.estimator == "rloo":
            own = [r - (math.fsum(row) - r) / (n - 1) for r in row]
        elif how.estimator == "reinforce++-baseline":
            own = [a / (whole + how.eps) for a in own]
        elif how.estimator == "grpo" and how.std != "none":
            free = n - 1 if how.std == "unbiased" else n
            own = [a / (math.sqrt(math.fsum(b * b for b in own) / free) + how.eps) for a in own]
        out.append([weight * a for a in own])
    return out


def divergence(policy: float, reference: float, estimator: str) -> tuple[float, float]:
    """An estimate, and its derivative by the policy's log-prob."""
    r = policy - reference
    if estimator == "k1":
        return r, 1.0
    if estimator == "k2":
        return r * r / 2, r
    return math.exp(-r) - 1 + r, 1 - math.exp(-r)


def surrogate(ratio: float, a: float, how: Choice) -> tuple[float, float]:
    """What is maximised at one token, and its derivative by the ratio."""
    clipped = min(max(ratio, 1 - how.low), 1 + how.high)
    value, slope = (ratio * a, a) if ratio * a <= clipped * a else (clipped * a, 0.0)
    if how.dual is not None and a < 0 and value < how.dual * a:
        return how.dual * a, 0.0
    return value, slope


def token_weights(update: Update, how: Choice) -> list[float]:
    lengths = [n for row in update.lengths for n in row]
    out = [how.mask_truncated and t for row in update.truncated for t in row]
    counted = [n for n, gone in zip(lengths, out, strict=True) if not gone]
    if not counted:
        return [0.0] * len(lengths)
    shares = []
    for length, gone in zip(lengths, out, strict=True):
        own = {"token": sum(counted), "sequence": length * len(counted)}.get(how.average)
        shares.append(0.0 if gone else 1 / (own or how.max_tokens * len(counted)))
    return shares


def loss_and_gradient(update: Update, flat: list[float], how: Choice) -> tuple[float, list[np.ndarray]]:
    """The loss of responses with advantages `flat`, and its derivative by each of their log-probs."""
    total, gradient = 0.0, []
    for i, weight in enumerate(token_weights(update, how)):
        new, old, reference = update.new[i], update.old[i], update.reference[i]
        length = len(new)
        slopes = np.zeros(length)
        mean = math.exp(math.fsum(new - old) / length)
        for t in range(length):
            a = flat[i]
            if how.place == "reward":
                a -= how.beta * math.fsum(
                    divergence(old[u], reference[u], how.kl)[0] for u in range(t, length)
                )
            ratio = mean if how.ratio == "sequence" else math.exp(new[t] - old[t])
            value, slope = surrogate(ratio, a, how)
            if how.ratio == "sequence":
                slopes += slope * mean / length
            else:
                slopes[t] += slope * ratio
            if how.place == "loss":
                kl, kl_slope = divergence(new[t], reference[t], how.kl)
                scale = ratio if how.by_ratio else 1.0
                value -= how.beta * kl * scale
                slopes[t] -= how.beta * kl_slope * scale
                if how.by_ratio and how.ratio == "sequence":
                    slopes -= how.beta * kl * mean / length
                elif how.by_ratio:
                    slopes[t] -= how.beta * kl * ratio
            total -= weight * (value + how.entropy * update.entropy[i][t])
        gradient.append(-weight * slopes)
    return total, gradient


def whole(update: Update, how: Choice) -> tuple[float, list[np.ndarray]]:
    """From verdicts to the gradient."""
    per_group = advantages(rewards(update), update.correct, how)
    return loss_and_gradient(update, [a for row in per_group for a in row], how)
