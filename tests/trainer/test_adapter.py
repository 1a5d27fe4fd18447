"""An adapter learns beside weights that stay: what is adapted, what the policy then scores, and what is refused."""

import copy
import warnings
from typing import Any

import pytest
import torch
from adapters import adapter, begun, explicit, learnt, loaded, move
from families import FAMILIES, tiny
from policy_reference import (
    GROUPS,
    WHOLE,
    assert_close,
    assert_gradients_close,
    exact,
    fresh,
    gradients,
    policy,
    reference,
    scored,
    weighed,
)
from torch import nn
from torch.distributed.fsdp import fully_shard

from ladder.config import validate
from ladder.errors import BadInput
from ladder.models import load_model, resolve_model
from trainer.adapter import adapted_layers, choose_learning, shares_of_rate, trained_beside
from trainer.config import TrainSettings
from trainer.optim import Optimizer, OptimSettings
from trainer.publish import published
from trainer.unadapted import Unadapted

BOTH = {"targets": ("language", "vision")}
BESIDE = {"train": ("vision", "*.norm.weight")}
WAYS: list[dict[str, Any]] = [{}, {"targets": ("vision",), "rslora": True}, BOTH, {"train": ("vision",)}]


def digits(**more: Any) -> Any:
    model = load_model(resolve_model("digits"), dtype="float32", device="cpu")
    choose_learning(model, (), adapter(**more))
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_adapter_changes_nothing_and_alone_learns(family: str) -> None:
    model = begun(family, **BOTH)
    learner = policy(model)
    found = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
    assert_close(found, exact(family)[0])
    slopes = gradients(model, weighed(found))
    assert {name for name, p in model.named_parameters() if p.requires_grad} == slopes.keys()
    assert all(".lora_A.default." in name or ".lora_B.default." in name for name in slopes)
    assert all(slope.any() == (".lora_B." in name) for name, slope in slopes.items())  # A's is B's share


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("how", "layout"), list(zip(WAYS, ["packed", "padded"] * 2, strict=True)), ids=str)
def test_log_probs_and_gradients_are_those_of_the_weight_plus_s_b_a(
    family: str, how: dict[str, Any], layout: str
) -> None:
    model = learnt(family, **how)
    learner = policy(model, layout)
    found = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
    slopes = gradients(model, weighed(found))

    double = copy.deepcopy(model).double()
    bare = fresh(family).double()
    weights = explicit(double, how.get("rslora", False))
    expected = reference(Bound(bare, weights), GROUPS)
    assert_close(found, expected)
    leaves = {name: p for name, p in double.named_parameters() if p.requires_grad}
    by_hand = torch.autograd.grad(weighed(expected), list(leaves.values()))
    assert_gradients_close(slopes, dict(zip(leaves, by_hand, strict=True)))


class Bound:
    """A model with other weights, which carry their gradient."""

    def __init__(self, model: Any, weights: dict[str, torch.Tensor]) -> None:
        self.model, self.weights, self.dtype = model, weights, model.dtype

    def __call__(self, **inputs: Any) -> Any:
        return torch.func.functional_call(self.model, self.weights, (), inputs)


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("family", [*FAMILIES, "digits"])
def test_published_weights_are_pefts_own_merge_and_the_base_stays(family: str, how: dict[str, Any]) -> None:
    model = move(digits(**how)) if family == "digits" else learnt(family, **how)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    bare = (
        load_model(resolve_model("digits"), dtype="float32", device="cpu")
        if family == "digits"
        else tiny(family)
    )
    found = dict(published(model))
    assert list(found) == [name for name, _ in bare.named_parameters()]
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    merged = peft_merged(model)
    assert found.keys() == merged.keys()
    for name, tensor in found.items():
        assert torch.allclose(tensor, merged[name], rtol=0, atol=1e-6), name
    assert any(not torch.equal(found[name], p) for name, p in bare.named_parameters())


