"""Hidden states become log-probs and entropies of the distribution that was sampled from, a chunk of tokens at a time.

No vocabulary matrix of a whole batch is ever held: chunks are recomputed in the backward pass. There the gradient of a plain
head's weight is one buffer that every chunk adds to: one each, and their sum, would cost more than the chunks themselves
where the vocabulary is large. Leaves out the decoder.
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
    head: nn.Module,
    hidden_NH: torch.Tensor,
    target_N: torch.Tensor,
    temperature: float,
    banned: torch.Tensor,
    entropy: bool,
) -> Values:
    """(N) float32 log-probs of the targets and, if asked for, (N) entropies in nats; both carry gradient."""
    weight_VH: torch.Tensor = head.weight  # type: ignore[assignment]
    at_once = max(1, LOGITS_AT_ONCE // len(weight_VH))
    values: Values
    if len(target_N) > at_once and _plain(head):
        values = _Chunks.apply(hidden_NH, weight_VH, target_N, temperature, banned, entropy, at_once)
        return values

    def chunk(h_NH: torch.Tensor, t_N: torch.Tensor) -> Values:
        values: Values = _Score.apply(head(h_NH), t_N, temperature, banned, entropy)
        return values

    if len(target_N) <= at_once:
        return chunk(hidden_NH, target_N)
    parts = zip(hidden_NH.split(at_once), target_N.split(at_once), strict=True)
    made = [checkpoint(chunk, h, t, use_reentrant=False) for h, t in parts]
    logprobs_N = torch.cat([logprobs for logprobs, _ in made])
    return logprobs_N, torch.cat([e for _, e in made]) if entropy else None


def _plain(head: nn.Module) -> bool:
    """Whether a head is a product with its weight, and nobody is told of it: neither an adapter nor a hook."""
    hooks = head._forward_hooks or head._forward_pre_hooks
    return type(head) is nn.Linear and head.bias is None and not hooks


class _Score(torch.autograd.Function):
    """Of logits: what `_values` gives, and the gradient of it. Keeps log p alone."""

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
        logprobs_N, entropy_N = _values(scores_NV, target_N, entropy)
        ctx.save_for_backward(scores_NV, target_N, entropy_N)
        ctx.temperature, ctx.dtype = temperature, logits_NV.dtype
        return logprobs_N, entropy_N

    @staticmethod
    def backward(
        ctx: Any, by_logprob_N: torch.Tensor, by_entropy_N: torch.Tensor | None
    ) -> tuple[torch.Tensor, None, None, None, None]:
        scores_NV, target_N, entropy_N = ctx.saved_tensors
        grad_NV = _slope(scores_NV.exp(), target_N, by_logprob_N, entropy_N, by_entropy_N, ctx.temperature)
        return grad_NV.to(ctx.dtype), None, None, None, None


class _Chunks(torch.autograd.Function):
    """Of hidden states and a head's weight: as `_Score`, in chunks of which nothing is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        target_N: torch.Tensor,
        temperature: float,
        banned: torch.Tensor,
        entropy: bool,
        at_once: int,
    ) -> Values:
        device = weight_VH.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_VH.dtype
        ctx.dtypes, ctx.how = (hidden_NH.dtype, weight_VH.dtype), (temperature, banned, at_once)
        hidden_NH, weight_VH = hidden_NH.to(dtype), weight_VH.to(dtype)
        made = [
            _values(_scores(h_NH @ weight_VH.T, temperature, banned), t_N, entropy)
            for h_NH, t_N in zip(hidden_NH.split(at_once), target_N.split(at_once), strict=True)
        ]
        entropy_N = torch.cat([e for _, e in made if e is not None]) if entropy else None
        ctx.save_for_backward(hidden_NH, weight_VH, target_N, entropy_N)
        return torch.cat([logprobs for logprobs, _ in made]), entropy_N

    @staticmethod
    def backward(
        ctx: Any, by_logprob_N: torch.Tensor, by_entropy_N: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        hidden_NH, weight_VH, target_N, entropy_N = ctx.saved_tensors
        temperature, banned, at_once = ctx.how
        by_hidden, by_weight = ctx.needs_input_grad[:2]
        states_NH = torch.empty_like(hidden_NH) if by_hidden else None
        slope_VH = torch.zeros_like(weight_VH) if by_weight else None
        for start in range(0, len(target_N), at_once):
            part = slice(start, start + at_once)
            probs_NV = _scores(hidden_NH[part] @ weight_VH.T, temperature, banned).exp_()
            e_N, by_e_N = (None if v is None else v[part] for v in (entropy_N, by_entropy_N))
            slope_NV = _slope(probs_NV, target_N[part], by_logprob_N[part], e_N, by_e_N, temperature)
            grad_NV = slope_NV.to(weight_VH.dtype)
            if states_NH is not None:
                torch.mm(grad_NV, weight_VH, out=states_NH[part])
            if slope_VH is not None:
                slope_VH.addmm_(grad_NV.T, hidden_NH[part])
        made = [
            None if v is None else v.to(dtype)
            for v, dtype in zip((states_NH, slope_VH), ctx.dtypes, strict=True)
        ]
        return (*made, None, None, None, None, None)


def _scores(logits_NV: torch.Tensor, temperature: float, banned: torch.Tensor) -> torch.Tensor:
    """`ladder.engines.sampling.distribution` of logits that are not needed any more, to the bit."""
    logits_NV = logits_NV.float().div_(temperature or 1.0)
    return logits_NV.index_fill_(-1, banned, float("-inf")).log_softmax(-1)


def _values(scores_NV: torch.Tensor, target_N: torch.Tensor, entropy: bool) -> Values:
    """Log-probs of the targets and, if asked for, the entropies H = -sum p log p."""
    entropy_N = torch.special.entr(scores_NV.exp()).sum(-1) if entropy else None
    return scores_NV.gather(-1, target_N[:, None])[:, 0], entropy_N


def _slope(
    probs_NV: torch.Tensor,
    target_N: torch.Tensor,
    by_logprob_N: torch.Tensor,
    entropy_N: torch.Tensor | None,
    by_entropy_N: torch.Tensor | None,
    temperature: float,
) -> torch.Tensor:
    """The gradient of logits z, of p = softmax(z / T): d log p_t / dz = (1_t - p) / T, dH / dz = -p (log p + H) / T. Takes
    the place of `probs_NV`."""
    if entropy_N is None or by_entropy_N is None:
        grad_NV = probs_NV.mul_(-by_logprob_N[:, None])
    else:
        grad_NV = torch.special.entr(probs_NV).mul_(by_entropy_N[:, None])
        grad_NV.addcmul_(probs_NV, (by_entropy_N * entropy_N + by_logprob_N)[:, None], value=-1)
    grad_NV.scatter_add_(-1, target_N[:, None], by_logprob_N[:, None])
    return grad_NV.div_(temperature)
