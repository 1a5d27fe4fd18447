"""Checkpoints: a Hugging Face model directory with all that the next step depends on, written beside and renamed.

`AutoModelForImageTextToText.from_pretrained` loads one. Of a run with an adapter it holds that instead, as peft has it, and no
base; models that are saved have it merged, and alone in `adapter/`. Each lists its files with their sizes, and that list is
written last: the latest checkpoint that is whole is found, a torn one is told and passed over. Nothing here is ever unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ladder.errors import LadderError
from ladder.progress import say
from trainer.adapter import adapted
from trainer.adapter_files import write_adapter
from trainer.parallel import ALONE, Ranks, is_sharded, load_whole, updates_rows, whole_state
from trainer.publish import published

_STATE, _TENSORS, _SURPLUS, _FILES = "trainer_state.json", "optimizer.pt", "surplus.jsonl", "files.json"
_PREFIX, _BEFORE = "step-", ".before.tmp"
_FORMAT = 1  # of the state
_COMPANIONS = ("*.json", "*.jinja", "*.txt", "*.model")
_ADAPTER = "adapter"  # of a model that it is merged into
_BEST, _NEXT = "best.json", ".best.next"
_OURS = (_STATE, _FILES, _BEST)


@dataclass(frozen=True)
class State:
    """What a checkpoint holds beside the model and the optimiser's tensors: JSON, the surplus groups as JSON rows, and the
    state of the random numbers (None: as it is when it is saved)."""

    values: dict[str, Any]
    surplus: list[dict[str, Any]]
    random: dict[str, Any] | None = None


def save_model(model: Any, source: Path, out: Path, ranks: Ranks = ALONE) -> None:
    """Weights, configuration, and the tokenizer and processor files of `source`, written beside and renamed to `out`.
    Raises LadderError where the disk refuses. Of several processes the first writes, and all must save."""
    if not ranks.first:
        _write_model(model, source, None)
        return
    with _beside(out) as part:
        _write_model(model, source, part)


def save_checkpoint(
    folder: Path,
    step: int,
    model: Any,
    source: Path,
    optimizer: torch.optim.Optimizer,
    state: State,
    keep: int = 2,
    ranks: Ranks = ALONE,
) -> Path:
    """Write the checkpoint of `step` finished steps below `folder`; the `keep` latest stay. Raises LadderError where the
    disk refuses. Of several processes the first writes, and all must save: what is written is as one process has it."""
    path = folder / f"{_PREFIX}{step:06d}"
    write = write_adapter if adapted(model) else _write_model
    if not ranks.first:
        write(model, source, None)
        whole_state(optimizer, keep=False)
        return path
    with _beside(path) as part:
        write(model, source, part)
        with (part / _TENSORS).open("wb") as file:
            random = state.random or random_state()
            torch.save({"optimizer": whole_state(optimizer, keep=True), "random": random}, file)
        lines = (json.dumps(row) + "\n" for row in state.surplus)
        (part / _SURPLUS).write_text("".join(lines), encoding="utf-8")
        (part / _STATE).write_text(
            json.dumps({"format": _FORMAT, "step": step} | state.values), encoding="utf-8"
        )
        sizes = {p.name: p.stat().st_size for p in part.iterdir()}
        (part / _FILES).write_text(json.dumps(sizes), encoding="utf-8")
    kept = [path for path in _named(folder) if _whole(path)][-keep:]
    _remove(path for path in _named(folder) if path not in kept)
    return path


def latest(folder: Path) -> Path | None:
    """The latest whole checkpoint below `folder`; None where there is none. What is torn is told."""
    for path in reversed(_named(folder)):
        if _whole(path):
            return path
        say(f"  the checkpoint {path} is torn: it is passed over")
    return None


def step_of(path: Path | None) -> int:
    """How many steps a checkpoint has behind it; 0 where there is none."""
    return int(path.name.removeprefix(_PREFIX)) if path else 0


def load_state(path: Path, optimizer: torch.optim.Optimizer) -> State:
    """Put the optimiser's state and the random numbers in place and return the rest; the model loads as any other.
    Raises LadderError for a checkpoint that another version of Ladder wrote, or that was changed since."""
    try:
        values = dict(json.loads((path / _STATE).read_text(encoding="utf-8")))
        if values.get("format") != _FORMAT:
            raise ValueError("another version of Ladder wrote it")
        mapped = updates_rows(optimizer)  # then rows are taken of it, and no more is read
        tensors = torch.load(path / _TENSORS, weights_only=True, map_location="cpu", mmap=mapped)
        load_whole(optimizer, tensors["optimizer"])
        rows = [json.loads(row) for row in (path / _SURPLUS).read_text(encoding="utf-8").splitlines()]
        _set_random_state(tensors["random"])
    except (KeyError, ValueError, TypeError, EOFError, OSError, RuntimeError, UnpicklingError) as error:
        why = next(iter(str(error).splitlines()), repr(error))
        raise LadderError(
            f"cannot go on from the checkpoint {path}: {why}; remove it to go on from the one before it, or start "
            "with another --out"
        ) from None
    return State(values, rows)


def forget_torn(out: Path) -> None:
    """Remove what writers that were killed left below a run's directory, and put back what they had moved away and not yet
    replaced; only for who holds it alone."""
    for before in list(out.rglob(f".*{_BEFORE}")):
        path = before.with_name(before.name.removesuffix(_BEFORE).removeprefix("."))
        if not path.exists():
            before.replace(path)
    _remove(list(out.rglob(".*.tmp")))


def save_best(out: Path, model: Any, source: Path, best: Mapping[str, Any], ranks: Ranks = ALONE) -> None:
    """Put the model aside as the best of the run in `out`: `best` says which it is. It takes its place with the checkpoint
    that says so too (`settle_best`): what is measured after that one and lost with a kill is no measurement of the run."""
    if not ranks.first:
        _write_model(model, source, None)
        return
    with _beside(out / _NEXT) as part:
        _write_model(model, source, part)
        (part / _BEST).write_text(json.dumps(dict(best)), encoding="utf-8")


def settle_best(out: Path, best: Mapping[str, Any]) -> bool:
    """Let the model that was put aside be the run's best, where it is the one that the latest checkpoint names, or forget it.
    Returns whether the run's best is that one."""
    aside, path = out / _NEXT, out / "best"
    if _noted(aside) == best:
        _replace(aside, path)
    _remove([aside])
    return _noted(path) == best


