"""`ladder train --dry-run` against what a run of the embedded policy then takes and does, and its warnings."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
from helpers import Run, digits_settings, told
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom

from ladder.build import build
from ladder.encode import Encoder
from ladder.errors import BadInput
from ladder.forecast import Figure
from ladder.models import load_model, model_fingerprint, resolve_model
from ladder.prompts import render, template
from ladder.score import Beta
from ladder.splits import ProbeSettings, SampleSettings, Split, open_split, sample
from ladder.store import Store
from trainer.claim import run_id
from trainer.config import TrainSettings
from trainer.curriculum import CurriculumSettings, Rows, SignalSettings
from trainer.forecast import FirstItem, TrainForecast, forecast, forecast_text
from trainer.forecast.course import Course, Known, follow, silence
from trainer.forecast.memory import empty_model, kept_bytes, memory_of, parameters_of, peak_of
from trainer.forecast.sampler import Load
from trainer.optim import Optimizer
from trainer.run import train
from trainer.schedule import Plan
from trainer.setup import Chosen, settings_for

SMALL = [
    "steps=4",
    "save.every=2",
    "batch.prompts=4",
    "batch.group=4",
    "batch.responses_per_update=8",
    "seed=5",
]
LOAD = Load(prompt=100, longest_prompt=150, response=50, patches=64)


def chosen(split: Split, *overrides: str) -> Chosen:
    return settings_for(split, None, None, [*SMALL, *overrides])


def forecast_of(split: Split, *overrides: str, **more: Any) -> TrainForecast:
    use = chosen(split, *overrides)
    return forecast(split, use.model, use.settings, **more)


def warned(made: TrainForecast, text: str) -> bool:
    return any(text in warning for warning in made.warnings)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def run_out(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of the small settings."""
    out = tmp_path_factory.mktemp("forecast") / "run"
    use = chosen(split)
    train(split, use.model, use.settings, out)
    return out


def logged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


# --- memory -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["digits", *families.FAMILIES])
def model_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "digits":
        return resolve_model("digits")
    families.tiny(request.param).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("frozen", [(), ("vision",)])
def test_parameters_gradients_and_moments_are_exact(model_dir: Path, frozen: tuple[str, ...]) -> None:
    settings = TrainSettings(freeze=frozen)
    empty, real = empty_model(model_dir), load_model(model_dir, dtype="float32", device="cpu")
    counted = parameters_of(empty, settings)
    assert parameters_of(real, settings) == counted
    assert all(p.device.type == "meta" for p in empty.parameters())
    optimizer = Optimizer(real, settings.optim)
    for p in optimizer.parameters:
        p.grad = torch.ones_like(p)
    gradients = sum(p.grad.nbytes for p in optimizer.parameters if p.grad is not None)
    optimizer.step(1e-6)
    moments = sum(t.nbytes for state in optimizer.adamw.state.values() for t in state.values())
    parts = {part.name: part.bytes for part in memory_of(empty, settings, LOAD, "cpu")}
    assert parts["weights in float32"] == Figure(sum(p.nbytes for p in real.parameters()))
    assert parts["gradients"] == Figure(gradients)
    assert parts["AdamW's two moments"] == Figure(moments)


def test_a_reference_is_counted_where_the_kl_weight_is_ever_positive() -> None:
    empty = empty_model(resolve_model("digits"))
    for weight, expected in ((0.0, 0), (0.01, 1), ({"kind": "linear", "start": 0.0, "end": 0.1}, 1)):
        settings = TrainSettings.model_validate({"kl": {"weight": weight}})
        names = [part.name for part in memory_of(empty, settings, LOAD, "cpu")]
        assert names.count("the reference, in float32") == expected


def deep(family: str, layers: int) -> Any:
    from transformers import AutoModelForImageTextToText

    config = copy.deepcopy(families.tiny(family).config)
    config.text_config.num_hidden_layers = layers
    if getattr(config.text_config, "layer_types", None):
        config.text_config.layer_types = ["full_attention"] * layers
    config._attn_implementation = "sdpa"
    return AutoModelForImageTextToText.from_config(config)