def peft_merged(model: Any) -> dict[str, torch.Tensor]:
    from peft.tuners.lora import LoraLayer

    other = copy.deepcopy(model)
    for name, layer in list(other.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge(safe_merge=True)
            other.set_submodule(name, layer.get_base_layer())
    return dict(other.named_parameters())


def test_weights_are_published_one_at_a_time() -> None:
    model = learnt("qwen2_vl")
    made = published(model)
    first = next(made)
    with torch.no_grad():
        for layer in adapted_layers(model).values():
            layer.lora_B["default"].weight.zero_()
    rest = dict([first, *made])
    bare = dict(tiny("qwen2_vl").named_parameters())
    assert all(torch.equal(rest[name], p) for name, p in bare.items())  # merged when it was their turn


@pytest.mark.parametrize(
    "how", [{}, BOTH, BESIDE, {"dropout": 0.5}, {"targets": ("language", "lm_head")}], ids=str
)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_is_the_model_without_what_was_learnt(family: str, how: dict[str, Any]) -> None:
    model = begun(family, **how)
    learner = policy(model)
    anchor = Unadapted(learner)
    move(model)
    state = {name: p.detach().clone() for name, p in model.named_parameters()}
    learner.train()
    features = learner.features(GROUPS)
    assert (features is None) == (how in (BOTH, BESIDE))
    batches = learner.plan(GROUPS, WHOLE)
    found = scored(anchor, GROUPS, batches, features)  # type: ignore[arg-type]
    assert_close(found, exact(family)[0])
    assert not any(v.requires_grad for v in found.values())
    assert learner.training and not anchor.away
    assert all(torch.equal(state[name], p) for name, p in model.named_parameters())
    learner.eval()
    moved = scored(learner, GROUPS, batches, features)
    assert max((moved[k] - found[k]).abs().max() for k in found) > 1e-3


@pytest.fixture
def alone_in_a_group() -> Any:
    """A process group of one rank: parameters are sharded all the same."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("sharded", ["before", "since"])
def test_reference_and_published_weights_of_a_sharded_policy_are_the_same(
    alone_in_a_group: Any, sharded: str
) -> None:
    model, bare = begun("qwen2_5_vl", **BESIDE), learnt("qwen2_5_vl", **BESIDE)
    learner = policy(model)
    anchor = Unadapted(learner) if sharded == "since" else None
    if sharded == "since":
        move(model)
    for part in (*model.model.language_model.layers, learner):
        fully_shard(part, mesh=alone_in_a_group)
    if anchor is None:
        anchor = Unadapted(learner)
        with torch.no_grad():
            for ours, moved in zip(model.parameters(), bare.parameters(), strict=True):
                ours.to_local().copy_(moved)
    batches = learner.plan(GROUPS, WHOLE)
    for _ in range(2):
        assert_close(scored(anchor, GROUPS, batches), exact("qwen2_5_vl")[0])  # type: ignore[arg-type]
        with torch.no_grad():
            assert_close(scored(learner, GROUPS, batches), scored(policy(bare), GROUPS, batches))
    expected = dict(published(bare))
    assert all(torch.equal(tensor, expected.pop(name)) for name, tensor in published(model))
    assert not expected


def test_after_an_error_in_the_reference_the_policy_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model = begun("qwen2_5_vl", **BESIDE)
    learner = policy(model)
    anchor = Unadapted(learner)
    move(model)
    batches = learner.plan(GROUPS, WHOLE)
    with torch.no_grad():
        before = scored(learner, GROUPS, batches)
        with monkeypatch.context() as patch:
            patch.setattr(model.lm_head, "forward", interrupted)
            with pytest.raises(KeyboardInterrupt):
                anchor(GROUPS, batches[0])
        assert not anchor.away
        after = scored(learner, GROUPS, batches)
    assert all(torch.equal(before[k], after[k]) for k in before)


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_reference_that_was_interrupted_between_two_parameters_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    anchor = Unadapted(policy(begun("qwen2_5_vl", **BESIDE)))
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "copy_", interrupted)
        with pytest.raises(KeyboardInterrupt):
            anchor(GROUPS, anchor._policy.plan(GROUPS, WHOLE)[0])
    assert anchor.away


def test_only_what_learns_is_in_the_optimiser() -> None:
    model = begun("qwen3_vl", train=("model.visual.merger.*",))
    held = {id(p) for p in Optimizer(model, OptimSettings()).parameters}
    names = {name for name, p in model.named_parameters() if id(p) in held}
    assert {name for name in names if ".lora_" not in name} == set(trained_beside(model))
    assert all(name.startswith("model.visual.merger.") for name in trained_beside(model))
    assert all(name.startswith("model.language_model.") for name in names if ".lora_" in name)


def test_what_learns_as_a_whole_learns_at_its_share_of_the_rate() -> None:
    how = adapter(train=("model.visual.merger.*",), train_rate=0.25)
    model = fresh("qwen3_vl")
    choose_learning(model, (), how)
    settings = OptimSettings(eps=1e-30, max_grad_norm=1e9)
    optimizer = Optimizer(model, settings, shares_of_rate(model, how))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in optimizer.parameters:
        p.grad = torch.ones_like(p)
    optimizer.step(0.1)  # AdamW's first step is the rate, whatever the gradient
    for name, p in model.named_parameters():
        rate = 0.1 if ".lora_" in name else 0.025 if "visual.merger" in name else 0.0
        assert torch.allclose(before[name] - p, torch.full_like(p, rate), atol=1e-6), name


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_their_linear_layers_without_the_head(family: str) -> None:
    def linear(under: Any) -> int:
        return sum(isinstance(module, nn.Linear) for module in under.modules())

    bare = tiny(family).model
    assert len(adapted_layers(begun(family))) == linear(bare.language_model)
    assert len(adapted_layers(begun(family, targets=("vision",)))) == linear(bare.visual)
    assert len(adapted_layers(begun(family, targets=("*.q_proj", "lm_head")))) == 3 + 1


def test_what_is_frozen_is_neither_adapted_nor_trained() -> None:
    model = begun(
        "qwen2_vl",
        ("vision", "*layers.0.*"),
        targets=("vision", "*.o_proj", "*.q_proj")[1:],
        train=("vision", "*norm*"),
    )
    assert {name.split(".")[3] for name in adapted_layers(model)} == {"1", "2"}
    assert not any("visual" in name or "layers.0." in name for name in trained_beside(model))
    assert "model.language_model.norm.weight" in trained_beside(model)
    with pytest.raises(
        BadInput, match=r"adapter.targets: 'vision' matches no linear layer that freeze leaves"
    ):
        begun("qwen2_vl", ("vision",), targets=("vision",))


def test_dropout_is_of_learning_alone_and_packing_is_given_up() -> None:
    model = learnt("qwen2_vl", dropout=0.5)
    learner = policy(model)
    assert learner.why_padded is not None and "adapter" in learner.why_padded
    batches = learner.plan(GROUPS, WHOLE)
    assert {batch.layout for batch in batches} == {"padded"}
    assert policy(learnt("qwen2_vl")).why_padded is None
    with torch.no_grad():
        kept = [scored(learner, GROUPS, batches) for _ in range(2)]
        learner.train()
        dropped = [scored(learner, GROUPS, batches) for _ in range(2)]
    assert all(torch.equal(kept[0][k], kept[1][k]) for k in kept[0])
    assert all(not torch.equal(dropped[0][k], dropped[1][k]) for k in kept[0])


def test_under_autocast_an_adapted_layer_works_in_bfloat16() -> None:
    model = learnt("qwen2_vl")
    layer = model.model.language_model.layers[0].mlp.down_proj  # what it sees is no norm's, which are float32
    seen = []
    layer.lora_A["default"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    learner = policy(model, autocast=True)
    found = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
    assert seen and set(seen) == {torch.bfloat16}
    base = loaded(fresh("qwen2_vl"), dict(published(model)))
    assert_close(found, scored(policy(base), GROUPS, learner.plan(GROUPS, WHOLE)), atol=0.1)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"targets": ("*.qproj",)}, r"adapter.targets: '\*.qproj' matches no linear layer .* such as "),
        ({"targets": ("language", "*.patch_embed.proj")}, "matches no linear layer"),
        ({"train": ("visoin",)}, "adapter.train: 'visoin' matches no parameter; there are vision, language"),
        (BOTH | {"train": ("vision",)}, "adapter.train names model.visual.* which adapter.targets adapts"),
        ({"train": ("*.q_proj.bias",)}, "adapter.train names model.*q_proj, which adapter.targets adapts"),
    ],
    ids=str,
)
def test_what_cannot_be_adapted_is_told_in_one_line(more: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as error:
        begun("qwen2_5_vl", **more)
    assert "\n" not in str(error.value)


def test_a_head_that_shares_its_weight_is_not_adapted() -> None:
    with pytest.raises(BadInput, match=r"lm_head shares its weight with model.language_model.embed_tokens"):
        digits(targets=("lm_head",))


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("adapter.rnak=4", "unknown key 'adapter.rnak', did you mean 'adapter.rank'"),
        ("adapter.rank=0", "adapter.rank: input should be greater than 0"),
        ("adapter.dropout=1.0", "adapter.dropout: input should be less than 1"),
        ("adapter.targets=[]", "adapter.targets: "),
        ("adapter.kind=dora", "adapter.kind: "),
    ],
)
def test_settings_are_checked(key: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        validate(TrainSettings, {}, [key])
    assert validate(TrainSettings, {}, ["adapter.kind=lora"]).adapter == adapter(rank=16, alpha=32.0)


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield
