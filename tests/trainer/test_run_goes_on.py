"""A run that was stopped, refused or moved: what is saved, what it goes on from, and with which other settings it may."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ladder.engines.settings import ModelSettings
from ladder.errors import BadInput, LadderError
from ladder.models import resolve_model
from ladder.splits import Split, open_split
from ladder.store import Store
from ladder.store.locks import building
from trainer import loop
from trainer import run as run_module
from trainer.optim import Optimizer
from trainer.probe import Probe
from trainer.rollout import Rollouts
from trainer.run import RunReport, train
from trainer.setup import Chosen, settings_for

SMALL = (
    "steps=4",
    "save.every=20",
    "batch.prompts=4",
    "batch.group=4",
    "batch.responses_per_update=8",
    "response.max_tokens=24",
    "curriculum.oversample=2",
    "curriculum.max_draws=30",
    "seed=5",
)


@pytest.fixture(scope="module")
def own(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A split of a ladder of our own, because runs write to it."""
    ladder = Path(shutil.copytree(split.ladder, tmp_path_factory.mktemp("own") / "ladder"))
    return open_split(ladder / "splits" / split.path.name)


@pytest.fixture(scope="module")
def whole(own: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    trained(own, out)
    return out


def chosen(split: Split, *more: str) -> Chosen:
    return settings_for(split, None, None, [*SMALL, *more])


def trained(split: Split, out: Path, *more: str) -> RunReport:
    use = chosen(split, *more)
    return train(split, use.model, use.settings, out)


def metrics(out: Path) -> list[dict[str, Any]]:
    """Every step's metrics but the times."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("seconds/")} for row in rows]


def same_end(one: Path, other: Path) -> bool:
    weights = [(out / "model" / "model.safetensors").read_bytes() for out in (one, other)]
    return metrics(one) == metrics(other) and weights[0] == weights[1]


def outcomes(split: Split, out: Path) -> list[dict[str, Any]]:
    run = json.loads((out / "run.json").read_text())["id"]
    return [row for row in Store.open(split.ladder).outcomes.table().to_pylist() if row["run"] == run]


def nth(owner: Any, name: str, calls: int, error: type[BaseException], inside: bool = False) -> Any:
    """A function that raises at a call: before it does anything, or when all is done."""
    real: Callable[..., Any] = getattr(owner, name)
    left = [calls]

    def called(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and not inside:
            raise error("here")
        result = real(*args, **more)
        if left[0] == 0:
            raise error("here")
        return result

    return called


@pytest.mark.parametrize("error", [KeyboardInterrupt, LadderError, ZeroDivisionError])
@pytest.mark.parametrize("where", ["supply", "verdicts", "forward"])
def test_what_the_last_finished_step_left_is_saved_and_nothing_of_the_next_one(
    own: Split,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: type[BaseException],
    capsys: pytest.CaptureFixture[str],
) -> None:
    owner, name, calls = {
        "supply": (run_module, "gather", 4),  # all was sampled, and the curriculum has moved
        "verdicts": (Rollouts, "_judged", 2),
        "forward": (loop, "policy_loss", None),
    }[where]
    with monkeypatch.context() as patch:
        if calls is None:  # the first forward of step 4: gradients are there, the weights are as they were
            forwards = count_forwards(patch, own, tmp_path / "counted", steps=3)
            calls = forwards + 1
        patch.setattr(owner, name, nth(owner, name, calls, error, inside=True))
        with pytest.raises(error):
            trained(own, tmp_path / "run")
    at = [int(n) for n in re.findall(r"goes on after step (\d+)\n", capsys.readouterr().err)]
    report = trained(own, tmp_path / "run")
    assert at == [report.resumed_at] == [2 if where == "verdicts" else 3]  # every other step has a surplus
    assert same_end(whole, tmp_path / "run")
    both = [
        {json.dumps(row | {"run": ""}) for row in outcomes(own, out)} for out in (whole, tmp_path / "run")
    ]
    assert both[0] == both[1]


def count_forwards(patch: pytest.MonkeyPatch, split: Split, out: Path, steps: int) -> int:
    """How many forwards so many steps have."""
    real, seen = loop.policy_loss, [0]
    done: list[int] = []

    def counted(*args: Any) -> Any:
        seen[0] += 1
        return real(*args)

    learn = run_module.learn

    def told(*args: Any) -> None:
        learn(*args)
        done.append(seen[0])

    with patch.context() as inner:
        inner.setattr(loop, "policy_loss", counted)
        inner.setattr(run_module, "learn", told)
        trained(split, out)
    return done[steps - 1]


def test_stopped_between_two_updates_a_run_says_that_it_goes_on_from_the_checkpoint_before(
    own: Split,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Optimizer, "step", nth(Optimizer, "step", 7, KeyboardInterrupt, inside=True))
        with pytest.raises(KeyboardInterrupt):
            trained(own, tmp_path / "run", "save.every=2")
    said = capsys.readouterr().err
    assert (
        "stopped after 3 steps, while the weights were changing: the same command goes on after step 2\n"
        in said
    )
    assert trained(own, tmp_path / "run", "save.every=2").resumed_at == 2
    assert same_end(whole, tmp_path / "run")


def test_before_a_step_is_finished_nothing_is_saved_and_the_run_begins_anew(
    own: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_module, "gather", nth(run_module, "gather", 1, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trained(own, tmp_path / "run")
    assert "stopped after 0 steps: the same command begins anew\n" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_stop_while_the_probe_is_measured_costs_no_step_and_the_line_of_the_step_is_whole(
    own: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed = ("eval.every=3", "eval.samples=1", "eval.items_per_tier=1", "eval.at_start=false")
    trained(own, tmp_path / "whole", *probed)
    with monkeypatch.context() as patch:
        patch.setattr(Probe, "measure", nth(Probe, "measure", 1, KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trained(own, tmp_path / "run", *probed)
    assert "probe/all/mean" not in metrics(tmp_path / "run")[-1]
    assert trained(own, tmp_path / "run", *probed).resumed_at == 3
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1, 2, 3, 4]
    assert same_end(tmp_path / "whole", tmp_path / "run")
    best = [(tmp_path / out / "best" / "model.safetensors").read_bytes() for out in ("whole", "run")]
    assert best[0] == best[1]


def test_a_run_that_diverged_keeps_its_last_step_and_the_checkpoints_before_it(
    own: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("batch.responses_per_update=16", "optim.patience=2", "save.every=1", "save.keep=1", "steps=9")
    norms, real = [0], Optimizer._bad

    def bad(self: Optimizer, norm: float) -> str | None:
        norms[0] += 1
        return "not_finite" if norms[0] > 3 else real(self, norm)

    monkeypatch.setattr(Optimizer, "_bad", bad)
    with pytest.raises(LadderError, match="2 updates in a row"):
        trained(own, tmp_path / "run", *more)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000004"]
    monkeypatch.undo()
    assert trained(own, tmp_path / "run", *more).resumed_at == 4


def test_what_a_shortage_had_sampled_goes_to_the_ladder(own: Split, tmp_path: Path) -> None:
    gate = ("curriculum.gate.kind=band", "curriculum.gate.low=0.49", "curriculum.gate.high=0.51")
    with pytest.raises(LadderError, match="draws gave"):
        trained(
            own, tmp_path / "run", *gate, "curriculum.max_draws=1", "curriculum.on_shortage=stop", "steps=40"
        )
    rows = outcomes(own, tmp_path / "run")
    last = max(row["step"] for row in rows)
    assert sum(row["step"] == last for row in rows) >= 1
    assert last > len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())


def test_a_run_that_could_train_on_nothing_fails_and_leaves_no_model(own: Split, tmp_path: Path) -> None:
    use = chosen(own, "response.max_tokens=1000000", "curriculum.max_draws=1000")
    settings = use.settings.model_copy(update={"steps": None, "epochs": 0.2})
    with pytest.raises(
        LadderError, match=r"no step was done, and nothing was learnt: no group of \d+ draws .* empty"
    ):
        train(own, use.model, settings, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_what_never_changes_a_result_may_change_when_a_run_goes_on(
    own: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "gather", nth(run_module, "gather", 3, KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trained(own, tmp_path / "run")
    neutral = (
        "rollout.transformers.slots=64",
        "device=cpu",
        "save.every=1",
        "track.samples_every=1",
        "track.samples=1",
    )
    memory = (
        "gradient_checkpointing=true",
        "batch.tokens_per_micro_batch=8192",
        "batch.layout=packed",
        "batch.attention=dense",
    )
    assert trained(own, tmp_path / "run", *neutral, *memory).resumed_at == 2
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1, 2, 3, 4]
    assert "slots = 64" in (tmp_path / "run" / "train.toml").read_text()


def test_a_run_of_other_settings_says_which_they_are(own: Split, whole: Path) -> None:
    there = chosen(own).settings.optim.learning_rate
    with pytest.raises(
        BadInput, match=f"other settings: optim.learning_rate {there} there, 0.5 here; choose"
    ):
        trained(own, whole, "optim.learning_rate=0.5")
    with pytest.raises(BadInput, match="steps 4 there, 9 here"):
        trained(own, whole, "steps=9")
    with pytest.raises(BadInput, match=r"; and optim.weight_decay; choose another --out"):
        trained(own, whole, "steps=9", "seed=6", "optim.eps=1e-3", "optim.weight_decay=0.5")


def test_the_model_is_known_by_what_it_is_and_not_by_its_path(own: Split, tmp_path: Path) -> None:
    use = chosen(own, "steps=1")
    first = Path(shutil.copytree(resolve_model("digits"), tmp_path / "first"))

    def goes_on(model: Path) -> RunReport:
        named = ModelSettings(**use.model.model_dump() | {"name": str(model)})
        return train(own, named, use.settings, tmp_path / "run")

    assert goes_on(first).resumed_at == 0
    moved = first.rename(tmp_path / "moved")
    assert goes_on(moved).resumed_at == 1
    from safetensors.torch import load_file, save_file

    weights = load_file(moved / "model.safetensors")
    save_file(
        {name: torch.zeros_like(w) for name, w in weights.items()},
        moved / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(BadInput, match=r"other settings: model\.weights"):
        goes_on(moved)


def test_a_run_is_itself_wherever_it_is_and_another_one_in_its_place_is_another(
    own: Split, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trained(own, out, "steps=1")
    first = json.loads((out / "run.json").read_text())["id"]
    moved = out.rename(tmp_path / "moved")
    shutil.rmtree(moved / "checkpoints")
    trained(own, moved, "steps=1")
    assert len(outcomes(own, moved)) == 2 * len({json.dumps(row) for row in outcomes(own, moved)})
    trained(own, out, "steps=1")
    assert json.loads((out / "run.json").read_text())["id"] != first
    assert len(outcomes(own, out)) == len({json.dumps(row) for row in outcomes(own, moved)})


def test_who_does_not_hold_the_directory_claims_nothing(own: Split, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        building(tmp_path / "run", "train"),
        pytest.raises(BadInput, match="is in use by `ladder train`, process"),
    ):
        trained(own, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_the_best_of_steps_that_are_lost_is_not_the_best_of_the_run(
    own: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed = ("eval.every=1", "eval.samples=1", "eval.items_per_tier=1", "save.every=2")
    rates = iter([0.2, 0.3, 0.3, 0.9, 0.1, 0.8])  # at the start and after steps 1 to 3; then 3 and 4 again

    def measured(*_: Any) -> dict[str, float]:
        return {"probe/all/mean": next(rates)}

    monkeypatch.setattr(Probe, "measure", measured)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_checkpoint", nth(run_module, "save_checkpoint", 2, LadderError))
        patch.setattr(run_module, "gather", nth(run_module, "gather", 4, KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trained(own, tmp_path / "run", *probed)
    best = tmp_path / "run" / "best" / "best.json"
    assert json.loads(best.read_text()) == {"done": 1, "value": 0.3}
    assert trained(own, tmp_path / "run", *probed).resumed_at == 2
    assert json.loads(best.read_text()) == {"done": 4, "value": 0.8}
