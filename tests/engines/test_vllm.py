"""The vLLM engine, run for real on a CPU: what it samples, from what distribution, and what it does with prompts."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from ladder.config import validate
from ladder.digest import digest
from ladder.encode import Encoded, Encoder, Prompt, image_inputs
from ladder.engines import cpu_vllm, model_of
from ladder.engines.base import Completion, Event, Failed, Request, Sampling, drive
from ladder.engines.sampling import distribution
from ladder.engines.settings import EngineSettings, VllmSettings
from ladder.engines.transformers import TransformersEngine
from ladder.engines.vllm import VllmEngine
from ladder.errors import BadInput, LadderError
from ladder.models import load_model, resolve_model

pytestmark = pytest.mark.vllm

_UNTRAINED = pytest.mark.parametrize("model_dir", ["untrained"], indirect=True)
_QUESTIONS = ("What is the sum?", "What is the largest digit?", "Count the digits.")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Two threads that share a busy core wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["trained"])
def model_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, or one of its shape that has learnt nothing."""
    shipped = resolve_model("digits")
    return (
        shipped if request.param == "trained" else _untrained(shipped, tmp_path_factory.mktemp("untrained"))
    )


@pytest.fixture(scope="module")
def encoder(model_dir: Path) -> Encoder:
    return Encoder(model_dir, min_pixels=3136, max_pixels=16_384)


@pytest.fixture(scope="module")
def model(model_dir: Path):
    return load_model(model_dir, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def engine(model_dir: Path, encoder: Encoder):
    settings = VllmSettings(in_flight=24, args={"max_num_seqs": 32})
    engine = VllmEngine(model_dir, encoder, "weights", dtype="float32", settings=settings)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def prompts(encoder: Encoder) -> list[Encoded]:
    """No image, one, and two; of sizes to be kept, enlarged and reduced."""
    sizes: list[list[tuple[int, int]]] = [
        [],
        [(56, 56)],
        [(56, 70)],
        [(30, 41)],
        [(200, 90)],
        [(56, 56), (70, 64)],
    ]
    return [
        _prompt(encoder, question, [_picture(*size, seed) for seed, size in enumerate(images)])
        for question in _QUESTIONS
        for images in sizes
    ]


def _untrained(shipped: Path, folder: Path) -> Path:
    from transformers import AutoConfig, AutoModelForImageTextToText

    for path in shipped.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(shipped)).save_pretrained(folder)
    return folder


