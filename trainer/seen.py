"""What a step saw: the outcomes that go back to the ladder, and the responses that are shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import count

import pyarrow as pa

from trainer.assemble import World
from trainer.loop import Step
from trainer.rollout import Rollouts
from trainer.track import SampleRow, choose


def write_outcomes(world: World, rollouts: Rollouts, step: int, model: str) -> None:
    """What was sampled for a step since this was called last goes back to the ladder: how difficulty moves while the policy
    learns. `model` is the fingerprint of the weights that sampled. Raises LadderError where the disk refuses."""
    draws: defaultdict[str, Iterator[int]] = defaultdict(count)
    log = world.store.outcomes
    rows = [
        {
            "run": world.run,
            "step": step,
            "item_id": outcome.draw.item_id,
            "model": model,
            "n": outcome.n,
            "correct": outcome.correct,
            "mean_tokens": outcome.mean_tokens,
            "draw": next(draws[outcome.draw.item_id]),
        }
        for outcome in rollouts.outcomes()
    ]
    if rows and world.ranks.first:
        log.append_table(pa.Table.from_pylist(rows, schema=log.schema))


def sample_rows(world: World, step: Step) -> list[SampleRow]:
    """The responses of a step that are worth a look."""
    rows = []
    for p, g in choose(step.advantages_PG, world.settings.track.samples):
        judged = step.groups[p]
        item, response = judged.item, judged.responses[g]
        rows.append(
            SampleRow(
                item_id=item.id,
                tier=world.tiers.get(item.id, ""),
                question=item.question,
                images=tuple(data for _, data in world.store.pictures(item)),
                gold=item.gold,
                response=response.text,
                outcome=str(response.verdict.outcome),
                correct=response.correct,
                rewards={name: float(value[p, g]) for name, value in step.terms.items()},
                advantage=float(step.advantages_PG[p, g]),
                tokens=response.completion.length,
                truncated=response.truncated,
            )
        )
    return rows
