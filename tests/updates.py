"""What an engine does with the weights that it is sent: shared by the tests of vLLM and of a server."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_checkpoints import prompts

from ladder.engines.base import Completion
from ladder.errors import LadderError
from trainer.policy import Group, Policy


@torch.no_grad()
def apart(policy: Policy, samples: list[list[Completion]]) -> float:
    """The largest difference of an engine's log-probs from the policy's, of samples of each of `prompts()`."""
    groups = [
        Group(prompt.encoded(policy.encoder), tuple(tuple(map(int, c.token_ids)) for c in group))
        for prompt, group in zip(prompts(), samples, strict=True)
    ]
    largest = 0.0
    for batch in policy.plan(groups, 4096):
        for (p, g), row in zip(batch.members, policy(groups, batch).logprobs_RT, strict=True):
            said = torch.tensor(samples[p][g].logprobs)
            largest = max(largest, float((row[: len(said)] - said).abs().max()))
    return largest


def refusal(engine: Any, weights: list[tuple[str, torch.Tensor]]) -> str:
    """What the user is told, in one line, of weights that the engine does not take."""
    left = iter(weights)
    with pytest.raises(LadderError) as told:
        engine.load("refused", left)
    assert not list(left)  # read to the end: on several ranks the others would wait
    assert "\n" not in str(told.value)
    return str(told.value)
