"""What a policy's log-probs are compared with: the model's own float64 forward of one unpadded response at a time."""

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from families import IMAGE, Tokens, prompt, responses, tiny

from trainer.policy import Batch, Features, Group, Policy, Scored

GROUPS = [
    Group(prompt([(4, 4)], 5, seed=1), responses([3, 9, 1], seed=2)),
    Group(prompt([], 7, seed=3), responses([6, 2, 8, 5], seed=4)),  # a text-only row beside image rows
    Group(prompt([(4, 8), (8, 4)], 4, seed=5), responses([1, 1, 12], seed=6)),
    Group(prompt([(8, 8)], 3, seed=7), responses([4], seed=8)),
]
Values = dict[tuple[int, int], torch.Tensor]
WHOLE = 10_000


def fresh(family: str) -> Any:
    """A model of the family that a test may change."""
    return copy.deepcopy(tiny(family))


def policy(
    model: Any,
    layout: Any = "auto",
    temperature: float = 1.0,
    autocast: bool = False,
    attention: Any = "auto",
) -> Policy:
    tokens: Any = Tokens()
    return Policy(
        model, tokens, temperature=temperature, autocast=autocast, layout=layout, attention=attention
    )


def alone(model: Any, group: Group, response: tuple[int, ...], temperature: float = 1.0) -> torch.Tensor:
    """(tokens, vocabulary) log-probs that one response was sampled from, positions and features the model's own."""
    p = group.prompt
    ids = torch.tensor([p.prompt_ids + list(response)])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["mm_token_type_ids"] = (ids == IMAGE).long()
    if p.pixels is not None:
        pixels = torch.from_numpy(p.pixels).to(model.dtype)
        inputs |= {"pixel_values": pixels, "image_grid_thw": torch.from_numpy(p.grids)}
    logits = model(**inputs, use_cache=False).logits[0, len(p.prompt_ids) - 1 : -1].double() / temperature
    logits[:, list(Tokens.banned)] = float("-inf")
    return logits.log_softmax(-1)


def of_response(scores: torch.Tensor, response: Sequence[int]) -> torch.Tensor:
    return scores.gather(1, torch.tensor(response)[:, None])[:, 0]


def reference(model: Any, groups: Sequence[Group], temperature: float = 1.0) -> Values:
    return {
        (g, r): of_response(alone(model, group, response, temperature), response)
        for g, group in enumerate(groups)
        for r, response in enumerate(group.responses)
    }


def values(scored: Scored, batch: Batch) -> Values:
    """By (group, response); what lies beyond a response's end is 0."""
    assert (scored.logprobs_RT[scored.mask_RT == 0] == 0).all()
    lengths = scored.mask_RT.sum(1).int().tolist()
    return {
        member: scored.logprobs_RT[i, :n]
        for i, (member, n) in enumerate(zip(batch.members, lengths, strict=True))
    }


def scored(
    policy: Policy, groups: Sequence[Group], batches: Sequence[Batch], features: Features | None = None
) -> Values:
    out: Values = {}
    for batch in batches:
        out |= values(policy(groups, batch, features), batch)
    return out


def weighed(values: Values) -> torch.Tensor:
    """A sum whose gradient tells every token from every other."""
    return torch.stack(
        [
            (v * torch.randn(len(v), generator=torch.Generator().manual_seed(7 * g + r)).to(v.dtype)).sum()
            for (g, r), v in sorted(values.items())
        ]
    ).sum()


def gradients(model: Any, total: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    total.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@cache
def exact(family: str) -> tuple[Values, dict[str, torch.Tensor]]:
    """Log-probs of GROUPS and gradients of their weighed sum, all in float64."""
    model = fresh(family).double()
    expected = reference(model, GROUPS)
    return {k: v.detach() for k, v in expected.items()}, gradients(model, weighed(expected))


def assert_close(found: Values, expected: Values, atol: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for member, value in expected.items():
        assert torch.allclose(found[member].double(), value.double(), rtol=0, atol=atol), member


def assert_gradients_close(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], rtol: float = 1e-4
) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).norm() <= rtol * value.norm() + 1e-6, name
