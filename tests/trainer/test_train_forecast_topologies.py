"""The forecast of memory on several GPUs and beside an engine, and the tables of docs/topologies.md."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
import torch
from helpers import Run, told
from torch._subclasses.fake_tensor import FakeTensorMode

from ladder import launched
from ladder.errors import BadInput
from ladder.models import resolve_model
from ladder.splits import Split
from trainer.config import TrainSettings
from trainer.forecast import TrainForecast, forecast, forecast_text
from trainer.forecast.figures import Part
from trainer.forecast.memory import empty_model, kept_bytes, memory_of, parameters_of, peak_of
from trainer.forecast.place import Place, place_of
from trainer.forecast.remedy import remedy_of
from trainer.forecast.sampler import Load
from trainer.forecast.sizes import Sizes
from trainer.setup import settings_for

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import topologies

ROOT = Path(__file__).parents[2]
LOAD = Load(prompt=100, longest_prompt=150, response=50, patches=64)
GB = 10**9


def settings_of(**values: Any) -> TrainSettings:
    return TrainSettings.model_validate({"batch": {"prompts": 16, "group": 8}} | values)


def parts_of(
    model: Any, settings: TrainSettings, ranks: int = 1, whole: int | None = 80 * GB
) -> dict[str, Part]:
    parts = memory_of(model, settings, LOAD, "cpu" if whole is None else "cuda", ranks, whole)
    assert len({part.name for part in parts}) == len(parts)
    return {part.name: part for part in parts}


def vllm(**args: Any) -> dict[str, Any]:
    return {"engine": "vllm", "vllm": {"args": args}}


@pytest.fixture(scope="module")
def small() -> Any:
    return empty_model(resolve_model("digits"))


@pytest.fixture(scope="module")
def seven() -> Any:
    return topologies.built("7B", "all")


# --- several processes ------------------------------------------------------------------------------------------


def test_states_are_sharded_and_what_one_process_has_of_a_step_is_its_share(small: Any) -> None:
    settings = settings_of(kl={"weight": 0.01}, batch={"prompts": 64, "group": 8})
    one, four = parts_of(small, settings), parts_of(small, settings, 4)
    for name in ("weights in float32", "the reference, in float32", "AdamW's two moments", "gradients"):
        assert four[name].bytes.value == pytest.approx(one[name].bytes.value / 4, rel=0.01)
    assert four["weights in float32"].bytes.basis == "about"
    assert one["weights in float32"].bytes.basis == "exact"
    assert "layers, gathered for a pass" not in one


def test_two_layers_and_what_is_in_none_are_whole_in_each_process(seven: Any) -> None:
    def gathered(**more: Any) -> float:
        return parts_of(seven, settings_of(**more), 8)["layers, gathered for a pass"].bytes.value

    layer = sum(p.numel() for p in seven.model.language_model.layers[0].parameters())
    inside = sum(
        p.numel()
        for part in (seven.model.language_model.layers, seven.model.visual.blocks)
        for p in part.parameters()
    )
    outside = sum(p.numel() for p in seven.parameters()) - inside
    assert gathered() == 8 * outside + (2 * 2 + 2 + 4) * layer  # two in bfloat16, gradients of one in both
    assert gathered(dtype="float32") == 8 * outside + (2 * 4 + 4 + 4) * layer


def test_autocasts_copies_are_of_what_learns_and_else_of_what_the_backward_pass_keeps(seven: Any) -> None:
    def copies(model: Any, ranks: int = 1, **more: Any) -> float:
        part = parts_of(model, settings_of(**more), ranks).get("copies of the weights in bfloat16")
        return 0.0 if part is None else part.bytes.value

    head = seven.lm_head.weight.numel()
    embedding = seven.model.language_model.embed_tokens.weight.numel()
    everything = sum(p.numel() for p in seven.parameters() if p.ndim > 1)
    assert copies(seven) == 2 * (everything - embedding)
    assert copies(seven, gradient_checkpointing=True) == copies(seven)
    assert copies(seven, ranks=8) == 2 * head
    assert copies(seven, dtype="float32") == 0
    lora = topologies.built("7B", "LoRA")
    layers = sum(p.numel() for p in lora.model.language_model.layers.parameters() if p.ndim > 1)
    learning = sum(p.numel() for p in lora.parameters() if p.requires_grad)
    assert copies(lora) == 2 * (head + layers)
    assert copies(lora, gradient_checkpointing=True) == 2 * (head + learning)


def test_the_transformers_engine_has_a_copy_of_its_own_where_the_policy_is_sharded(small: Any) -> None:
    name, numbers = "a whole copy to sample from, in float32", sum(p.numel() for p in small.parameters())
    assert name not in parts_of(small, settings_of())
    assert parts_of(small, settings_of(), 2)[name].bytes.value == 4 * numbers


def test_processes_on_cpus_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.forecast.place._available", lambda: 8 * GB)
    monkeypatch.setattr("trainer.forecast.place._of_cgroup", lambda: None)
    assert place_of("cpu", 1, None) == (Place("cpu"), 8 * GB)
    assert place_of("cpu", 4, None) == (Place("cpu", 4), 2 * GB)
    assert place_of("cpu", 4, 80) == (Place("cuda", 4, 80 * GB), 72 * GB)


def test_torchruns_processes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched.count() == 1  # a cluster's own variable
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert launched.count() == 4


# --- engines ----------------------------------------------------------------------------------------------------


def test_vllm_takes_its_share_of_the_gpu_and_gives_it_back_while_training(seven: Any) -> None:
    parts = parts_of(seven, settings_of(rollout=vllm(gpu_memory_utilization=0.4)))
    weights, cache = parts["vLLM's weights"], parts["vLLM's keys and values"]
    assert weights.bytes.value == 2 * sum(p.numel() for p in seven.parameters())
    assert weights.bytes.value + cache.bytes.value == pytest.approx(0.4 * 80 * GB)
    assert (weights.phases, cache.phases) == (("rollout", "publishing"), ("rollout",))
    # 28 layers, keys and values of 4 heads of 128 numbers of 2 bytes: of 50 tokens and an eighth of a prompt of 100
    a_sample = 28 * 2 * 4 * 128 * 2 * (50 + 100 / 8)
    assert cache.bytes.source == f"{int(cache.bytes.value / a_sample):,} samples at once"
    awake = parts_of(seven, settings_of(rollout=vllm(enable_sleep_mode=False)))
    assert awake["vLLM's weights"].when == awake["vLLM's keys and values"].when == "always"


def test_tensor_parallel_engines_split_weights_and_a_cache_of_its_own_size_is_kept(seven: Any) -> None:
    whole = parts_of(seven, settings_of(rollout=vllm()))["vLLM's weights"].bytes.value
    parts = parts_of(seven, settings_of(rollout=vllm(tensor_parallel_size=2, kv_cache_memory_bytes=GB)), 8)
    assert parts["vLLM's weights"].bytes.value == whole / 2
    assert parts["vLLM's keys and values"].bytes.value == GB
    largest = seven.lm_head.weight.numel()
    sent = parts["the largest weight, gathered to be sent"]
    assert (sent.bytes.value, sent.phases) == (4 * largest, ("publishing",))


def test_on_a_cpu_vllm_never_sleeps_and_has_a_cache_of_a_gibibyte(small: Any) -> None:
    parts = parts_of(small, settings_of(dtype="float32", rollout=vllm()), whole=None)
    assert parts["vLLM's keys and values"].bytes.value == 2**30
    assert {parts[name].when for name in ("vLLM's weights", "vLLM's keys and values")} == {"always"}


def test_a_servers_memory_is_on_other_gpus(seven: Any) -> None:
    settings = settings_of(rollout={"engine": "server"})
    parts = parts_of(seven, settings)
    others = [part for part in parts.values() if part.when == "server"]
    assert len(others) == 2
    assert peak_of(parts.values()) == peak_of(part for part in parts.values() if part.when != "server")


def test_an_adapter_is_merged_for_the_engine_and_its_reference_is_no_second_model() -> None:
    whole, adapted = topologies.built("3B", "all"), topologies.built("3B", "LoRA")
    assert "the reference, in float32" not in parts_of(adapted, settings_of(kl={"weight": 0.01}))
    parts = [
        parts_of(model, settings_of(rollout=vllm()))["vLLM's weights"].bytes for model in (whole, adapted)
    ]
    assert parts[0] == parts[1]


# --- what would make it fit -------------------------------------------------------------------------------------

LONG = Load(1000, 1000, 2048, 3840)


def remedy(model: Any, room: float, ranks: int = 1, **more: Any) -> Any:
    at = Place("cuda", ranks, int(room * GB / 0.9))
    settings = settings_of(**{"kl": {"weight": 0.01}, "rollout": {"engine": "server"}} | more)
    peak = peak_of(memory_of(model, settings, LONG, at.device, at.ranks, at.whole_bytes)).value
    return remedy_of(Sizes.of(model), settings, LONG, at, int(room * GB), peak)


def test_what_fits_needs_no_remedy_and_some_things_never_fit(seven: Any) -> None:
    assert remedy(seven, 1000) is None
    assert remedy(seven, 10) is None


def test_remedies_are_tried_from_the_cheapest_and_the_last_of_a_kind_is_told(seven: Any) -> None:
    found = remedy(seven, 200)
    assert found.changes == ("gradient_checkpointing=true",)
    found = remedy(seven, 44)
    assert [change.partition("=")[0] for change in found.changes] == [
        "gradient_checkpointing",
        "batch.tokens_per_micro_batch",
        "8 GPUs",
    ]
    assert found.changes[1] == "batch.tokens_per_micro_batch=4096"  # the shortest that holds a response
    assert found.peak.value <= 44 * GB
    assert remedy(seven, 44, ranks=8).changes[-1] != "8 GPUs"


def test_a_remedy_is_what_its_settings_need(seven: Any) -> None:
    found = remedy(seven, 60, rollout=vllm(gpu_memory_utilization=0.9))
    values: dict[str, Any] = {"gradient_checkpointing": True, "kl": {"weight": 0.01}}
    by_name = dict(change.split("=") for change in found.changes if "=" in change)
    share = float(by_name["rollout.vllm.args.gpu_memory_utilization"])
    values["rollout"] = vllm(gpu_memory_utilization=share)
    tokens = int(by_name["batch.tokens_per_micro_batch"])
    values["batch"] = {"prompts": 16, "group": 8, "tokens_per_micro_batch": tokens}
    ranks = next(int(change.removesuffix(" GPUs")) for change in found.changes if change.endswith(" GPUs"))
    parts = memory_of(seven, settings_of(**values), LONG, "cuda", ranks, int(60 * GB / 0.9))
    assert peak_of(parts) == found.peak


# --- activations of real shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["3B", "7B"])
def test_what_a_layer_of_a_real_model_keeps_is_right_to_a_twentieth(size: str) -> None:
    from transformers import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

    tokens = 1536  # no size of the model
    config = Qwen2_5_VLConfig(text_config=topologies._TEXT[size]).text_config
    config._attn_implementation = "sdpa"

    def kept(layers: int) -> int:
        config.num_hidden_layers, config.layer_types, config.vocab_size = (
            layers,
            ["full_attention"] * layers,
            8,
        )
        text, seen = Qwen2_5_VLTextModel(config), dict[int, torch.Tensor]()
        shapes = {tuple(p.shape) for p in text.parameters()} | {
            tuple(p.shape[::-1]) for p in text.parameters()
        }

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tuple(tensor.shape) not in shapes:
                seen[tensor.untyped_storage()._cdata] = tensor
            return tensor

        inputs = torch.empty(1, tokens, config.hidden_size, requires_grad=True)
        mask = torch.empty(1, 1, tokens, tokens, dtype=torch.bfloat16)
        positions = torch.empty(3, 1, tokens, dtype=torch.long)
        saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with saving, torch.autocast("cpu", torch.bfloat16):
            text(inputs_embeds=inputs, attention_mask=mask, position_ids=positions, use_cache=False)
        return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())

    with FakeTensorMode():
        measured = (kept(2) - kept(1)) / tokens
    assert kept_bytes(config, "bfloat16") == pytest.approx(measured, rel=0.05)


# --- the command ------------------------------------------------------------------------------------------------

SMALL = ["steps=4", "batch.prompts=4", "batch.group=4", "seed=5"]


def forecast_of(split: Split, *overrides: str, **more: Any) -> TrainForecast:
    use = settings_for(split, None, None, [*SMALL, *overrides])
    return forecast(split, use.model, use.settings, **more)


def test_another_machines_gpus_are_forecast(split: Split) -> None:
    made = forecast_of(split, "rollout.engine=vllm", "dtype=bfloat16", gpus=2, gpu_memory=24)
    assert (made.device, made.gpus, made.device_bytes, made.remedy) == ("cuda", 2, int(21.6 * GB), None)
    text = forecast_text(made)
    assert "digits on 2 GPUs: 1,346,944 parameters" in text
    assert "at the peak of each process; 21.6 GB are free" in text
    assert "vLLM's weights, in rollout and publishing only" in text
    assert "samples at once)" in text


def test_a_run_that_does_not_fit_is_told_what_would(split: Split) -> None:
    made = forecast_of(split, "batch.tokens_per_micro_batch=4096", gpu_memory=0.04)
    assert made.remedy is not None
    (warning,) = [text for text in made.warnings if "are needed" in text]
    assert f"with {made.remedy.changes[0]}" in warning
    assert "it fits, in about" in warning
    never = forecast_of(split, gpu_memory=0.002)
    assert never.remedy is None
    assert any("alone do not make it fit" in text for text in never.warnings)


def test_the_command_takes_a_number_of_gpus_and_their_memory_for_a_dry_run(run: Run, split: Split) -> None:
    settings = [argument for override in SMALL for argument in ("--set", override)]
    command = ["train", str(split.path), *settings]
    code, out, _ = run(*command, "--dry-run", "--gpus", "2", "--gpu-memory", "80", "--json")
    made = json.loads(out)
    assert code == 0
    assert (made["gpus"], made["device_bytes"], made["device"]) == (2, 72 * GB, "cuda")
    for option in ("--gpus", "--gpu-memory"):
        assert f"{option} is for the forecast: give --dry-run too" in told(run(*command, option, "2"))
        assert f"{option} 0" in run(*command, "--dry-run", option, "0")[2]
    with pytest.raises(BadInput, match="GB of each GPU"):
        forecast_of(split, gpu_memory=-1)


# --- the document -----------------------------------------------------------------------------------------------


def test_the_published_models_have_their_published_sizes(seven: Any) -> None:
    three = topologies.built("3B", "all")
    assert [sum(p.numel() for p in model.parameters()) for model in (three, seven)] == [
        3_754_622_976,
        8_292_166_656,
    ]


@pytest.mark.parametrize(
    "table",
    [
        lambda: topologies.memory_table("vllm"),
        lambda: topologies.memory_table("server"),
        topologies.flops_table,
    ],
)
def test_the_documents_tables_are_what_the_forecast_computes(table: Callable[[], str]) -> None:
    assert table() in (ROOT / "docs" / "topologies.md").read_text(encoding="utf-8")


def test_the_results_are_those_of_the_tables() -> None:
    path = ROOT / "benchmarks" / "results" / "topologies.json"
    assert json.loads(path.read_text(encoding="utf-8"))["figures"] == topologies.figures()


def test_more_gpus_never_need_more_of_each() -> None:
    for family in families.FAMILIES:
        model = families.tiny(family)
        parameters_of(model, settings_of())
        for engine in ("vllm", "server"):
            settings = settings_of(rollout={"engine": engine}, batch={"prompts": 64, "group": 8})
            peaks = [peak_of(parts_of(model, settings, ranks).values()).value for ranks in (2, 4, 8)]
            assert peaks == sorted(peaks, reverse=True)
