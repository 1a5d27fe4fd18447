"""Vision towers that attend to all images and windows in one call: the same features as image by image.

The call itself is for GPUs: here its shapes are checked, and what stands in for it where there is no kernel.
"""

import inspect

import pytest
import torch
from families import FAMILIES, prompt
from policy_reference import fresh
from torch._subclasses.fake_tensor import FakeTensorMode

from trainer.policy import vision
from trainer.policy.images import encode, images_of
from trainer.policy.vision import attend_at_once

CPU = torch.device("cpu")
PROMPTS = [prompt([(4, 4), (8, 12)], 3, seed=1), prompt([(6, 10)], 2, seed=2)]


@pytest.mark.parametrize("family", FAMILIES)
def test_features_and_gradients_are_those_of_segment_by_segment(family: str) -> None:
    model, plain = fresh(family), fresh(family)
    vision.register(model.config.vision_config)
    images = images_of(PROMPTS)
    found, expected = encode(model.model, images, CPU), encode(plain.model, images, CPU)
    for key, value in expected.pooled.items():
        torch.testing.assert_close(found.pooled[key], value, rtol=0, atol=1e-6)
        for made, deep in zip(found.deep[key], expected.deep[key], strict=True):
            torch.testing.assert_close(made, deep, rtol=0, atol=1e-6)
    for of in (found, expected):
        sum(value.square().sum() for value in of.pooled.values()).backward()  # type: ignore[union-attr]
    for a, b in zip(model.model.visual.parameters(), plain.model.visual.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_segments_do_not_see_each_other() -> None:
    ends = torch.tensor([0, 3, 4, 9])
    query, key, value = (torch.randn(9, 2, 8) for _ in range(3))
    before = vision._one_by_one(query, key, value, ends)
    key[4:], value[4:] = 7.0, 7.0
    after = vision._one_by_one(query, key, value, ends)
    assert torch.equal(before[:4], after[:4])
    assert not torch.equal(before[4:], after[4:])


def test_on_the_cpu_the_tower_is_left_as_it_is() -> None:
    model = fresh("qwen2_5_vl")
    attend_at_once(model.config.vision_config, CPU)
    assert model.config.vision_config._attn_implementation == "sdpa"


def test_the_kernel_takes_what_it_is_given_and_gives_the_same_shape_with_a_gradient() -> None:
    from torch.nn.attention.varlen import varlen_attn

    names = list(inspect.signature(varlen_attn).parameters)[:7]
    assert names == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    with FakeTensorMode():
        parts = [
            torch.empty(2, 9, 8, dtype=torch.bfloat16).transpose(0, 1).requires_grad_() for _ in range(3)
        ]
        out = vision._in_one_call(*parts, torch.empty(4, dtype=torch.int64), 5)
        assert out.shape == (9, 2, 8)
        assert out.dtype == torch.bfloat16
        out.sum().backward()
        assert all(part.grad is not None and part.grad.shape == part.shape for part in parts)
