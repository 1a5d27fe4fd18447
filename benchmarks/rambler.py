"""A real model most of whose answers have two tokens, while some run on until they are cut off.

What a token is followed by depends on that token alone: the layers of the embedded policy add nothing, embeddings and
`lm_head` are a table. Leaves out any meaning of what it says.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

POSITIONS = 4096
_SHORT, _LONG = 11, 12  # tokens that begin an answer
_SURE = 40.0  # a logit beside which all others vanish


def write_rambler(folder: Path, share: float = 1 / 8) -> Path:
    """Write the model; `share` of its answers never end by themselves. It has room for POSITIONS tokens."""
    import torch
    from safetensors.torch import load_file, save_file

    from ladder.models import resolve_model

    shutil.copytree(resolve_model("digits"), folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config["text_config"]
    text["max_position_embeddings"] = POSITIONS
    text["tie_word_embeddings"] = config["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.endswith(("o_proj.weight", "down_proj.weight")) and name.startswith("model."):
            weights[name] = torch.zeros_like(weights[name])
    weights["model.norm.weight"] = torch.ones_like(weights["model.norm.weight"])
    embeddings = torch.zeros_like(weights["model.embed_tokens.weight"])
    embeddings[:, 0] = 1.0  # a prompt, however it ends
    embeddings[[_SHORT, _LONG]] = torch.eye(embeddings.shape[1], dtype=embeddings.dtype)[[1, 2]]
    head = torch.zeros_like(embeddings)
    head[_SHORT, 0], head[_LONG, 0] = _SURE + math.log(1 / share - 1), _SURE
    head[text["eos_token_id"], 1] = head[_LONG, 2] = _SURE
    weights["model.embed_tokens.weight"] = embeddings
    weights["lm_head.weight"] = head / math.sqrt(embeddings.shape[1])  # the norm makes vectors so long
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
