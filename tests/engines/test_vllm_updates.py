"""A vLLM engine that is sent weights: after each update its log-probs are the policy's, whatever it had cached before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from tiny_checkpoints import checkpoint, encoder_of, prompts, scramble
from updates import apart, refusal

from ladder.encode import Encoder
from ladder.engines import vllm as vllm_engine
from ladder.engines import vllm_weights
from ladder.engines.base import Completion, Request, Sampling, drive
from ladder.engines.settings import VllmSettings
from ladder.engines.vllm import VllmEngine
from ladder.models import load_model
from trainer.policy import Policy
from trainer.publish import published

pytestmark = pytest.mark.vllm

_G, _TOKENS = 3, 16
_ARGUMENTS = {"max_num_seqs": 64, "max_model_len": 256, "kv_cache_memory_bytes": 2**26}


class Pair:
    """A model that learns and an engine that samples from it."""

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        self.encoder: Encoder = encoder_of(folder)
        self.model = load_model(folder, dtype="float32", device="cpu")
        self.policy = Policy(self.model, self.encoder, temperature=1.0, autocast=False)
        settings = VllmSettings(args=_ARGUMENTS)
        self.engine = VllmEngine(folder, self.encoder, "base", dtype=dtype, settings=settings, training=True)
        self.prompts = prompts()

    def update(self, seed: int) -> None:
        scramble(self.model, seed)
        self.engine.load(str(seed), published(self.model))

    def samples(self, seed: int = 0) -> list[list[Completion]]:
        """By prompt, `_G` each."""
        indices = tuple(range(_G))
        requests = [
            Request(
                str(p),
                prompt,
                Sampling(1.0, _TOKENS),
                indices,
                tuple(1000 * seed + 10 * p + g for g in indices),
            )
            for p, prompt in enumerate(self.prompts)
        ]
        found: list[list[Completion]] = [[] for _ in requests]
        for completion in drive(self.engine, requests):
            found[int(completion.request_id)].append(completion)
        assert {len(group) for group in found} == {_G}
        return found

    def apart(self, samples: list[list[Completion]]) -> float:
        """The largest difference of the engine's log-probs from the policy's."""
        return apart(self.policy, samples)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[(f, tied) for f in FAMILIES for tied in (True, False)], ids=str)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = checkpoint(tmp_path_factory.mktemp("model") / "tiny", *request.param)
    made = Pair(folder)
    yield made
    made.engine.close()


def test_after_every_update_logprobs_are_the_policys(pair: Pair) -> None:
    assert pair.engine.fingerprint == "base"
    before = pair.samples()
    assert pair.apart(before) < 1e-5
    for seed in (1, 2, 3):
        pair.update(seed)
        assert pair.engine.fingerprint == f"base@{seed}"
        assert pair.apart(before) > 0.5  # else this says nothing
        assert pair.apart(pair.samples()) < 1e-5


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(checkpoint(tmp_path_factory.mktemp("model") / "tiny", "qwen2_5_vl", True))
    yield made
    made.engine.close()


def test_weights_come_while_it_sleeps_and_it_wakes_with_them(
    tied: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's own states are those of a GPU; on a CPU its workers keep their memory."""
    monkeypatch.setattr(tied.engine, "_sleeps", True)
    tied.samples()
    tied.engine.sleep()
    tied.engine.sleep()
    assert tied.engine._engine.is_sleeping()
    with pytest.raises(RuntimeError, match="loaded again"):
        tied.engine.wake()
    tied.update(11)
    assert tied.engine._engine.is_sleeping()  # the caches are still away
    tied.engine.wake()
    tied.engine.wake()
    assert not tied.engine._engine.is_sleeping()
    assert tied.apart(tied.samples()) < 1e-5


def test_on_a_cpu_nothing_sleeps(tied: Pair) -> None:
    tied.engine.sleep()
    assert not tied.engine._engine.is_sleeping()
    tied.engine.wake()


def test_weights_never_change_under_samples(tied: Pair) -> None:
    tied.engine.submit(Request("0", tied.prompts[0], Sampling(1.0, 4), (0,), (0,)))
    with pytest.raises(RuntimeError, match="in flight"):
        tied.engine.load("1", published(tied.model))
    list(tied.engine.completed())


def test_weights_that_vllm_refuses_are_told_in_one_line_and_it_goes_on(tied: Pair) -> None:
    whole = list(published(tied.model))
    assert "no weights for 1 of its parameters" in refusal(tied.engine, whole[:-1])
    assert "does not take" in refusal(tied.engine, [("model.language_model.nothing", torch.zeros(1)), *whole])
    assert "does not take" in refusal(tied.engine, [(whole[0][0], torch.zeros(3)), *whole[1:]])
    tied.engine.load("1", whole)
    assert tied.apart(tied.samples()) < 1e-5


def test_weights_go_through_files_of_bounded_size(
    tied: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As to workers in processes of their own; here they are in this one."""
    most, sizes = 30_000, []
    monkeypatch.setattr(vllm_weights, "_MOST_BYTES", most)
    monkeypatch.setattr(vllm_engine, "_shares_process", lambda _: False)
    monkeypatch.setattr(vllm_weights, "_roomy", lambda: tmp_path)
    take = vllm_weights.WorkerExtension.ladder_take

    def watched(self: Any, update: str, number: int, path: str) -> bool:
        sizes.append(sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")))
        assert take(self, update, number, path)
        return take(self, update, number, path)  # a call whose answer was lost is made again

    monkeypatch.setattr(vllm_weights.WorkerExtension, "ladder_take", watched)
    tied.update(21)
    largest = max(p.nbytes for p in tied.model.parameters())
    assert len(sizes) > 5
    assert max(sizes) < max(most, largest) + 4096
    assert not list(tmp_path.iterdir())
    assert tied.apart(tied.samples()) < 1e-5


def test_a_bfloat16_engine_gets_the_weights_as_it_holds_them(tmp_path: Path) -> None:
    pair = Pair(checkpoint(tmp_path / "tiny", "qwen2_vl", False), dtype="bfloat16")
    try:
        pair.update(1)
        held = dict(pair.engine._engine.collective_rpc("get_model")[0].named_parameters())
        own = dict(pair.model.named_parameters())
        norm = "language_model.model.norm.weight"
        assert torch.equal(held[norm], own["model.language_model.norm.weight"].bfloat16())
        assert pair.apart(pair.samples()) < 0.5
    finally:
        pair.engine.close()
