"""The policy's weights as others take them: whole tensors by the names of the model's modules, one after the other.

An adapter is merged into them; whoever takes them knows nothing of it, and the weights that it lies on stay as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from trainer.adapter import adapted_layers, merged_weight
from trainer.parallel import whole

if TYPE_CHECKING:
    from trainer.loop import Learner


@torch.no_grad()
def published(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter of a model as it would be without an adapter, those that are tied once. A sharded one is gathered
    when it is its turn: all ranks must take all of them."""
    layers = adapted_layers(model)
    inside = tuple(f"{name}.lora_" for name in layers)
    for name, parameter in model.named_parameters():
        if name.startswith(inside):
            continue
        owner, _, own = name.rpartition(".")
        layer = layers.get(owner.removesuffix(".base_layer"))
        if layer is None:
            yield name, whole(parameter.detach())
        else:
            weight = whole(parameter.detach())
            outer = f"{owner.removesuffix('.base_layer')}.{own}"
            yield outer, merged_weight(layer, weight) if own == "weight" else weight


def publish(learner: Learner) -> None:
    """Have the engine sample from the policy's present weights. Of several processes each sends them to the engine that it has
    to itself, and the first one alone to a server that they share; none samples before all are there."""
    from ladder.engines.server import ServerEngine

    engine: Any = learner.rollouts.engine
    version, ranks = str(learner.updates), learner.ranks
    if learner.in_place:
        engine.load(version, None)
        return
    weights = published(learner.policy.model)
    if isinstance(engine, ServerEngine) and not ranks.first:
        deque(weights, maxlen=0)  # its part in gathering them
        engine.follow(version)
    else:
        engine.load(version, weights)
    ranks.gather(None)
