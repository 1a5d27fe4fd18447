"""An adapter on disk: models that it is merged into, what peft loads, checkpoints without the base, and runs that go on."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import adapter, begun, learnt, move
from families import FAMILIES, tiny
from helpers import Run, told
from policy_reference import GROUPS, reference
from safetensors.torch import load_file
from test_run_goes_on import metrics, nth, same_end, trained

from ladder.errors import BadInput, LadderError
from ladder.models import load_model, resolve_model
from ladder.splits import Split, open_split
from trainer.adapter import choose_learning
from trainer.adapter_files import read_adapter, write_adapter
from trainer.checkpoint import save_model
from trainer.config import TrainSettings
from trainer.forecast.memory import Load, empty_model, memory_of, parameters_of
from trainer.optim import Optimizer
from trainer.publish import published
from trainer.unadapted import Unadapted

SOURCE = resolve_model("digits")
BESIDE = {"train": ("model.visual.merger.*", "*norm*"), "targets": ("language", "model.visual.blocks.*")}
LORA = (
    "adapter.kind=lora",
    "adapter.rank=8",
    "adapter.dropout=0.1",
    'adapter.targets=["language", "model.visual.blocks.*"]',
    'adapter.train=["model.visual.merger.*"]',
    "optim.learning_rate=0.001",
)


def digits(**more: Any) -> Any:
    model = load_model(SOURCE, dtype="float32", device="cpu")
    torch.manual_seed(1)
    choose_learning(model, (), adapter(**more))
    return model


@pytest.mark.parametrize("how", [{}, BESIDE, {"train": ("*embed_tokens*",)}], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_loads_what_is_written_on_the_base_and_gives_the_same_logits(
    family: str, how: dict[str, Any], tmp_path: Path
) -> None:
    from peft import PeftModel

    model = learnt(family, **how)
    write_adapter(model, tmp_path / "base", tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(copy.deepcopy(tiny(family)), tmp_path / "adapter").eval()
    with torch.no_grad():
        expected, found = (reference(m, GROUPS[2:3]) for m in (model, Named(loaded)))
        base = reference(tiny(family), GROUPS[2:3])
    assert all(torch.allclose(expected[k], found[k], rtol=0, atol=1e-6) for k in expected)
    assert any((base[k] - found[k]).abs().max() > 1e-3 for k in expected)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["inference_mode"] is True


class Named:
    """A model of peft's, as `reference` calls one."""

    def __init__(self, model: Any) -> None:
        self._model, self.dtype = model, model.dtype

    def __call__(self, **inputs: Any) -> Any:
        return self._model(**inputs)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("how", [{}, BESIDE, {"train": ("*embed_tokens*",)}], ids=str)
