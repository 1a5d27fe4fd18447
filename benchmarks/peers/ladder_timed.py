"""Ladder's trainer with the same clock as TRL's (measured.Clock): what it does is timed from outside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from measured import Clock

from ladder.engines.transformers import TransformersEngine
from ladder.verify.pool import VerifierPool
from trainer.optim import Optimizer
from trainer.policy import Policy
from trainer.rollout import Rollouts

RECIPE = Path(__file__).parent / "as_trl.toml"


def timed(told: dict[str, Any]) -> Clock:
    """A clock on every trainer of this process; a step ends when the engine has the new weights."""
    torch.set_num_threads(told["threads"])
    clock = Clock()
    clock.wrap(Rollouts, "groups", "rollout")
    clock.wrap(VerifierPool, "submit", "verify")
    clock.wrap(VerifierPool, "completed", "verify")
    clock.wrap(Policy, "forward", lambda *_, **__: "log-probs" if torch.is_grad_enabled() else "reference")
    clock.wrap(torch.Tensor, "backward", "backward")
    clock.wrap(Optimizer, "step", "optimizer")
    load = TransformersEngine.load

    def loaded(*args: Any) -> None:
        load(*args)
        clock.end_step()

    TransformersEngine.load = loaded  # type: ignore[method-assign, assignment]
    return clock


def overrides(told: dict[str, Any]) -> list[str]:
    """What `told` asks for beyond the recipe."""
    return [
        f"batch.prompts={told['prompts']}",
        f"batch.group={told['group']}",
        f"batch.tokens_per_micro_batch={told['tokens_at_once']}",
        f"response.max_tokens={told['max_tokens']}",
        f"kl.weight={told['beta']}",
        f"optim.learning_rate={told['learning_rate']}",
        f"optim.betas=[0.9, {told['beta_2']}]",
        f"steps={told['steps']}",
    ]
