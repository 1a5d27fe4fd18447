"""The server engine against a real `vllm serve` on a CPU: the same prompts, samples and log-probs as in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from vllm_server import vllm_server

from ladder.digest import digest
from ladder.encode import Encoded, Encoder, Prompt, image_inputs
from ladder.engines import local_model
from ladder.engines.base import Completion, Refused, Request, Sampling, drive
from ladder.engines.sampling import distribution
from ladder.engines.server import ServerEngine, served_model
from ladder.engines.settings import EngineSettings, VllmSettings
from ladder.engines.vllm import VllmEngine
from ladder.models import load_model, resolve_model

pytestmark = pytest.mark.vllm

_SIZES = ([], [(56, 56)], [(56, 70)], [(30, 41)], [(200, 90)], [(56, 56), (70, 64)])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the shipped model."""
    with vllm_server(resolve_model("digits"), tmp_path_factory.mktemp("serve") / "log") as url:
        yield url


@contextmanager
def serving(url: str, **own: Any) -> Iterator[ServerEngine]:
    settings = settings_of(url, **own)
    engine = ServerEngine(settings, served_model(settings))
    try:
        yield engine
    finally:
        engine.close()


def settings_of(url: str, **own: Any) -> EngineSettings:
    model = {"name": "digits", "min_pixels": 3136, "max_pixels": 16_384}
    values = {"model": model, "engine": "server", "server": {"url": url, "concurrency": 8} | own}
    return EngineSettings.model_validate(values)


@pytest.fixture(scope="module")
def encoder(url: str) -> Encoder:
    return local_model(settings_of(url).model).local[1]


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    """No image, one, and two; of sizes to be kept, enlarged and reduced."""
    return [_prompt([_picture(*size) for size in sizes]) for sizes in _SIZES]


def _picture(width: int, height: int) -> bytes:
    pixels = np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _prompt(images: list[bytes]) -> Prompt:
    text = {"type": "text", "text": "What is the sum?\nObserve, think, answer."}
    content = [*({"type": "image"} for _ in images), text]
    return Prompt([{"role": "user", "content": content}], [(digest("test", i), i) for i in images])


def _requests(prompts: list[Prompt], temperature: float, k: int) -> list[Request]:
    sampling = Sampling(temperature, 40)
    return [
        Request(str(i), prompt, sampling, tuple(range(k)), tuple(range(i << 20, (i << 20) + k)))
        for i, prompt in enumerate(prompts)
    ]


def _samples(engine: Any, requests: list[Request]) -> dict[tuple[str, int], Completion]:
    found = {(c.request_id, c.index): c for c in drive(engine, requests)}
    assert len(found) == sum(len(r.indices) for r in requests)
    return found


def _ids(samples: dict[tuple[str, int], Completion]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {key: tuple(c.token_ids) for key, c in samples.items()}


def _equal(one: dict[Any, Any], other: dict[Any, Any]) -> float:
    return sum(one[key] == other[key] for key in one) / len(one)


@torch.inference_mode()
def _expected(model: Any, encoder: Encoder, prompt: Encoded, tokens: Any, temperature: float) -> torch.Tensor:
    """(R,) log-probs of the response's tokens by the model's own forward, with the encoder's bans."""
    size, start = len(tokens), int(prompt.positions.max()) + 1
    after = np.tile(np.arange(start, start + size), (3, 1))
    hidden = model.model(
        input_ids=torch.tensor([[*prompt.prompt_ids, *tokens]]),
        position_ids=torch.from_numpy(np.concatenate([prompt.positions, after], 1))[:, None],
        **image_inputs([prompt], torch.device("cpu"), torch.float32),
    ).last_hidden_state
    logits = model.lm_head(hidden[0, -size - 1 : -1])
    logprobs_RV = distribution(logits, temperature, torch.tensor(encoder.banned))
    return logprobs_RV.gather(-1, torch.tensor(tokens)[:, None])[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_ids_are_of_our_prompt_and_logprobs_of_what_was_sampled_from(
    url: str, encoder: Encoder, prompts: list[Prompt], temperature: float
) -> None:
    model = load_model(resolve_model("digits"), dtype="float32", device="cpu")
    with serving(url) as engine:
        for (name, _), c in _samples(engine, _requests(prompts, temperature, 2)).items():
            assert c.trainable
            assert c.text is None
            expected = _expected(
                model, encoder, prompts[int(name)].encoded(encoder), c.token_ids, temperature
            )
            torch.testing.assert_close(torch.tensor(c.logprobs), expected, atol=1e-4, rtol=0)
        wrong = ("retries", "rejected", "other_prompt", "short", "malformed")
        assert {name: engine.counts[name] for name in wrong} == dict.fromkeys(wrong, 0)


def test_several_in_one_request_and_single_ones_and_the_engine_in_process_agree(
    url: str, encoder: Encoder, prompts: list[Prompt]
) -> None:
    asked = _requests(prompts, 1.0, 8)
    with serving(url) as engine:
        together = _ids(_samples(engine, asked))
        assert engine.counts["requests"] == len(asked)
        assert engine.fingerprint == local_model(settings_of(url).model).fingerprint
    with serving(url, n=1) as engine:
        alone = _ids(_samples(engine, asked))
        assert engine.counts["requests"] == 8 * len(asked)
    inside = VllmEngine(
        resolve_model("digits"), encoder, "weights", dtype="float32", settings=VllmSettings(in_flight=64)
    )
    try:
        in_process = _ids(_samples(inside, asked))
    finally:
        inside.close()
    assert (
        _equal(together, alone) >= 0.9
    )  # a batch moves log-probs by 1e-5: now and then another token is drawn
    assert _equal(together, in_process) >= 0.9
    assert len(set(together.values())) > len(together) // 2


def test_what_cannot_fit_is_refused_unsent(url: str, prompts: list[Prompt], encoder: Encoder) -> None:
    fits = 256 - len(prompts[1].encoded(encoder).prompt_ids)
    refused: list[Any] = []
    with serving(url) as engine:
        one = _requests(prompts, 1.0, 1)[1]
        long = replace(one, sampling=Sampling(1.0, fits + 1))
        assert not list(drive(engine, [long], refused.append))
        assert engine.counts["requests"] == 0
    assert [(type(r), r.reason, r.need) for r in refused] == [(Refused, "too_long", 257)]


def test_a_model_that_is_only_a_name_is_sampled_too(url: str, prompts: list[Prompt]) -> None:
    settings = settings_of(url, model="digits", revision="2").model_copy(
        update={"model": settings_of(url).model.model_copy(update={"name": "far/away"})}
    )
    refused: list[Any] = []
    engine = ServerEngine(settings, served_model(settings))
    try:
        huge = replace(_requests([_prompt([_picture(1200, 1200)])], 1.0, 2)[0], id="huge")
        completions = list(drive(engine, [*_requests(prompts, 1.0, 2), huge], refused.append))
    finally:
        engine.close()
    assert len(completions) == 2 * len(prompts)
    assert all("<answer>" in (c.text or "") or c.finish_reason == "length" for c in completions)
    assert not any(c.trainable for c in completions)
    assert [(r.request_id, r.reason) for r in refused] == [("huge", "too_long")]
    assert refused[0].need > 256
