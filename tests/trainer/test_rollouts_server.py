"""Training that samples from a real vLLM server, which is sent the weights after each step: one server of the embedded model,
and in the soak one of each family."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from tiny_checkpoints import checkpoint, encoder_of, prompts, scramble
from updates import apart, refusal
from vllm_server import vllm_server

from ladder.engines import Model
from ladder.engines.base import Completion, Request, Sampling, drive
from ladder.engines.server import ServerEngine
from ladder.engines.settings import EngineSettings, ModelSettings
from ladder.engines.vllm_weights import EXTENSION
from ladder.errors import BadInput, LadderError
from ladder.models import load_model, resolve_model
from ladder.splits import Split, open_split
from trainer.policy import Policy
from trainer.publish import published
from trainer.run import train
from trainer.setup import settings_for

pytestmark = pytest.mark.vllm

_G = 2
SMALL = (
    "save.every=100",
    "batch.prompts=4",
    "batch.group=4",
    "dtype=float32",
    "response.max_tokens=16",
    "optim.learning_rate=1e-3",
    "seed=5",
    "track.samples_every=100",
    "rollout.engine=server",
    "rollout.server.model=digits",
)


@contextmanager
def updatable(model: Path, log: Path) -> Iterator[str]:
    """A server that can be sent weights, as docs/servers.md has it."""
    more = ("--worker-extension-cls", EXTENSION)
    with vllm_server(model, log, *more, environment={"VLLM_SERVER_DEV_MODE": "1"}) as found:
        yield found


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One of the embedded model."""
    with updatable(resolve_model("digits"), tmp_path_factory.mktemp("serve") / "log") as found:
        yield found


@contextmanager
def serving(url: str, exchange: Path, files: Path | None = None) -> Iterator[ServerEngine]:
    """An engine that knows the model by the files in a directory."""
    folder = files or resolve_model("digits")
    server = {"url": url, "model": "digits", "concurrency": 8, "patience": 5}
    chosen = {"model": {"name": str(folder)}, "engine": "server", "server": server}
    engine = ServerEngine(
        EngineSettings.model_validate(chosen), Model(folder, encoder_of(folder), "base"), exchange
    )
    try:
        yield engine
    finally:
        engine.close()


def requests(k: int = _G) -> list[Request]:
    indices = tuple(range(k))
    return [
        Request(str(p), prompt, Sampling(1.0, 12), indices, tuple(10 * p + g for g in indices))
        for p, prompt in enumerate(prompts())
    ]


def samples(engine: ServerEngine) -> list[list[Completion]]:
    found: list[list[Completion]] = [[] for _ in prompts()]
    for completion in drive(engine, requests()):
        found[int(completion.request_id)].append(completion)
    return found


def test_after_every_update_the_servers_logprobs_are_the_policys(url: str, tmp_path: Path) -> None:
    with serving(url, tmp_path / "weights") as engine:
        model = load_model(resolve_model("digits"), dtype="float32", device="cpu")
        policy = Policy(model, encoder_of(resolve_model("digits")), temperature=1.0, autocast=False)
        before = samples(engine)
        for seed in (1, 2):
            scramble(model, seed)
            engine.load(str(seed), published(model))
            engine.wake()
            assert engine.fingerprint == f"base@{seed}"
            assert apart(policy, before) > 0.5  # else this says nothing
            assert apart(policy, samples(engine)) < 1e-5
    assert not (tmp_path / "weights").exists()


def test_weights_that_the_server_refuses_are_told_and_do_no_lasting_harm(url: str, tmp_path: Path) -> None:
    with serving(url, tmp_path / "weights") as engine:
        model = load_model(resolve_model("digits"), dtype="float32", device="cpu")
        policy = Policy(model, encoder_of(resolve_model("digits")), temperature=1.0, autocast=False)
        whole = list(published(model))
        assert "no weights for 1 of its parameters" in refusal(engine, whole[:-1])
        other = [(whole[0][0], whole[0][1][1:]), *whole[1:]]
        assert "did not take the weights" in refusal(engine, other)
        assert "did not take the weights" in refusal(engine, [("model.nothing", torch.zeros(1)), *whole])
        engine.load("1", whole)
        assert apart(policy, samples(engine)) < 1e-5


def test_a_server_with_other_weights_than_it_was_sent_is_noticed(url: str, tmp_path: Path) -> None:
    whole = list(published(load_model(resolve_model("digits"), dtype="float32", device="cpu")))
    with serving(url, tmp_path / "one") as one, serving(url, tmp_path / "other") as other:
        one.load("1", whole)
        one.wake()
        other.load("1", whole)
        with pytest.raises(LadderError, match="no longer has the weights of this run"):
            one.wake()
        with pytest.raises(RuntimeError, match="in flight"):
            other.submit(requests()[0])
            other.load("2", whole)


