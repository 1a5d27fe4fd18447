"""The policy is exact: against one unpadded float64 forward per response, made by the model itself."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import FAMILIES, Tokens
from policy_reference import (
    GROUPS,
    WHOLE,
    alone,
    assert_close,
    assert_gradients_close,
    exact,
    fresh,
    gradients,
    of_response,
    policy,
    reference,
    scored,
    weighed,
)

from trainer.policy import Batch, Piece

ONE_ROW = Batch((tuple(Piece(g, tuple(range(len(GROUPS[g].responses)))) for g in range(4)),), "packed")
SPLIT = Batch(
    (
        (Piece(0, (1,)), Piece(2, (2, 0))),
        (Piece(1, (3, 1)), Piece(0, (2, 0)), Piece(1, (0,))),
        (Piece(3, (0,)), Piece(2, (1,)), Piece(1, (2,))),
    ),
    "packed",
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["packed", "padded", "one row", "split", "small budget", "checkpointed"])
def test_log_probs_and_gradients_are_the_models_own(family: str, layout: str) -> None:
    model = fresh(family)
    learner = policy(model, layout if layout in ("packed", "padded") else "packed")
    batches = learner.plan(GROUPS, 30 if layout == "small budget" else WHOLE)
    if layout in ("one row", "split"):
        batches = [ONE_ROW if layout == "one row" else SPLIT]
    if layout == "checkpointed":
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        assert model.model.language_model.gradient_checkpointing
    expected, slopes = exact(family)
    found = scored(learner, GROUPS, batches)
    assert_close(found, expected)
    assert_gradients_close(gradients(model, weighed(found)), slopes)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_log_probs_are_of_what_was_sampled_from_with_mass_on_banned_ids(family: str, layout: str) -> None:
    model = fresh(family)
    with torch.no_grad():
        model.lm_head.weight.normal_(std=0.1)
        model.lm_head.weight[list(Tokens.banned)] *= 4
        learner = policy(model, layout, temperature=0.7)
        found = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
        assert_close(found, reference(copy.deepcopy(model).double(), GROUPS, 0.7))
        unbanned = policy(model, layout, temperature=0.7)
        unbanned.banned = unbanned.banned[:0]
        naive = scored(unbanned, GROUPS, unbanned.plan(GROUPS, WHOLE))
        assert max((naive[k] - found[k]).abs().max() for k in found) > 0.1  # there was mass on them


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_entropies_are_those_of_the_distribution_with_their_gradients(layout: str) -> None:
    model = fresh("qwen3_vl")
    learner = policy(model, layout, temperature=0.7)
    batch = learner.plan(GROUPS, WHOLE)[0]
    out = learner(GROUPS, batch, entropy=True)
    assert out.entropy_RT is not None
    slopes = gradients(model, (out.entropy_RT * out.logprobs_RT.detach()).sum())
    double = copy.deepcopy(model).double()
    expected, total = [], []
    for g, r in batch.members:
        scores = alone(double, GROUPS[g], GROUPS[g].responses[r], 0.7)
        entropy = -(scores.exp() * scores.masked_fill(scores.isinf(), 0)).sum(-1)
        expected.append(entropy.detach())
        total.append((entropy * of_response(scores, GROUPS[g].responses[r]).detach()).sum())
    for found, value in zip(out.entropy_RT, expected, strict=True):
        assert torch.allclose(found[: len(value)].double(), value, atol=1e-5)
        assert (found[len(value) :] == 0).all()
    assert_gradients_close(slopes, gradients(double, torch.stack(total).sum()))


def test_a_response_does_not_depend_on_its_siblings_or_neighbours() -> None:
    learner = policy(fresh("qwen2_5_vl"), "packed")
    with torch.no_grad():
        together = scored(learner, GROUPS, [ONE_ROW])
        for (g, r), expected in together.items():
            own = scored(learner, GROUPS, [Batch(((Piece(g, (r,)),),), "packed")])
            assert torch.allclose(own[g, r], expected, atol=1e-5)


def test_the_mask_and_the_order_of_the_r_axis_follow_the_members() -> None:
    learner = policy(fresh("qwen2_vl"))
    out = learner(GROUPS, SPLIT)
    lengths = [len(GROUPS[g].responses[r]) for g, r in SPLIT.members]
    assert out.mask_RT.sum(1).tolist() == lengths
    assert out.logprobs_RT.shape == (len(lengths), max(lengths))
    assert ((out.logprobs_RT < 0) == (out.mask_RT == 1)).all()
    assert out.entropy_RT is None


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_that_are_those_of_text_alone_would_be_found_out(family: str) -> None:
    learner = policy(fresh(family))
    group = GROUPS[2]
    flat = np.tile(np.arange(len(group.prompt.prompt_ids)), (3, 1))
    wrong = [replace(group, prompt=replace(group.prompt, positions=flat))]
    with torch.no_grad():
        found = scored(learner, wrong, learner.plan(wrong, WHOLE))
        right = scored(learner, [group], learner.plan([group], WHOLE))
    assert max((found[k] - right[k]).abs().max() for k in right) > 1e-4
