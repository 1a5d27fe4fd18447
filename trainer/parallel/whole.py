"""Sharded tensors made whole, one after the other, and the rows of whole ones: for engines, checkpoints and models that are
saved. Every process must take part in the same order; a tensor that is not sharded is itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All rows of a tensor, on its device."""
    made: torch.Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return made


def is_sharded(value: Any) -> bool:
    """Whether it is a tensor of which each process has its rows."""
    return hasattr(value, "full_tensor")  # to import DTensor takes long where nothing is sharded


def whole_state(optimizer: torch.optim.Optimizer, keep: bool) -> dict[str, Any]:
    """An optimiser's state as one process has it, what was sharded on the CPU; empty where it is not to be kept."""
    state = optimizer.state_dict()
    moments: dict[Any, dict[str, Any]] = {}
    for index, of in state["state"].items():
        gathered = ((name, _on_cpu(value)) for name, value in of.items())
        moments[index] = {name: value for name, value in gathered if keep}
    return state | {"state": moments}


def _on_cpu(value: Any) -> Any:
    return whole(value).cpu() if is_sharded(value) else value


def updates_rows(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it updates rows of parameters."""
    return any(map(is_sharded, _parameters(optimizer)))


def _parameters(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def load_whole(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put a state that is whole into an optimiser: each process takes its rows, a copy of them. Raises ValueError for a state of
    other parameters."""
    parameters = dict(enumerate(_parameters(optimizer)))
    rows = {
        index: {name: _rows(value, parameters.get(index)) for name, value in of.items()}
        for index, of in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": rows})


def _rows(value: Any, parameter: Any) -> Any:
    if not is_sharded(parameter) or value.shape != parameter.shape:
        return value
    return rows_of(value, parameter)


def rows_of(value: torch.Tensor, like: Any) -> torch.Tensor:
    """The rows of a whole tensor that this process has of a sharded one, as such; a copy."""
    from torch.distributed.tensor import distribute_tensor

    made: torch.Tensor = distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return made.clone()
