"""The policy: one module whose forward encodes images, packs groups and returns the responses' log-probs.

A group's G responses share their prompt and its images. One row holds the prompt, then the G responses, under a block
mask: a response sees the prompt and itself. A response's rotary positions start at the prompt's highest position + 1.
Log-probs are those of the distribution that was sampled from (same temperature, same banned ids), and logits are made
for response tokens only. Families: those of ladder.encode. Leaves out attention dropout and sliding windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ladder.encode import Encoded, Encoder, image_inputs
from ladder.engines.sampling import distribution
from ladder.errors import BadInput

_LOGITS_AT_ONCE = 32 * 2**20  # response tokens x vocabulary held at once


@dataclass(frozen=True)
class Group:
    """A prompt and its responses as token ids."""

    prompt: Encoded
    responses: tuple[tuple[int, ...], ...]

    @property
    def row_tokens(self) -> int:
        """Length of the group's packed row."""
        return len(self.prompt.prompt_ids) + sum(map(len, self.responses))


@dataclass(frozen=True)
class Packed:
    """Groups as rows: B rows of T tokens, N response tokens in all."""

    ids_BT: torch.Tensor
    positions_3BT: torch.Tensor
    mask_B1TT: torch.Tensor
    source_N: torch.Tensor  # flat index into B*T of the token that predicts the response token
    target_N: torch.Tensor
    place_N: torch.Tensor  # flat index into P*G*T of where its log-prob goes
    images: dict[str, torch.Tensor]


class Policy(nn.Module):
    """A vision-language model with its encoder, as a distribution over responses."""

    banned: torch.Tensor

    def __init__(self, model: Any, encoder: Encoder, *, temperature: float, autocast: bool) -> None:
        super().__init__()
        text = model.config.text_config
        if getattr(text, "attention_dropout", 0.0) or getattr(text, "use_sliding_window", False):
            raise BadInput(
                "this trainer packs groups, which is not exact with attention dropout or sliding windows"
            )
        self.model, self.encoder, self.temperature, self._autocast = model, encoder, temperature, autocast
        self.register_buffer("banned", torch.tensor(encoder.banned), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    def forward(self, groups: Sequence[Group], width: int) -> torch.Tensor:
        """Log-probs (P, G, width) of the groups' responses; 0 beyond their ends. All groups have G responses."""
        packed = pack(groups, width, self.encoder.pad_id, self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            hidden = self.model.model(
                input_ids=packed.ids_BT,
                attention_mask=packed.mask_B1TT,
                position_ids=packed.positions_3BT,
                use_cache=False,
                **packed.images,
            ).last_hidden_state
            values_N = self._logprobs(hidden.flatten(0, 1)[packed.source_N], packed.target_N)
        out = values_N.new_zeros(len(groups) * len(groups[0].responses) * width)
        return out.index_put((packed.place_N,), values_N).view(len(groups), -1, width)

    def _logprobs(self, hidden_NH: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
        """Chunk by chunk, recomputed in the backward pass, so that no full vocabulary matrix is ever held."""
        vocabulary = self.model.lm_head.weight.shape[0]
        chunk = max(1, _LOGITS_AT_ONCE // vocabulary)
        if len(target_N) <= chunk:
            return self._chunk(hidden_NH, target_N)
        parts = [
            torch.utils.checkpoint.checkpoint(self._chunk, h, t, use_reentrant=False)
            for h, t in zip(hidden_NH.split(chunk), target_N.split(chunk), strict=True)
        ]
        return torch.cat(parts)

    def _chunk(self, hidden_NH: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
        scores_NV = distribution(self.model.lm_head(hidden_NH), self.temperature, self.banned)
        return scores_NV.gather(-1, target_N[:, None])[:, 0]


def pack(groups: Sequence[Group], width: int, pad_id: int, device: torch.device) -> Packed:
    """Lay groups out as rows; `width` is the T axis of the log-probs to come."""
    longest = max(group.row_tokens for group in groups)
    ids = torch.full((len(groups), longest), pad_id)
    positions = torch.zeros(3, len(groups), longest, dtype=torch.long)
    segment = torch.full((len(groups), longest), -1)  # 0 the prompt, g + 1 response g, -1 padding
    source, target, place = [], [], []
    for b, group in enumerate(groups):
        length = len(group.prompt.prompt_ids)
        ids[b, :length] = torch.tensor(group.prompt.prompt_ids)
        positions[:, b, :length] = torch.from_numpy(group.prompt.positions)
        segment[b, :length] = 0
        first = int(group.prompt.positions.max()) + 1
        at = length
        for g, response in enumerate(group.responses):
            end = at + len(response)
            ids[b, at:end] = torch.tensor(response)
            positions[:, b, at:end] = torch.arange(first, first + len(response))
            segment[b, at:end] = g + 1
            target.append(ids[b, at:end])
            before = torch.arange(at - 1, end - 1)
            before[0] = length - 1  # the first token of every response is predicted by the prompt's last
            source.append(before + b * longest)
            place.append(torch.arange(len(response)) + (b * len(group.responses) + g) * width)
            at = end
    return Packed(
        ids_BT=ids.to(device),
        positions_3BT=positions.to(device),
        mask_B1TT=_block_mask(segment.to(device)),
        source_N=torch.cat(source).to(device),
        target_N=torch.cat(target).to(device),
        place_N=torch.cat(place).to(device),
        images=image_inputs([g.prompt for g in groups], device, torch.float32),
    )


def _block_mask(segment_BT: torch.Tensor) -> torch.Tensor:
    """(B, 1, T, T): causal, and only to the prompt and to one's own response. Padding sees itself alone."""
    query, key = segment_BT[:, :, None], segment_BT[:, None, :]
    allowed = (((key == 0) & (query >= 0)) | (key == query)).tril()
    return allowed[:, None]


def micro_batches(groups: Sequence[Group], tokens: int) -> list[list[int]]:
    """Indices of groups to forward together: alike in length, at most `tokens` padded tokens (or one group)."""
    order = sorted(range(len(groups)), key=lambda i: (-groups[i].row_tokens, i))
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * groups[batches[-1][0]].row_tokens <= tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
