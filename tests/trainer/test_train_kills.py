"""Training that is killed, told to stop, or refused by its disk goes on exactly, with all that a run can have.

The moments are met by construction: the process kills itself there with SIGKILL (benchmarks/traced_train.py). The long
form, with kills from outside at random moments, is benchmarks/train_kills.py.
"""

import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

from ladder.errors import BadInput, LadderError
from ladder.splits import OnlineSettings, ProbeSettings, SampleSettings, Split, open_split, sample
from ladder.store import Store
from ladder.store.locks import building
from trainer.probe import Probe
from trainer.run import RunReport, train
from trainer.setup import settings_for

sys.path.append(str(ROOT / "benchmarks"))

from killed_builds import Running
from killed_trains import EVERYTHING, Course, exact_metrics, outcome_rows, temporary, unlike, wait_for

STEPS = 4
SETTINGS = (f"steps={STEPS}", *EVERYTHING)


def trained(split: Split, out: Path) -> RunReport:
    """What the command does, in this process."""
    use = settings_for(split, None, None, [*SETTINGS, "seed=5"])
    return train(split, use.model, use.settings, out)


@pytest.fixture(scope="module")
def own(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A split of a ladder of our own, because runs write to it."""
    ladder = Path(shutil.copytree(split.ladder, tmp_path_factory.mktemp("own") / "ladder"))
    return open_split(ladder / "splits" / split.path.name)


@pytest.fixture(scope="module")
def course(own: Split, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """Where runs are made."""
    return Course(tmp_path_factory.mktemp("runs"), own.path, SETTINGS)


@pytest.fixture(scope="module")
def whole(own: Split, course: Course) -> Path:
    """A run that nobody disturbed; not to be changed."""
    trained(own, course.root / "whole")
    return course.root / "whole"


@pytest.fixture
def late(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run as it would be, had it been killed while it saved its model."""
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(out / "model")
    return out


def after(calls: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """The probe's measurement, so many times; then something else."""
    real, left = Probe.measure, [calls]

    def measure(*args: Any) -> Any:
        left[0] -= 1
        return real(*args) if left[0] >= 0 else then(*args)

    return measure


def latest(out: Path) -> Path:
    return sorted((out / "checkpoints").iterdir())[-1]


def steps_logged(out: Path) -> list[int]:
    return [row["step"] for row in exact_metrics(out)]


def test_the_run_has_all_that_there_is_to_resume(whole: Path) -> None:
    first, *_, last = exact_metrics(whole)[1:]
    assert last["curriculum/refused_solved"] + last["curriculum/refused_unsolved"] > 0
    assert last["curriculum/replayed"] > 0
    assert first["kl_weight"] != last["kl_weight"]
    assert exact_metrics(whole)[2]["curriculum/surplus"] > 0  # where the killed ones go on
    assert (whole / "best").is_dir()
    assert list(whole.glob("samples/*.parquet"))


def test_killed_while_it_samples_learns_and_saves_a_run_ends_as_one_that_was_not(
    course: Course, own: Split, whole: Path
) -> None:
    name, out = "killed", course.root / "killed"
    left = course.kill(name, "step:2,decode:5").left()
    assert steps_logged(out) == [0, 1]
    left += course.kill(name, "step:4,backward:2").left()  # of the second update: each is one forward here
    assert steps_logged(out)[-1] == 3
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000002"]
    left += course.kill(name, "torn:1").left()
    assert steps_logged(out)[-1] == 4
    assert temporary(out)
    course.finish(name)
    assert left == []
    assert unlike(whole, out, own.ladder) == []

    counts = outcome_rows(own.ladder, out)
    assert max(counts.values()) > 1  # a step that is done again writes its outcomes again, which count once
    run = next(row["run"] for row in Store.open(own.ladder).outcomes.table().to_pylist()[::-1])
    settings = SampleSettings(difficulty="online", online=OnlineSettings(run=run))
    drawn = sample(Store.open(own.ladder), settings, "online")
    assert drawn.facts["online"]["groups"] == len(counts)


def ended(run: Running) -> str:
    """The one line in which a run says that it was stopped."""
    assert run.end() == 1, run.said
    assert "Traceback" not in run.said
    assert run.left() == []
    return run.said.splitlines()[-1]


def test_told_to_stop_a_run_ends_at_once_and_goes_on_exactly(course: Course, own: Split, whole: Path) -> None:
    name, out = "stopped", course.root / "stopped"
    for sign, group, step in ((signal.SIGTERM, False, 1), (signal.SIGINT, True, 3)):
        run = course.start(name)
        wait_for(run, lambda step=step: (out / "metrics.jsonl").is_file() and step in steps_logged(out))  # type: ignore[misc]
        run.send(sign, group)
        assert "the same command goes on" in ended(run)
        (at,) = re.findall(r"stopped after (\d+) steps: the same command goes on after step \1\n", run.said)
        assert int(at) in (
            steps_logged(out)[-1],
            steps_logged(out)[-1] - 1,
        )  # not where a step was only just told
        assert temporary(out) == []
    assert trained(own, out).resumed_at == int(at)
    assert unlike(whole, out, own.ladder) == []


def test_a_run_that_was_killed_while_it_made_its_directory_starts_by_the_same_command(
    own: Split, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.1.tmp").write_text("{")
    trained(own, tmp_path / "run")
    assert unlike(whole, tmp_path / "run", own.ladder) == []
    (tmp_path / "run" / "train.toml").unlink()
    trained(own, tmp_path / "run")
    assert (tmp_path / "run" / "train.toml").is_file()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


TORN: dict[str, Callable[[Path], object]] = {
    "a truncated file": lambda path: _cut(path / "model.safetensors"),
    "a missing file": lambda path: (path / "optimizer.pt").unlink(),
    "no list of its files": lambda path: (path / "files.json").unlink(),
    "an empty directory": lambda path: [file.unlink() for file in path.iterdir()],
}


@pytest.mark.parametrize("how", TORN)
def test_a_torn_checkpoint_is_told_and_passed_over(
    own: Split, whole: Path, late: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = latest(late)
    TORN[how](torn)
    with (late / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "corr')
    assert trained(own, late).resumed_at == STEPS - 2
    said = capsys.readouterr().err
    assert f"{torn} is torn: it is passed over" in said
    assert "1 torn line(s)" in said
    assert unlike(whole, late, own.ladder) == []


def test_a_checkpoint_that_was_changed_stops_the_run(own: Split, late: Path) -> None:
    file = latest(late) / "optimizer.pt"
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(LadderError, match=r"cannot go on from the checkpoint .*step-000004: .*; remove it"):
        trained(own, late)


def test_a_finished_run_has_nothing_left_to_do(own: Split, whole: Path, late: Path) -> None:
    report = trained(own, late)
    assert (report.resumed_at, report.steps) == (STEPS, STEPS)
    assert report.metrics["correct"] == exact_metrics(whole)[-1]["correct"]
    assert unlike(whole, late, own.ladder) == []


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_run_of_epochs_that_is_stopped_at_its_last_measurement_has_it_once(
    own: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    use = settings_for(
        own, None, None, [*EVERYTHING, "seed=5", "epochs=0.4", "save.every=1", "eval.every=100"]
    )
    values = use.settings.model_copy(update={"steps": None})

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    if interrupted:
        with monkeypatch.context() as patch:
            patch.setattr(Probe, "measure", after(1, stop))
            with pytest.raises(KeyboardInterrupt):
                train(own, use.model, values, tmp_path / "run")
    report = train(own, use.model, values, tmp_path / "run")
    assert report.resumed_at == (report.steps if interrupted else 0)
    assert steps_logged(tmp_path / "run") == [*range(report.steps + 1)]
    last = exact_metrics(tmp_path / "run")[-1]
    assert {"correct", "probe/all/mean"} <= last.keys()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("*")}
    again = train(own, use.model, values, tmp_path / "run")
    assert again.metrics["probe/all/mean"] == last["probe/all/mean"]
    assert exact_metrics(tmp_path / "run")[-1] == last
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("*")}


def test_a_split_that_changed_is_another_run(own: Split, late: Path) -> None:
    other = sample(Store.open(own.ladder), SampleSettings(probe=ProbeSettings(per_tier=3)), "other")
    with pytest.raises(BadInput, match="other settings"):
        trained(other, late)


def test_two_processes_never_share_a_run(own: Split, late: Path) -> None:
    with building(late, "train"), pytest.raises(BadInput, match="by `ladder train`, process"):
        trained(own, late)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """This process cannot make larger files: what a full disk says, it says too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("refused", "size"),
    [("metrics.jsonl", 5 << 10), ("model", 1 << 20), ("step-000004", 1 << 20), ("step-000004", 8 << 20)],
    ids=["metrics", "the model", "the weights", "the moments"],
)
def test_where_the_disk_refuses_nothing_is_torn_and_with_room_the_run_goes_on(
    own: Split, whole: Path, late: Path, refused: str, size: int
) -> None:
    if refused != "model":
        shutil.rmtree(latest(late))
    before = {path: path.stat().st_mtime_ns for path in (late / "checkpoints").rglob("*")}
    with files_of_at_most(size), pytest.raises(LadderError, match=f"cannot write .*{refused}.*: .") as told:
        trained(own, late)
    assert "\n" not in str(told.value)
    assert temporary(late) == []
    assert before == {path: path.stat().st_mtime_ns for path in (late / "checkpoints").rglob("*")}
    trained(own, late)
    assert unlike(whole, late, own.ladder) == []
