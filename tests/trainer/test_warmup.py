"""The cold start, a few steps of it: it learns, is seeded, and writes a model that everything else can load."""

from pathlib import Path

import pytest

from ladder.pools import digits
from trainer.warmup.demonstrations import CONFUSED, FLAWLESS, Mixture, demonstrate
from trainer.warmup.settings import WarmupSettings
from trainer.warmup.stages import mixture, warmup

FEW = {"vision_steps": 60, "imitation_steps": 12, "imperfect_steps": 3, "batch": 16}


def run(out: Path, seed: int) -> dict[str, list[float]]:
    losses: dict[str, list[float]] = {}
    warmup(
        out,
        WarmupSettings(seed=seed, **FEW),
        lambda stage, *numbers: losses.setdefault(stage, []).append(numbers[-1]),
    )
    return losses


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[float]]]:
    out = tmp_path_factory.mktemp("warmup") / "model"
    return out, run(out, seed=1)


def test_it_learns_to_see(made: tuple[Path, dict[str, list[float]]]) -> None:
    losses = made[1]["vision"]
    assert losses[-1] < 0.7 * losses[0]
    assert set(made[1]) == {"vision", "imitation", "imperfect"}


def test_the_model_fits_the_package_and_loads_everywhere(made: tuple[Path, dict[str, list[float]]]) -> None:
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    out = made[0]
    assert sum(p.stat().st_size for p in out.iterdir()) < 5 * 2**20
    model = AutoModelForImageTextToText.from_pretrained(out)
    assert 1e6 < sum(p.numel() for p in model.parameters()) < 2e6
    assert str(model.dtype) == "torch.bfloat16"
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert "imperfect" in (out / "README.md").read_text()


def test_the_shipped_policy_is_of_this_architecture(made: tuple[Path, dict[str, list[float]]]) -> None:
    from ladder.encode import read_vlm_config
    from ladder.models import resolve_model

    shipped, fresh = read_vlm_config(resolve_model("digits")), read_vlm_config(made[0])
    assert {k: v for k, v in shipped.items() if k != "dtype"} == {
        k: v for k, v in fresh.items() if k != "dtype"
    }


def test_another_seed_is_another_model(tmp_path: Path) -> None:
    few = WarmupSettings(seed=2, vision_steps=20, imitation_steps=1, imperfect_steps=1, batch=4)
    same = few.model_copy(update={"seed": 3})
    losses: dict[int, list[float]] = {}
    for i, settings in enumerate((few, few, same)):
        warmup(tmp_path / str(i), settings, lambda *a, i=i: losses.setdefault(i, []).append(a[-1]))  # type: ignore[misc]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_demonstrations_show_what_the_mixture_says() -> None:
    import random

    rng = random.Random(0)
    shown = [demonstrate(rng, mixture(WarmupSettings(direct=0.3, blind=0.2), 0.0)) for _ in range(600)]
    direct = sum(d.response.startswith("<answer>") for d in shown) / 600
    blind = sum("no image" in d.response for d in shown) / 600
    assert direct == pytest.approx(0.3, abs=0.06)
    assert blind == pytest.approx(0.2, abs=0.06)
    right = [d for d in shown if d.response.startswith("<observe>") and "no image" not in d.response]
    assert all(f"<answer>{d.item.gold}</answer>" in d.response for d in right)


@pytest.mark.parametrize("kind", [kind for kind in digits.KINDS if kind not in FLAWLESS])
def test_flawed_demonstrations_keep_the_format_and_are_often_wrong(kind: str) -> None:
    import random

    from trainer.reward import well_formed

    rng = random.Random(1)
    shown = [demonstrate(rng, Mixture({kind: 1.0}, 0, 0, 1.0)) for _ in range(60)]
    assert all(well_formed(d.response, "observe-think-answer") for d in shown)
    wrong = sum(f"<answer>{d.item.gold}</answer>" not in d.response for d in shown)
    assert 10 <= wrong <= 60
    assert set(CONFUSED) <= set(digits.KINDS)
