"""Engines: what turns encoded requests into rollouts. One interface (`base`), several engines behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ladder.errors import BadInput

if TYPE_CHECKING:
    from ladder.encode import Encoder
    from ladder.engines.base import Engine
    from ladder.settings import BuildSettings


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


def create_engine(settings: BuildSettings, model_dir: Path, encoder: Encoder, fingerprint: str) -> Engine:
    """The engine that a build's settings name, with its model loaded."""
    if choose_engine(settings.engine) == "vllm":
        from ladder.engines.vllm import VllmEngine

        return VllmEngine(model_dir, encoder, fingerprint, dtype=settings.model.dtype, settings=settings.vllm)
    from ladder.engines.transformers import TransformersEngine
    from ladder.models import load_model

    model = load_model(model_dir, dtype=settings.model.dtype, device=choose_device(settings.model.device))
    return TransformersEngine(model, encoder, fingerprint, slots=settings.transformers.slots)
