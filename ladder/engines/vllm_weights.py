"""New weights for a running vLLM: what its workers do with them, and how they get there.

In this process they are handed over by reference. Anywhere else (workers of their own, a server) they go as safetensors
files of bounded size through a directory that both sides see; each is gone before the next one comes. Leaves out NCCL and
the other backends of vLLM's own weight transfer.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.errors import LadderError

if TYPE_CHECKING:
    import torch

#: The argument of vLLM that gives its workers the methods below.
EXTENSION = "ladder.engines.vllm_weights.WorkerExtension"
_MOST_BYTES = 2**28  # of one file, unless a single tensor is larger
_SHARED_MEMORY = Path("/dev/shm")
_SUFFIX = ".safetensors"

Weights = Iterable[tuple[str, "torch.Tensor"]]
#: Calls a method of every worker and returns what each of them answers.
Call = Callable[..., list[Any]]


class WorkerExtension:
    """Methods of a vLLM worker: an update begins, takes all tensors by the names of the Hugging Face modules, and ends.

    vLLM reloads layer by layer: each layer is put in place when all of its tensors are there, in the memory that it has. Until
    the end the model can answer nothing: a request in between would end the engine.
    """

    def ladder_begin(self, update: str, seen: str) -> dict[str, Any]:
        """Begin an update; tells the model's dtype, and the content of the file `seen` (None where there is none)."""
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        worker: Any = self
        _settle(worker)
        plain = (
            worker.model_config.quantization is None
        )  # else some parameters are made, and none comes for them
        names = {name for name, _ in worker.get_model().named_parameters()} if plain else set()
        worker._ladder_update = {"id": update, "taken": 0, "missing": names}
        worker._ladder_holds = ""
        with _config(worker):
            initialize_layerwise_reload(worker.get_model())
        note = None
        with suppress(OSError, UnicodeDecodeError):
            note = Path(seen).read_text(encoding="utf-8") if seen else None
        return {"dtype": str(worker.model_config.dtype).removeprefix("torch."), "seen": note}

    def ladder_take(self, update: str, number: int, path: str) -> bool:
        """Take the tensors of file `number` of an update, from 1; the same file again changes nothing."""
        under_way = _under_way(self, update)
        if int(number) == under_way["taken"]:
            return True
        if int(number) != under_way["taken"] + 1:
            raise RuntimeError(f"file {number} of the update came after file {under_way['taken']}")
        _load(self, _tensors(Path(path)))
        under_way["taken"] += 1
        return True

    def ladder_take_all(self, update: str, weights: Weights) -> None:
        """Take tensors of this process."""
        _under_way(self, update)
        _load(self, weights)

    def ladder_end(self, update: str) -> list[str]:
        """Put in place what is left; returns the names of parameters that no tensor came for. Again is harmless."""
        worker: Any = self
        if getattr(worker, "_ladder_holds", "") == update:
            return []
        missing = sorted(_under_way(worker, update)["missing"])
        _settle(worker)
        _pack_again(worker.get_model())
        worker._ladder_holds = "" if missing else update
        return missing

    def ladder_forget(self) -> None:
        """Leave an update that was broken off, if there is one: the model answers again, with weights that are nobody's."""
        _settle(self)

    def ladder_holds(self) -> str:
        """The update that was ended last; nothing where there was none, or one was broken off."""
        return str(getattr(self, "_ladder_holds", ""))


def _under_way(worker: Any, update: str) -> dict[str, Any]:
    under_way: dict[str, Any] | None = getattr(worker, "_ladder_update", None)
    if under_way is None or under_way["id"] != update:
        raise RuntimeError("another update, or a new start of the engine, came between")
    return under_way


def _config(worker: Any) -> Any:
    from vllm.config import set_current_vllm_config

    return set_current_vllm_config(worker.vllm_config)


def _settle(worker: Any) -> None:
    """Leave the state of loading, where the worker is in it."""
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

    if getattr(worker, "_ladder_update", None) is not None:
        with _config(worker):
            finalize_layerwise_reload(worker.get_model(), worker.model_config)
        worker._ladder_update = None


