"""Adapters: low-rank matrices that learn beside linear layers whose weights stay (LoRA), through peft.

Everything else is frozen, but for what `train` names. An adapted layer takes the place of its own, so that policy and
engines find every module where it was. Leaves out the files (trainer.adapter_files) and the reference (trainer.unadapted).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn

from ladder.config import Settings
from ladder.errors import BadInput
from trainer.optim import PARTS, freeze, matching
from trainer.parallel import whole

NAME = "default"  # of the one adapter, as peft calls it


class LoraSettings(Settings):
    """LoRA (Hu et al. 2021, section 4.1): a linear layer W learns W + s B A, A of `rank` rows, B of as many columns and zero at
    first; s is alpha / rank, with `rslora` alpha / sqrt(rank) (Kalajdzievski 2023).

    `targets` are "language", "vision" (their linear layers, without the output head) or patterns of names of linear layers.
    Everything else stays, but parameters that `train` names, by the same parts or patterns of parameter names, learn as a
    whole, at `train_rate` times the rate. `dropout` is of what an adapter sees while it learns;
    the ratios then are of another policy than the one that sampled, and packing is given up.
    """

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = 16
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    rslora: bool = False
    targets: tuple[str, ...] = Field(("language",), min_length=1)
    train: tuple[str, ...] = ()
    train_rate: float = Field(0.1, gt=0)


def choose_learning(model: nn.Module, frozen: tuple[str, ...], adapter: LoraSettings | None) -> int:
    """Leave to learn what settings let: all that is not frozen, or with an adapter its matrices and what it names beside.
    What is frozen is neither adapted nor trained, whoever names it. A's values are drawn from torch's random numbers.

    Returns how many parameters (numbers) learn. Raises BadInput for a pattern that nothing matches, where nothing learns, and
    for layers that cannot be adapted.
    """
    left = freeze(model, frozen)
    if adapter is None:
        return left
    _adapt(model, adapter)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def adapted(model: Any) -> bool:
    """Whether a model has an adapter."""
    return bool(getattr(model, "peft_config", None))


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """The layers that have an adapter, by name."""
    if not adapted(model):
        return {}
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def trained_beside(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that learn as a whole, by name: those that are no adapter's."""
    inside = tuple(f"{name}.lora_" for name in adapted_layers(model))
    return {n: p for n, p in model.named_parameters() if p.requires_grad and not n.startswith(inside)}


def shares_of_rate(model: nn.Module, adapter: LoraSettings | None) -> dict[str, float]:
    """Of parameters that learn as a whole beside an adapter: the share of the rate that they learn at, by name."""
    return {} if adapter is None else dict.fromkeys(trained_beside(model), adapter.train_rate)


def merged_weight(layer: Any, weight: torch.Tensor) -> torch.Tensor:
    """A layer's weight with its adapter in it, W + s B A, out of place and in float32 or better; `weight` is whole, and so are
    A and B made."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    a, b = (whole(part[NAME].weight.detach()).to(wide) for part in (layer.lora_A, layer.lora_B))
    return torch.addmm(weight.to(wide), b, a, alpha=layer.scaling[NAME]).to(weight.dtype)


def _adapt(model: nn.Module, settings: LoraSettings) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    beside = [p for p in _beside(model, settings.train).values() if p.requires_grad]
    targets = _targets(model, settings.targets)
    _check(model, targets, beside)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # any number will do
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        target_modules=sorted(targets),
    )
    on_meta = next(model.parameters()).device.type == "meta"
    inject_adapter_in_model(config, model, NAME, low_cpu_mem_usage=on_meta)
    model.train(model.training)  # new modules would drop values while the engine samples
    for parameter in beside:
        parameter.requires_grad_(True)
    for layer in adapted_layers(model).values():
        layer.cast_input_dtype_enabled = False  # under autocast it would copy what a layer sees to float32


def _beside(model: nn.Module, patterns: tuple[str, ...]) -> Mapping[str, nn.Parameter]:
    named = dict(model.named_parameters())
    found = [name for pattern in patterns for name in matching(named, pattern, "adapter.train")]
    return {name: named[name] for name in found}


def _targets(model: nn.Module, patterns: Iterable[str]) -> dict[str, nn.Linear]:
    """The linear layers that patterns name, without what is frozen."""
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.weight.requires_grad}
    found: dict[str, nn.Linear] = {}
    for pattern in patterns:
        globs = PARTS.get(pattern, (pattern,))
        names = [name for name in linear if any(fnmatchcase(name, glob) for glob in globs)]
        if not names:
            some = ", ".join(
                sorted({name if "." not in name else f"*.{name.rpartition('.')[2]}" for name in linear})[:8]
            )
            raise BadInput(
                f"adapter.targets: {pattern!r} matches no linear layer that freeze leaves; there are "
                f"{', '.join(PARTS)}, and names such as {some or 'none'}"
            )
        found |= {name: linear[name] for name in names}
    return found


def _check(model: nn.Module, targets: Mapping[str, nn.Linear], beside: Iterable[nn.Parameter]) -> None:
    """Raises BadInput for layers that are to be adapted and trained, and for those whose weight others share: it would be one
    weight no more when the adapter is merged."""
    trained = {id(p) for p in beside}
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    for name, layer in targets.items():
        if any(id(p) in trained for p in layer.parameters(recurse=False)):
            raise BadInput(f"adapter.train names {name}, which adapter.targets adapts: leave it out of one")
        if others := [other for other in owners[id(layer.weight)] if other != name]:
            raise BadInput(
                f"adapter.targets: {name} shares its weight with {others[0]}, and an adapter of one of them cannot be "
                "merged: leave it out"
            )
