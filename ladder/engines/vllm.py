"""The vLLM engine: continuous batching in this process' own loop, fed sample by sample.

Each sample is an engine request of its own with its own seed, so that it comes out when it ends; samples of a prompt
share it through the prefix cache. Leaves out weight updates, and chat servers: token ids go in and come out.
"""

from __future__ import annotations

import itertools
import logging
import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.engines import cpu_vllm
from ladder.engines.base import Completion, Request, Sampling
from ladder.errors import BadInput, LadderError

if TYPE_CHECKING:
    from ladder.encode import Encoded, Encoder
    from ladder.settings import VllmSettings

#: Ours where the user has set none: quiet, and no usage report sent to vLLM's makers.
_ENVIRONMENT = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
#: A CPU engine in one process: a sixth of the start-up time, half the memory, and faster.
_ENVIRONMENT_CPU = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
_CPU_CACHE_BYTES = 2**30
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
        "kv_transfer_config",
        "ec_transfer_config",
        "model_loader_extra_config",
    ]
)


class VllmEngine:
    """Samples from the model in `model_dir`; `fingerprint` names its weights.

    Raises BadInput where `settings.args` cannot be used, LadderError where vLLM expands a prompt differently than
    `encoder` does.
    """

    name = "vllm"

    def __init__(
        self, model_dir: Path, encoder: Encoder, fingerprint: str, *, dtype: str, settings: VllmSettings
    ) -> None:
        self._encoder, self._fingerprint = encoder, fingerprint
        self.capacity = settings.in_flight
        self._engine = _start(_arguments(model_dir, encoder, dtype, settings.args))
        self._limit = int(self._engine.model_config.max_model_len)
        self._keys = itertools.count()
        self._running: dict[str, tuple[str, int, int]] = {}  # engine request -> our request, index, seed
        self._done: deque[Completion] = deque()

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint."""
        return self._fingerprint

    def submit(self, request: Request) -> None:
        """Take a request; raises ValueError where prompt and max_tokens exceed what the engine can hold."""
        need = len(request.prompt.prompt_ids) + request.sampling.max_tokens
        if need > self._limit:
            raise ValueError(f"prompt and answer need {need} positions, the model has {self._limit}")
        prompt = self._rendered(request.prompt)
        for index, seed in zip(request.indices, request.seeds, strict=True):
            key = str(next(self._keys))
            self._engine.add_request(key, prompt, self._parameters(request.sampling, seed))
            self._running[key] = (request.id, index, seed)

    def completed(self) -> Iterator[Completion]:
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

    def _rendered(self, prompt: Encoded) -> Mapping[str, Any]:
        """The prompt as the engine takes it, processed once for all samples."""
        asked: dict[str, Any] = {"prompt_token_ids": prompt.short_ids}
        if prompt.pictures:
            budget = self._encoder.fingerprint
            asked["multi_modal_data"] = {"image": list(prompt.pictures)}
            asked["multi_modal_uuids"] = {"image": [f"{h}-{budget}" for h in prompt.image_hashes]}
        (rendered,) = self._engine.renderer.render_cmpl([asked])
        ids = list(rendered["prompt_token_ids"])
        if ids != prompt.prompt_ids:
            raise LadderError(
                f"vLLM makes {len(ids)} tokens of a prompt that has {len(prompt.prompt_ids)}, or other ones: its "
                f"processor and Ladder's disagree about this model; use engine = 'transformers'"
            )
        return dict(rendered)

    def _parameters(self, sampling: Sampling, seed: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        low, high = _TEMPERATURES
        if sampling.temperature and not low <= sampling.temperature <= high:
            raise BadInput(f"vLLM samples at temperature 0 or {low} to {high}, not at {sampling.temperature}")
        return SamplingParams(
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=seed,
            stop_token_ids=list(self._encoder.stop_ids),
            ignore_eos=True,  # what ends a response are the encoder's ids, not those of another file
            logit_bias=dict.fromkeys(self._encoder.banned, float("-inf")),
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _step(self) -> None:
        """One step of the engine; what it finished goes to `_done`, unless cancelled meanwhile."""
        for output in self._engine.step():
            sample = self._running.pop(output.request_id, None)
            if sample is not None:
                self._done.append(_completion(*sample, output.outputs[0]))


def _completion(request_id: str, index: int, seed: int, output: Any) -> Completion:
    if output.finish_reason not in ("stop", "length"):
        raise LadderError(f"vLLM ended a sample of {request_id} with {output.finish_reason!r}")
    tokens = tuple(output.token_ids)
    logprobs = tuple(at[token].logprob for token, at in zip(tokens, output.logprobs, strict=True))
    return Completion(request_id, index, seed, tokens, logprobs, output.finish_reason)


def _arguments(model_dir: Path, encoder: Encoder, dtype: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `vllm.LLM`: the user's over our defaults; raises BadInput for those that are not to be set."""
    for names, why in ((_OURS, "Ladder sets it"), (_CODE, "it would run code")):
        if refused := sorted(names & set(args)):
            raise BadInput(f"vllm.args.{refused[0]} cannot be set: {why}")
    return {
        **_defaults(),
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


def _defaults() -> dict[str, Any]:
    shared = {"enable_prefix_caching": True, "limit_mm_per_prompt": {"video": 0}, "use_tqdm_on_load": False}
    if _has_gpu():
        return shared
    return shared | {
        "distributed_executor_backend": "uni",
        "block_size": 32,  # a prompt is shared in whole blocks, and vLLM's 128 exceed many prompts
        "enforce_eager": True,  # compiling takes half a minute and gains nothing
        "enable_chunked_prefill": False,  # a seeded sample whose prompt is cut in two ends vLLM 0.32 on a CPU
        "skip_mm_profiling": True,
        "kv_cache_memory_bytes": _CPU_CACHE_BYTES,  # vLLM's own choice is nearly all of the machine's memory
    }


def _start(arguments: dict[str, Any]) -> Any:
    """The running `LLMEngine`."""
    import torch

    set_num_threads = torch.set_num_threads
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            return _imported_vllm().LLM(**arguments).llm_engine
    except (TypeError, ValueError) as error:
        why = " ".join(str(error).split())  # pydantic's come in several lines
        raise BadInput(f"vLLM does not start with {arguments['model']}: {why}") from error
    finally:
        torch.set_num_threads = set_num_threads  # the CPU worker disables it, for everybody in its process


def _imported_vllm() -> Any:
    """The module, imported under our environment."""
    cpu_vllm.register()
    for name, value in (_ENVIRONMENT if _has_gpu() else _ENVIRONMENT | _ENVIRONMENT_CPU).items():
        os.environ.setdefault(name, value)
    # While it is imported, vLLM logs before it has read its own setting.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())
    import vllm

    return vllm


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