def _load(worker: Any, weights: Weights) -> None:
    with _config(worker):
        loaded = worker.get_model().load_weights(weights)
    worker._ladder_update["missing"] -= loaded


def _pack_again(model: Any) -> None:
    """vLLM's CPU build multiplies by packed copies of its matrices. A head that is tied to the embedding has one of its own,
    and no tensor comes for it: vLLM 0.32 leaves its copy as it was, and samples from the old head without an error."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """A file's tensors in memory of their own: the file goes before the layer that they belong to is whole."""
    from safetensors import safe_open

    with safe_open(path, framework="pt", device="cpu") as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name).clone()


def hand_over(call: Call, update: str, weights: Weights) -> None:
    """Load weights into workers of this process; they are read to the end whatever happens, because on several ranks each
    tensor is gathered by all of them. Raises LadderError where some did not come."""
    told = iter(weights)
    try:
        call("ladder_begin", update, "")
        call("ladder_take_all", update, told)
        _refuse_missing(call("ladder_end", update))
    except BaseException:
        _break_off(call)
        raise
    finally:
        for _ in told:
            pass


def send(call: Call, update: str, weights: Weights, folder: Path) -> None:
    """As `hand_over`, for workers elsewhere that see `folder`, ours alone, under the same name: one file of `_MOST_BYTES` lies
    there at a time, and none at the end. Raises LadderError where they do not see it, too."""
    told = iter(weights)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        dtype = _begun(call, update, folder)
        for number, chunk in enumerate(_chunks(told, dtype), 1):
            _send_one(call, update, number, chunk, folder)
        _refuse_missing(call("ladder_end", update))
    except BaseException as error:
        _break_off(call)
        if isinstance(error, OSError):
            raise LadderError(f"cannot write weights to {folder}: {error.strerror or error}") from None
        raise
    finally:
        for _ in told:
            pass


def _break_off(call: Call) -> None:
    with suppress(Exception):  # what broke it off is told
        call("ladder_forget")


def _begun(call: Call, update: str, folder: Path) -> torch.dtype:
    """The model's dtype, once an update has begun and the workers see the folder."""
    import torch

    note = folder / "seen.txt"
    note.write_text(update, encoding="utf-8")
    try:
        answers = call("ladder_begin", update, str(note.resolve()))
    finally:
        note.unlink(missing_ok=True)
    if any(answer["seen"] != update for answer in answers):
        raise LadderError(f"vLLM does not see {folder.resolve()}, through which weights go to it")
    dtype: torch.dtype = getattr(torch, answers[0]["dtype"])
    return dtype


def _send_one(call: Call, update: str, number: int, chunk: dict[str, torch.Tensor], folder: Path) -> None:
    from safetensors.torch import save_file

    path = folder / f"{number:05d}{_SUFFIX}"
    try:
        save_file(chunk, path)
        call("ladder_take", update, number, str(path.resolve()))
    finally:
        path.unlink(missing_ok=True)


def _chunks(weights: Weights, dtype: torch.dtype) -> Iterator[dict[str, torch.Tensor]]:
    """Tensors in the dtype in which vLLM holds them, which is what it would cast them to, by files."""
    chunk: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in weights:
        own = tensor.detach().to("cpu", dtype, copy=True).contiguous()
        if chunk and size + own.nbytes > _MOST_BYTES:
            yield chunk
            chunk, size = {}, 0
        chunk[name] = own
        size += own.nbytes
    if chunk:
        yield chunk


def _sweep(folder: Path) -> None:
    """Remove what a run that was killed left."""
    for path in folder.glob(f"*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def _refuse_missing(answers: list[list[str]]) -> None:
    missing = answers[0]
    if missing:
        raise LadderError(
            f"vLLM got no weights for {len(missing)} of its parameters, {missing[0]} among them"
        )


class Exchange:
    """A directory of this machine that is gone when it is closed: in shared memory where that has room for some files."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ladder-weights-", dir=_roomy()))

    def close(self) -> None:
        """Remove it; again is harmless."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _roomy() -> Path | None:
    with suppress(OSError):
        if shutil.disk_usage(_SHARED_MEMORY).free > 8 * _MOST_BYTES:
            return _SHARED_MEMORY
    return None
