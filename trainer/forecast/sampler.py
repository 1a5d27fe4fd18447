"""The memory of the engine that samples: beside the training, with a share of each GPU, or on other GPUs.

A vLLM on a GPU takes a share of it, whatever it needs: its weights, and keys and values in the rest. While training it sleeps at
level 2: both are given back, and only the weights are there when they are replaced. What its own forward needs, and what a
sleeping one keeps (CUDA's context and graphs), is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ladder.forecast import Figure
from trainer.config import TrainSettings
from trainer.forecast.figures import Part
from trainer.forecast.place import Place
from trainer.forecast.sizes import Sizes

#: Of a GPU that training shares: what an engine that is told nothing else takes of it.
SHARED_GPU = 0.3
_CPU_CACHE_BYTES = 2**30
_SHELF = 32  # positions by which the transformers engine's stores of answers grow


@dataclass(frozen=True)
class Load:
    """What the memory depends on besides the model: tokens, samples at once, and patches of a prompt's images."""

    prompt: float  # tokens, mean
    longest_prompt: int
    response: float  # tokens, mean
    patches: float  # of a prompt, mean


def sampler_parts(of: Sizes, settings: TrainSettings, load: Load, at: Place) -> Iterator[Part]:
    """The engine's parts, per process that trains; those of a server are told as the `server`'s."""
    if settings.rollout.engine == "transformers":
        yield from _transformers(of, settings, load, at)
    elif settings.rollout.engine == "vllm":
        yield from _vllm(of, settings, load, at)
    else:
        samples = settings.batch.prompts * settings.batch.group
        yield Part("the server's weights, over its GPUs", _about(weights_of(of, settings)), "server")
        needed = samples * sample_bytes(of.text, settings, load)
        what = f"of all {samples:,} samples of a step; fewer run at once where there is less"
        yield Part("its keys and values", _about(needed, what), "server")
    if settings.rollout.engine != "transformers" and at.ranks > 1:
        yield Part("the largest weight, gathered to be sent", _about(4 * of.largest), "publishing")


def weights_of(of: Sizes, settings: TrainSettings) -> int:
    """Bytes of the weights as an engine has them: an adapter is merged into its layer."""
    return element(settings) * of.sampled


def element(settings: TrainSettings) -> int:
    """Bytes of a number in the forward pass."""
    return 2 if settings.dtype == "bfloat16" else 4


def position_bytes(text: Any, settings: TrainSettings) -> int:
    """Bytes of the keys and values of a token."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * text.num_key_value_heads * head * element(settings))


def sample_bytes(text: Any, settings: TrainSettings, load: Load) -> float:
    """Bytes of the keys and values of a sample at its end, with its share of its group's prompt."""
    return position_bytes(text, settings) * (load.prompt / settings.batch.group + load.response)


def _transformers(of: Sizes, settings: TrainSettings, load: Load, at: Place) -> Iterator[Part]:
    """Keys and values of the samples that run at once: each prompt's once, and each answer's."""
    position, group = position_bytes(of.text, settings), settings.batch.group
    samples = min(settings.rollout.transformers.slots, at.of(settings.batch.prompts) * group)
    size = position * (-(-samples // group) * load.prompt + samples * (load.response + _SHELF))
    yield Part("keys and values of the samples", _about(size), "rollout")
    if at.ranks > 1:
        yield Part("a whole copy to sample from, in float32", _about(4 * of.all), "always")


def _vllm(of: Sizes, settings: TrainSettings, load: Load, at: Place) -> Iterator[Part]:
    args, a_sample = settings.rollout.vllm.args, sample_bytes(of.text, settings, load)
    parallel = int(args.get("tensor_parallel_size", 1))
    weights = weights_of(of, settings) / parallel
    when = "rollout" if at.shared and args.get("enable_sleep_mode", True) else "always"
    cache = args.get("kv_cache_memory_bytes")
    if cache is None:
        cache = (
            share_of(settings) * (at.whole_bytes or 0) - weights if at.shared else _CPU_CACHE_BYTES * parallel
        )
    cache = max(0.0, float(cache))
    fit = int(cache * parallel / a_sample) if a_sample else 0
    yield Part("vLLM's weights", _about(weights), when if when == "always" else "rollout, publishing")
    yield Part("vLLM's keys and values", _about(cache, f"{fit:,} samples at once"), when)


def share_of(settings: TrainSettings) -> float:
    """The share of a GPU that vLLM takes."""
    return float(settings.rollout.vllm.args.get("gpu_memory_utilization", SHARED_GPU))


def _about(value: float, source: str = "") -> Figure:
    return Figure(value, "about", source)
