"""The tensors of one forward: ids, positions, what sees what, and which tokens predict the responses.

A response sees its prompt and itself; its rotary positions start at the prompt's highest position + 1. The whole mask
follows from one number per token: how far into its row the token is still seen. Leaves out images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trainer.policy.layout import Batch, Group

_ALIGNED = 8  # tokens: attention kernels copy a mask whose rows do not start at such multiples


@dataclass(frozen=True)
class Rows:
    """B rows of T tokens, right-padded; N response tokens in all, response by response in the order of the batch's members."""

    ids_BT: torch.Tensor
    positions_3BT: torch.Tensor
    end_BT: torch.Tensor  # the token is seen by itself and those after it, before this place of the row
    lengths_B: torch.Tensor
    source_N: torch.Tensor  # flat index into B*T of the token that predicts the response token
    target_N: torch.Tensor
    lengths_R: torch.Tensor

    def block_mask(self, dtype: torch.dtype) -> torch.Tensor:
        """(B, 1, T, T), added to the scores: 0 where the query may see the key, -inf elsewhere."""
        at_T = torch.arange(self.ids_BT.shape[1], device=self.ids_BT.device)
        seen_BTT = (at_T[:, None] < self.end_BT[:, None, :]).tril_()
        mask_BTT = torch.zeros(seen_BTT.shape, dtype=dtype, device=seen_BTT.device)
        return mask_BTT.masked_fill_(seen_BTT.logical_not_(), float("-inf"))[:, None]

    def mask_RT(self) -> torch.Tensor:
        """1.0 at the responses' tokens, T their longest."""
        at_T = torch.arange(int(self.lengths_R.max()), device=self.lengths_R.device)
        return (at_T < self.lengths_R[:, None]).float()


def lay_out(
    groups: Sequence[Group],
    batch: Batch,
    pad_id: int,
    device: torch.device,
    aligned: int = _ALIGNED,
    least: int = 0,
) -> Rows:
    """The rows of a batch on a device, their width a multiple of `aligned` and no less than `least`."""
    width = max(least, -(-batch.width(groups) // aligned) * aligned)
    count = len(batch.rows)
    ids = np.full((count, width), pad_id, np.int64)
    positions = np.zeros((3, count, width), np.int64)
    ends = np.tile(np.arange(1, width + 1), (count, 1))
    source: list[np.ndarray] = []
    lengths, filled = [], []
    for b, row in enumerate(batch.rows):
        at = 0
        for piece in row:
            prompt = groups[piece.group].prompt
            last = at + len(prompt.prompt_ids)
            ids[b, at:last] = prompt.prompt_ids
            positions[:, b, at:last] = prompt.positions
            ends[b, at:last] = at + piece.length(groups)
            first, at = int(prompt.positions.max()) + 1, last
            for response in (groups[piece.group].responses[r] for r in piece.responses):
                end = at + len(response)
                ids[b, at:end] = response
                positions[:, b, at:end] = np.arange(first, first + len(response))
                ends[b, at:end] = end
                source.append(np.array([last - 1, *range(at, end - 1)]) + b * width)
                lengths.append(len(response))
                at = end
        filled.append(at)
    target = [t for g, r in batch.members for t in groups[g].responses[r]]
    return Rows(
        ids_BT=torch.from_numpy(ids).to(device),
        positions_3BT=torch.from_numpy(positions).to(device),
        end_BT=torch.from_numpy(ends).to(device),
        lengths_B=torch.tensor(filled, device=device),
        source_N=torch.from_numpy(np.concatenate(source)).to(device),
        target_N=torch.tensor(target, device=device),
        lengths_R=torch.tensor(lengths, device=device),
    )
