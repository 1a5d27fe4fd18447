"""The measurement of a training step on a GPU, on a tiny model on the CPU: that all of it runs, counts rightly and goes on where
memory or time runs out."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import gpu_step
import results
from gpu_step_model import REAL, TINY, counted_flops, groups_of, model_of, prompt_of
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainer.policy import Policy
from trainer.policy.attention import compiles


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    monkeypatch.setattr(results, "_FOLDER", folder)
    monkeypatch.setattr(sys, "argv", ["gpu_step.py", "--tiny", "--prompts=2", "--repeats=1", *arguments])
    gpu_step.main()
    figures: dict[str, Any] = json.loads((folder / "gpu_step_tiny.json").read_text())["figures"]
    return figures


def test_every_figure_is_there_and_sane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiles()
    figures = run(tmp_path, monkeypatch, "--peak-tflops=10")
    for length in TINY.lengths:
        speedup = figures[f"r{length}_speedup"]
        counted = TINY.group * (TINY.prompt + length) / (TINY.prompt + TINY.group * length)
        assert speedup["counted"] == pytest.approx(counted, abs=1e-3)
        assert speedup["against_value"] == pytest.approx(0.8 * counted, abs=1e-3)
        assert 1 < speedup["counted_flops"] < speedup["counted"]
        assert speedup["prompts"] == 2
        assert figures[f"r{length}_tokens_per_second"]["value"] > 0
        assert 0 < figures[f"r{length}_utilisation"]["value"] < 1
    assert figures["fp32_log_probs"]["value"] < 1e-5
    assert figures["fp32_gradients"]["value"] < 1e-4
    assert figures["vision_seconds"]["attention"] == "sdpa"
    assert figures["vision_seconds"]["relative_difference"] == 0
    assert 0 < figures["bf16_error_packed"]["value"] < 0.1
    assert figures["seconds_with_the_mask_of_its_own_choice"]["value"] > 0
    step = figures["whole_step"]
    assert {"rollout", "forward", "backward", "optimizer"} <= step["split"].keys()
    assert sum(step["split"].values()) == pytest.approx(step["value"], rel=0.01)
    assert figures["compiles"]["value"] == before  # none on the CPU
    assert not [name for name in figures if "skipped" in name or "memory" in name]


def test_where_memory_runs_out_less_is_asked_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def short(bench: Any, length: int, attempt: gpu_step.Attempt, *rest: Any) -> dict[str, float]:
        tried.append(attempt)
        if length == 32 or attempt.prompts > 1 or not attempt.checkpointing:
            raise torch.OutOfMemoryError
        return trained(bench, length, attempt, *rest)

    trained = gpu_step.trained
    monkeypatch.setattr(gpu_step, "trained", short)
    for other in ("half_precision", "kernels", "vision", "whole_step"):
        monkeypatch.setattr(gpu_step, other, lambda _: None)
    figures = run(tmp_path, monkeypatch, "--prompts=4")
    assert tried[0] == gpu_step.Attempt(1024, checkpointing=False, prompts=4)
    assert figures["r16_speedup"]["prompts"] == 1
    assert figures["r16_speedup"]["checkpointing"]
    assert figures["r32_out_of_memory"]["value"]
    assert "r32_speedup" not in figures


def test_what_there_is_no_time_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = run(tmp_path, monkeypatch, "--minutes=0")
    assert {name for name in figures if name.endswith("_skipped")} >= {"r16_skipped", "whole_step_skipped"}
    assert "r16_speedup" not in figures


def test_counted_flops_are_those_of_the_forward_without_the_pairs_that_a_kernel_counts_and_nobody_sees() -> (
    None
):
    model = model_of(TINY, "cpu")
    groups = groups_of(TINY, 1, 16)
    tokens: Any = gpu_step.Tokens(TINY)
    policy = Policy(model, tokens, temperature=1.0, autocast=False, layout="padded")
    features = policy.features(groups)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for batch in policy.plan(groups, 10_000):
            policy(groups, batch, features)
    text = model.config.text_config
    counted = counted_flops(model, groups, as_packed=False) / 3
    length = TINY.prompt + 16
    unseen = 4 * text.num_hidden_layers * text.hidden_size * TINY.group * length * (length - 1) / 2
    assert counter.get_total_flops() == pytest.approx(counted + unseen, rel=0.02)
    assert counted_flops(model, groups, as_packed=True) < 3 * counted


@pytest.mark.parametrize("size", [REAL, TINY], ids=["real", "tiny"])
def test_a_prompt_has_its_length_with_its_image(size: Any) -> None:
    prompt = prompt_of(size, 1)
    assert len(prompt.prompt_ids) == size.prompt == prompt.positions.shape[1]
    assert prompt.grids is not None
    assert prompt.pixels is not None
    assert prompt.prompt_ids.count(size.image) * 4 == prompt.grids.prod() == len(prompt.pixels)
