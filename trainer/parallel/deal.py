"""Which process trains on which groups. Changes time and memory, never the result: the loss' weights are of the update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from trainer.parallel.ranks import Ranks
from trainer.policy.layout import Group


def here_P(
    groups: Sequence[Group],
    live_PG: torch.Tensor,
    parts: Iterable[slice],
    ranks: Ranks,
) -> torch.Tensor:
    """1.0 at the groups (P) that this process trains on: each is one's, and those of an update (`parts`) are dealt to about the
    same number of tokens, the largest first. Responses that are not `live` (P, G) are not forwarded."""
    dealt_P = torch.zeros(len(groups))
    sizes = [_tokens(group, live) for group, live in zip(groups, live_PG.tolist(), strict=True)]
    for part in parts:
        loads = [0] * ranks.count
        for p in sorted(range(part.start, part.stop), key=lambda p: (-sizes[p], p)):
            to = loads.index(min(loads))
            loads[to] += sizes[p]
            dealt_P[p] = float(to == ranks.index)
    return dealt_P


def _tokens(group: Group, live: Sequence[bool]) -> int:
    """What a group costs in a forward; nothing where no response is forwarded."""
    responses = sum(len(r) for r, is_live in zip(group.responses, live, strict=True) if is_live)
    return len(group.prompt.prompt_ids) + responses if responses else 0
