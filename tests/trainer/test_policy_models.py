"""Which models are packed, why others are not, and that those are scored as they score themselves."""

import copy
from typing import Any

import pytest
import torch
from families import FAMILIES, text_config, tiny
from policy_reference import (
    GROUPS,
    WHOLE,
    Values,
    assert_close,
    assert_gradients_close,
    fresh,
    gradients,
    policy,
    reference,
    scored,
    weighed,
)


def sliding() -> Any:
    """A Qwen2.5-VL whose later layers see four tokens back."""
    import transformers as hf

    config = copy.deepcopy(tiny("qwen2_5_vl").config)
    config.text_config.use_sliding_window = True
    config.text_config.sliding_window = 4
    config.text_config.layer_types = ["full_attention", "sliding_attention", "sliding_attention"]
    torch.manual_seed(0)
    return hf.Qwen2_5_VLForConditionalGeneration(config).eval()


def mixture() -> Any:
    """A model of another family: experts."""
    import transformers as hf

    vision = tiny("qwen3_vl").config.vision_config.to_dict()
    text = text_config() | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    tokens = {n: getattr(tiny("qwen3_vl").config, n) for n in ("image_token_id", "video_token_id")}
    tokens |= {
        n: getattr(tiny("qwen3_vl").config, n) for n in ("vision_start_token_id", "vision_end_token_id")
    }
    torch.manual_seed(0)
    config = hf.Qwen3VLMoeConfig(text_config=text, vision_config=vision, **tokens)
    model = hf.Qwen3VLMoeForConditionalGeneration(config).eval()
    model.set_experts_implementation("eager")  # the others know no float64
    return model


@pytest.mark.parametrize("make", [sliding, mixture])
def test_what_cannot_be_packed_is_padded_and_scores_as_the_model_does(make: Any) -> None:
    model = make()
    learner = policy(model, "packed")
    assert learner.why_padded
    batches = learner.plan(GROUPS, 60)
    assert {batch.layout for batch in batches} == {"padded"}
    found = scored(learner, GROUPS, batches)
    double = copy.deepcopy(model).double()
    expected = reference(double, GROUPS)
    assert_close(found, expected)
    assert_gradients_close(gradients(model, weighed(found)), gradients(double, weighed(expected)))


def test_a_window_would_change_what_is_packed() -> None:
    model = sliding()
    learner = policy(model)
    learner._layout = "packed"
    with torch.no_grad():
        packed = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
        expected = reference(model, GROUPS)
    assert max((packed[m] - expected[m]).abs().max() for m in expected) > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_known_families_are_packed(family: str) -> None:
    assert policy(fresh(family)).why_padded is None


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("attention_dropout", 0.1, "drops"),
        ("use_sliding_window", True, "windows"),
        ("layer_types", ["full_attention", "sliding_attention", "full_attention"], "windows"),
        ("output_router_logits", True, "auxiliary"),
        ("_attn_implementation", "flash_attention_2", "flash_attention_2"),
    ],
)
def test_the_reason_against_packing_is_told(name: str, value: Any, why: str) -> None:
    model = fresh("qwen2_vl")
    object.__setattr__(model.config.text_config, name, value)
    learner = policy(model)
    assert why in (learner.why_padded or "")
    assert {batch.layout for batch in learner.plan(GROUPS, WHOLE)} == {"padded"}


def test_attention_dropout_drops_while_training_and_nothing_else() -> None:
    model = fresh("qwen2_5_vl")
    for layer in model.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.5
    model.config.text_config.attention_dropout = 0.5
    learner = policy(model)
    batches = learner.plan(GROUPS, WHOLE)
    with torch.no_grad():
        assert_close(scored(learner, GROUPS, batches), reference(fresh("qwen2_5_vl"), GROUPS))
        model.train()
        dropped = scored(learner, GROUPS, batches)
        again = scored(learner, GROUPS, batches)
    assert max((dropped[m] - again[m]).abs().max() for m in dropped) > 1e-4


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_every_attention_that_takes_a_mask_gives_the_same(implementation: str) -> None:
    model = fresh("qwen2_5_vl")
    model.set_attn_implementation(implementation)
    learner = policy(model, "packed")
    with torch.no_grad():
        found = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
        assert_close(found, reference(fresh("qwen2_5_vl"), GROUPS))


def squared_error(model: Any, layout: str, expected: Values) -> float:
    """Of bfloat16 log-probs, over all tokens."""
    learner = policy(model, layout, autocast=True)
    found = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
    return float(sum((found[m] - expected[m]).double().square().sum() for m in expected))


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_packing_loses_no_more_than_padding(family: str) -> None:
    packed = padded = 0.0
    for seed in range(12):
        model = fresh(family)
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * parameter.std(correction=0))
        learner = policy(model, "padded")
        expected = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
        packed += squared_error(model, "packed", expected)
        padded += squared_error(model, "padded", expected)
    assert 0 < packed**0.5 <= 1.1 * padded**0.5
