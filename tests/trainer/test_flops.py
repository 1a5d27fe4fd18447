"""The count of model FLOPs against torch's own count of what tiny models compute, and against what is published."""

import copy
from types import SimpleNamespace
from typing import Any

import families
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.flops import (
    PEAKS,
    Counts,
    Meter,
    Work,
    counts_of,
    decoder,
    packed,
    padded,
    patch_pairs,
    peak_named,
    peak_of,
    pictures_of,
)
from trainer.optim import freeze
from trainer.policy import Batch, Group, Policy
from trainer.policy.layout import Layout, Piece
from trainer.policy.plan import Cost
from trainer.policy.rows import lay_out

GRIDS = [[(8, 6)], [(4, 4), (10, 4)]]


def model_of(family: str) -> Any:
    """A model of its own, whose attention is made of plain matrix products."""
    config = copy.deepcopy(families.tiny(family).config)
    config._attn_implementation = "eager"
    config.text_config._attn_implementation = config.vision_config._attn_implementation = "eager"
    model = type(families.tiny(family))(config)
    return model.requires_grad_(True)


def policy_of(model: Any, layout: Layout = "packed") -> Policy:
    return Policy(model, families.Tokens(), temperature=1.0, autocast=False, layout=layout)  # type: ignore[arg-type]


def groups_of(lengths: list[list[int]]) -> list[Group]:
    return [
        Group(families.prompt(GRIDS[g % 2], 9 + g, g), families.responses(of, g))
        for g, of in enumerate(lengths)
    ]


def one_row(groups: list[Group], layout: Layout) -> Batch:
    if layout == "packed":
        row = tuple(Piece(g, tuple(range(len(group.responses)))) for g, group in enumerate(groups))
        return Batch((row,), layout)
    rows = tuple((Piece(g, (r,)),) for g, group in enumerate(groups) for r in range(len(group.responses)))
    return Batch(rows, layout)