def _picture(width: int, height: int, seed: int) -> bytes:
    pixels = np.random.default_rng([width, height, seed]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _prompt(encoder: Encoder, question: str, images: list[bytes]) -> Encoded:
    content = [
        *({"type": "image"} for _ in images),
        {"type": "text", "text": f"{question}\nObserve, think, answer."},
    ]
    return encoder.encode([{"role": "user", "content": content}], [(digest("test", i), i) for i in images])


def _asked(encoded: Encoded) -> Prompt:
    return Prompt([], (), encoded)


def _requests(prompts: list[Encoded], sampling: Sampling, k: int) -> list[Request]:
    return [
        Request(str(i), _asked(prompt), sampling, tuple(range(k)), tuple(range(i << 20, (i << 20) + k)))
        for i, prompt in enumerate(prompts)
    ]


def _samples(engine, requests: list[Request]) -> dict[tuple[str, int], Completion]:
    completions = list(drive(engine, requests))
    found = {(c.request_id, c.index): c for c in completions}
    assert len(found) == len(completions) == sum(len(r.indices) for r in requests)
    return found


@torch.inference_mode()
def _full_forward(
    model, banned: tuple[int, ...], prompt: Encoded, completion: Completion, temperature: float
):
    """(R, V) log-probs of the response's positions, from one forward of everything."""
    size, start = len(completion.token_ids), int(prompt.positions.max()) + 1
    after = np.tile(np.arange(start, start + size), (3, 1))
    hidden = model.model(
        input_ids=torch.tensor([[*prompt.prompt_ids, *completion.token_ids]]),
        position_ids=torch.from_numpy(np.concatenate([prompt.positions, after], 1))[:, None],
        **image_inputs([prompt], torch.device("cpu"), torch.float32),
    ).last_hidden_state
    logits = model.lm_head(hidden[0, -size - 1 : -1])
    return distribution(logits, temperature, torch.tensor(banned, dtype=torch.long))


def _chosen(model, encoder: Encoder, prompt: Encoded, completion: Completion, temperature: float):
    """(R,) log-probs of the response's tokens by the model's own forward, with the encoder's bans."""
    logprobs_RV = _full_forward(model, encoder.banned, prompt, completion, temperature)
    return logprobs_RV.gather(-1, torch.tensor(completion.token_ids)[:, None])[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
def test_logprobs_are_those_of_the_distribution_that_was_sampled_from(
    engine, encoder, model, prompts, temperature
):
    requests = _requests(prompts, Sampling(temperature, 40), 2)
    for (request_id, _), completion in _samples(engine, requests).items():
        expected = _chosen(model, encoder, prompts[int(request_id)], completion, temperature)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)


def test_a_response_ends_with_a_stop_id_or_at_its_length(engine, encoder, prompts):
    completions = _samples(engine, _requests(prompts, Sampling(1.0, 20), 4)).values()
    for c in completions:
        stops = [i for i, token in enumerate(c.token_ids) if token in encoder.stop_ids]
        assert len(c.logprobs) == len(c.token_ids)
        if c.finish_reason == "stop":
            assert stops == [len(c.token_ids) - 1]
        else:
            assert (c.finish_reason, stops, len(c.token_ids)) == ("length", [], 20)
    assert {c.finish_reason for c in completions} == {"stop", "length"}


def test_prompts_that_vllm_expands_otherwise_are_an_error(engine, prompts):
    other = dataclasses.replace(prompts[1], prompt_ids=[*prompts[1].prompt_ids, 5])
    with pytest.raises(LadderError, match="disagree"):
        engine.submit(Request("other", _asked(other), Sampling(1.0, 4), (0,), (0,)))
    assert not list(engine.completed())


def test_greedy_agrees_with_the_transformers_engine(engine, encoder, model, prompts):
    requests = _requests(prompts, Sampling(0.0, 40), 1)
    theirs = _samples(TransformersEngine(model, encoder, "weights"), requests)
    ours = _samples(engine, requests)
    equal = [np.array_equal(ours[key].token_ids, theirs[key].token_ids) for key in theirs]
    assert sum(equal) >= 0.8 * len(equal)
    for key, completion in ours.items():
        assert completion.logprobs[0] == pytest.approx(theirs[key].logprobs[0], abs=1e-4)


def test_a_sample_is_a_function_of_its_seed(engine, prompts):
    sampling = Sampling(1.0, 24)
    together = _samples(engine, _requests(prompts[:4], sampling, 8))
    alone = [
        Request(f"{r.id}.{i}", r.prompt, sampling, (i,), (r.seeds[i],))
        for r in _requests(prompts[:4], sampling, 8)
        for i in (0, 7)
    ]
    single = {request_id: c.token_ids for (request_id, _), c in _samples(engine, alone).items()}
    same = [np.array_equal(ids, together[name[0], int(name[2:])].token_ids) for name, ids in single.items()]
    assert sum(same) >= len(same) - 1  # a batch moves log-probs by 1e-5: now and then another token is drawn
    assert len({tuple(c.token_ids) for c in together.values()}) > len(together) // 2


def test_other_images_of_the_same_size_are_other_prompts(engine, encoder, model):
    pair = [_prompt(encoder, _QUESTIONS[0], [_picture(56, 56, seed)]) for seed in (10, 11)]
    assert pair[0].prompt_ids == pair[1].prompt_ids
    for (request_id, _), completion in _samples(engine, _requests(pair, Sampling(1.0, 12), 1)).items():
        own, other = (
            _chosen(model, encoder, prompt, completion, 1.0)
            for prompt in (pair[int(request_id)], pair[1 - int(request_id)])
        )
        torch.testing.assert_close(torch.tensor(completion.logprobs), own, atol=1e-4, rtol=0)
        assert float((own - other).abs().max()) > 1e-2


def test_samples_come_out_as_they_end(engine, prompts):
    slow, quick = (
        Request(name, _asked(prompts[1]), Sampling(1.0, n), (0, 1), (1, 2))
        for name, n in (("slow", 40), ("quick", 1))
    )
    engine.submit(slow)
    engine.submit(quick)
    order = [c.request_id for c in engine.completed()]
    assert order == ["quick", "quick", "slow", "slow"]


@_UNTRAINED
def test_a_long_sibling_holds_nobody_back(engine, prompts):
    engine.submit(Request("a", _asked(prompts[1]), Sampling(1.0, 600), tuple(range(8)), tuple(range(8))))
    lengths, left = [], []
    for completion in engine.completed():
        lengths.append(len(completion.token_ids))
        left.append(len(engine._running))
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]
    assert left[0] >= 5


