"""Finding a model: a shipped name, a directory, or a Hub id. And its fingerprint, and loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ladder.digest import files_digest, fingerprint
from ladder.errors import BadInput

_SHIPPED = Path(__file__).parent
_WEIGHTS = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "*processor_config.json",
    "*tokenizer*",
    "vocab.json",
    "chat_template*",
    "*.txt",
)


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in _SHIPPED.glob("*/config.json"))


def resolve_model(name: str) -> Path:
    """The directory of a model: a shipped name (`digits`), a path, or a Hub id (`owner/name[@revision]`).

    Raises BadInput where it is none of them or cannot be fetched. Only safetensors are fetched, never pickles.
    """
    if name in shipped_models():
        return _SHIPPED / name
    path = Path(name).expanduser()
    if path.exists():
        return path
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise BadInput(
            f"no model {name!r}: neither a shipped one ({', '.join(shipped_models()) or 'none'}), "
            f"nor a directory, nor a Hub id of the form owner/name"
        )
    return _fetch(name)


def model_fingerprint(model_dir: Path) -> str:
    """Digest of weights, configuration, processor, tokenizer and chat template: 16 hex digits."""
    files = {path for pattern in _WEIGHTS for path in model_dir.glob(pattern)}
    return fingerprint("model-1", files_digest(files, model_dir))


def load_model(model_dir: Path, *, dtype: str, device: str, setting: str = "model.device") -> Any:
    """The Hugging Face model, in evaluation mode on its device, which `setting` chose; raises BadInput where it cannot be
    loaded."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText
    from transformers.utils.logging import disable_progress_bar

    from ladder.encode import read_vlm_config

    disable_progress_bar()  # progress lines are ours
    read_vlm_config(model_dir)
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            model_dir,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"cannot load the model in {model_dir}: {error}") from None
    model, loading = loaded
    if loading["missing_keys"]:  # transformers would draw them at random and only warn
        missing = sorted(loading["missing_keys"])
        raise BadInput(f"the model in {model_dir} lacks {len(missing)} of its weights, such as {missing[0]}")
    try:
        return model.to(device).eval()
    except (AssertionError, RuntimeError) as error:
        raise BadInput(f"{setting} = {device!r} cannot take the model: {error}") from None


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision or None,
                allow_patterns=["*.safetensors", "*.json", "*.jinja", "*.txt"],
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BadInput(f"cannot fetch the model {name!r} from the Hub: {error}") from None
