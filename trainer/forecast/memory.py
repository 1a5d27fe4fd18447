"""The memory of a run by part, from a model's configuration alone: its parameters lie on torch's `meta` device, without data.

Weights, gradients and moments are exact. Activations are about right: the bytes that a decoder layer keeps for its backward
pass were measured with torch.autograd.graph.saved_tensors_hooks on models of the three families and of several shapes, and
are a linear function of its sizes to within a sixth. Leaves out what allocators waste.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ladder.errors import BadInput
from ladder.forecast import Figure
from trainer.config import TrainSettings
from trainer.forecast.figures import Parameters, Part
from trainer.kl import KlWeight
from trainer.optim import freeze
from trainer.policy.scores import LOGITS_AT_ONCE

_FP32 = 4
_SHELF = 32  # positions by which the engine's stores of answers grow
_PATCHES_AT_ONCE = 65_536  # of images that are encoded ahead
#: Bytes that a layer keeps for each token: per number of hidden size, of queries, of keys and of the feed-forward layer.
_KEPT = {"float32": (20.0, 12.0, 9.0, 17.0), "bfloat16": (24.0, 8.0, 4.0, 8.5)}
_LOGIT_BYTES = 16  # of a logit: itself, its log-probability, its probability and its gradient


@dataclass(frozen=True)
class Load:
    """What the memory depends on besides the model: tokens, samples at once, and patches of a prompt's images."""

    prompt: float  # tokens, mean
    longest_prompt: int
    response: float  # tokens, mean
    patches: float  # of a prompt, mean


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
    """Freezes what the settings freeze, and counts. Raises BadInput as training would."""
    trainable = freeze(model, settings.freeze)
    return Parameters(sum(p.numel() for p in model.parameters()), trainable)


def memory_of(model: Any, settings: TrainSettings, load: Load, device: str) -> tuple[Part, ...]:
    """The parts of a run's memory on its device, largest phases told by `when`; `parameters_of` has frozen what is frozen."""
    learning = [p for p in model.parameters() if p.requires_grad]
    weights = _FP32 * sum(p.numel() for p in model.parameters())
    gradients = _FP32 * sum(p.numel() for p in learning)
    parts = [("weights in float32", weights, "always")]
    if KlWeight(settings.kl.weight).ever_positive:
        parts.append(("the reference, in float32", weights, "always"))
    # AdamW also keeps the number of its steps for each tensor.
    parts.append(("AdamW's two moments", 2 * gradients + _FP32 * len(learning), "always"))
    exact = [Part(name, Figure(size), when) for name, size, when in parts]
    exact.append(Part("gradients", Figure(gradients), "training"))
    about = [
        ("keys and values of the samples", _samples(model.config.text_config, settings, load), "rollout"),
        ("activations", _activations(model, settings, load), "training"),
        ("logits of a chunk", _logits(model.config.text_config, settings, load), "training"),
        ("images of a step", _images(model, settings, load), "training"),
    ]
    if settings.dtype == "bfloat16":
        about.append(
            ("copies of the weights in bfloat16", 2 * sum(p.numel() for p in model.parameters()), "training")
        )
    if device == "cpu":
        about.append(("Python and its libraries", _program(), "always"))
    return (*exact, *(Part(name, Figure(size, "about"), when) for name, size, when in about if size))


def peak_of(parts: tuple[Part, ...]) -> Figure:
    """What is always there and the phase that needs most beside it."""
    sums = {
        when: sum(part.bytes.value for part in parts if part.when == when)
        for when in ("always", "rollout", "training")
    }
    return Figure(sums["always"] + max(sums["rollout"], sums["training"]), "about")


def room_on(device: str) -> int | None:
    """Bytes that are free on a device now; None where nobody says. Raises BadInput for a device that is not there."""
    kind = torch.device(device).type
    if kind == "cuda":
        try:
            return int(torch.cuda.mem_get_info(device)[0])
        except (AssertionError, RuntimeError, ValueError) as error:
            raise BadInput(f"device = {device!r} cannot be used: {str(error).splitlines()[0]}") from None
    if kind == "mps":
        return int(torch.mps.recommended_max_memory())
    bounds = [bound for bound in (_available(), _of_cgroup()) if bound is not None]
    return min(bounds, default=None)