def _noted(path: Path) -> Any:
    try:
        return json.loads((path / _BEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A directory to write into, synced and renamed to `path` at the end, removed where that fails."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        part.mkdir(parents=True)
        yield part
        _sync(part)
        _replace(part, path)
    except BaseException as error:
        _remove([part])
        if refusal := _refusal(error):
            raise LadderError(f"cannot write {path}: {refusal}") from None
        raise


def _replace(part: Path, path: Path) -> None:
    """Rename a directory to one that may be there. Killed between the two renamings, `forget_torn` takes the first back."""
    before = path.with_name(f".{path.name}{_BEFORE}")
    if path.exists():
        path.replace(before)
    part.replace(path)
    _sync_one(path.parent)
    _remove([before])


def _refusal(error: BaseException | None) -> str | None:
    """What the disk says, where it is the disk that refuses: torch raises an error of its own on top of that one."""
    while error is not None:
        if isinstance(error, OSError) or "SafetensorError" in repr(error):
            return getattr(error, "strerror", None) or str(error)
        error = error.__context__
    return None


def _write_model(model: Any, source: Path, out: Path | None) -> None:
    """Write a model that needs no other; of several processes all must, and one alone has an `out`."""
    state = None
    if adapted(model) or any(map(is_sharded, model.parameters())):
        state = {name: tensor.cpu() for name, tensor in published(model) if out is not None}
    if out is not None:
        _copy_companions(source, out)
        model.save_pretrained(out, state_dict=state, safe_serialization=True)
    if adapted(model):
        write_adapter(model, source, None if out is None else out / _ADAPTER)


def _copy_companions(source: Path, out: Path) -> None:
    for pattern in _COMPANIONS:
        for path in source.glob(pattern):
            if not path.name.endswith(".index.json") and path.name not in _OURS:
                shutil.copyfile(path, out / path.name)


def _named(folder: Path) -> Sequence[Path]:
    """Checkpoints by name, oldest first."""
    return sorted(p for p in folder.glob(f"{_PREFIX}*") if p.is_dir())


def _whole(path: Path) -> bool:
    try:
        sizes = json.loads((path / _FILES).read_text(encoding="utf-8"))
        return bool(sizes) and all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def random_state() -> dict[str, Any]:
    """The state of torch's random numbers; dropout is all that draws from them."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
