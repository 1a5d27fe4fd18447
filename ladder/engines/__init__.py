"""Engines: what turns requests into rollouts. One interface (`base`), several engines behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.digest import fingerprint
from ladder.errors import BadInput

if TYPE_CHECKING:
    from ladder.encode import Encoder
    from ladder.engines.base import Engine
    from ladder.engines.settings import EngineSettings, ModelSettings


#: Arguments of vLLM that make it another model.
_CHANGES = ("quantization", "hf_overrides", "kv_cache_dtype", "rope_scaling", "enable_lora")


@dataclass(frozen=True)
class Model:
    """A model as engines take it: its directory and encoder, where its files are at hand, and its fingerprint."""

    directory: Path | None
    encoder: Encoder | None
    fingerprint: str

    @property
    def local(self) -> tuple[Path, Encoder]:
        """Directory and encoder; raises BadInput where its files are not at hand."""
        if self.directory is None or self.encoder is None:
            raise BadInput(
                "this engine needs the model's files: name a directory, a shipped model or a Hub id"
            )
        return self.directory, self.encoder


def choose_engine(wanted: str) -> str:
    """`auto` is vLLM where it is installed and there is a GPU, else transformers; raises BadInput for an absent one."""
    from importlib.util import find_spec

    if wanted == "vllm" and find_spec("vllm") is None:
        raise BadInput("engine = 'vllm', but vLLM is not installed: pip install 'neuraladder[vllm]'")
    if wanted != "auto":
        return wanted
    import torch

    return "vllm" if torch.cuda.is_available() and find_spec("vllm") is not None else "transformers"


def choose_device(wanted: str) -> str:
    """`auto` is the first accelerator that is there."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def model_of(settings: EngineSettings) -> Model:
    """The model that some settings name; raises BadInput where it cannot be found or read. No weights are loaded."""
    engine = choose_engine(settings.engine)
    if engine == "replay":
        from ladder.engines.replay import replay_fingerprint

        return Model(None, None, replay_fingerprint(settings.replay))
    if engine == "server":
        from ladder.engines.server import served_model

        return served_model(settings)
    model = local_model(settings.model)
    changed = {key: settings.vllm.args[key] for key in _CHANGES if key in settings.vllm.args}
    if engine == "vllm" and changed:
        model = replace(model, fingerprint=fingerprint("vllm-args-1", [model.fingerprint, changed]))
    return model


def local_model(settings: ModelSettings) -> Model:
    """A model whose files are at hand."""
    from ladder.encode import Encoder
    from ladder.models import model_fingerprint, resolve_model

    directory = resolve_model(settings.name)
    encoder = Encoder(directory, min_pixels=settings.min_pixels, max_pixels=settings.max_pixels)
    return Model(directory, encoder, model_fingerprint(directory))


def position_limit(settings: EngineSettings, model: Model) -> int | None:
    """Positions that prompt and answer may take together; None where only the engine knows. Nothing is loaded."""
    engine = choose_engine(settings.engine)
    if model.encoder is None or engine not in ("vllm", "transformers"):
        return None
    if engine == "vllm" and isinstance(chosen := settings.vllm.args.get("max_model_len"), int) and chosen > 0:
        return chosen
    config = model.encoder.config
    return int(config.get("text_config", config)["max_position_embeddings"])


def create_engine(
    settings: EngineSettings, model: Model, training: bool = False, exchange: Path | None = None
) -> Engine:
    """The engine that some settings name, with its model loaded. With `training` vLLM and a vLLM server are sent weights, the
    latter through the directory `exchange`."""
    engine = choose_engine(settings.engine)
    if engine == "replay":
        from ladder.engines.replay import ReplayEngine

        return ReplayEngine(settings.replay, model.fingerprint)
    if engine == "server":
        from ladder.engines.server import ServerEngine

        return ServerEngine(settings, model, exchange)
    directory, encoder = model.local
    if engine == "vllm":
        from ladder.engines.vllm import VllmEngine

        return VllmEngine(
            directory,
            encoder,
            model.fingerprint,
            dtype=settings.model.dtype,
            settings=settings.vllm,
            training=training,
        )
    from ladder.engines.transformers import TransformersEngine
    from ladder.models import load_model

    weights = load_model(directory, dtype=settings.model.dtype, device=choose_device(settings.model.device))
    chosen = settings.transformers
    cache_bytes = None if chosen.cache_gib is None else int(chosen.cache_gib * 2**30)
    return TransformersEngine(
        weights, encoder, model.fingerprint, slots=chosen.slots, cache_bytes=cache_bytes
    )
