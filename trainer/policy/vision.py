"""How a vision tower attends on a GPU: every image, or window of one, to itself, and all of them in one call.

transformers takes them through sdpa one by one, and gives their lengths only to implementations with "flash" in their name. This
is one, of torch's own variable-length flash attention, which needs no package. On the CPU the calls are no cost, and nothing is
changed. Leaves out the language model.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "ladder_flash_segments"  # among transformers' attention implementations


def attend_at_once(vision: Any, device: torch.device) -> None:
    """Let a tower of this configuration attend to all of its segments at once, where it is set to sdpa and a kernel is
    there."""
    if vision._attn_implementation == "sdpa" and _has_kernels(device):
        register(vision)


def register(vision: Any) -> None:
    """Let a tower of this configuration use this module's attention; what has no kernel goes segment by segment."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)
    vision._attn_implementation = NAME


@cache
def _has_kernels(device: torch.device) -> bool:
    """Whether torch has variable-length flash attention for a device: GPUs from compute capability 8.0."""
    if device.type != "cuda" or find_spec("torch.nn.attention.varlen") is None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _attend(
    module: Any,  # noqa: ARG001
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls a flash attention: (1, heads, V, size) in, (V, heads, size) out. Scores are scaled by
    1 / sqrt(size), as the towers do."""
    q, k, v = (part[0].transpose(0, 1).to(value.dtype) for part in (query, key, value))
    if value.dtype in (torch.bfloat16, torch.float16) and _has_kernels(value.device):
        return _in_one_call(q, k, v, cu_seq_lens_q, max_length_q), None
    return _one_by_one(q, k, v, cu_seq_lens_q), None


def _in_one_call(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ends: torch.Tensor, longest: int
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    ends = ends.to(torch.int32)
    made = varlen_attn(query, key, value, ends, ends, longest, longest)
    assert isinstance(made, torch.Tensor)  # what else it gives was not asked for
    return made


def _one_by_one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ends: torch.Tensor
) -> torch.Tensor:
    lengths = ends.diff().tolist()
    heads_first = (part.transpose(0, 1)[None].split(lengths, 2) for part in (query, key, value))
    made = [scaled_dot_product_attention(*parts) for parts in zip(*heads_first, strict=True)]
    return torch.cat(made, 2)[0].transpose(0, 1)
