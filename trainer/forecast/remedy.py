"""What would make a run fit that does not: changes that leave its result as it is, one on top of the other, until it fits.

Leaves out what changes the result (an adapter, a frozen tower, no KL), which is the user's to choose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from trainer.config import TrainSettings
from trainer.forecast.figures import Remedy
from trainer.forecast.memory import parts_of, peak_of
from trainer.forecast.sampler import Load, Place, sample_bytes, share_of, weights_of
from trainer.forecast.sizes import Sizes

_SHORTEST = 1024  # tokens of a forward: shorter ones leave a GPU idle
_MOST_RANKS = 64
_Change = tuple[str, TrainSettings, Place]


def remedy_of(
    of: Sizes, settings: TrainSettings, load: Load, at: Place, room: int | None, peak: float
) -> Remedy | None:
    """The first changes with which it fits into `room` bytes of each GPU; None where it does now, or nothing makes it fit."""
    if room is None or peak <= room:
        return None
    made: dict[str, str] = {}
    for told, changed, where in _changes(of, settings, load, at, room):
        if told != f"{at.ranks} GPUs":
            made[told.partition("=")[0] if "=" in told else "GPUs"] = told  # in the place of a lesser one
        needed = peak_of(parts_of(of, changed, load, where))
        if needed.value <= room:
            return Remedy(tuple(made.values()), needed)
    return None


def _changes(of: Sizes, settings: TrainSettings, load: Load, at: Place, room: int) -> Iterator[_Change]:
    """Each with all before it."""
    if not settings.gradient_checkpointing:
        settings = settings.model_copy(update={"gradient_checkpointing": True})
        yield "gradient_checkpointing=true", settings, at
    longest, tokens = load.longest_prompt + load.response, settings.batch.tokens_per_micro_batch
    while tokens // 2 >= max(longest, _SHORTEST):
        tokens //= 2
        batch = settings.batch.model_copy(update={"tokens_per_micro_batch": tokens})
        settings = settings.model_copy(update={"batch": batch})
        yield f"batch.tokens_per_micro_batch={tokens}", settings, at
    for ranks in _ranks(settings, at):
        at = replace(at, ranks=ranks)
        yield f"{ranks} GPUs", settings, at
        if smaller := _smaller_share(of, settings, load, at, room):
            yield smaller


def _ranks(settings: TrainSettings, at: Place) -> Iterator[int]:
    """Powers of two from the present number on, no more than a step has groups."""
    ranks = at.ranks
    while ranks <= min(_MOST_RANKS, settings.batch.prompts) and (at.gpu or ranks == at.ranks):
        yield ranks
        ranks *= 2


def _smaller_share(of: Sizes, settings: TrainSettings, load: Load, at: Place, room: int) -> _Change | None:
    """The largest share of the GPU that training leaves to vLLM, where it holds the weights and a group."""
    if settings.rollout.engine != "vllm" or not at.shared or at.whole_bytes is None:
        return None
    parts = parts_of(of, settings, load, at)
    always = sum(part.bytes.value for part in parts if part.when == "always")
    share = math.floor(100 * (room - always) / at.whole_bytes) / 100
    group = settings.batch.group * sample_bytes(of.text, settings, load)
    least = (weights_of(of, settings) + group) / at.whole_bytes
    if not least <= share < share_of(settings):
        return None
    own = settings.rollout.vllm
    vllm = own.model_copy(update={"args": own.args | {"gpu_memory_utilization": share}})
    rollout = settings.rollout.model_copy(update={"vllm": vllm})
    told = f"rollout.vllm.args.gpu_memory_utilization={share}"
    return told, settings.model_copy(update={"rollout": rollout}), at
