"""The optimiser: AdamW, its schedule, what is frozen, and guards that skip a bad update and count it.

Weights, gradients and moments are float32; where the forward pass runs in bfloat16 these are its master weights.
Sharded parameters are taken as whole ones are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from statistics import median
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn

from ladder.config import Settings
from ladder.errors import BadInput, LadderError
from trainer.parallel.whole import whole

#: What `freeze` may name beside patterns of parameter names.
PARTS = {"vision": ("model.visual.*",), "language": ("model.language_model.*", "lm_head.*")}
Decay = Annotated[float, Field(ge=0, lt=1)]
_REMEMBERED = 32  # gradient norms that a spike is measured against
_ENOUGH = 8  # norms before a spike can be told


class OptimSettings(Settings):
    """AdamW; the rate warms up linearly and then falls along a cosine or a line to `min_share` of itself, or stays.

    Weight decay is for matrices, not for norms and biases. An update whose gradient is not finite is skipped; one whose
    norm is more than `spike` times the median of the last norms too, where `spike` is set. `patience` skipped updates in
    a row end the run.
    """

    learning_rate: float = Field(1e-6, gt=0)
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: float = Field(0.03, ge=0, le=1)
    min_share: float = Field(0.1, ge=0, le=1)
    spike: float | None = Field(None, gt=1)
    patience: PositiveInt = 10


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> int:
    """Take the gradient off parameters: `vision`, `language`, or patterns of names (`model.visual.blocks.*`).

    Returns how many parameters (numbers) are left to learn. Raises BadInput for a pattern that nothing matches, and where
    nothing is left.
    """
    named = dict(model.named_parameters())
    for pattern in patterns:
        for name in matching(named, pattern, "freeze"):
            named[name].requires_grad_(False)
    left = sum(p.numel() for p in named.values() if p.requires_grad)
    if not left:
        raise BadInput("freeze: nothing is left to learn")
    return left


def matching(names: Iterable[str], pattern: str, setting: str) -> list[str]:
    """The names of parameters that one of PARTS or a pattern means. Raises BadInput, of the setting, where there are none."""
    names, globs = list(names), PARTS.get(pattern, (pattern,))
    found = [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
    if not found:
        some = ", ".join(sorted({".".join(name.split(".")[:3]) for name in names})[:8])
        raise BadInput(
            f"{setting}: {pattern!r} matches no parameter; there are {', '.join(PARTS)}, and names such as {some}"
        )
    return found


def learning_rate(optim: OptimSettings, start: float, end: float) -> float:
    """The rate of the update that covers the part [start, end) of the run, both in [0, 1]: the first updates of the
    warm-up reach up to their end, what follows falls from the warm-up's end to the run's."""
    warmup = optim.warmup_share
    if start < warmup:
        return optim.learning_rate * min(1.0, end / warmup)
    done = min(1.0, (start - warmup) / max(1e-12, 1 - warmup))
    falls = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    share = falls[optim.schedule]
    if optim.schedule != "constant":
        share = optim.min_share + (1 - optim.min_share) * share
    return optim.learning_rate * share


class Optimizer:
    """AdamW over the parameters that learn, with clipping and guards. Those that `shares` names learn at so much of the rate."""

    def __init__(
        self, model: nn.Module, settings: OptimSettings, shares: Mapping[str, float] | None = None
    ) -> None:
        self._settings = settings
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        by_share: dict[float, list[nn.Parameter]] = {}
        for name, p in model.named_parameters():
            if p.requires_grad:
                by_share.setdefault((shares or {}).get(name, 1.0), []).append(p)
        groups: list[dict[str, Any]] = []
        for share, some in by_share.items():
            matrices, others = [p for p in some if p.ndim >= 2], [p for p in some if p.ndim < 2]
            groups.append({"params": matrices, "weight_decay": settings.weight_decay, "share": share})
            groups.append({"params": others, "weight_decay": 0.0, "share": share})
        self.adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            fused=True,
        )
        self.changes = 0  # of the weights; counted before each, so that half of one is none that was finished
        self._norms: deque[float] = deque(maxlen=_REMEMBERED)
        self._skipped = {"not_finite": 0, "spikes": 0}
        self._in_a_row = 0

    def step(self, rate: float) -> dict[str, float]:
        """Clip, step and clear the gradients; or skip, and count why. Raises LadderError after `patience` skips."""
        norm = self._clip()
        reason = self._bad(norm)
        if reason is None:
            for group in self.adamw.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            self.changes += 1
            self.adamw.step()
            if norm > 0:  # an update without gradient says nothing of what is usual
                self._norms.append(norm)
                self._in_a_row = 0
        else:
            self._skip(reason, norm)
        self.adamw.zero_grad(set_to_none=True)
        return {"grad_norm": norm, "learning_rate": rate, "skipped": float(reason is not None)}

    def _clip(self) -> float:
        """The norm of all gradients, wherever their rows are, before they are clipped."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(grads))
        torch.nn.utils.clip_grads_with_norm_(self.parameters, self._settings.max_grad_norm, norm)
        return float(norm)

    def _bad(self, norm: float) -> str | None:
        if not math.isfinite(norm):
            return "not_finite"
        spike = self._settings.spike
        if spike is None or len(self._norms) < _ENOUGH or norm <= spike * median(self._norms):
            return None
        return "spikes"

    def _skip(self, reason: str, norm: float) -> None:
        self._skipped[reason] += 1
        self._in_a_row += 1
        if self._in_a_row >= self._settings.patience:
            raise LadderError(
                f"{self._in_a_row} updates in a row were skipped, the last for a gradient norm of {norm:g}: training "
                "has diverged; lower optim.learning_rate, and go on from an earlier checkpoint"
            )

    def metrics(self) -> dict[str, float]:
        """Updates skipped so far, by reason."""
        return {f"skipped/{name}": float(count) for name, count in self._skipped.items()}

    def state_dict(self) -> dict[str, Any]:
        """What the guards remember, as JSON; the moments are AdamW's own state."""
        return {"norms": list(self._norms), "skipped": dict(self._skipped), "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._norms = deque(state["norms"], maxlen=_REMEMBERED)
        self._skipped, self._in_a_row = dict(state["skipped"]), state["in_a_row"]
