"""Drawing tokens: one stream of random numbers per rollout, a function of its seed alone.

A rollout's draws depend neither on its neighbours in the batch nor on when it was started, so that n samples in one
request, single requests and top-ups agree.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BLOCK = 512  # ids


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
    """(R,) token ids by inverting the cumulative distribution in float64: first of blocks of ids, then inside one block, so
    that the whole vocabulary is never held in float64. `uniforms_R` are in float64."""
    probs_RV = logprobs_RV.exp()
    blocks_RNB = F.pad(probs_RV, (0, -probs_RV.shape[-1] % _BLOCK)).unflatten(-1, (-1, _BLOCK))
    exact = torch.device("cpu") if logprobs_RV.device.type == "mps" else logprobs_RV.device
    block_R, left_R = _inverted(blocks_RNB.sum(-1).to(exact).double(), uniforms_R.to(exact))
    rows = torch.arange(len(block_R), device=logprobs_RV.device)
    inside_RB = blocks_RNB[rows, block_R.to(logprobs_RV.device)].to(exact).double()
    place_R, _ = _inverted(inside_RB, left_R)
    return (block_R * _BLOCK + place_R).to(logprobs_RV.device)


def _inverted(masses_RN: torch.Tensor, u_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(R,) where the share `u_R` of the total mass lies, never on a mass of zero; and (R,) its share of that mass."""
    cumulative = masses_RN.cumsum(-1)
    total = cumulative[:, -1:]
    target = torch.minimum(u_R[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    at = torch.searchsorted(cumulative, target, right=True)
    mass = masses_RN.gather(-1, at)
    share = (target - (cumulative.gather(-1, at) - mass)) / mass
    return at[:, 0], share[:, 0].clamp(0, 1)


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))
