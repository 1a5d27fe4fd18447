"""The vLLM engine: continuous batching in this process' own loop, fed sample by sample.

Each sample is an engine request of its own with its own seed, so that it comes out when it ends; samples of a prompt
share it through the prefix cache. Leaves out chat servers: token ids go in and come out. How weights get to the workers is
in `vllm_weights`.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import itertools
import logging
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder import launched
from ladder.engines import cpu_vllm, vllm_weights
from ladder.engines.base import (
    Completion,
    Event,
    Failed,
    Request,
    Sampling,
    refused_as_too_long,
    refused_as_unencodable,
)
from ladder.errors import BadInput, LadderError

if TYPE_CHECKING:
    import torch

    from ladder.encode import Encoded, Encoder
    from ladder.engines.settings import VllmSettings

#: Ours where the user has set none: quiet, and no usage report sent to vLLM's makers.
_ENVIRONMENT = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
#: In one process: on a CPU a sixth of the start-up time, half the memory, and faster; and weights are handed over there.
_ENVIRONMENT_ONE = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
_CPU_CACHE_BYTES = 2**30
_SHARED_GPU = 0.3  # of the GPU's memory, where training has the rest
_QUEUED = 2  # times what vLLM runs at once is in flight: it never waits for the next request to be encoded
_TEMPERATURES = (0.01, 2.0)  # vLLM raises lower ones silently and refuses higher ones
#: Set by the build's other settings, or what makes token ids and log-probs right.
_OURS = frozenset(
    [
        "model",
        "tokenizer",
        "tokenizer_mode",
        "skip_tokenizer_init",
        "dtype",
        "mm_processor_kwargs",
        "mm_device_do_normalize",
        "load_format",
        "logprobs_mode",
        "generation_config",
        "override_generation_config",
        "watermark_config",
    ]
)
#: Would run code that a settings file names.
_CODE = frozenset(
    [
        "trust_remote_code",
        "worker_cls",
        "worker_extension_cls",
        "scheduler_cls",
        "logits_processors",
        "model_class_overrides",
        "io_processor_plugin",
        "reasoning_parser_plugin",
        "structured_outputs_config",
        "kv_transfer_config",
        "ec_transfer_config",
        "ec_manager_config",
        "weight_transfer_config",
        "model_loader_extra_config",
        "speculative_config",
        "compilation_config.backend",
        "compilation_config.inductor_passes",
    ]
)
_EXECUTORS = ("mp", "ray", "uni", "external_launcher")  # vLLM would import any other name


class VllmEngine:
    """Samples from the model in `model_dir`; `fingerprint` names its weights until `load` changes the version. With `training`
    it can be sent weights, and on a GPU it sleeps.

    Raises BadInput where `settings.args` cannot be used, LadderError where vLLM expands a prompt differently than
    `encoder` does.
    """

    name = "vllm"
    exact = False

    def __init__(
        self,
        model_dir: Path,
        encoder: Encoder,
        fingerprint: str,
        *,
        dtype: str,
        settings: VllmSettings,
        training: bool = False,
    ) -> None:
        self._encoder, self._base, self._version = encoder, fingerprint, ""
        self.counts: dict[str, int] = {}
        self._engine = _start(_arguments(model_dir, encoder, dtype, settings.args, training), training)
        self._sleeps = bool(self._engine.model_config.enable_sleep_mode)
        self._asleep = self._lost = False
        self._limit = int(self._engine.model_config.max_model_len)
        running = int(self._engine.vllm_config.scheduler_config.max_num_seqs)
        self.capacity = settings.in_flight or _QUEUED * running
        self._keys = itertools.count()
        self._running: dict[str, tuple[str, int, int]] = {}  # engine request -> our request, index, seed
        self._done: deque[Event] = deque()
        self.background = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") != "0"

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint, with the weights version once training has replaced the weights."""
        return f"{self._base}@{self._version}" if self._version else self._base

    def load(self, version: str, weights: Iterable[tuple[str, torch.Tensor]] | None) -> None:
        """Take new weights under a version; also while asleep. Raises LadderError where vLLM refuses them."""
        if weights is None:
            raise ValueError("this engine has weights of its own: none that are changed in place")
        if self._running or self._done:
            raise RuntimeError("weights cannot change while samples are in flight")
        if self._lost:
            self._engine.wake_up(
                tags=["weights"]
            )  # the caches wait until the trainer has given back its memory
        try:
            self._take(version, weights)
        except LadderError:
            raise
        except Exception as error:
            raise LadderError(f"vLLM does not take the weights of training: {_line(error)}") from error
        self._version, self._lost = version, False

    def _take(self, version: str, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        def call(method: str, *args: Any) -> list[Any]:
            return list(self._engine.collective_rpc(method, args=args))

        if _shares_process(self._engine):
            vllm_weights.hand_over(call, version, weights)
        else:
            with closing(vllm_weights.Exchange()) as exchange:
                vllm_weights.send(call, version, weights, exchange.folder)
        # What was made with the old weights. Cached pixels (`mm_cache`) are made without any.
        self._engine.reset_encoder_cache()
        if not self._engine.reset_prefix_cache():
            raise LadderError("vLLM keeps keys and values of the old weights")

    def sleep(self) -> None:
        """Give the GPU's memory back, weights and all: only `load` brings them again. On a CPU there is nothing to give."""
        if self._sleeps and not self._asleep:
            self._engine.sleep(level=2)
            self._asleep = self._lost = True

    def wake(self) -> None:
        """Undo `sleep`, after `load`; again is harmless."""
        if self._lost:
            raise RuntimeError("weights that slept must be loaded again first")
        if self._asleep:
            self._wake_up("kv_cache")
            self._asleep = False

    def _wake_up(self, part: str) -> None:
        import torch

        torch.cuda.empty_cache()  # what torch keeps of the training's memory is none for vLLM
        self._engine.wake_up(tags=[part])

    def submit(self, request: Request) -> None:
        """Take a request; one that exceeds what the engine can hold comes back as Refused."""
        try:
            encoded = request.prompt.encoded(self._encoder)
        except ValueError as error:
            self._done.append(refused_as_unencodable(request, error))
            return
        need = len(encoded.prompt_ids) + request.sampling.max_tokens
        if need > self._limit:
            self._done.append(refused_as_too_long(request, need, self._limit))
            return
        try:
            self._add(request, encoded)
        except _refusals() as error:  # it may take it under other arguments: this says nothing of the item
            self.cancel(request.id)
            why = f"vLLM does not take it: {_line(error)}"
            self._done.extend(Failed(request.id, index, why) for index in request.indices)

    def _add(self, request: Request, encoded: Encoded) -> None:
        shared, prompt = sampling_params(request.sampling, self._encoder), self._rendered(encoded)
        for index, seed in zip(request.indices, request.seeds, strict=True):
            key, own = str(next(self._keys)), copy.copy(shared)
            own.seed = seed
            self._engine.add_request(key, prompt, own)
            self._running[key] = (request.id, index, seed)

    def completed(self) -> Iterator[Event]:
        """Run, and yield samples as they end, until nothing is in flight."""
        while self._done or self._running:
            if self._done:
                yield self._done.popleft()
            else:
                self._step()

    def cancel(self, request_id: str) -> None:
        """Forget a request's unfinished samples."""
        keys = [key for key, (owner, _, _) in self._running.items() if owner == request_id]
        for key in keys:
            del self._running[key]
        self._engine.abort_request(keys)

    def close(self) -> None:
        """Stop the engine and free what it holds; again is harmless."""
        self._running.clear()
        self._done.clear()
        if self._engine is not None:
            self._engine.engine_core.shutdown()
            self._engine = None

    def _rendered(self, encoded: Encoded) -> Mapping[str, Any]:
        """The prompt as the engine takes it, processed once for all samples."""
        (rendered,) = self._engine.renderer.render_cmpl([prompt_of(encoded, self._encoder)])
        ids = list(rendered["prompt_token_ids"])
        if ids != encoded.prompt_ids:
            raise LadderError(
                f"vLLM makes {len(ids)} tokens of a prompt that has {len(encoded.prompt_ids)}, or other ones: its "
                f"processor and Ladder's disagree about this model; use engine = 'transformers'"
            )
        return dict(rendered)

    def _step(self) -> None:
        """One step of the engine; what it finished goes to `_done`, unless cancelled meanwhile."""
        try:
            outputs = self._engine.step()
        except Exception as error:
            raise LadderError(f"vLLM failed while sampling: {_line(error)}") from error
        for output in outputs:
            sample = self._running.pop(output.request_id, None)
            if sample is not None:
                self._done.append(_event(*sample, output.outputs[0]))


def prompt_of(encoded: Encoded, encoder: Encoder) -> dict[str, Any]:
    """A prompt as vLLM's renderer takes it; what an image is cached by is its content and the pixel budget."""
    asked: dict[str, Any] = {"prompt_token_ids": encoded.short_ids}
    if encoded.pictures:
        budget = encoder.fingerprint
        asked["multi_modal_data"] = {"image": list(encoded.pictures)}
        asked["multi_modal_uuids"] = {"image": [f"{h}-{budget}" for h in encoded.image_hashes]}
    return asked


def sampling_params(sampling: Sampling, encoder: Encoder) -> Any:
    """vLLM's parameters of a specification, without a seed; to be copied for each sample. Raises BadInput for a
    temperature that vLLM would change or refuse."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    low, high = _TEMPERATURES
    if sampling.temperature and not low <= sampling.temperature <= high:
        raise BadInput(f"vLLM samples at temperature 0 or {low} to {high}, not at {sampling.temperature}")
    return SamplingParams(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        stop_token_ids=list(encoder.stop_ids),
        ignore_eos=True,  # what ends a response are the encoder's ids, not those of another file
        logit_bias=dict.fromkeys(encoder.banned, float("-inf")),
        logprobs=0,
        flat_logprobs=True,  # else an object per token, which the garbage collector goes through again and again
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )


def _event(request_id: str, index: int, seed: int, output: Any) -> Completion | Failed:
    import numpy as np

    if output.finish_reason not in ("stop", "length"):
        return Failed(request_id, index, f"vLLM ended the sample with {output.finish_reason!r}")
    tokens: Any = np.array(output.token_ids, np.int32)
    logprobs: Any = np.array(output.logprobs.logprobs, np.float32)
    if len(logprobs) != len(tokens):  # each token's own and no other: `logprobs` is 0
        raise LadderError(f"vLLM gave {len(logprobs)} log-probs for {len(tokens)} tokens of {request_id}")
    return Completion(request_id, index, seed, tokens, logprobs, output.finish_reason)


def _refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises for what it is given; other errors are its own."""
    from vllm.exceptions import VLLMClientError

    return (TypeError, ValueError, VLLMClientError)


def _line(error: Exception) -> str:
    """An error in one line: pydantic's come in several."""
    return " ".join(str(error).split()) or type(error).__name__


def _arguments(
    model_dir: Path, encoder: Encoder, dtype: str, args: Mapping[str, Any], training: bool
) -> dict[str, Any]:
    """Arguments of `vllm.LLM`: the user's over our defaults; raises BadInput for those that are not to be set."""
    _check(args)
    return {
        **_defaults(args),
        **(_training_defaults() if training else {}),
        **args,
        "model": str(model_dir),
        "dtype": dtype,
        "load_format": "safetensors",
        "mm_processor_kwargs": {
            "size": {"shortest_edge": encoder.min_pixels, "longest_edge": encoder.max_pixels}
        },
        # Else the device normalises pixels, by what the model's JSON says and not by its processor's defaults.
        "mm_device_do_normalize": False,
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",  # no sampling defaults and no further end ids out of the model's directory
    }


def _check(args: Mapping[str, Any]) -> None:
    """Raise BadInput for arguments that are not to be set."""
    compilation = args.get("compilation_config")
    inner = compilation if isinstance(compilation, Mapping) else {}
    given = {*args, *(f"compilation_config.{name}" for name in inner)}
    for names, why in ((_OURS, "Ladder sets it"), (_CODE, "it could run code")):
        if refused := sorted(names & given):
            raise BadInput(f"vllm.args.{refused[0]} cannot be set: {why}")
    backend = args.get("distributed_executor_backend", "uni")
    if backend not in _EXECUTORS:
        raise BadInput(f"vllm.args.distributed_executor_backend is {backend!r}, not one of {_EXECUTORS}")


def _defaults(args: Mapping[str, Any]) -> dict[str, Any]:
    shared = {"enable_prefix_caching": True, "limit_mm_per_prompt": {"video": 0}, "use_tqdm_on_load": False}
    if _has_gpu():
        return shared
    several = any(args.get(f"{kind}_parallel_size", 1) != 1 for kind in ("tensor", "pipeline", "data"))
    return shared | {
        "distributed_executor_backend": "mp" if several else "uni",
        "block_size": 32,  # a prompt is shared in whole blocks, and vLLM's 128 exceed many prompts
        "enforce_eager": True,  # compiling takes half a minute and gains nothing
        "enable_chunked_prefill": False,  # a seeded sample whose prompt is cut in two ends vLLM 0.32 on a CPU
        "skip_mm_profiling": True,
        "kv_cache_memory_bytes": _CPU_CACHE_BYTES,  # vLLM's own choice is nearly all of the machine's memory
    }


def _training_defaults() -> dict[str, Any]:
    """What lets an engine be sent weights, and share a GPU with the training."""
    shared = {"worker_extension_cls": vllm_weights.EXTENSION}
    if not _has_gpu():
        return shared
    return shared | {"enable_sleep_mode": True, "gpu_memory_utilization": _SHARED_GPU}


def _in_this_process(training: bool) -> bool:
    """Whether the engine is to run in this process; not where that is one of several that train: vLLM would take their process
    group for its own."""
    from torch import distributed

    alone = not (distributed.is_available() and distributed.is_initialized())
    return alone and (training or not _has_gpu())


def _shares_process(engine: Any) -> bool:
    """Whether the worker is in this process, and takes tensors as they are."""
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    core = getattr(engine.engine_core, "engine_core", None)
    return isinstance(getattr(core, "model_executor", None), UniProcExecutor)


def _start(arguments: dict[str, Any], training: bool) -> Any:
    """The running `LLMEngine`."""
    import torch

    set_num_threads = torch.set_num_threads
    where = f"vLLM does not start with {arguments['model']}"
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            vllm = _imported_vllm(_ENVIRONMENT_ONE if _in_this_process(training) else {})
            _refuse_unknown(arguments, vllm)
            with _own_gpu():
                return vllm.LLM(**arguments).llm_engine
    except LadderError:
        raise
    except Exception as error:
        kind = BadInput if isinstance(error, _refusals()) else LadderError
        raise kind(f"{where}: {_line(error)}") from error
    finally:
        torch.set_num_threads = set_num_threads  # the CPU worker disables it, for everybody in its process


@contextmanager
def _own_gpu() -> Iterator[None]:
    """Of several processes of torchrun, each with an engine in a process of its own: that one sees the GPU of its parent alone,
    and would else take the machine's first."""
    if launched.count() == 1 or not _has_gpu():
        yield
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = before.split(",") if before else [str(i) for i in range(launched.beside())]
    os.environ["CUDA_VISIBLE_DEVICES"] = seen[launched.place()]
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _refuse_unknown(arguments: Mapping[str, Any], vllm: Any) -> None:
    known = {*inspect.signature(vllm.LLM).parameters, *inspect.signature(vllm.EngineArgs).parameters}
    for name in sorted(set(arguments) - known):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise BadInput(f"vllm.args.{name}: vLLM {vllm.__version__} has no such argument{hint}")


def _imported_vllm(more: Mapping[str, str]) -> Any:
    """The module, imported under our environment."""
    cpu_vllm.register()
    for name, value in {**_ENVIRONMENT, **more}.items():
        os.environ.setdefault(name, value)
    # While it is imported, vLLM logs before it has read its own setting.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())
    import vllm

    return vllm


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