def test_a_prompt_and_its_images_are_computed_once_for_all_samples(engine, encoder, monkeypatch):
    """All eight start in the same step: only what is left of the last block is computed again."""
    scheduler = engine._engine.engine_core.engine_core.scheduler
    schedule, images, tokens = scheduler.schedule, [], []

    def watched(*args, **kwargs):
        planned = schedule(*args, **kwargs)
        images.extend(i for each in planned.scheduled_encoder_inputs.values() for i in each)
        tokens.append(planned.total_num_scheduled_tokens)
        return planned

    monkeypatch.setattr(scheduler, "schedule", watched)
    fresh = _prompt(encoder, "How many?" * 8, [_picture(98, 98, 20), _picture(90, 56, 21)])
    engine.submit(Request("once", _asked(fresh), Sampling(1.0, 1), tuple(range(8)), tuple(range(8))))
    assert len(list(engine.completed())) == 8
    size, block = len(fresh.prompt_ids), 32
    assert size > 2 * block
    assert len(images) == 2
    assert sum(tokens) == size + 7 * (size % block or block)


def test_what_was_not_read_yet_is_not_lost(engine, prompts):
    engine.submit(Request("a", _asked(prompts[1]), Sampling(1.0, 1), tuple(range(6)), tuple(range(6))))
    found = [next(engine.completed()).index for _ in range(6)]
    assert sorted(found) == list(range(6))
    assert not list(engine.completed())


def test_a_cancelled_request_yields_no_more(engine, prompts):
    gone, kept = (
        Request(name, _asked(prompts[2]), Sampling(1.0, 30), (0, 1), (3, 4)) for name in ("gone", "kept")
    )
    engine.submit(gone)
    engine.submit(kept)
    engine.cancel("gone")
    engine.cancel("never seen")
    assert {(c.request_id, c.index) for c in engine.completed()} == {("kept", 0), ("kept", 1)}


def test_a_request_that_cannot_fit_is_refused(engine, model, prompts):
    fits = model.config.text_config.max_position_embeddings - len(prompts[1].prompt_ids)
    engine.submit(Request("long", _asked(prompts[1]), Sampling(1.0, fits + 1), (0,), (0,)))
    (refused,) = engine.completed()
    assert (refused.reason, refused.need) == ("too_long", len(prompts[1].prompt_ids) + fits + 1)
    engine.submit(Request("fits", _asked(prompts[1]), Sampling(1.0, fits), (0,), (0,)))
    engine.cancel("fits")
    assert not list(engine.completed())


@_UNTRAINED
def test_image_tokens_are_never_sampled(engine, encoder, model, prompts):
    completions = _samples(engine, _requests(prompts[:6], Sampling(2.0, 50), 4)).values()
    sampled = [token for c in completions for token in c.token_ids]
    free = _full_forward(model, (), prompts[0], next(iter(completions)), 2.0)
    expected = len(sampled) * float(free[0, list(encoder.banned)].exp().sum())
    assert expected > 5  # else this says nothing
    assert not set(sampled) & set(encoder.banned)


@_UNTRAINED
def test_an_untrained_model_has_its_logprobs_too(engine, encoder, model, prompts):
    for (request_id, _), c in _samples(engine, _requests(prompts[:6], Sampling(1.0, 12), 1)).items():
        expected = _chosen(model, encoder, prompts[int(request_id)], c, 1.0)
        torch.testing.assert_close(torch.tensor(c.logprobs), expected, atol=1e-4, rtol=0)


@pytest.fixture
def cramped(model_dir: Path, encoder: Encoder):
    """An engine whose cache holds the keys and values of 512 positions."""
    args = {"max_model_len": 256, "max_num_seqs": 8, "kv_cache_memory_bytes": 2**20}
    settings = VllmSettings(args=args | {"limit_mm_per_prompt": {"image": 1}})
    engine = VllmEngine(model_dir, encoder, "weights", dtype="float32", settings=settings)
    yield engine
    engine.close()


@_UNTRAINED
def test_samples_that_lose_their_place_in_the_cache_are_as_any_other(
    cramped, encoder, model, prompts, monkeypatch
):
    scheduler = cramped._engine.engine_core.engine_core.scheduler
    preempt, preempted = scheduler._preempt_request, []

    def watched(*args, **kwargs):
        preempted.append(1)
        return preempt(*args, **kwargs)

    monkeypatch.setattr(scheduler, "_preempt_request", watched)
    assert cramped.capacity == 16
    requests = _requests(prompts[:5], Sampling(1.0, 150), 4)
    for (request_id, _), completion in _samples(cramped, requests).items():
        expected = _chosen(model, encoder, prompts[int(request_id)], completion, 1.0)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)
    assert preempted


