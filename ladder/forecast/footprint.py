"""The memory that a model takes, by its configuration and the headers of its weights: nothing of it is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Footprint:
    """Bytes of the weights in `dtype`, and of the keys and values of one position. Activations come on top."""

    dtype: str
    weight_bytes: int
    position_bytes: int


def footprint_of(directory: Path, config: dict[str, Any], dtype: str) -> Footprint | None:
    """Of the model in a directory, with its `config.json`; None where its headers cannot be read."""
    from safetensors import SafetensorError, safe_open

    size, parameters = _DTYPE_BYTES[dtype], 0
    try:
        for path in sorted(directory.glob("*.safetensors")):
            with safe_open(path, framework="np") as file:
                parameters += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return Footprint(dtype, parameters * size, _position_values(config) * size) if parameters else None


def _position_values(config: dict[str, Any]) -> int:
    """Numbers that the text model keeps for one position."""
    text = config.get("text_config") or config
    heads = int(text["num_attention_heads"])
    head = int(text.get("head_dim") or text["hidden_size"] // heads)
    return 2 * int(text["num_hidden_layers"]) * int(text.get("num_key_value_heads") or heads) * head
