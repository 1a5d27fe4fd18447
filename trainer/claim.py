"""Whose a run's directory is: runs never share one, and the same command again goes on in its own.

`run.json` says what the run is of: every setting, and the fingerprints of the split and of the model. Settings that cost
time, memory or disk and never change a result are not in it: a run goes on with others of those.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ladder.config import dump
from ladder.engines.settings import ModelSettings
from ladder.errors import BadInput, LadderError
from ladder.models import model_fingerprint, resolve_model
from ladder.splits import Split
from ladder.store.parts import write_text
from trainer.config import TrainSettings

_CLAIM, _SETTINGS = "run.json", "train.toml"
_NEUTRAL = (
    "device",
    "rollout.transformers",
    "rollout.vllm.in_flight",
    *(
        f"rollout.server.{name}"
        for name in (
            *("url", "model", "api_key_env", "concurrency", "timeout", "retries", "patience", "weights_dir"),
            "kind",
        )
    ),
    "gradient_checkpointing",
    "batch.tokens_per_micro_batch",
    "batch.layout",
    "batch.attention",
    "save",
    "track",
)
_TOLD = 3


def claim(out: Path, split: Split, model: ModelSettings, settings: TrainSettings, weights: str) -> None:
    """Make the run's directory this run's, or check that it is; only for who holds it alone. `weights` is the model's
    fingerprint. Raises BadInput."""
    mark = _mark(split, model, settings, weights)
    if (out / _CLAIM).is_file():
        _compare(out, mark)
    else:
        told = {"id": uuid.uuid4().hex[:16], "split": str(split.path), "model": model.name, "of": mark}
        write_text(json.dumps(told, indent=2) + "\n", out / _CLAIM)
    written, text = out / _SETTINGS, dump(settings)
    if not written.is_file() or written.read_text(encoding="utf-8") != text:
        write_text(text, written)


def claimed(out: Path, split: Split, model: ModelSettings, settings: TrainSettings) -> bool:
    """Whether a directory is this run's already; BadInput where it is another's, or holds something else."""
    if free(out):
        return False
    _compare(out, _mark(split, model, settings, model_fingerprint(resolve_model(model.name))))
    return True


def free(out: Path) -> bool:
    """Whether a directory is no run's yet; BadInput where it holds something else."""
    if (out / _CLAIM).is_file():
        return False
    if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
        raise BadInput(f"{out} is not empty and holds no run; choose another --out")
    return True


def make(out: Path) -> None:
    """Make the directory of a run. Raises BadInput where it holds something else, LadderError where it cannot be made."""
    free(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LadderError(f"cannot make {out}: {error.strerror or error}") from None


def run_id(out: Path) -> str:
    """What the ladder's outcomes and trackers call the run: made with its directory, and nobody else's."""
    return str(_read(out)["id"])


def _mark(split: Split, model: ModelSettings, settings: TrainSettings, weights: str) -> dict[str, Any]:
    """What a run is of, as JSON, by dotted keys."""
    of = {
        "split": split.facts["fingerprint"],
        "model": {"weights": weights, "min_pixels": model.min_pixels, "max_pixels": model.max_pixels},
        **settings.model_dump(mode="json"),
    }
    mark = dict(_flat(json.loads(json.dumps(of))))
    return {
        key: value for key, value in mark.items() if not any(f"{key}.".startswith(f"{n}.") for n in _NEUTRAL)
    }


def _flat(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value


def _compare(out: Path, mark: Mapping[str, Any]) -> None:
    there = _read(out)["of"]
    keys = [key for key in [*mark, *sorted(there.keys() - mark.keys())] if there.get(key) != mark.get(key)]
    if not keys:
        return
    keys.sort(key=lambda key: not key.endswith(".kind"))  # it says what the others are of
    told = "; ".join(f"{k} {_value(there, k)} there, {_value(mark, k)} here" for k in keys[:_TOLD])
    more = f"; and {', '.join(keys[_TOLD:])}" if len(keys) > _TOLD else ""
    raise BadInput(f"{out} holds a run with other settings: {told}{more}; choose another --out")


def _value(of: Mapping[str, Any], key: str) -> Any:
    return "unset" if of.get(key) is None else of[key]


def _read(out: Path) -> dict[str, Any]:
    file = out / _CLAIM
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return {"id": str(told["id"]), "of": dict(told["of"])}
    except (OSError, ValueError, TypeError, KeyError):
        raise BadInput(f"{file} is no run's, or damaged; choose another --out") from None
