"""Whole training runs whose responses come from a vLLM engine in this process, which is sent the weights after each step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from tiny_checkpoints import checkpoint

from ladder.engines import vllm as vllm_engine
from ladder.engines.settings import ModelSettings
from ladder.errors import BadInput
from ladder.splits import Split, open_split
from ladder.store import Store
from trainer.run import train
from trainer.setup import settings_for

pytestmark = pytest.mark.vllm

SMALL = (
    "save.every=100",
    "batch.prompts=4",
    "batch.group=4",
    "dtype=float32",
    "response.max_tokens=12",
    "loss.entropy=0.1",
    "optim.learning_rate=3e-3",
    "kl.weight=0.0",
    "seed=5",
    "track.samples_every=100",
    "rollout.engine=vllm",
    "rollout.vllm.args={max_model_len=256,max_num_seqs=32,kv_cache_memory_bytes=67108864}",
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def own(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A split of a ladder of our own, because runs write to it."""
    ladder = Path(shutil.copytree(split.ladder, tmp_path_factory.mktemp("own") / "ladder"))
    return open_split(ladder / "splits" / split.path.name)


def trained(split: Split, model: str, out: Path, *more: str) -> list[dict[str, Any]]:
    """The metrics of each step."""
    use = settings_for(split, None, None, [*SMALL, *more])
    chosen = ModelSettings.model_validate(use.model.model_dump() | {"name": model})
    train(split, chosen, use.settings, out)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


LEARNS = {
    "all": (),
    "all but vision": ('freeze=["vision"]',),
    "adapters": (
        "adapter.kind=lora",
        'adapter.targets=["language", "model.visual.blocks.*"]',
        'adapter.train=["model.visual.merger.*"]',
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("learns", LEARNS)
def test_the_engine_follows_every_step(own: Split, tmp_path: Path, family: str, learns: str) -> None:
    folder = checkpoint(tmp_path / "model", family, tied=learns != "all but vision")
    rows = trained(own, str(folder), tmp_path / "run", "steps=10", *LEARNS[learns])
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert max(row["mismatch/max"] for row in rows) < 1e-4
    assert min(row["grad_norm"] for row in rows) > 0


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Engines that sleep as on a GPU, and at which level they did: vLLM answers nothing then, and its CPU workers keep their
    memory."""
    start, levels = vllm_engine._start, []

    def started(*arguments: Any) -> Any:
        engine = start(*arguments)
        engine.model_config.enable_sleep_mode = True
        sleep = engine.sleep
        monkeypatch.setattr(engine, "sleep", lambda level: (levels.append(level), sleep(level)))
        return engine

    monkeypatch.setattr(vllm_engine, "_start", started)
    return levels


def draws(out: Path, split: Split, steps: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """What a run told the ladder that it had drawn, of some steps."""
    run = json.loads((out / "run.json").read_text())["id"]
    rows = [row for row in Store.open(split.ladder).outcomes.table().to_pylist() if row["run"] == run]
    return sorted((row["step"], row["item_id"], row["draw"]) for row in rows if row["step"] in steps)


def test_a_resumed_run_draws_the_same_items_with_the_checkpoints_weights(
    own: Split, tmp_path: Path, slept: list[int]
) -> None:
    more = (
        "steps=4",
        "save.every=2",
        "save.keep=3",
        "curriculum.oversample=2",
        "eval.every=4",
    )
    shutil.copytree(own.ladder, tmp_path / "ladder")
    split = open_split(tmp_path / "ladder" / "splits" / own.path.name)
    whole = trained(split, "digits", tmp_path / "run", *more)
    drawn = draws(tmp_path / "run", split, (3, 4))
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000004")
    resumed = trained(split, "digits", tmp_path / "run", *more)
    assert [row["step"] for row in resumed] == [row["step"] for row in whole]
    assert slept == [2] * 6  # while the weights learn, step by step
    assert drawn and draws(tmp_path / "run", split, (3, 4)) == sorted(2 * drawn)
    assert max(row["mismatch/max"] for row in resumed if "mismatch/max" in row) < 1e-3
    assert [row.get("curriculum/drawn") for row in resumed] == [row.get("curriculum/drawn") for row in whole]


@pytest.mark.parametrize(
    "name", ["hf_overrides={a=1}", "logits_processors=['a:b']", "generation_config='auto'"]
)
def test_arguments_that_change_what_is_sampled_from_are_refused(
    own: Split, tmp_path: Path, name: str
) -> None:
    with pytest.raises(BadInput, match=name.partition("=")[0]):
        trained(own, "digits", tmp_path / "run", f"rollout.vllm.args={{{name}}}")
