"""The memory of a run by part, from a model's configuration alone: its parameters lie on torch's `meta` device, without data.

Weights, gradients and moments are exact. Activations are about right: the bytes that a decoder layer keeps for its backward
pass were measured with torch.autograd.graph.saved_tensors_hooks on models of the three families and of several shapes, and
are a linear function of its sizes to within a sixth. With an adapter they are taken for the same. Leaves out what allocators
waste, CUDA's own context, and NCCL's buffers.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ladder.errors import BadInput
from ladder.forecast import Figure
from trainer.adapter import choose_learning
from trainer.config import TrainSettings
from trainer.flops import hidden_of
from trainer.forecast.figures import PHASES, Parameters, Part
from trainer.forecast.place import Place
from trainer.forecast.sampler import Load, element, sampler_parts
from trainer.forecast.sizes import Sizes
from trainer.kl import KlWeight
from trainer.policy.scores import LOGITS_AT_ONCE

_FP32 = 4
_PATCHES_AT_ONCE = 65_536  # of images that are encoded ahead
#: Bytes that a layer keeps for each token: per number of hidden size, of queries, of keys and of the feed-forward layer.
_KEPT = {"float32": (20.0, 12.0, 9.0, 17.0), "bfloat16": (24.0, 8.0, 4.0, 8.5)}
_LOGIT_BYTES = 16  # of a logit: itself, its log-probability, its probability and its gradient


def empty_model(directory: Path) -> nn.Module:
    """The model of a directory without its weights; raises BadInput where transformers knows none."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        with torch.device("meta"):
            model: nn.Module = AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"cannot make the model of {directory}: {error}") from None
    return model


def parameters_of(model: nn.Module, settings: TrainSettings) -> Parameters:
    """Freezes what does not learn, puts in the adapter if there is one, and counts. Raises BadInput as training would."""
    trainable = choose_learning(model, settings.freeze, settings.adapter)
    return Parameters(sum(p.numel() for p in model.parameters()), trainable)


def memory_of(
    model: Any,
    settings: TrainSettings,
    load: Load,
    device: str,
    ranks: int = 1,
    whole_bytes: int | None = None,
) -> tuple[Part, ...]:
    """The parts of a run's memory on each of its devices, phases told by `when`; `parameters_of` has frozen what is frozen.
    Of several processes (`ranks`) each has its share of what is sharded; `whole_bytes` is all the memory of one device."""
    return parts_of(Sizes.of(model), settings, load, Place(device, ranks, whole_bytes))


def parts_of(of: Sizes, settings: TrainSettings, load: Load, at: Place) -> tuple[Part, ...]:
    """The same by the sizes of a model."""
    parts = [("weights in float32", _FP32 * of.all, "always")]
    if of.reference and KlWeight(settings.kl.weight).ever_positive:
        parts.append(("the reference, in float32", _FP32 * of.reference, "always"))
    # AdamW also keeps the number of its steps for each tensor.
    parts.append(("AdamW's two moments", _FP32 * (2 * of.learning + of.tensors_learning), "always"))
    parts.append(("gradients", _FP32 * of.learning, "training"))
    basis: Literal["exact", "about"] = "exact" if at.ranks == 1 else "about"
    exact = [Part(name, Figure(at.of(size), basis), when) for name, size, when in parts]
    about = [
        ("activations", _activations(of, settings, load, at), "training"),
        ("logits of a chunk", _logits(of, settings, load, at), "training"),
        ("images of a step", _images(of, settings, load, at), "training"),
        ("layers, gathered for a pass", _gathered(of, settings) if at.ranks > 1 else 0, "training"),
        ("copies of the weights in bfloat16", _copies(of, settings, at), "training"),
        ("Python and its libraries", _program() if at.device == "cpu" else 0, "always"),
    ]
    rest = (Part(name, Figure(size, "about"), when) for name, size, when in about if size)
    return (*exact, *sampler_parts(of, settings, load, at), *rest)


def peak_of(parts: Iterable[Part]) -> Figure:
    """What is always there and the phase that needs most beside it."""
    parts = tuple(parts)
    most = max(sum(part.bytes.value for part in parts if phase in part.phases) for phase in PHASES)
    return Figure(most, "about")


