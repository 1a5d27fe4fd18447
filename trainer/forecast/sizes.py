"""What the memory of a run depends on of its model: numbers of parameters, by what becomes of them. Leaves out bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from trainer.flops import matrices


@dataclass(frozen=True)
class Sizes:
    """Of a model of which is frozen what does not learn, with its adapter: parameters, all of them and those that learn.

    `reference` are those of which a KL's reference needs a copy: all, or with an adapter what learns beside it. `outside` are
    in no layer of text model or vision tower, `layer` is the largest one. `copied` are those of matrices through which
    gradients pass, the head apart, `copied_learning` those of them that learn.
    """

    text: Any  # the configurations
    vision: Any
    all: int
    learning: int
    tensors_learning: int
    sampled: int  # as an engine has them, with the adapter merged
    largest: int
    reference: int
    outside: int
    outside_learning: int
    layer: int
    layer_learning: int
    head: int
    copied: int
    copied_learning: int
    vision_learns: bool

    @classmethod
    def of(cls, model: Any) -> Sizes:
        """Of a model whose parameters may be anywhere, also on the `meta` device."""
        named = dict(model.named_parameters())
        learning = {name: p for name, p in named.items() if p.requires_grad}
        beside = [p for name, p in learning.items() if not _adapter(name)]
        visual, layers = model.model.visual, model.model.language_model.layers
        blocks = [list(block.parameters()) for block in (*visual.blocks, *layers)]
        inside = {id(p) for block in blocks for p in block}
        outside = [p for p in named.values() if id(p) not in inside]
        vision_learns = any(p.requires_grad for p in visual.parameters())
        copied = [w for tower in ((layers, visual) if vision_learns else (layers,)) for w in matrices(tower)]
        layer = max(blocks, key=_count)
        return cls(
            text=model.config.text_config,
            vision=model.config.vision_config,
            all=_count(named.values()),
            learning=_count(learning.values()),
            tensors_learning=len(learning),
            sampled=_count(p for name, p in named.items() if not _adapter(name)),
            largest=max(p.numel() for p in named.values()),
            reference=_count(beside if any(map(_adapter, named)) else named.values()),
            outside=_count(outside),
            outside_learning=_learning(outside),
            layer=_count(layer),
            layer_learning=_learning(layer),
            head=model.lm_head.weight.numel(),
            copied=_count(copied),
            copied_learning=_learning(copied),
            vision_learns=vision_learns,
        )


def _adapter(name: str) -> bool:
    """Whether a parameter is of an adapter, as peft names it."""
    return ".lora_" in name


def _count(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() for p in parameters)


def _learning(parameters: Iterable[torch.Tensor]) -> int:
    return _count(p for p in parameters if p.requires_grad)
