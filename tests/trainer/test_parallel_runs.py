"""Two processes train as one does: the same metrics, also after one was killed, and whichever way their number changes.

The processes are real ones that torchrun starts, over gloo. A third of the items have no image, so that in some forwards
one process sees none; rows are unequal, and the embedded policy's embeddings are tied.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

from ladder.build import build
from ladder.config import load, shipped
from ladder.pools.digits import write_pool
from ladder.settings import BuildSettings
from ladder.splits import ProbeSettings, SampleSettings, Split, sample
from ladder.store import Store
from trainer.run import train
from trainer.setup import settings_for

COMMON = (
    "seed=5",
    "batch.prompts=4",
    "batch.group=4",
    "response.max_tokens=24",
    "batch.tokens_per_micro_batch=150",
    'kl.weight={kind="adaptive", value=0.01, target=0.001, horizon=100}',
)
#: Several updates a step, the policy's own log-probs as the old ones, refills, a surplus, and a probe.
EVERYTHING = (
    *COMMON,
    "steps=5",
    "save.every=2",
    "batch.responses_per_update=8",
    "loss.old=policy",
    "curriculum.gate.kind=signal",
    "curriculum.oversample=2",
    "curriculum.max_draws=30",
    "eval.every=3",
    "eval.samples=2",
    "eval.items_per_tier=1",
)
#: A group an update: one process has none.
FROZEN = (
    *COMMON,
    "curriculum.gate.kind=signal",
    "curriculum.max_draws=30",
    "steps=5",
    "save.every=10",
    "gradient_checkpointing=true",
    'freeze=["vision"]',
    "batch.responses_per_update=4",
)
#: Adapters beside a part that learns as a whole, and rollouts beside the training.
ADAPTED = (
    *COMMON,
    "curriculum.gate.kind=signal",
    "curriculum.max_draws=30",
    "steps=5",
    "save.every=2",
    "adapter.kind=lora",
    "adapter.rank=4",
    'adapter.train=["model.visual.merger.*"]',
    "rollout.staleness=1",
)

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A split of which a third of the items have no image."""
    root = tmp_path_factory.mktemp("mixed")
    write_pool(root / "pool", items=66, probe_items=22, seed=0)
    rows = [json.loads(line) for line in (root / "pool" / "rows.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows[:66]):
        if number % 3 == 0:
            value = 10 ** (number % 7) + number
            row |= {"image": None, "question": f"How many digits does {value} have?", "options": []}
            row["answer"] = str(len(str(value)))
    (root / "pool" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [f'pool.root="{root / "pool"}"', "sampling.k=4"]
    build(load(BuildSettings, shipped("pipelines", "digits"), overrides), root / "ladder")
    return sample(Store.open(root / "ladder"), SampleSettings(probe=ProbeSettings(per_tier=4)), "mixed")


@pytest.fixture(scope="module")
def runs(mixed: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process, and of two, that nobody disturbed; not to be changed."""
    root = tmp_path_factory.mktemp("runs")
    wanted = {"everything": EVERYTHING, "frozen": FROZEN, "adapted": ADAPTED}
    for name, settings in wanted.items():
        alone(mixed, root / f"{name}-1", settings)
    launch(root, mixed, {f"{name}-2": settings for name, settings in wanted.items()}, gradients=True)
    return root


def alone(split: Split, out: Path, settings: tuple[str, ...]) -> int:
    """Train in this process; the step that it went on from."""
    use = settings_for(split, None, None, settings)
    return train(split, use.model, use.settings, out).resumed_at


def launch(
    root: Path,
    split: Split,
    wanted: dict[str, tuple[str, ...]],
    kill: str = "",
    gradients: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Train in two processes, run after run; one of them may be killed. `gradients` checks those of tiny models too."""
    asked = root / "asked.json"
    runs = [[str(split.path), str(root / name), list(settings)] for name, settings in wanted.items()]
    asked.write_text(json.dumps({"runs": runs, "kill": kill, "gradients": gradients}))
    script = str(ROOT / "tests" / "trainer" / "ranks_main.py")
    ended = subprocess.run([*TORCHRUN, script, str(asked)], capture_output=True, text=True, timeout=240)
    assert bool(ended.returncode) == bool(kill), ended.stderr
    return ended


def metrics(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("seconds/")} for row in rows]


def assert_alike(one: Path, other: Path) -> None:
    rows, others = metrics(one), metrics(other)
    assert len(rows) == len(others) >= 5
    for row, theirs in zip(rows, others, strict=True):
        assert theirs == pytest.approx(row, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("name", ["everything", "frozen", "adapted"])
def test_two_processes_have_the_metrics_of_one(runs: Path, name: str) -> None:
    assert_alike(runs / f"{name}-1", runs / f"{name}-2")
    last = metrics(runs / f"{name}-1")[-1]
    assert last["kl"] > 0
    assert last["grad_norm"] > 0
    if name == "everything":
        assert any(row["curriculum/surplus"] for row in metrics(runs / "everything-1")[1:])
        assert "probe/all/mean" in last


def test_one_process_writes_and_what_it_writes_is_a_model(runs: Path) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    def names(out: Path) -> set[str]:
        return {str(path.relative_to(out)) for path in out.rglob("*") if "checkpoints" not in path.parts}

    assert names(runs / "everything-2") == names(runs / "everything-1")
    one, two = (
        AutoModelForImageTextToText.from_pretrained(runs / name / "model", dtype=torch.float32)
        for name in ("everything-1", "everything-2")
    )
    assert two.lm_head.weight is two.get_input_embeddings().weight
    for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_a_run_goes_on_exactly_when_one_of_its_processes_was_killed_and_with_more_or_fewer_of_them(
    runs: Path, mixed: Split, tmp_path: Path
) -> None:
    ended = launch(tmp_path, mixed, {"killed": EVERYTHING}, kill="step:4,backward:2")
    assert str(-signal.SIGKILL) in codes(ended.stderr)
    assert len(told(ended.stderr)) == 1, ended.stderr
    assert "another process of this run ended" in told(ended.stderr)[0]
    assert ended.stderr.count("Traceback") == 1, ended.stderr  # torchrun's own
    killed = tmp_path / "killed"
    assert [path.name for path in sorted((killed / "checkpoints").iterdir())] == ["step-000002"]
    shutil.copytree(killed, tmp_path / "fewer")
    shutil.copytree(runs / "everything-1", tmp_path / "more")
    shutil.rmtree(tmp_path / "more" / "checkpoints" / "step-000005")

    launch(tmp_path, mixed, {"killed": EVERYTHING, "more": EVERYTHING})
    assert alone(mixed, tmp_path / "fewer", EVERYTHING) == 2
    for name in ("killed", "fewer", "more"):
        assert_alike(runs / "everything-1", tmp_path / name)
    assert metrics(killed)[1:3] == metrics(runs / "everything-2")[1:3]


def command(split: Split, out: Path, *settings: str) -> list[str]:
    sets = [word for setting in settings for word in ("--set", setting)]
    return [*TORCHRUN, "-m", "ladder.cli", "train", str(split.path), "--out", str(out), *sets]


def told(said: str) -> list[str]:
    """What the command says of its end."""
    return [line for line in said.splitlines() if line.startswith("ladder: ")]


def test_told_to_stop_all_processes_stop_after_the_same_step_and_save_it(
    mixed: Split, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    asked = command(mixed, out, *EVERYTHING, "steps=1000", "save.every=1000")
    with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        end = time.monotonic() + 240
        while not (out / "metrics.jsonl").is_file() or len(metrics(out)) < 3:
            assert run.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=120)[1]
    assert run.returncode == 1
    ((done, at),) = re.findall(
        r"stopped after (\d+) steps: the same command goes on after step (\d+)\n", said
    )
    assert done == at
    assert [path.name for path in (out / "checkpoints").iterdir()] == [f"step-{int(at):06d}"]
    assert told(said) == ["ladder: stopped; the same command goes on from what is stored"]


def test_bad_input_that_all_processes_meet_is_told_once(mixed: Split, tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    ended = subprocess.run(command(mixed, tmp_path), capture_output=True, text=True, timeout=240)
    assert told(ended.stderr) == [f"ladder: {tmp_path} is not empty and holds no run; choose another --out"]
    assert codes(ended.stderr).count("2") >= 1
    assert ended.stdout == ""


def codes(said: str) -> list[str]:
    """The exit codes that torchrun tells."""
    return re.findall(r"exitcode\s*: (-?\d+)", said)