def test_what_the_arguments_forbid_fails_and_what_exceeds_them_is_refused(cramped, prompts):
    two, long, fits = (
        Request(name, _asked(prompts[at]), Sampling(1.0, tokens), (4, 5), (1, 2))
        for name, at, tokens in (("two images", 5, 4), ("long", 1, 250), ("fits", 1, 4))
    )
    events: list[Event] = []
    found = list(drive(cramped, [two, long, fits], events.append))
    assert {(c.request_id, c.index) for c in found} == {("fits", 4), ("fits", 5)}
    assert [(type(e), e.request_id) for e in events if isinstance(e, Failed)] == [(Failed, "two images")] * 2
    (refused,) = (e for e in events if not isinstance(e, Failed))
    assert (refused.request_id, refused.reason) == ("long", "too_long")


def test_an_engine_that_fails_is_told_in_one_line(cramped, prompts, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("out of\n  memory")

    drawn = drive(cramped, _requests(prompts[:2], Sampling(1.0, 100), 1))
    monkeypatch.setattr(cramped._engine.engine_core.engine_core.model_executor, "execute_model", fail)
    with pytest.raises(LadderError, match="vLLM failed while sampling: out of memory"):
        list(drawn)


@pytest.mark.parametrize(
    "args",
    [
        {"trust_remote_code": True},
        {"worker_cls": "os.system"},
        {"dtype": "float16"},
        {"distributed_executor_backend": "os.system"},
        {"compilation_config": {"backend": "os.system"}},
    ],
)
def test_some_arguments_are_not_passed_on(model_dir, encoder, args):
    (name,) = args
    with pytest.raises(BadInput, match=f"vllm.args.{name}"):
        VllmEngine(model_dir, encoder, "weights", dtype="float32", settings=VllmSettings(args=args))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"max_modle_len": 9}, "no such argument, did you mean 'max_model_len'"),
        ({"max_model_len": 10**6}, "max_model_len"),
        ({"max_model_len": 2048, "kv_cache_memory_bytes": 2**20}, "KV cache"),
    ],
)
def test_arguments_that_vllm_cannot_use_are_bad_input(model_dir, encoder, args, told):
    with pytest.raises(BadInput, match=told):
        VllmEngine(model_dir, encoder, "", dtype="float32", settings=VllmSettings(args=args))


def test_a_temperature_that_vllm_would_change_is_refused(engine, prompts):
    with pytest.raises(BadInput, match="temperature"):
        engine.submit(Request("cold", _asked(prompts[1]), Sampling(0.001, 4), (0,), (0,)))


@pytest.mark.parametrize(
    "code",
    [
        "import datasets, ladder, transformers.image_utils, transformers.audio_utils; "
        "datasets.Dataset.from_dict({'a': [1]}).with_format('numpy')[0]",
        "from vllm import LLM; import transformers.audio_utils, torchvision.transforms.v2",  # the plugin alone
    ],
)
def test_a_plain_installation_imports(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_nothing_is_changed_next_to_a_cuda_torch(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cpu_vllm, "_registered", False)
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    cpu_vllm.register()
    assert "torchaudio" not in sys.modules


def _fingerprint(engine: str, **args: object) -> str:
    return model_of(validate(EngineSettings, {"engine": engine, "vllm": {"args": args}})).fingerprint


@pytest.mark.parametrize(
    "args", [{"quantization": "fp8"}, {"hf_overrides": {"rope_theta": 1.0}}, {"kv_cache_dtype": "fp8"}]
)
def test_arguments_that_change_what_is_answered_make_another_model(args):
    plain = _fingerprint("vllm")
    assert _fingerprint("vllm", **args) != plain
    assert _fingerprint("transformers", **args) == _fingerprint("transformers") == plain


def test_arguments_that_change_only_how_it_runs_leave_the_model_what_it_is():
    assert _fingerprint("vllm", max_model_len=256, max_num_seqs=4) == _fingerprint("vllm")


_OWN_PROCESS = """
import sys, time
from ladder.encode import Encoder
from ladder.engines.settings import VllmSettings
from ladder.engines.vllm import VllmEngine
from ladder.models import resolve_model
if __name__ == "__main__":
    folder = resolve_model("digits")
    settings = VllmSettings(args={"max_model_len": 256, "max_num_seqs": 2})
    encoder = Encoder(folder, min_pixels=3136, max_pixels=16_384)
    engine = VllmEngine(folder, encoder, "weights", dtype="float32", settings=settings)
    print("started", flush=True)
    time.sleep(600)
"""


def test_the_process_of_the_engine_ends_with_a_killed_build(tmp_path):
    (tmp_path / "own.py").write_text(_OWN_PROCESS)
    command = [sys.executable, str(tmp_path / "own.py")]
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline() not in ("started\n", ""):
        pass
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, left = psutil.wait_procs(started, timeout=10)
    for each in left:
        each.kill()
    assert len(started) > 0
    assert left == []
