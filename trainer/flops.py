"""Model FLOPs of training and their share of what a device could do (MFU, Chowdhery et al. 2022, PaLM, appendix B).

A multiply-add is two FLOPs. Matrices and attention alone are counted: norms, activations, rotary positions, softmax and the
optimiser are not. A matrix costs a multiply-add for each weight forward, one for the gradient of its input, and one for its own
where it learns: 2, 2 and 2 FLOPs, 6 in all. Attention costs 2 x heads x head size multiply-adds a layer for each pair of a
query and a key that it may see, and twice that backward. So of a group of G responses of R tokens to a prompt of P

    packed:  P + G R tokens and P (P + 1) / 2 + G (P R + R (R + 1) / 2) pairs
    padded:  G (P + R) tokens and G (P + R) (P + R + 1) / 2 pairs

and the head for its G R response tokens alone. A picture counts each time that its tower runs: once a step where it is frozen.
Padding, pairs that a mask hides, and what gradient checkpointing computes again are work that the model does not need: they
are not counted, and make the utilisation lower. Leaves out sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ladder.encode import FAMILIES

if TYPE_CHECKING:
    from trainer.config import TrainSettings
    from trainer.policy import Batch, Group, Policy

#: TFLOP/s of matrices in bfloat16, dense, accumulated in float32: NVIDIA's data sheets; the longest name that fits counts.
PEAKS = {
    "A40": 149.7,
    "A100": 312.0,
    "A800": 312.0,
    "B200": 2250.0,
    "GH200": 989.0,
    "H20": 148.0,
    "H100": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H200": 989.0,
    "H800": 989.0,
    "L4": 121.0,
    "L40": 181.0,
    "L40S": 362.0,
    "RTX 3090": 71.0,
    "RTX 4090": 165.0,
    "RTX 5090": 209.5,
    "RTX A6000": 154.8,
}
#: Laps of a step's clock that are the training part.
TRAINING = ("old", "reference", "forward", "backward", "optimizer")
_TERA = 10**12
_OTHERS = {"LAPTOP", "MIG", "D"}  # in names of parts and of slower namesakes
_MATRICES = (nn.Linear, nn.Conv2d, nn.Conv3d)


def decoder(text: Any) -> tuple[int, int]:
    """Multiply-adds of a forward pass of a text model's layers, by its configuration: per token, and per (query, key) pair."""
    heads, hidden = text.num_attention_heads, text.hidden_size
    size = getattr(text, "head_dim", None) or hidden // heads
    projections = 2 * (heads + text.num_key_value_heads) * size * hidden
    layer = projections + 3 * hidden * text.intermediate_size
    return text.num_hidden_layers * layer, text.num_hidden_layers * 2 * heads * size


@dataclass(frozen=True)
class Counts:
    """What forwards compute over: tokens, (query, key) pairs that may see each other, response tokens that are scored, patches
    of pictures, and pairs of patches summed over the layers of the vision tower."""

    tokens: int = 0
    pairs: int = 0
    scored: int = 0
    patches: int = 0
    patch_pairs: int = 0


@dataclass(frozen=True)
class Work:
    """Multiply-adds of a model for one of each of `Counts`: of a forward pass, and, as `learns`, of the gradients of weights."""

    token: int
    pair: int
    scored: int
    patch: int
    patch_pair: int
    token_learns: int
    scored_learns: int
    patch_learns: int
    embed: int  # of `patch`: the first layer, whose input takes no gradient

    @classmethod
    def of(cls, model: Any) -> Work:
        """Of a model of a known family with its adapters; its parameters may be anywhere, also on the `meta` device."""
        visual, layers = model.model.visual, model.model.language_model.layers
        return cls(
            token=_weights(layers),
            pair=decoder(model.config.text_config)[1],
            scored=_weights(model.lm_head),
            patch=_of_patch(visual),
            patch_pair=2 * hidden_of(model.config.vision_config),
            token_learns=_weights(layers, learning=True),
            scored_learns=_weights(model.lm_head, learning=True),
            patch_learns=_of_patch(visual, learning=True),
            embed=_weights(visual.patch_embed),
        )

    def forward(self, of: Counts) -> int:
        """FLOPs of forwards."""
        vision = self.patch * of.patches + self.patch_pair * of.patch_pairs
        return 2 * (self.token * of.tokens + self.pair * of.pairs + self.scored * of.scored + vision)

    def backward(self, of: Counts) -> int:
        """FLOPs of their backward passes; a frozen vision tower has none."""
        text = (self.token + self.token_learns) * of.tokens + 2 * self.pair * of.pairs
        head = (self.scored + self.scored_learns) * of.scored
        vision = 0
        if self.patch_learns:
            vision = (self.patch - self.embed + self.patch_learns) * of.patches
            vision += 2 * self.patch_pair * of.patch_pairs
        return 2 * (text + head + vision)


def matrices(module: nn.Module) -> Iterator[torch.Tensor]:
    """The weights of what multiplies by one: linear layers, adapters' own, and the convolution over patches."""
    for part in module.modules():
        if isinstance(part, _MATRICES):
            yield part.weight


def _weights(module: nn.Module, learning: bool = False) -> int:
    """Weights of a module's matrices; `learning`: of those that learn."""
    return sum(w.numel() for w in matrices(module) if w.requires_grad or not learning)


def _of_patch(visual: Any, learning: bool = False) -> int:
    """Multiply-adds of a patch: a merger runs once for the patches that it merges."""
    mergers = [m for m in (visual.merger, getattr(visual, "deepstack_merger_list", None)) if m is not None]
    merged = sum(_weights(m, learning) for m in mergers)
    return _weights(visual, learning) - merged + merged // visual.config.spatial_merge_size**2


