"""A policy whose tensors lie over several processes: all of them run the same sub-modules the same number of times.

A process that has fewer forwards than another, or no picture where another has one, forwards a filler: a prompt of one token or
of one tiny picture, whose score nobody takes, so that its gradient is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ladder.encode import Encoded
from trainer.parallel.ranks import Ranks
from trainer.policy.images import Features, encode_parts, images_of, parts_of
from trainer.policy.layout import Batch, Group, Piece
from trainer.policy.model import Policy, Scored


class ShardedPolicy(Policy):
    """As `Policy`; `plan`, `features` and `forward` must be called by every process in the same order."""

    def __init__(self, model: Any, *args: Any, ranks: Ranks, **settings: Any) -> None:
        super().__init__(model, *args, **settings)
        self._ranks = ranks
        patch_values = model.model.visual.patch_embed.proj.weight[0].numel()
        self._text, self._picture = _text(self.encoder.pad_id), _picture(model.config, patch_values)

    def plan(self, groups: Sequence[Group], tokens: int) -> list[Batch]:
        """Forwards of this process' groups, and fillers up to the number of the process that has most."""
        own = super().plan(groups, tokens)
        looks = self._ranks.gather([self._looks(groups, batch) for batch in own])
        count = max(map(len, looks))
        own += [Batch((), "padded")] * (count - len(own))
        anyone = [any(turn < len(of) and of[turn] for of in looks) for turn in range(count)]
        return [
            replace(batch, filler=self._filler(groups, batch, look))
            for batch, look in zip(own, anyone, strict=True)
        ]

    def features(self, groups: Sequence[Group]) -> Features | None:
        """As Policy.features, of this process' groups, in as many calls of the vision tower as the others make."""
        if not self.encodes_ahead:
            return None
        parts = list(parts_of(images_of(group.prompt for group in groups)))
        parts += [images_of([self._picture])] * (max(self._ranks.gather(len(parts))) - len(parts))
        if not parts:
            return None
        with self._precision():
            return encode_parts(self.model.model, parts, self.device)

    def forward(
        self,
        groups: Sequence[Group],
        batch: Batch,
        features: Features | None = None,
        entropy: bool = False,
    ) -> Scored:
        """As Policy.forward; what a filler adds to the batch is cut off again."""
        if batch.filler is None:
            return super().forward(groups, batch, features, entropy)
        prompt = self._picture if batch.filler == "picture" else self._text
        more = [*groups, Group(prompt, ((self.encoder.pad_id,),))]
        scored = super().forward(more, _with(batch, Piece(len(groups), (0,))), features, entropy)
        kept = len(batch.members)
        # FSDP's hooks hang on what a forward returns, and not on views: hence the copies.
        return Scored(
            scored.logprobs_RT[:kept].clone(),
            scored.mask_RT[:kept],
            None if scored.entropy_RT is None else scored.entropy_RT[:kept].clone(),
        )

    def _looks(self, groups: Sequence[Group], batch: Batch) -> bool:
        """Whether a forward runs the vision tower."""
        if self.encodes_ahead:
            return False
        return any(groups[piece.group].prompt.grids is not None for piece in batch.pieces)

    def _filler(self, groups: Sequence[Group], batch: Batch, look: bool) -> Any:
        if look and not self._looks(groups, batch):
            return "picture"
        return None if batch.rows else "text"


def _with(batch: Batch, piece: Piece) -> Batch:
    """A batch with one more piece, the last of its members: in the last row where rows hold several."""
    if batch.layout == "packed":
        return Batch((*batch.rows[:-1], (*batch.rows[-1], piece)), "packed")
    return Batch((*batch.rows, (piece,)), batch.layout)


def _text(token: int) -> Encoded:
    return Encoded([token], [token], np.zeros((3, 1), np.int64), None, None, (), ())


def _picture(config: Any, patch_values: int) -> Encoded:
    """A prompt that is one picture of one token."""
    merge = config.vision_config.spatial_merge_size
    ids = [config.image_token_id]
    grids = np.array([[1, merge, merge]], np.int64)
    pixels = np.zeros((merge * merge, patch_values), np.float32)
    return Encoded(ids, ids, np.zeros((3, 1), np.int64), grids, pixels, (), ("filler",))