def tokens_at_once(settings: TrainSettings, load: Load, ranks: int = 1) -> tuple[int, float]:
    """Tokens of the largest forward of a process, and of the longest row in it: a row may hold a group, or be one response."""
    group = settings.batch.group
    whole = load.prompt + group * load.response
    groups = len(range(settings.batch.prompts)[settings.batch.updates(settings.batch.prompts)[0]])
    groups = -(-groups // ranks)
    longest = load.longest_prompt + load.response
    tokens = max(min(settings.batch.tokens_per_micro_batch, groups * whole), longest)
    return int(tokens), min(tokens, whole)


def kept_bytes(text: Any, dtype: str) -> float:
    """Bytes that a layer of a text model keeps for a token's backward pass."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    sizes = (
        text.hidden_size,
        text.num_attention_heads * head,
        text.num_key_value_heads * head,
        text.intermediate_size,
    )
    return sum(per * size for per, size in zip(_KEPT[dtype], sizes, strict=True))


def _activations(of: Sizes, settings: TrainSettings, load: Load, at: Place) -> int:
    """Of the largest forward: the text model's, the dense mask's, and the vision tower's where it learns."""
    text = of.text
    tokens, row = tokens_at_once(settings, load, at.ranks)
    kept, layers = kept_bytes(text, settings.dtype), text.num_hidden_layers
    # One layer on top: that of which the backward pass makes gradients, or that it computes again.
    of_layers = (
        layers * text.hidden_size * _FP32 + kept if settings.gradient_checkpointing else (layers + 1) * kept
    )
    total = tokens * of_layers
    if settings.batch.attention == "dense" or not at.gpu:  # FlexAttention takes no dense mask
        total += tokens * row * element(settings)
    if of.vision_learns:
        patches = _patches(settings, load, at)
        hidden, feed = _vision_sizes(of.vision)
        per = _KEPT[settings.dtype]
        of_layer = hidden * (per[0] + per[1] + 2 * per[2]) + feed * per[3]
        depth = of.vision.depth
        kept_layers = (
            depth * hidden * _FP32 + of_layer if settings.gradient_checkpointing else depth * of_layer
        )
        total += patches * kept_layers
    return int(total)


def _vision_sizes(vision: Any) -> tuple[int, int]:
    """Hidden size of a vision tower, and of its feed-forward layers."""
    hidden = hidden_of(vision)
    return hidden, int(getattr(vision, "intermediate_size", None) or hidden * vision.mlp_ratio)


def _gathered(of: Sizes, settings: TrainSettings) -> int:
    """Weights and gradients that a process has whole at once: what is in no layer, in float32, and two layers, as the next is
    fetched while one computes, with the gradients of one before and while they are summed (trainer.parallel)."""
    size = element(settings)
    return (
        _FP32 * (of.outside + of.outside_learning) + 2 * size * of.layer + (size + _FP32) * of.layer_learning
    )


def _copies(of: Sizes, settings: TrainSettings, at: Place) -> int:
    """Of autocast, which keeps those of matrices that learn to the end of a pass; its backward pass keeps the others too,
    unless it computes layers again. Layers that are sharded are gathered in bfloat16, and not copied."""
    if settings.dtype != "bfloat16":
        return 0
    if at.ranks > 1:
        return 2 * of.head
    return 2 * (of.head + (of.copied_learning if settings.gradient_checkpointing else of.copied))


def _logits(of: Sizes, settings: TrainSettings, load: Load, at: Place) -> int:
    tokens, _ = tokens_at_once(settings, load, at.ranks)
    share = (
        settings.batch.group * load.response / max(1.0, load.prompt + settings.batch.group * load.response)
    )
    return int(_LOGIT_BYTES * min(tokens * share * of.text.vocab_size, LOGITS_AT_ONCE))


def _images(of: Sizes, settings: TrainSettings, load: Load, at: Place) -> int:
    """Pixels of a step's images (on a GPU, of those that a forward or the tower takes) and, where the tower is frozen, their
    features and what it needs to encode some of them."""
    vision, patches = of.vision, load.patches * at.of(settings.batch.prompts)
    frozen = not of.vision_learns
    channels = int(getattr(vision, "in_channels", 0) or getattr(vision, "in_chans", 3))
    features = patches / vision.spatial_merge_size**2 * of.text.hidden_size
    hidden, feed = _vision_sizes(vision)
    working = min(patches, _PATCHES_AT_ONCE) * (4 * hidden + 2 * feed)
    if at.gpu:
        patches = min(patches, _PATCHES_AT_ONCE) if frozen else _patches(settings, load, at)
    pixels = patches * channels * vision.temporal_patch_size * vision.patch_size**2
    return int(_FP32 * (pixels + (features + working if frozen else 0)))


def _patches(settings: TrainSettings, load: Load, at: Place) -> float:
    """Of the images of the largest forward."""
    tokens, _ = tokens_at_once(settings, load, at.ranks)
    return load.patches * tokens / max(1.0, load.prompt + settings.batch.group * load.response)


def _program() -> int:
    """What this process has taken up to now, which has the same libraries and no weights."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