def test_what_the_server_lacks_is_said_with_what_to_do(url: str, tmp_path: Path) -> None:
    with serving(url, tmp_path / "weights") as engine:
        sender = engine._weights
        assert sender is not None
        with pytest.raises(LadderError, match="VLLM_SERVER_DEV_MODE=1 and --worker-extension-cls"):
            sender._post("/no_such_mode")
        with pytest.raises(LadderError, match="no method to take weights: start it with"):
            sender._call("ladder_nothing")


def test_a_run_that_was_killed_while_it_sent_weights_leaves_a_server_that_goes_on(
    url: str, tmp_path: Path
) -> None:
    whole = list(published(load_model(resolve_model("digits"), dtype="float32", device="cpu")))
    with serving(url, tmp_path / "killed") as engine:
        sender = engine._weights
        assert sender is not None
        sender._call("ladder_begin", "killed", "")
    with serving(url, tmp_path / "next") as engine:
        engine.load("1", whole)
        assert len(list(drive(engine, requests()))) == _G * len(prompts())


def test_a_directory_that_the_server_does_not_see_is_said(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(url, tmp_path / "weights") as engine:
        sender = engine._weights
        assert sender is not None
        call = sender._call
        elsewhere = lambda method, *args: call(method, *(a.replace("seen", "unseen") for a in args))  # noqa: E731
        monkeypatch.setattr(sender, "_call", elsewhere)
        with pytest.raises(LadderError, match="does not see"):
            engine.load("1", [])


def test_samples_of_another_prompt_are_never_trained_on(url: str, tmp_path: Path) -> None:
    shutil.copytree(resolve_model("digits"), tmp_path / "other")
    template = tmp_path / "other" / "chat_template.jinja"
    template.write_text(template.read_text() + "!")
    with (
        serving(url, tmp_path / "weights", tmp_path / "other") as engine,
        pytest.raises(LadderError, match="makes other tokens of a prompt than Ladder"),
    ):
        list(drive(engine, requests(1)))


def test_a_server_that_is_no_vllm_is_refused(url: str, tmp_path: Path) -> None:
    folder = resolve_model("digits")
    server = {"url": url, "model": "digits", "kind": "other"}
    chosen = {"model": {"name": str(folder)}, "engine": "server", "server": server}
    model = Model(folder, encoder_of(folder), "base")
    with pytest.raises(LadderError, match="is no vLLM, and no other can be sent weights"):
        ServerEngine(EngineSettings.model_validate(chosen), model, tmp_path / "weights")


def trained(split: Split, model: str, out: Path, *more: str) -> list[dict[str, Any]]:
    """The metrics of each step."""
    use = settings_for(split, None, None, [*SMALL, *more])
    chosen = ModelSettings.model_validate(use.model.model_dump() | {"name": model})
    train(split, chosen, use.settings, out)
    return logged(out)


def logged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def own(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A split of a ladder of our own, because runs write to it."""
    ladder = Path(shutil.copytree(split.ladder, tmp_path_factory.mktemp("own") / "ladder"))
    return open_split(ladder / "splits" / split.path.name)


LEARNS = {
    "all": (),
    "all but vision": ('freeze=["vision"]',),
    "adapters": ("adapter.kind=lora", 'adapter.train=["model.visual.merger.*"]'),
}


def assert_followed(rows: list[dict[str, Any]], steps: int) -> None:
    """The server's log-probs were the policy's at each step, and the policy moved."""
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    assert max(row["mismatch/max"] for row in rows) < 1e-4
    assert min(row["grad_norm"] for row in rows) > 0


@pytest.mark.parametrize("learns", LEARNS)
def test_the_server_follows_every_step(own: Split, url: str, tmp_path: Path, learns: str) -> None:
    more = (f"rollout.server.url={url}", "kl.weight=0.01", *LEARNS[learns])
    assert_followed(trained(own, "digits", tmp_path / "run", "steps=10", *more), 10)
    assert not list((tmp_path / "run").glob("weights-*"))


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_a_server_of_each_family_follows(own: Split, tmp_path: Path, family: str) -> None:
    tied = checkpoint(tmp_path / "model", family, tied=True)
    with updatable(tied, tmp_path / "log") as found:
        more = (
            f"rollout.server.url={found}",
            "loss.entropy=0.1",
            "optim.learning_rate=3e-3",
            "kl.weight=0.0",
        )
        for number, learns in enumerate(LEARNS):
            out = tmp_path / f"run-{number}"
            assert_followed(trained(own, str(tied), out, "steps=10", *more, *LEARNS[learns]), 10)


def test_two_processes_share_a_server_that_the_first_one_sends_weights(
    own: Split, url: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = [*SMALL, "steps=3", f"rollout.server.url={url}", "kl.weight=0.01"]
    sets = [word for setting in settings for word in ("--set", setting)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "ladder.cli"]
    command = [*torchrun, "train", str(own.path), "--out", str(out), *sets]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert_followed(logged(out), 3)


def test_fields_that_could_cut_the_distribution_are_refused(own: Split) -> None:
    with pytest.raises(BadInput, match="bad_words may change what is sampled from"):
        settings_for(own, None, None, ["rollout.server.extra={bad_words=['a']}"])
