"""A vision-language model with its encoder, as a distribution over responses to prompts.

Families whose layout is known (ladder.encode) are packed where that is exact, and take images as features that are made
once; any other model that takes the same inputs runs its own forward on padded rows. Leaves out auxiliary losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ladder.encode import FAMILIES, Encoded, Encoder, image_inputs
from trainer.policy.attention import (
    BLOCK,
    NAME,
    SHORTEST,
    Attention,
    block_mask,
    choose,
    compiles,
    take_block_masks,
)
from trainer.policy.images import Features, encode, encode_ahead, images_of
from trainer.policy.layout import Batch, Group, Layout
from trainer.policy.plan import Cost, cut
from trainer.policy.rows import Rows, lay_out
from trainer.policy.scores import score
from trainer.policy.vision import attend_at_once

_TAKE_A_MASK = ("sdpa", "eager", NAME)  # attention implementations that take any dense mask


@dataclass(frozen=True)
class Scored:
    """Of R responses, T tokens the longest: log-probs, 1.0 at response tokens, and entropies in nats; 0 beyond the ends."""

    logprobs_RT: torch.Tensor
    mask_RT: torch.Tensor
    entropy_RT: torch.Tensor | None


class Policy(nn.Module):
    """Log-probs of responses under a model, of the distribution that was sampled from: its temperature, its banned ids.

    `layout` "auto" packs what is cheaper packed; "packed" or "padded" is taken for all. A model that packing cannot do
    exactly is padded whatever is set, and `why_padded` says why. `attention` is how packed rows attend
    (trainer.policy.attention): "auto" takes FlexAttention where it has kernels, and "flex" raises BadInput where it has none.
    """

    banned: torch.Tensor

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        *,
        temperature: float,
        autocast: bool,
        layout: Literal["auto", "packed", "padded"] = "auto",
        attention: Attention = "auto",
    ) -> None:
        super().__init__()
        self.model, self.encoder, self.temperature, self._autocast = model, encoder, temperature, autocast
        self.why_padded = why_padded(model)
        self._layout: Layout | None = "padded" if self.why_padded else None if layout == "auto" else layout
        self.flex = self.why_padded is None and layout != "padded" and choose(attention, self.device)
        if self.flex:
            take_block_masks(model.config.text_config)
        if self._known and autocast:
            attend_at_once(model.config.vision_config, self.device)
        self.register_buffer("banned", torch.tensor(encoder.banned), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def vision_frozen(self) -> bool:
        """Whether no parameter of the vision tower, its merger among them, requires a gradient."""
        return not any(p.requires_grad for p in self.model.model.visual.parameters())

    def features(self, groups: Sequence[Group]) -> Features | None:
        """Features of each different picture, computed once and without gradient, for any number of passes; None where
        the vision tower learns, where there is no picture, and of a family that takes none."""
        if not self.encodes_ahead:
            return None
        images = images_of(group.prompt for group in groups)
        if not images:
            return None
        with self._precision():
            return encode_ahead(self.model.model, images, self.device)

    def plan(self, groups: Sequence[Group], tokens: int) -> list[Batch]:
        """Forwards that hold every response once, each of at most `tokens` tokens with the padding, or of one response."""
        return cut(groups, tokens, Cost.of(self.model.config.text_config, self.flex), self._layout)

    def told(self) -> dict[str, float]:
        """How often FlexAttention was compiled, where it is used."""
        return {"compiles": float(compiles())} if self.flex else {}

    def forward(
        self,
        groups: Sequence[Group],
        batch: Batch,
        features: Features | None = None,
        entropy: bool = False,
    ) -> Scored:
        """Score the batch's responses, in the order of its members; `features` are those of `features(groups)`."""
        rows = self._rows(groups, batch)
        prompts = [groups[piece.group].prompt for piece in batch.pieces]
        with self._precision():
            hidden_BTH = self._hidden(rows, prompts, batch, features)
            hidden_NH = hidden_BTH.flatten(0, 1).index_select(0, rows.source_N)
            logprobs_N, entropy_N = score(
                self.model.lm_head, hidden_NH, rows.target_N, self.temperature, self.banned, entropy
            )
        mask_RT = rows.mask_RT()
        return Scored(
            logprobs_RT=_spread(logprobs_N, mask_RT),
            mask_RT=mask_RT,
            entropy_RT=None if entropy_N is None else _spread(entropy_N, mask_RT),
        )

    @property
    def encodes_ahead(self) -> bool:
        """Whether pictures are encoded once for all passes, and none in a forward."""
        return self._known and self.vision_frozen

    @property
    def _known(self) -> bool:
        return self.model.config.model_type in FAMILIES

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast)

    def _rows(self, groups: Sequence[Group], batch: Batch) -> Rows:
        if self.flex and batch.layout == "packed":
            return lay_out(groups, batch.in_one_row(), self.encoder.pad_id, self.device, BLOCK, SHORTEST)
        return lay_out(groups, batch, self.encoder.pad_id, self.device)

    def _hidden(
        self, rows: Rows, prompts: Sequence[Encoded], batch: Batch, features: Features | None
    ) -> torch.Tensor:
        """Last hidden states (B, T, hidden) of the rows."""
        inputs = self._inputs(rows, prompts, features) if self._known else self._own_inputs(rows, prompts)
        if batch.layout == "packed":
            dtype = torch.bfloat16 if self._autocast else self.model.dtype
            inputs["attention_mask"] = block_mask(rows) if self.flex else rows.block_mask(dtype)
        out = self.model.model(input_ids=rows.ids_BT, use_cache=False, **inputs)
        hidden_BTH: torch.Tensor = out.last_hidden_state
        return hidden_BTH

    def _inputs(self, rows: Rows, prompts: Sequence[Encoded], features: Features | None) -> dict[str, Any]:
        """What a known family takes. Padded rows need no mask: the model is causal, and padding is on the right."""
        inputs: dict[str, Any] = {"position_ids": rows.positions_3BT}
        if images := images_of(prompts):
            if features is None:
                with torch.set_grad_enabled(torch.is_grad_enabled() and not self.vision_frozen):
                    features = encode(self.model.model, images, self.device)
            inputs["mm_encoder_outputs"] = {"image": features.of([image.key for image in images])}
        return inputs

    def _own_inputs(self, rows: Rows, prompts: Sequence[Encoded]) -> dict[str, Any]:
        """What other models take, which make positions and features by themselves."""
        at_T = torch.arange(rows.ids_BT.shape[1], device=self.device)
        inputs: dict[str, Any] = {
            "attention_mask": (at_T < rows.lengths_B[:, None]).long(),
            "mm_token_type_ids": (rows.ids_BT == self.encoder.image_token).int(),
        }
        return inputs | image_inputs(prompts, self.device, self.model.dtype)


def why_padded(model: Any) -> str | None:
    """Why packing is not exact for a model, if it is not."""
    text = model.config.text_config
    if model.config.model_type not in FAMILIES:
        return f"packing is not known to be exact for {model.config.model_type}"
    if getattr(text, "attention_dropout", 0.0):
        return "it drops attention weights while training, and siblings would share what is dropped"
    if any(isinstance(module, nn.Dropout) and module.p for module in model.modules()):
        return "an adapter drops values while training, and siblings would share what is dropped"
    if getattr(text, "use_sliding_window", False) or "sliding_attention" in (
        getattr(text, "layer_types", None) or ()
    ):
        return "it has sliding windows, which count a packed row's tokens"
    if getattr(text, "output_router_logits", False):
        return "its auxiliary loss counts the tokens of a row"
    if text._attn_implementation not in _TAKE_A_MASK:
        return f"its attention ({text._attn_implementation}) takes no dense mask"
    return None


def _spread(values_N: torch.Tensor, mask_RT: torch.Tensor) -> torch.Tensor:
    """(R, T): the values where the mask is 1, in order, and 0 elsewhere."""
    return torch.zeros_like(mask_RT).masked_scatter(mask_RT > 0, values_N)
