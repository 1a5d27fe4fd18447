"""Finding and loading models: whole ones only."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ladder.errors import BadInput
from ladder.models import load_model, model_fingerprint, resolve_model, shipped_models


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(resolve_model("digits"), tmp_path / "model")
    return tmp_path / "model"


def test_the_shipped_policy_is_small_safe_and_bf16() -> None:
    assert shipped_models() == ["digits"]
    path = resolve_model("digits")
    assert sum(p.stat().st_size for p in path.iterdir()) < 5 * 2**20
    assert not [p for p in path.iterdir() if p.suffix in (".bin", ".pt", ".pkl", ".py")]
    assert {str(t.dtype) for t in load_file(path / "model.safetensors").values()} == {"torch.bfloat16"}


def test_a_model_that_lacks_weights_is_refused(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    lost = next(name for name in weights if "layers.2.mlp" in name)
    save_file({k: v for k, v in weights.items() if k != lost}, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match="lacks 1 of its weights"):
        load_model(copied, dtype="float32", device="cpu")


def test_other_weights_or_template_are_another_model(copied: Path) -> None:
    first = model_fingerprint(copied)
    assert first == model_fingerprint(resolve_model("digits"))
    (copied / "README.md").write_text("another card")
    assert model_fingerprint(copied) == first
    (copied / "chat_template.jinja").write_text("another")
    assert model_fingerprint(copied) != first


def test_what_is_no_model_is_told() -> None:
    with pytest.raises(BadInput, match=r"no model 'dgits': neither a shipped one \(digits\)"):
        resolve_model("dgits")