def test_a_saved_model_has_it_merged_and_beside_it_as_peft_has_it(
    how: dict[str, Any], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    model = move(digits(**how))
    save_model(model, SOURCE, tmp_path / "model")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype=torch.float32)
    expected = dict(published(model))
    assert all(torch.equal(p, expected[name]) for name, p in loaded.named_parameters())
    names = load_file(tmp_path / "model" / "model.safetensors").keys()
    assert names == load_file(SOURCE / "model.safetensors").keys()
    assert load_model(tmp_path / "model", dtype="float32", device="cpu").lm_head.weight.shape[0] > 0
    base = load_model(SOURCE, dtype="float32", device="cpu")
    on_base = PeftModel.from_pretrained(base, tmp_path / "model" / "adapter").eval()
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        logits = [m(input_ids=ids).logits for m in (model, on_base, loaded)]
    assert torch.allclose(logits[0], logits[1], rtol=0, atol=1e-4)
    assert torch.allclose(logits[0], logits[2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_learns_comes_back_to_the_last_bit(family: str, tmp_path: Path) -> None:
    one, other = learnt(family, **BESIDE), begun(family, **BESIDE)
    write_adapter(one, tmp_path, tmp_path / "there")
    read_adapter(other, tmp_path / "there")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    for wrong in ({"rank": 3} | BESIDE, {}, {"targets": ("vision",)}):
        with pytest.raises(
            LadderError, match=r"cannot go on from the checkpoint .*; remove it to go on"
        ) as error:
            read_adapter(begun(family, **wrong), tmp_path / "there")
        assert "\n" not in str(error.value)
    (tmp_path / "there" / "adapter_model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(LadderError, match="cannot go on from the checkpoint"):
        read_adapter(other, tmp_path / "there")


@pytest.fixture(scope="module")
def own(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A split of a ladder of our own, because runs write to it."""
    ladder = Path(shutil.copytree(split.ladder, tmp_path_factory.mktemp("own") / "ladder"))
    return open_split(ladder / "splits" / split.path.name)


def test_a_run_with_an_adapter_that_was_stopped_goes_on_exactly(
    own: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(own, tmp_path / "whole", *LORA)
    said = capsys.readouterr().err
    assert "parameters learn\n" in said
    assert "one a row, their prompts repeated: an adapter drops values" in said
    with monkeypatch.context() as patch:  # between two updates of step 3: it is lost
        patch.setattr(Optimizer, "step", nth(Optimizer, "step", 5, KeyboardInterrupt, inside=True))
        with pytest.raises(KeyboardInterrupt):
            trained(own, tmp_path / "run", *LORA, "save.every=2")
    again = (*LORA, "save.every=2", "gradient_checkpointing=true")  # what was dropped is dropped again
    assert trained(own, tmp_path / "run", *again).resumed_at == 2
    assert same_end(tmp_path / "whole", tmp_path / "run")
    (at,) = (tmp_path / "whole" / "checkpoints").iterdir()
    weights = (at / "adapter_model.safetensors").stat().st_size
    learning = sum(p.numel() for p in digits(rank=8, **merger()).parameters() if p.requires_grad)
    assert 4 * learning < weights < 4 * learning + 50_000
    assert not (at / "model.safetensors").exists() and not (at / "config.json").exists()
    kls = [row["kl"] for row in metrics(tmp_path / "whole")]
    assert kls[0] < 1e-2 and max(kls[1:]) > 0


def merger() -> dict[str, Any]:
    return {"targets": ("language", "model.visual.blocks.*"), "train": ("model.visual.merger.*",)}


def test_while_the_reference_is_in_the_policys_place_nothing_is_saved(
    own: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:  # at the first of the four of step 2
        patch.setattr(Unadapted, "_exchange", nth(Unadapted, "_exchange", 5, KeyboardInterrupt, inside=True))
        with pytest.raises(KeyboardInterrupt):
            trained(own, tmp_path / "run", *LORA)
    said = "stopped after 1 steps, while the weights were changing: the same command begins anew\n"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_adapter_is_part_of_what_a_run_is(own: Split, tmp_path: Path) -> None:
    trained(own, tmp_path / "run", "adapter.kind=lora", "steps=1")
    with pytest.raises(BadInput, match=r"other settings: adapter.rank 16 there, 8 here"):
        trained(own, tmp_path / "run", "adapter.kind=lora", "adapter.rank=8", "steps=1")
    with pytest.raises(
        BadInput, match=r"settings: adapter.kind lora there, unset here; .*adapter.train_rate"
    ):
        trained(own, tmp_path / "run", "steps=1")


def test_on_the_command_line_it_learns_and_its_model_is_evaluated(
    own: Split, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = (
        *("adapter.kind=lora", "optim.learning_rate=0.003", "kl.weight=0.0", "steps=5"),
        *("batch.prompts=6", "batch.group=4", "eval.every=5", "eval.samples=1", "eval.items_per_tier=1"),
    )
    sets = [part for setting in settings for part in ("--set", setting)]
    code, _, err = run("train", str(own.path), "--out", str(out), *sets)
    assert code == 0, err
    rows = metrics(out)
    assert all(row["grad_norm"] > 0 for row in rows[1:] if row["groups_without_signal"] < 1)
    names = load_file(out / "model" / "adapter" / "adapter_model.safetensors")
    assert all(tensor.any() for name, tensor in names.items() if "lora_B" in name)
    assert (out / "best" / "adapter" / "adapter_config.json").is_file()
    base, merged = (load_file(at / "model.safetensors") for at in (SOURCE, out / "model"))
    assert all(
        torch.equal(base[name], merged[name]) == ("visual" in name or "proj.w" not in name) for name in base
    )
    code, text, err = run(
        "eval", str(own.path), "--model", str(out / "model"), "--part", "probe", "--n", "1", "--json"
    )
    assert code == 0, err
    assert json.loads(text)
    assert "adapter.targets: 'nothing' matches" in told(
        run(
            "train",
            str(own.path),
            "--dry-run",
            "--recipe",
            "grpo",
            "--set",
            'adapter.targets=["nothing"]',
        )
    )


@pytest.mark.parametrize("how", [{}, BESIDE], ids=str)
def test_the_forecast_counts_what_learns_and_no_second_model(how: dict[str, Any]) -> None:
    settings = TrainSettings.model_validate(
        {"adapter": {"rank": 4, "alpha": 6.0} | how, "kl": {"weight": 0.1}}
    )
    empty, real = empty_model(SOURCE), digits(**how)
    counted = parameters_of(empty, settings)
    assert all(p.device.type == "meta" for p in empty.parameters())
    learning = [p for p in real.parameters() if p.requires_grad]
    assert counted.trainable == sum(p.numel() for p in learning)
    assert counted.all == sum(p.numel() for p in real.parameters())
    load = Load(prompt=100, longest_prompt=150, response=50, patches=64)
    parts = {part.name: part.bytes.value for part in memory_of(empty, settings, load, "cpu")}
    assert parts["gradients"] == sum(p.nbytes for p in learning)
    assert parts["AdamW's two moments"] == sum(2 * p.nbytes + 4 for p in learning)
    beside = sum(p.nbytes for n, p in real.named_parameters() if p.requires_grad and ".lora_" not in n)
    assert parts.get("the reference, in float32", 0) == beside
    assert (beside > 0) == bool(how)
