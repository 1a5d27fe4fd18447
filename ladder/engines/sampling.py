"""Drawing tokens: one stream of random numbers per rollout, a function of its seed alone.

A rollout's draws depend neither on its neighbours in the batch nor on when it was started, so that n samples in one
request, single requests and top-ups agree.
"""

from __future__ import annotations

import numpy as np
import torch

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ROWS_AT_ONCE = 64  # a float64 copy of the vocabulary per row is held for so many


def uniforms(seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(R,) numbers in [0, 1): the `steps[r]`-th of the stream `seeds[r]` (SplitMix64 of seed and counter)."""
    with np.errstate(over="ignore"):
        state = _mixed(seeds.astype(np.uint64)) + (steps.astype(np.uint64) + np.uint64(1)) * _GAMMA
        return (_mixed(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def distribution(logits_RV: torch.Tensor, temperature: float, banned: torch.Tensor) -> torch.Tensor:
    """(R, V) log-probabilities that are sampled from: temperature applied, banned ids out. Temperature 0 keeps 1."""
    scores = logits_RV.float() / (temperature or 1.0)
    scores = scores.index_fill(-1, banned, float("-inf"))
    return scores.log_softmax(-1)


def draw(logprobs_RV: torch.Tensor, uniforms_R: torch.Tensor) -> torch.Tensor:
    """(R,) token ids by inverting the cumulative distribution in float64."""
    out = []
    for logprobs, u in zip(logprobs_RV.split(_ROWS_AT_ONCE), uniforms_R.split(_ROWS_AT_ONCE), strict=True):
        cumulative = logprobs.double().exp().cumsum(-1)
        target = (u.double() * cumulative[:, -1])[:, None]
        out.append(torch.searchsorted(cumulative, target, right=True)[:, 0])
    return torch.cat(out).clamp_max(logprobs_RV.shape[-1] - 1)


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))
