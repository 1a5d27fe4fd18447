"""How packed rows attend: under a dense mask, or with FlexAttention, which passes by the blocks that nobody sees.

FlexAttention's kernels are for CUDA, and are compiled. All pieces of a forward lie in one row then, whatever rows the plan
has: pieces do not see each other, and blocks between them cost nothing. So the batch is always 1 and only the length
changes, in whole blocks, which torch compiles twice: for the first length, and for any. On the CPU torch computes the same
without a kernel and, unless told otherwise, without a gradient. Leaves out padded rows: they are causal, and need no mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from ladder.errors import BadInput
from trainer.policy.rows import Rows

Attention = Literal["auto", "dense", "flex"]
BLOCK = 128  # tokens: of FlexAttention's blocks
SHORTEST = 2 * BLOCK  # a length of one block would be compiled once more: torch specialises sizes of 1
NAME = "ladder_flex"  # among transformers' attention implementations: sdpa, but for a BlockMask
_compiled_graphs = 0
_flex_attention: Any = flex_attention


def choose(asked: Attention, device: torch.device) -> bool:
    """Whether packed rows take FlexAttention: with "auto" where it has kernels. Raises BadInput for "flex" without them."""
    if asked == "dense" or (asked == "auto" and device.type != "cuda"):
        return False
    missing = why_dense(device)
    if missing is None:
        return True
    if asked == "flex":
        raise BadInput(f'batch.attention = "flex": {missing}; take "auto" or "dense"')
    return False


def why_dense(device: torch.device) -> str | None:
    """Why a device has no FlexAttention that can be trained with, if it has none."""
    if device.type != "cuda":
        return f"FlexAttention has no backward pass on {device.type}"
    if find_spec("triton") is None:
        return "FlexAttention is compiled with triton, which is not installed"
    if torch.cuda.get_device_capability(device) < (7, 0):
        return "FlexAttention's kernels need a GPU of compute capability 7.0"
    return None


def take_block_masks(text: Any) -> None:
    """Let a text model of this configuration take a BlockMask as its mask; with any other, or none, it stays with sdpa."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    text._attn_implementation = NAME


def block_mask(rows: Rows) -> BlockMask:
    """Of a single row, whose width is a multiple of BLOCK: key j is seen by query i where j <= i < end[j]. The blocks follow
    from the ends alone, so that no (T, T) is made."""
    end_T = rows.end_BT[0]
    tokens = len(end_T)
    end_NK = end_T.view(-1, BLOCK)
    first_N = torch.arange(0, tokens, BLOCK, device=end_T.device)
    before_NN = torch.ones(len(first_N), len(first_N), dtype=torch.bool, device=end_T.device).tril_(-1)
    whole_NN = before_NN & (end_NK.amin(1) >= first_N[:, None] + BLOCK)
    seen_NN = before_NN & (end_NK.amax(1) > first_N[:, None])
    partly_NN = (seen_NN & ~whole_NN).fill_diagonal_(True)

    def sees(_b: torch.Tensor, _h: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return (j <= i) & (i < end_T[j])

    return BlockMask.from_kv_blocks(
        *_listed(partly_NN), *_listed(whole_NN), BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(tokens, tokens)
    )


def compiles() -> int:
    """Graphs that FlexAttention was compiled for in this process: a few, and no more as training goes on."""
    return _compiled_graphs


def _listed(blocks_NN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each query's block: how many blocks of keys there are, (1, 1, N), and their places first, (1, 1, N, N)."""
    count_N = blocks_NN.sum(1, dtype=torch.int32)
    places_NN = torch.argsort(blocks_NN.int(), dim=1, descending=True, stable=True).int()
    return count_N[None, None], places_NN[None, None]


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | BlockMask | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls an attention function: (B, heads, T, size) in, (B, T, heads, size) out."""
    if not isinstance(attention_mask, BlockMask):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain
    dtype = value.dtype  # under autocast rotary embedding leaves queries and keys in float32
    attend = _compiled() if query.is_cuda else _flex_attention
    out = attend(
        query.to(dtype), key.to(dtype), value, block_mask=attention_mask, scale=scaling, enable_gqa=True
    )
    return out.transpose(1, 2).contiguous(), None


@cache
def _compiled(backend: str = "inductor") -> Callable[..., torch.Tensor]:
    """FlexAttention, compiled. Where torch would give up compiling it raises, and does not go on with dense scores."""
    dynamo: Any = torch._dynamo
    compiler = dynamo.lookup_backend(backend)

    def counted(graph: Any, inputs: Any) -> Any:
        global _compiled_graphs
        _compiled_graphs += 1
        return compiler(graph, inputs)

    compiled: Callable[..., torch.Tensor] = torch.compile(flex_attention, backend=counted, fullgraph=True)
    return compiled