def dense(of: Counts, batch: Batch, groups: list[Group]) -> Counts:
    """The same with the padding, and with all pairs of a row, as plain matrix products compute them."""
    width = -(-batch.width(groups) // 8) * 8
    rows = len(batch.rows)
    return Counts(rows * width, rows * width**2, of.scored, of.patches, of.patch_pairs)


def counted(run: Any) -> tuple[Any, int]:
    with FlopCounterMode(display=False) as counter:
        made = run()
    return made, counter.get_total_flops()


def of_forward(policy: Policy, groups: list[Group], batch: Batch, pictures: bool = True) -> Counts:
    shown = pictures_of(groups, batch) if pictures else {}
    return dense(counts_of(groups, batch, policy.model.config.vision_config, shown), batch, groups)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_forward_and_backward_are_what_torch_counts(family: str, layout: Layout) -> None:
    policy = policy_of(model_of(family), layout)
    groups = groups_of([[5, 3, 4], [2, 6]])
    batch, work = one_row(groups, layout), Work.of(policy.model)
    of = of_forward(policy, groups, batch)
    scored, forward = counted(lambda: policy(groups, batch))
    _, backward = counted(lambda: scored.logprobs_RT.sum().backward())
    assert (forward, backward) == (work.forward(of), work.backward(of))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_frozen_vision_tower_has_no_backward_pass_and_runs_once(family: str) -> None:
    policy = policy_of(model_of(family))
    freeze(policy.model, ("vision",))
    groups = groups_of([[5, 3, 4], [2, 6]])
    batch, work = one_row(groups, "packed"), Work.of(policy.model)
    features, ahead = counted(lambda: policy.features(groups))
    seen = of_forward(policy, groups, batch)
    assert ahead == work.forward(Counts(patches=seen.patches, patch_pairs=seen.patch_pairs))
    of = of_forward(policy, groups, batch, pictures=False)
    scored, forward = counted(lambda: policy(groups, batch, features))
    _, backward = counted(lambda: scored.logprobs_RT.sum().backward())
    assert (forward, backward) == (work.forward(of), work.backward(of))
    assert work.backward(seen) == backward


@pytest.mark.parametrize("family", families.FAMILIES)
def test_frozen_layers_with_adapters_make_no_gradients_of_their_own_weights(family: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    model = model_of(family)
    bare = Work.of(model)
    names = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    inject_adapter_in_model(LoraConfig(r=4, target_modules=names), model)
    policy, work = policy_of(model), Work.of(model)
    added = sum(p.numel() for name, p in model.named_parameters() if "lora" in name)
    assert (work.token, work.token_learns) == (bare.token + added, added)
    assert (work.scored_learns, work.patch_learns) == (0, 0)
    groups = groups_of([[5, 3, 4]])
    batch = one_row(groups, "packed")
    of = of_forward(policy, groups, batch)
    scored, forward = counted(lambda: policy(groups, batch))
    _, backward = counted(lambda: scored.logprobs_RT.sum().backward())
    assert forward == work.forward(of)
    # Nothing below the first layer learns: it makes no gradients of its input, and so none through what makes its values.
    first = work.backward(of) - backward
    assert 0 <= first <= work.backward(of) / model.config.text_config.num_hidden_layers


def test_the_pairs_of_a_row_are_those_that_its_mask_allows() -> None:
    groups = groups_of([[5, 3, 4], [2, 6]])
    for layout in ("packed", "padded"):
        batch = one_row(groups, layout)
        rows = lay_out(groups, batch, 0, torch.device("cpu"))
        own_BT = torch.arange(rows.ids_BT.shape[1]) < rows.lengths_B[:, None]
        allowed = int((rows.block_mask(torch.float32)[:, 0] == 0)[own_BT].sum())
        of = counts_of(groups, batch, None, {})
        assert (of.pairs, of.tokens) == (allowed, int(rows.lengths_B.sum()))
        assert of.scored == len(rows.target_N)


def test_a_group_packs_to_the_published_share_of_its_tokens() -> None:
    prompt, response, group = 1000, 512, 8
    alone, together = padded(prompt, [response] * group), packed(prompt, [response] * group)
    assert alone.tokens / together.tokens == group * (prompt + response) / (prompt + group * response)
    assert round(alone.tokens / together.tokens, 1) == 2.4
    assert packed(prompt, [response]) == padded(prompt, [response])
    assert together.scored == alone.scored == group * response


def test_windows_are_those_that_the_model_makes() -> None:
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import get_vision_window_index

    vision = SimpleNamespace(depth=7, fullatt_block_indexes=[2, 5], window_size=112, patch_size=14)
    vision.spatial_merge_size = 2
    for grid in ((1, 20, 34), (1, 8, 8), (1, 4, 2), (2, 10, 18)):
        _, ends = get_vision_window_index(
            torch.tensor([grid]), spatial_merge_size=2, window_size=112, patch_size=14
        )
        windows = int((ends.diff().long() ** 2).sum())
        full = grid[0] * (grid[1] * grid[2]) ** 2
        assert patch_pairs(vision, [grid]) == 2 * full + 5 * windows


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_configuration_gives_what_the_modules_have(family: str) -> None:
    model = families.tiny(family)
    work, text = Work.of(model), model.config.text_config
    assert decoder(text) == (work.token, work.pair) == (Cost.of(text).per_token, Cost.of(text).per_pair)
    matrices = [p for p in model.model.language_model.layers.parameters() if p.ndim == 2]
    assert work.token == sum(p.numel() for p in matrices)


def test_a_real_text_model_comes_near_six_flops_for_each_weight_and_token() -> None:
    import transformers as hf

    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 2048}
    text = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "vocab_size": 151936}
    text |= {"num_attention_heads": 16, "num_key_value_heads": 2, "tie_word_embeddings": True}
    config = hf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)
    with torch.device("meta"):
        model = hf.Qwen2_5_VLForConditionalGeneration(config)
    weights = sum(p.numel() for p in model.model.language_model.parameters())
    work, of = Work.of(model), Counts(tokens=1000, pairs=1000 * 1001 // 2, scored=1000)
    spent = work.forward(of) + work.backward(of)
    assert spent == pytest.approx(6 * weights * 1000, rel=0.05)
    assert spent > 6 * weights * 1000


def test_a_meter_counts_passes_with_gradient_thrice_and_pictures_ahead_once() -> None:
    policy, reference = policy_of(model_of("qwen2_5_vl")), policy_of(model_of("qwen2_5_vl"))
    freeze(policy.model, ("vision",))
    meter = Meter((policy, reference, None, object()), peak_tflops=1e-6)
    groups = groups_of([[5, 3, 4], [2, 6]])
    batches = policy.plan(groups, 40)
    assert len(batches) > 1
    features = policy.features(groups)
    for batch in batches:
        with torch.no_grad():
            reference(groups, batch, features=features)
        policy(groups, batch, features)
    work, vision = Work.of(policy.model), policy.model.config.vision_config
    text = [counts_of(groups, batch, vision, {}) for batch in batches]
    grids = [grid for group in groups for grid in map(tuple, group.prompt.grids.tolist())]  # type: ignore[union-attr]
    once = Counts(patches=sum(int(np.prod(g)) for g in grids), patch_pairs=patch_pairs(vision, grids))
    expected = sum(2 * work.forward(of) + work.backward(of) for of in text) + work.forward(once)
    seconds = {"old": 1.0, "forward": 2.0, "backward": 1.0, "rollout": 100.0}
    assert meter.metrics(seconds) == {
        "flops/model": pytest.approx(expected / 1e12),
        "mfu": pytest.approx(expected / 1e12 / 4.0 / 1e-6),
    }
    assert meter.metrics(seconds) == {}
    with torch.no_grad():
        policy(groups, batches[0], features)
    again = meter.metrics({"forward": 1.0}, lambda own: [own, 3 * own])
    one = (work.forward(text[0]) + work.forward(first_pictures(groups, batches[0], vision))) / 1e12
    assert again["flops/model"] == pytest.approx(4 * one)  # the pictures are another step's
    assert again["mfu"] == pytest.approx(4 * one / 1.0 / 2e-6)


def first_pictures(groups: list[Group], batch: Batch, vision: Any) -> Counts:
    of = counts_of(groups, batch, vision, pictures_of(groups, batch))
    return Counts(patches=of.patches, patch_pairs=of.patch_pairs)


def test_peaks_are_found_by_the_names_that_drivers_give() -> None:
    for name, peak in {
        "NVIDIA H100 80GB HBM3": 989.0,
        "NVIDIA H100 PCIe": 756.0,
        "NVIDIA A100-SXM4-80GB": 312.0,
        "NVIDIA L40S": 362.0,
        "NVIDIA L4": 121.0,
        "NVIDIA GeForce RTX 4090": 165.0,
        "NVIDIA GeForce RTX 4090 Laptop GPU": None,
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb": None,
        "Tesla T4": None,
    }.items():
        assert peak_named(name) == peak
    assert peak_of(torch.device("cpu")) is None
    assert all(peak_named(name) == peak for name, peak in PEAKS.items())
