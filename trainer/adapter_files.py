"""An adapter on disk as peft has it: `adapter_config.json`, and `adapter_model.safetensors` with its matrices and with the
modules that learnt beside it. `peft.PeftModel.from_pretrained(base, directory)` loads it; leaves out the base.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ladder.errors import LadderError
from trainer.adapter import NAME, adapted_layers, trained_beside
from trainer.parallel import whole

_TENSORS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # where peft has the model


def write_adapter(model: Any, source: Path, out: Path | None) -> None:
    """Write what learnt on top of the model in `source` into `out`, a directory that is made where it is not there. Of several
    processes all must, and one alone has an `out`."""
    from safetensors.torch import save_file

    gathered = ((name, whole(p.detach())) for name, p in _parameters(model).items())
    tensors = {n: t.to("cpu", copy=True).contiguous() for n, t in gathered if out is not None}
    if out is None:
        return
    out.mkdir(exist_ok=True)
    save_file(tensors, out / _TENSORS, metadata={"format": "pt"})
    config = copy.copy(model.peft_config[NAME])
    config.base_model_name_or_path = str(source)
    config.modules_to_save = _modules_beside(model) or None
    config.target_modules = sorted(config.target_modules)
    config.inference_mode = True
    config.save_pretrained(out)


@torch.no_grad()
def read_adapter(model: Any, directory: Path) -> None:
    """Put what `write_adapter` wrote into a model that was adapted alike. Raises LadderError where it was not."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    expected = _parameters(model)
    try:
        found = load_file(directory / _TENSORS)
        if found.keys() != expected.keys():
            raise ValueError(f"{len(found.keys() ^ expected.keys())} of its tensors are of another adapter")
        for name, parameter in expected.items():
            parameter.copy_(found[name])
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        why = next(iter(str(error).splitlines()), repr(error))
        raise LadderError(
            f"cannot go on from the checkpoint {directory}: {why}; remove it to go on from the one before it, or start "
            "with another --out"
        ) from None


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """By peft's names: the adapter's, and all those of modules that learn beside it."""
    inside = tuple(f"{name}.lora_" for name in adapted_layers(model))
    named = {n.replace(f".{NAME}.", "."): p for n, p in model.named_parameters() if n.startswith(inside)}
    for module in _modules_beside(model):
        own = model.get_submodule(module).named_parameters(recurse=False)
        named |= {f"{module}.{name}": parameter for name, parameter in own}
    return {f"{_PREFIX}{name}": parameter for name, parameter in named.items()}


def _modules_beside(model: nn.Module) -> list[str]:
    """Modules with parameters of their own that learn as a whole; each of those that share one."""
    trained = {id(p) for p in trained_beside(model).values()}
    return [
        name
        for name, module in model.named_modules()
        if any(id(p) in trained for p in module.parameters(recurse=False))
    ]
