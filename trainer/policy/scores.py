"""Hidden states become log-probs and entropies of the distribution that was sampled from, a chunk of tokens at a time.

No vocabulary matrix of a whole batch is ever held: chunks are recomputed in the backward pass. Leaves out the decoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ladder.engines.sampling import distribution

LOGITS_AT_ONCE = 32 * 2**20  # tokens x vocabulary
Values = tuple[torch.Tensor, torch.Tensor | None]


def score(
    head: nn.Linear,
    hidden_NH: torch.Tensor,
    target_N: torch.Tensor,
    temperature: float,
    banned: torch.Tensor,
    entropy: bool,
) -> Values:
    """(N) float32 log-probs of the targets and, if asked for, (N) entropies in nats; both carry gradient."""

    def chunk(h_NH: torch.Tensor, t_N: torch.Tensor) -> Values:
        values: Values = _Score.apply(head(h_NH), t_N, temperature, banned, entropy)
        return values

    at_once = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
    if len(target_N) <= at_once:
        return chunk(hidden_NH, target_N)
    parts = zip(hidden_NH.split(at_once), target_N.split(at_once), strict=True)
    made = [checkpoint(chunk, h, t, use_reentrant=False) for h, t in parts]
    logprobs_N = torch.cat([logprobs for logprobs, _ in made])
    return logprobs_N, torch.cat([e for _, e in made]) if entropy else None


class _Score(torch.autograd.Function):
    """Of logits z and p = softmax(z / T): log p of the targets, d log p_t / dz = (1_t - p) / T; and the entropy H,
    dH / dz = -p (log p + H) / T. Keeps log p alone."""

    @staticmethod
    def forward(
        ctx: Any,
        logits_NV: torch.Tensor,
        target_N: torch.Tensor,
        temperature: float,
        banned: torch.Tensor,
        entropy: bool,
    ) -> Values:
        scores_NV = distribution(logits_NV, temperature, banned)
        entropy_N = torch.special.entr(scores_NV.exp()).sum(-1) if entropy else None
        ctx.save_for_backward(scores_NV, target_N, entropy_N)
        ctx.temperature, ctx.dtype = temperature, logits_NV.dtype
        return scores_NV.gather(-1, target_N[:, None])[:, 0], entropy_N

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        scores_NV, target_N, entropy_N = ctx.saved_tensors
        by_logprob_N, by_entropy_N = grads
        probs_NV = scores_NV.exp()
        if entropy_N is None:
            grad_NV = probs_NV.mul_(-by_logprob_N[:, None])
        else:
            grad_NV = torch.special.entr(probs_NV).mul_(by_entropy_N[:, None])
            grad_NV.addcmul_(probs_NV, (by_entropy_N * entropy_N + by_logprob_N)[:, None], value=-1)
        grad_NV.scatter_add_(-1, target_N[:, None], by_logprob_N[:, None])
        return grad_NV.div_(ctx.temperature).to(ctx.dtype), None, None, None, None
