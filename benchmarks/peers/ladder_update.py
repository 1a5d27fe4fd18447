"""Ladder's trainer on responses that are given: everything of a step but its rollouts.

`python ladder_update.py SETTINGS.json` prints one JSON object, as trl_update.py does.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from ladder_timed import RECIPE, overrides, timed
from measured import print_found, told_settings

from ladder.encode import Encoded, rotary_positions
from ladder.engines.base import Completion
from ladder.records import Outcome, Verdict
from ladder.runtime import tune_allocator
from ladder.settings import settings_of
from ladder.splits.files import open_split
from trainer.assemble import World, learner_of, world_of
from trainer.curriculum import Draw
from trainer.loop import Learner, Step, learn
from trainer.rollout import JudgedGroup, Response
from trainer.schedule import Span
from trainer.setup import settings_for


def main() -> None:
    told = told_settings()
    tune_allocator()
    clock = timed(told)
    split = open_split(Path(told["split"]))
    chosen = settings_for(split, told["model"], str(RECIPE), overrides(told))
    with tempfile.TemporaryDirectory() as folder, settings_of(split.ladder).verify.pool() as verifier:
        world = world_of(split, chosen.model, chosen.settings, Path(folder))
        learner, _ = learner_of(world, verifier, None)
        groups = list(given_groups(world, Path(told["given"])))
        losses = [update(learner, groups, world) for _ in range(told["steps"])]
    responses = [r.completion.length for group in groups for r in group.responses]
    print_found(
        clock,
        losses=losses,
        tokens=sum(responses) / len(responses),
        prompt_tokens=len(groups[0].prompt.prompt_ids),
    )


def update(learner: Learner, groups: list[JudgedGroup], world: World) -> float:
    """Train on the groups as on a step's that these weights sampled; the loss."""
    given = [replace(group, updates=learner.updates) for group in groups]
    step = Step(given, "given", learner.updates)
    learn(learner, step, world.settings, Span(0.5, 0.5))
    return float(step.metrics["loss"])


def given_groups(world: World, folder: Path) -> Iterator[JudgedGroup]:
    """The prompts, responses and verdicts that TRL has too."""
    given = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    arrays = np.load(folder / "pictures.npz")
    items = [world.items[item_id] for item_id in world.rows.ids]
    merge = int(world.encoder.config["vision_config"]["spatial_merge_size"])
    for p, ids in enumerate(given["prompts"]):
        grids = arrays["grids"][p : p + 1]
        prompt = Encoded(
            prompt_ids=ids,
            short_ids=ids,
            positions=rotary_positions(ids, world.encoder.image_token, grids, merge),
            grids=grids,
            made=arrays["pixels"][p],
            pictures=(),
            image_hashes=(str(p),),
        )
        responses = tuple(
            _response(p, g, tokens, correct)
            for g, (tokens, correct) in enumerate(
                zip(given["responses"][p], given["correct"][p], strict=True)
            )
        )
        yield JudgedGroup(Draw(p, items[p].id, 0, 0), items[p], prompt, responses, 0)


def _response(p: int, g: int, tokens: list[int], correct: bool) -> Response:
    completion = Completion(str(p), g, g, tuple(tokens), (0.0,) * len(tokens), "stop")
    return Response("", completion, Verdict(Outcome.CORRECT if correct else Outcome.WRONG))


if __name__ == "__main__":
    main()