def tokens_at_once(settings: TrainSettings, load: Load) -> tuple[int, float]:
    """Tokens of the largest forward, and of the longest row in it: a row may hold a group, or be one response."""
    group = settings.batch.group
    whole = load.prompt + group * load.response
    groups = len(range(settings.batch.prompts)[settings.batch.updates(settings.batch.prompts)[0]])
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


def _activations(model: Any, settings: TrainSettings, load: Load) -> int:
    """Of the largest forward: the text model's, the block mask's, and the vision tower's where it learns."""
    text, element = model.config.text_config, 2 if settings.dtype == "bfloat16" else 4
    tokens, row = tokens_at_once(settings, load)
    kept, layers = kept_bytes(text, settings.dtype), text.num_hidden_layers
    # One layer on top: that of which the backward pass makes gradients, or that it computes again.
    of_layers = (
        layers * text.hidden_size * _FP32 + kept if settings.gradient_checkpointing else (layers + 1) * kept
    )
    total = tokens * of_layers + tokens * row * element
    vision = model.model.visual
    if any(p.requires_grad for p in vision.parameters()):
        patches = load.patches * tokens / max(1.0, load.prompt + settings.batch.group * load.response)
        hidden, feed = _vision_sizes(model.config.vision_config)
        per = _KEPT[settings.dtype]
        of_layer = hidden * (per[0] + per[1] + 2 * per[2]) + feed * per[3]
        depth = model.config.vision_config.depth
        kept_layers = (
            depth * hidden * _FP32 + of_layer if settings.gradient_checkpointing else depth * of_layer
        )
        total += patches * kept_layers
    return int(total)


def _vision_sizes(vision: Any) -> tuple[int, int]:
    """Hidden size of a vision tower, and of its feed-forward layers."""
    hidden = (
        getattr(vision, "embed_dim", None) or vision.hidden_size
    )  # Qwen2-VL calls the text's size hidden_size
    return int(hidden), int(getattr(vision, "intermediate_size", None) or hidden * vision.mlp_ratio)


def _logits(text: Any, settings: TrainSettings, load: Load) -> int:
    tokens, _ = tokens_at_once(settings, load)
    share = (
        settings.batch.group * load.response / max(1.0, load.prompt + settings.batch.group * load.response)
    )
    return int(_LOGIT_BYTES * min(tokens * share * text.vocab_size, LOGITS_AT_ONCE))


def _samples(text: Any, settings: TrainSettings, load: Load) -> int:
    """Keys and values of the samples that run at once: each prompt's once, and each answer's."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    size = 2 if settings.dtype == "bfloat16" else 4
    position = 2 * text.num_hidden_layers * text.num_key_value_heads * head * size
    samples = min(settings.slots, settings.batch.prompts * settings.batch.group)
    prompts = -(-samples // settings.batch.group)
    return int(position * (prompts * load.prompt + samples * (load.response + _SHELF)))


def _images(model: Any, settings: TrainSettings, load: Load) -> int:
    """Pixels and features of a step's images, and what the tower needs to encode some of them, where it is frozen."""
    vision, patches = model.config.vision_config, load.patches * settings.batch.prompts
    channels = int(getattr(vision, "in_channels", 0) or getattr(vision, "in_chans", 3))
    pixels = patches * channels * vision.temporal_patch_size * vision.patch_size**2
    features = patches / vision.spatial_merge_size**2 * model.config.text_config.hidden_size
    hidden, feed = _vision_sizes(vision)
    working = min(patches, _PATCHES_AT_ONCE) * (4 * hidden + 2 * feed)
    frozen = not any(p.requires_grad for p in model.model.visual.parameters())
    return int(_FP32 * (pixels + (features + working if frozen else 0)))


def _program() -> int:
    """What this process has taken up to now, which has the same libraries and no weights."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _available() -> int | None:
    """Bytes that the system could give away, as Linux says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _of_cgroup() -> int | None:
    """Bytes that are left of a container's limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            root = Path("/sys/fs/cgroup")
            most, now = ((root / name).read_text(encoding="ascii").strip() for name in (limit, used))
        except OSError:
            continue
        if most.isdigit() and int(most) < 1 << 60:
            return int(most) - int(now)
    return None
