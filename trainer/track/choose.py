"""Which responses of a step are worth a look."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose(advantages_PG: torch.Tensor, count: int) -> list[tuple[int, int]]:
    """At most `count` (group, response) places, in the order of the step: the best and the worst response of the groups
    whose advantages lie furthest apart. A group without signal gives one. Ties go to the earlier."""
    values_PG = advantages_PG.detach().float().nan_to_num().tolist()
    spreads_P = [max(row) - min(row) for row in values_PG]
    places: list[tuple[int, int]] = []
    for p in sorted(range(len(values_PG)), key=lambda p: (-spreads_P[p], p)):
        row = values_PG[p]
        ends = dict.fromkeys([row.index(max(row)), row.index(min(row))])
        places += [(p, g) for g in ends]
    return sorted(places[:count])
