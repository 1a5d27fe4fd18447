"""Checkpoints: a Hugging Face model directory with what the next step depends on, written beside and renamed.

`AutoModelForImageTextToText.from_pretrained` loads one. The latest complete one is found; a torn one has another name.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from ladder.errors import LadderError

_STATE = "trainer_state.json"
_OPTIMIZER = "optimizer.pt"
_PREFIX = "step-"
_COMPANIONS = ("*.json", "*.jinja", "*.txt", "*.model")


def save_model(model: Any, source: Path, out: Path) -> None:
    """Weights, configuration, and the tokenizer and processor files of `source`."""
    out.mkdir(parents=True, exist_ok=True)
    for pattern in _COMPANIONS:
        for path in source.glob(pattern):
            if not path.name.endswith(".index.json"):
                shutil.copyfile(path, out / path.name)
    model.save_pretrained(out, safe_serialization=True)


def save_checkpoint(
    folder: Path, step: int, model: Any, source: Path, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Write checkpoint `step` below `folder`; the two latest are kept. Raises LadderError where the disk refuses."""
    part, path = folder / f".{_PREFIX}{step:06d}.tmp", folder / f"{_PREFIX}{step:06d}"
    try:
        shutil.rmtree(part, ignore_errors=True)
        save_model(model, source, part)
        torch.save(optimizer.state_dict(), part / _OPTIMIZER)
        (part / _STATE).write_text(json.dumps({"step": step} | state), encoding="utf-8")
        _sync(part)
        part.replace(path)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise LadderError(f"cannot write the checkpoint {path}: {error.strerror or error}") from None
    for old in checkpoints(folder)[:-2]:
        shutil.rmtree(old)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in folder.glob(f"{_PREFIX}*") if (p / _STATE).is_file())


def load_state(path: Path, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put the optimiser's state in place and return the trainer's; never unpickles. The model loads as any other."""
    optimizer.load_state_dict(torch.load(path / _OPTIMIZER, weights_only=True))
    return dict(json.loads((path / _STATE).read_text(encoding="utf-8")))


def _sync(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