def hidden_of(vision: Any) -> int:
    """Hidden size of a vision tower; Qwen2-VL calls the text's size `hidden_size`."""
    return int(getattr(vision, "embed_dim", None) or vision.hidden_size)


def patch_pairs(vision: Any, grids: Iterable[tuple[int, int, int]]) -> int:
    """Pairs of patches that see each other, summed over a tower's layers: those of an image, or, in Qwen2.5-VL's layers that
    are not full, of a window. A grid is frames, rows, columns."""
    full = getattr(vision, "fullatt_block_indexes", None)
    windowed = 0 if full is None else vision.depth - len(set(full))
    total = 0
    for frames, rows, columns in grids:
        total += frames * (vision.depth - windowed) * (rows * columns) ** 2
        if windowed:
            total += frames * windowed * _squares(rows, vision) * _squares(columns, vision)
    return total


def _squares(patches: int, vision: Any) -> int:
    """Sum of the squares of the windows' lengths along one side; the last may be shorter."""
    window = vision.window_size // vision.patch_size // vision.spatial_merge_size * vision.spatial_merge_size
    whole, rest = divmod(patches, window)
    return int(whole * window**2 + rest**2)


def packed(prompt: int, responses: Sequence[int]) -> Counts:
    """A prompt and its responses under a block mask, each of so many tokens; without pictures."""
    own = sum(prompt * r + r * (r + 1) // 2 for r in responses)
    return Counts(prompt + sum(responses), prompt * (prompt + 1) // 2 + own, sum(responses))


def padded(prompt: int, responses: Sequence[int]) -> Counts:
    """The same with a row for each response."""
    lengths = [prompt + r for r in responses]
    return Counts(sum(lengths), sum(n * (n + 1) // 2 for n in lengths), sum(responses))


def peak_of(device: torch.device) -> float | None:
    """TFLOP/s of a device in bfloat16, by its name; None where it is not known."""
    if device.type != "cuda":
        return None
    return peak_named(torch.cuda.get_device_name(device))


def peak_named(name: str) -> float | None:
    """The same by the name that its driver gives it."""
    words = set(name.upper().replace("-", " ").split())
    found = [key for key in PEAKS if set(key.upper().split()) <= words and not words & _OTHERS]
    return PEAKS[max(found, key=len)] if found else None


class Meter:
    """Counts the forwards of policies as they run, and tells of a step: of that which learns and its reference, where that is
    another module. Several processes `gather` what each has counted."""

    def __init__(self, policies: Iterable[object], peak_tflops: float | None) -> None:
        from trainer.policy import Policy

        self._peak, self._flops = peak_tflops, 0
        self._seen: set[tuple[Any, ...]] = set()  # pictures of this step that were encoded ahead
        for policy in policies:
            if isinstance(policy, Policy) and policy.model.config.model_type in FAMILIES:
                policy.register_forward_hook(partial(self._ran, Work.of(policy.model)), with_kwargs=True)

    @classmethod
    def of(cls, policy: Policy, reference: object, settings: TrainSettings) -> Meter:
        """Of a run."""
        own = settings.track.peak_tflops
        known = peak_of(policy.device) if own is None and settings.dtype == "bfloat16" else own
        return cls((policy, reference), known)

    def metrics(
        self, seconds: Mapping[str, float], gather: Callable[[int], list[int]] = lambda own: [own]
    ) -> dict[str, float]:
        """`flops/model`: TFLOP of all processes since it was last asked; `mfu`: their share of what their devices could have
        done in the training part of a step's `seconds`, where the peak is known. Every process must ask."""
        counted, spent = gather(self._flops), sum(seconds.get(lap, 0.0) for lap in TRAINING)
        self._flops = 0
        self._seen.clear()
        tera = sum(counted) / _TERA
        told = {"flops/model": tera}
        if self._peak and spent:
            told["mfu"] = tera / spent / (len(counted) * self._peak)
        return told if tera else {}

    def _ran(self, work: Work, policy: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _: object) -> None:
        groups, batch, features = (*args, None)[:3]
        features = kwargs.get("features", features)
        pictures = pictures_of(groups, batch)
        if features is not None:
            pictures = {key: grid for key, grid in pictures.items() if key not in self._seen}
            self._seen |= pictures.keys()
        of = counts_of(groups, batch, policy.model.config.vision_config, pictures)
        self._flops += work.forward(of)
        if torch.is_grad_enabled():
            self._flops += work.backward(of)


def pictures_of(groups: Sequence[Group], batch: Batch) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """The grids of a forward's different pictures, by hash and grid."""
    found: dict[tuple[Any, ...], tuple[int, int, int]] = {}
    for piece in batch.pieces:
        prompt = groups[piece.group].prompt
        if prompt.grids is not None:
            grids: list[tuple[int, int, int]] = [tuple(grid) for grid in prompt.grids.tolist()]
            found |= {(name, *grid): grid for name, grid in zip(prompt.image_hashes, grids, strict=True)}
    return found


def counts_of(
    groups: Sequence[Group],
    batch: Batch,
    vision: Any,
    pictures: Mapping[tuple[Any, ...], tuple[int, int, int]],
) -> Counts:
    """What one forward computes over, with the pictures that it encodes. A prompt counts for each piece that repeats it."""
    made = [
        packed(len(group.prompt.prompt_ids), [len(group.responses[r]) for r in piece.responses])
        for piece in batch.pieces
        for group in (groups[piece.group],)
    ]
    return Counts(
        sum(of.tokens for of in made),
        sum(of.pairs for of in made),
        sum(of.scored for of in made),
        sum(t * rows * columns for t, rows, columns in pictures.values()),
        patch_pairs(vision, pictures.values()),
    )
