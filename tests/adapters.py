"""Adapted tiny models of the three families, moved from where they begin: shared by the tests of adapters."""

from typing import Any

import torch
from policy_reference import fresh

from trainer.adapter import LoraSettings, adapted_layers, choose_learning, trained_beside


def adapter(**more: Any) -> LoraSettings:
    return LoraSettings.model_validate({"rank": 4, "alpha": 6.0} | more)


def begun(family: str, frozen: tuple[str, ...] = (), **more: Any) -> Any:
    """A model whose adapter has not learnt: B is zero."""
    model = fresh(family)
    torch.manual_seed(1)
    choose_learning(model, frozen, adapter(**more))
    return model


def learnt(family: str, **more: Any) -> Any:
    """One whose adapter and what learns beside it have moved."""
    return move(begun(family, **more))


@torch.no_grad()
def move(model: Any) -> Any:
    made = torch.Generator().manual_seed(2)
    for layer in adapted_layers(model).values():
        layer.lora_B["default"].weight += 0.05 * torch.randn(
            layer.lora_B["default"].weight.shape, generator=made
        )
    for parameter in trained_beside(model).values():
        parameter += 0.05 * torch.randn(parameter.shape, generator=made)
    return model


def loaded(base: Any, weights: dict[str, torch.Tensor]) -> Any:
    """The base with other weights, by the names of its own."""
    missing = base.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= {"lm_head.weight"}
    return base


def explicit(model: Any, rslora: bool) -> dict[str, torch.Tensor]:
    """W + s B A of each adapted layer by the formula, and every other parameter."""
    named = dict(model.named_parameters())
    scale = 6.0 / 4**0.5 if rslora else 6.0 / 4
    out = {}
    for name, p in named.items():
        if ".lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        layer = name.removesuffix(".base_layer.weight")
        out[plain] = p
        if name.endswith(".base_layer.weight"):
            out[plain] = (
                p + scale * named[f"{layer}.lora_B.default.weight"] @ named[f"{layer}.lora_A.default.weight"]
            )
    return out
