"""A policy's tensors over the processes: FSDP2, a decoder layer or vision block at a time.

Gradients are summed, not averaged: the loss of each process has the weights of the whole update already. In bfloat16 the
layers' weights are gathered as bfloat16 and their gradients summed in float32; embeddings, head and what adds up from layer to
layer stay float32, as under autocast in one process. The weights of norms inside the layers alone are rounded more than there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from trainer.parallel.ranks import Ranks


def shard(policy: nn.Module, ranks: Ranks, bfloat16: bool) -> None:
    """Leave each process its rows of every parameter of a policy, which is whole in all of them."""
    mesh = init_device_mesh((ranks.device or "cpu").partition(":")[0], (ranks.count,))
    layers = (
        MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        if bfloat16
        else MixedPrecisionPolicy()
    )
    model: Any = policy.model
    visual = model.model.visual
    for block in [*visual.blocks, *model.model.language_model.layers]:
        fully_shard(block, mesh=mesh, mp_policy=layers)
    fully_shard(visual, mesh=mesh)
    # Not kept after a forward: one without gradient would leave the next one the weights of before an update.
    fully_shard(policy, mesh=mesh, reshard_after_forward=True)
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(policy, "features")
