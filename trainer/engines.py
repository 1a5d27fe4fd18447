"""What training samples from: the policy's own module in this process, or a vLLM engine or server that is sent its weights.

The loss needs the log-prob of each token under the whole distribution that it was drawn from: temperature, banned ids, nothing
else. What would cut or bend it otherwise cannot come in:

- top-p, top-k, min-p and penalties are no settings of `Sampling`; the transformers engine knows none, the vLLM engine leaves
  them neutral in every request and reads no `generation_config.json` (`generation_config`, `override_generation_config` and
  `logits_processors` of `rollout.vllm.args` are refused).
- A server is sent top_p, top_k, min_p and repetition_penalty, all neutral, with every request, which overrides what its own
  `generation_config.json` or its command says; one that does not take them is refused, as is one whose log-probs are those
  before temperature and bans. Of `rollout.server.extra` only fields that say nothing of sampling are taken.
- Speculative decoding is refused in `rollout.vllm.args`, as are arguments that make it another model. Quantised weights or caches
  are taken: they are a mismatch, which is measured in every step and corrected for (`loss.correction`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from ladder.config import Settings
from ladder.encode import Encoder
from ladder.engines import Model, create_engine
from ladder.engines.settings import (
    EngineSettings,
    ModelSettings,
    ServerSettings,
    TransformersSettings,
    VllmSettings,
)
from ladder.engines.transformers import TransformersEngine

if TYPE_CHECKING:
    from ladder.engines.base import UpdatableEngine
    from trainer.config import TrainSettings


#: Fields of a request that leave the distribution as it is. What changes the prompt is noticed by its token ids.
_HARMLESS = frozenset(["user", "priority", "cache_salt", "metadata", "request_id", "chat_template_kwargs"])
#: Arguments of vLLM that make it another model than the one that learns.
_OTHER_MODEL = frozenset(["hf_overrides", "rope_scaling", "enable_lora", "model_impl", "convert", "runner"])


class RolloutVllmSettings(VllmSettings):
    """The vLLM engine beside the training. On a GPU it takes `args.gpu_memory_utilization` of its memory, 0.3 where that is not
    set, and gives it back while the weights learn."""

    @field_validator("args")
    @classmethod
    def _same_model(cls, args: dict[str, Any]) -> dict[str, Any]:
        if other := sorted(_OTHER_MODEL & args.keys()):
            raise ValueError(f"{other[0]} makes it another model than the one that is trained")
        return args


class RolloutServerSettings(ServerSettings):
    """A vLLM server that is sent weights through `weights_dir`, a directory that it sees under the same name (None: one in the
    run's)."""

    weights_dir: str | None = None

    @field_validator("extra")
    @classmethod
    def _whole_distribution(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if other := sorted(extra.keys() - _HARMLESS):
            raise ValueError(
                f"{other[0]} may change what is sampled from, and the ratios of training would be wrong; "
                f"those that cannot: {', '.join(sorted(_HARMLESS))}"
            )
        return extra


class RolloutSettings(Settings):
    """The engine that samples: `transformers` samples from the module that is trained; `vllm` runs beside it, in the same
    process and on the same device, and is sent the weights after each step; so is a vLLM `server`, on other devices.

    Of the engines' own tables, the chosen one's is read. With a `staleness` of 1 the next step's groups are sampled while one is
    learnt from, by weights that are a step older than those that they train; for an engine on devices of its own.
    """

    engine: Literal["transformers", "vllm", "server"] = "transformers"
    staleness: Literal[0, 1] = 0
    transformers: TransformersSettings = TransformersSettings()
    vllm: RolloutVllmSettings = Field(default_factory=RolloutVllmSettings)
    server: RolloutServerSettings = Field(default_factory=RolloutServerSettings)

    @property
    def in_place(self) -> bool:
        """Whether the engine samples from the module that learns."""
        return self.engine == "transformers" and not self.staleness


def engine_of(
    model: Any, source: Path, encoder: Encoder, weights: str, settings: TrainSettings, exchange: Path
) -> UpdatableEngine:
    """The engine that samples for training; `model` is the module that the transformers engine samples from, `source` the
    directory that the policy began with, and `weights` that one's fingerprint; a server is sent weights through the directory
    `exchange`, unless `rollout.server.weights_dir` names another. Raises BadInput where an engine is not there or cannot take the model."""
    asked = settings.rollout
    if asked.engine == "transformers":
        gib = asked.transformers.cache_gib
        return TransformersEngine(
            model,
            encoder,
            weights,
            slots=asked.transformers.slots,
            cache_bytes=None if gib is None else int(gib * 2**30),
            autocast=settings.dtype == "bfloat16",
        )
    chosen = EngineSettings(
        model=ModelSettings(
            name=str(source),
            dtype=settings.dtype,
            device=settings.device,
            min_pixels=encoder.min_pixels,
            max_pixels=encoder.max_pixels,
        ),
        engine=asked.engine,
        vllm=asked.vllm,
        server=asked.server,
    )
    if (elsewhere := asked.server.weights_dir) is not None:
        exchange = Path(elsewhere).expanduser() / exchange.name
    engine: Any = create_engine(chosen, Model(source, encoder, weights), training=True, exchange=exchange)
    return engine  # both can be sent weights