def kept(model: Any, tokens: int, bf16: bool) -> int:
    """Bytes that the decoder keeps for its backward pass, without its weights."""
    text = model.model.language_model
    weights, seen = {p.untyped_storage().data_ptr() for p in model.parameters()}, dict[int, Any]()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    inputs = torch.randn(1, tokens, text.config.hidden_size, requires_grad=True)
    mask = torch.zeros(1, 1, tokens, tokens, dtype=torch.bfloat16 if bf16 else torch.float32)
    positions = torch.arange(tokens)[None, None].expand(3, 1, tokens)
    saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with saving, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        text(inputs_embeds=inputs, attention_mask=mask, position_ids=positions, use_cache=False)
    return sum(t.untyped_storage().nbytes() for at, t in seen.items() if at not in weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_what_a_layer_keeps_for_a_token_is_right_to_a_fourth(family: str, dtype: str) -> None:
    two, four, bf16 = deep(family, 2), deep(family, 4), dtype == "bfloat16"
    grown = [kept(four, tokens, bf16) - kept(two, tokens, bf16) for tokens in (32, 96)]
    measured = (grown[1] - grown[0]) / 64 / 2
    assert kept_bytes(two.config.text_config, dtype) == pytest.approx(measured, rel=0.25)


def test_checkpointing_frozen_vision_and_fewer_tokens_need_less() -> None:
    def needed(**more: Any) -> float:
        settings = TrainSettings.model_validate(
            {"batch": {"prompts": 64, "tokens_per_micro_batch": 20_000}} | more
        )
        empty = empty_model(resolve_model("digits"))
        parameters_of(empty, settings)
        return next(p.bytes.value for p in memory_of(empty, settings, LOAD, "cpu") if p.name == "activations")

    assert needed(gradient_checkpointing=True) < needed() / 2
    assert needed(freeze=("vision",)) < needed()
    assert needed(batch={"prompts": 64, "tokens_per_micro_batch": 2_000}) < needed() / 5


def test_the_peak_is_that_of_the_phase_that_needs_most() -> None:
    empty, settings = empty_model(resolve_model("digits")), TrainSettings(dtype="float32")
    parts = memory_of(empty, settings, LOAD, "cuda")
    sums = {
        when: sum(p.bytes.value for p in parts if p.when == when)
        for when in ("always", "rollout", "training")
    }
    assert peak_of(parts).value == sums["always"] + max(sums["rollout"], sums["training"])
    assert "Python and its libraries" not in {part.name for part in parts}


# --- prompts and signal -----------------------------------------------------------------------------------------


def test_prompts_are_measured_by_the_sizes_of_images_as_they_are_encoded(split: Split) -> None:
    store, wording = Store.open(split.ladder), template("brief")
    for budget in ((196, 3136), (3136, 40_000), (196, 784)):
        encoder = Encoder(resolve_model("digits"), min_pixels=budget[0], max_pixels=budget[1])
        for item in store.load_items()[:30]:
            sizes = []
            for _, data in store.pictures(item):
                from ladder.images import open_canonical

                sizes.append(open_canonical(data).size)
            encoded = encoder.encode(render(item, wording), store.pictures(item))
            patches = 0 if encoded.grids is None else int(encoded.grids.prod(1).sum())
            assert encoder.measure(render(item, wording), sizes) == (len(encoded.prompt_ids), patches)


@given(st.floats(0.05, 50), st.floats(0.05, 50), st.integers(2, 64))
def test_silence_is_the_beta_binomials_two_ends(a: float, b: float, group: int) -> None:
    ends = betabinom.pmf([0, group], group, a, b).sum()
    assert silence(a, b, group) == pytest.approx(ends, rel=1e-6, abs=1e-12)


def followed(posterior: Beta, curriculum: CurriculumSettings, steps: int = 200, items: int = 2000) -> Course:
    ids = [f"i{n}" for n in range(items)]
    rows = Rows.of_columns(ids, [0] * items, ["medium"] * items, [0.5] * items)
    known = Known(dict.fromkeys(ids, posterior), dict.fromkeys(ids, 10.0))
    plan = Plan(steps, asked=True)
    return follow(curriculum.build(rows, 0, None, 16), known, plan, 16, 8, 0)


@pytest.mark.parametrize("posterior", [Beta(1, 1), Beta(0.5, 3), Beta(6, 2)])
def test_a_gate_that_asks_for_signal_draws_as_many_more_as_are_expected_to_be_silent(posterior: Beta) -> None:
    course = followed(posterior, CurriculumSettings(gate=SignalSettings()))
    expected = 16 / (1 - silence(posterior.a, posterior.b, 8))
    assert course.draws / course.steps == pytest.approx(expected, rel=0.05)
    assert course.silent / course.draws == pytest.approx(silence(posterior.a, posterior.b, 8))
    assert (course.whole, course.short, course.steps) == (True, 0, 200)


def test_without_a_gate_every_draw_trains() -> None:
    course = followed(Beta(0.5, 3), CurriculumSettings())
    assert (course.draws, course.steps, len(course.items)) == (3200, 200, 2000)


def test_a_split_that_nobody_can_solve_stops_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    course = followed(Beta(1e-4, 1e4), CurriculumSettings(gate=SignalSettings()))
    assert course.stopped is not None
    assert "unsolved" in course.stopped
    assert capsys.readouterr().err == ""


# --- against a run ----------------------------------------------------------------------------------------------


def test_the_forecast_reads_and_loads_no_weight(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladder.models.load_model", lambda *_, **__: pytest.fail("no weights are needed"))
    before = files(split.ladder)
    forecast_of(split)
    assert files(split.ladder) == before


def test_a_runs_counts_are_exact_and_its_tokens_within_a_fourth(split: Split, run_out: Path) -> None:
    made, rows = forecast_of(split), logged(run_out)
    assert (made.steps, made.draws, made.rollouts) == (Figure(4), Figure(4), Figure(4 * 4 * 4))
    each = float(np.mean([row["tokens"] for row in rows]))
    assert made.response_tokens.value == pytest.approx(each, rel=0.25)
    assert made.step_response_tokens.value == pytest.approx(16 * each, rel=0.25)
    assert made.tokens.value == pytest.approx(64 * each, rel=0.25)


def test_a_run_logs_the_flops_of_its_training_and_no_utilisation_of_a_cpu(run_out: Path) -> None:
    weights = 1_346_944
    for row in logged(run_out)[-4:]:
        tokens = 16 * row["tokens"]  # and prompts and pictures beside them
        assert 2 * weights * tokens / 20 < row["flops/model"] * 1e12 < 8 * weights * 10 * tokens
        assert "mfu" not in row


def test_the_first_steps_are_those_of_the_run(split: Split, run_out: Path) -> None:

    made = forecast_of(split)
    rows = Store.open(split.ladder).outcomes.table().to_pylist()
    name = run_id(run_out)
    for number, step in enumerate(made.first):
        drawn = [row["item_id"] for row in rows if row["run"] == name and row["step"] == number + 1]
        assert sorted(drawn) == sorted(item.item_id for item in step)
    known = {row["id"]: row for row in split.train}
    for item in made.first[0]:
        assert (item.tier, item.pass_rate) == (known[item.item_id]["tier"], known[item.item_id]["pass_rate"])


def test_an_epochs_steps_are_exact_where_no_outcome_changes_them(split: Split) -> None:
    use = settings_for(split, None, None, ["batch.prompts=4", "epochs=2.0"])
    for kind in ("order", "shuffled"):
        values = use.settings.model_dump(mode="json", exclude_none=True) | {
            "curriculum": {"sampler": {"kind": kind}}
        }
        settings = TrainSettings.model_validate({k: v for k, v in values.items() if k != "steps"})
        made = forecast(split, use.model, settings)
        assert made.steps == Figure(-(-2 * len(split.train) // 4))
        assert made.rollouts == Figure(2 * len(split.train) * settings.batch.group)
        assert made.first_sure
    values["curriculum"] = {"gate": {"kind": "signal"}}
    made = forecast(
        split, use.model, TrainSettings.model_validate({k: v for k, v in values.items() if k != "steps"})
    )
    assert (made.steps.basis, made.first_sure) == ("about", False)
    assert made.steps.value < 2 * len(split.train) / 4
    assert "as they come if p stays what was scored" in forecast_text(made)


def test_the_checkpoints_take_what_was_forecast(split: Split, run_out: Path) -> None:
    size = sum(p.stat().st_size for p in run_out.rglob("*.safetensors"))
    size += sum(p.stat().st_size for p in run_out.rglob("optimizer.pt"))
    one_more = size + sum(p.stat().st_size for p in (run_out / "checkpoints" / "step-000004").iterdir())
    assert forecast_of(split).disk_bytes.value == pytest.approx(one_more, rel=0.05)


def test_time_is_unknown_given_or_measured(split: Split, run_out: Path, tmp_path: Path) -> None:
    given_rate = forecast_of(split, rate=100.0, out=tmp_path / "new")
    assert given_rate.rollout_seconds is not None
    assert given_rate.rollout_seconds.value == pytest.approx(given_rate.tokens.value / 100)
    assert given_rate.seconds is None
    assert "for learning unknown" in forecast_text(given_rate)
    begun = forecast_of(split, out=run_out)
    spent = [sum(v for k, v in row.items() if k.startswith("seconds/")) for row in logged(run_out)]
    assert begun.seconds is not None
    assert begun.seconds.value == pytest.approx(sum(spent))
    assert "measured in 4 steps" in forecast_text(begun)
    nothing = replace(given_rate, rate=None, rollout_seconds=None)
    assert "nothing has measured this model" in forecast_text(nothing)


def test_the_rate_is_that_of_the_engine_that_samples(split: Split, tmp_path: Path) -> None:
    moved = open_split(shutil.copytree(split.ladder, tmp_path / "ladder") / "splits" / split.path.name)
    own = forecast_of(moved).rate
    assert own is not None  # the ladder was built by transformers
    model = model_fingerprint(resolve_model("digits"))
    Store.open(moved.ladder).runs.append([{"engine": "vllm", "model": model, "tokens": 7000, "seconds": 2.0}])
    assert forecast_of(moved, "rollout.engine=vllm").rate == replace(own, value=3500.0)
    assert forecast_of(moved).rate == own
    assert forecast_of(moved, "rollout.engine=server").rate is None
    assert forecast_of(moved, gpu_memory=80).rate is None  # another machine
    assert forecast_of(moved, gpu_memory=80, rate=50.0).rate == Figure(50.0, source="given")


def test_an_epoch_that_is_smaller_than_a_step_is_forecast_as_it_is(split: Split) -> None:
    use = settings_for(split, None, None, ["epochs=1", "batch.prompts=500", "batch.group=4"])
    made = forecast(split, use.model, use.settings)
    count = len(split.train)
    assert (made.steps.value, made.draws.value) == (1, count)
    assert made.step_response_tokens.value == pytest.approx(made.tokens.value)
    text = forecast_text(made)
    assert f"1 of 500 groups of 4, of which there are {count}" in text
    assert "step 2" not in text


def test_attention_that_this_machine_cannot_train_with_is_refused(split: Split) -> None:
    with pytest.raises(BadInput, match=r'batch.attention = "flex".*cpu'):
        forecast_of(split, "batch.attention=flex", "device=cpu")
    assert forecast_of(split, "batch.attention=flex", gpu_memory=80).gpus == 1  # another machine's GPU


def test_the_probes_rollouts_are_told_apart(split: Split) -> None:
    made = forecast_of(split, "eval.every=2", "eval.samples=3", "eval.items_per_tier=2")
    tiers = {row["tier"] for row in split.probe}
    assert made.probe_rollouts == 3 * 2 * len(tiers) * (3 + 1)
    assert made.rollouts == Figure(64)


# --- warnings ---------------------------------------------------------------------------------------------------


def test_nothing_is_warned_of_a_run_that_fits(split: Split) -> None:
    assert forecast_of(split).warnings == ()


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["response.max_tokens=2040"], "prompts do not fit"),
        (["reward.bonus.bound=lower", "reward.bonus.constraint=100"], "of more than 100 tokens"),
        (["reward.bonus.bound=upper", "reward.bonus.constraint=1"], "of at most 1 tokens"),
        (['reward.long={kind="overlong", max_tokens=4000, buffer=1000}'], "it never binds"),
        (["template=observe-think-answer"], "scored with another model, prompt or sampling"),
        (["batch.group=2", "curriculum.gate.kind=band", "curriculum.max_draws=1"], "do not fill up"),
    ],
)
def test_what_cannot_work_is_warned_of(split: Split, overrides: list[str], text: str) -> None:
    assert warned(forecast_of(split, *overrides), text)


def test_memory_and_disk_that_are_not_there_are_warned_of(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.forecast.place._available", lambda: 1000)
    made = forecast_of(split)
    assert made.device_bytes == 1000
    assert warned(made, "are needed on cpu, where 1.0 kB are free")


def test_groups_that_say_nothing_are_warned_of(split: Split) -> None:
    made = forecast_of(split, "batch.group=2")
    assert made.silent.value > forecast_of(split).silent.value
    assert warned(made, "all right or all wrong") == (made.silent.value > 0.5)
    assert warned(made, "all right or all wrong")


def test_a_split_of_an_older_ladder_is_warned_of(ladder: Path, digits_pool: Path) -> None:
    old = sample(Store.open(ladder), SampleSettings(probe=ProbeSettings(per_tier=1)), "old")
    assert not warned(forecast_of(old), "has changed since this split was drawn")
    build(digits_settings(digits_pool, sampling__k=8), ladder)
    assert warned(forecast_of(old), "has changed since this split was drawn")


def test_another_runs_directory_is_refused_as_training_refuses_it(split: Split, run_out: Path) -> None:
    with pytest.raises(BadInput, match="holds a run with other settings"):
        forecast_of(split, "optim.learning_rate=0.001", out=run_out)


# --- the command ------------------------------------------------------------------------------------------------


def command(split: Split, *more: str) -> list[str]:
    settings = [argument for override in SMALL for argument in ("--set", override)]
    return ["train", str(split.path), "--seed", "5", *settings, "--dry-run", *more]


def test_the_command_prints_the_forecast_and_writes_nothing(run: Run, split: Split) -> None:
    code, out, _ = run(*command(split))
    assert code == 0
    assert list(Path.cwd().iterdir()) == []
    lines = out.splitlines()
    assert lines[0] == f"{split.path}: a dry run, no weight was loaded and nothing was written"
    assert "  model     digits on cpu: 1,346,944 parameters, all of them learn" in lines
    assert "  rollouts  64" in lines
    assert lines.count("step 3, 4 items:") == 1


def test_the_command_prints_json(run: Run, split: Split) -> None:
    code, out, _ = run(*command(split, "--json"))
    made = json.loads(out)
    assert code == 0
    assert made["parameters"] == {"all": 1346944, "trainable": 1346944}
    assert [len(step) for step in made["first"]] == [4, 4, 4]


def test_a_rate_is_for_a_dry_run_and_positive(run: Run, split: Split) -> None:
    assert "give --dry-run too" in told(run("train", str(split.path), "--rate", "10"))
    assert "--rate 0" in run(*command(split, "--rate", "0"))[2]
    assert run(*command(split, "--rate", "0"))[0] == 2


def test_a_question_cannot_command_the_terminal_and_is_cut_to_it(split: Split) -> None:
    hostile = FirstItem(7, 1, "id", "hard", None, "\x1b]0;owned\x07\nWhat is \u6570\u5b66 " + "x" * 500)
    text = forecast_text(replace(forecast_of(split), first=((hostile,),)), columns=80)
    last = text.splitlines()[-1]
    assert "\x1b" not in text
    assert last.startswith("       7  slot   1  hard           -  ")
    assert last.endswith("...")
    assert len(last) <= 80
