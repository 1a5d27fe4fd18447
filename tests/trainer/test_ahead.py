"""Sampling beside training: the next step's groups are a step older than the weights, and nothing else changes."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from test_run_goes_on import chosen, metrics, own, same_end, trained

from ladder.splits import Split
from trainer import loop
from trainer import run as run_module
from trainer.ahead import beside
from trainer.rollout import Rollouts

__all__ = ["own"]  # a fixture
AHEAD = ("rollout.staleness=1", "curriculum.oversample=1", "rollout.transformers.slots=32")


def test_work_beside_a_block_is_waited_for() -> None:
    done = []

    def work() -> None:
        time.sleep(0.05)
        done.append(threading.current_thread().name)

    with beside(work):
        assert not done
    assert done == ["rollouts"]


def test_what_the_work_raises_is_raised_at_the_end_of_the_block() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    reached = []
    with pytest.raises(ZeroDivisionError), beside(fail):
        reached.append(True)
    assert reached


def test_a_block_that_fails_does_not_wait() -> None:
    never = threading.Event()
    with pytest.raises(KeyboardInterrupt), beside(never.wait):
        raise KeyboardInterrupt
    never.set()


def test_groups_are_one_step_old_from_the_second_step_on(own: Split, tmp_path: Path) -> None:
    trained(own, tmp_path / "ahead", *AHEAD)
    rows = metrics(tmp_path / "ahead")
    per_step = 4 * 4 // 8
    assert [row["staleness"] for row in rows] == [0, *[per_step] * (len(rows) - 1)]
    assert rows[0]["mismatch/mean"] < 1e-4, "the engine's copy has the policy's weights"
    assert "mismatch/mean" not in rows[1], "nothing that these weights sampled"
    trained(own, tmp_path / "plain", AHEAD[1])
    first = metrics(tmp_path / "plain")[0]
    assert first["loss"] == pytest.approx(rows[0]["loss"], abs=1e-6)


def test_sampling_goes_on_while_a_step_is_learnt_from(
    own: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampled, met = threading.Event(), []
    groups, learn = Rollouts.groups, run_module.learn

    def noted(self: Any, *args: Any) -> Any:
        made = groups(self, *args)
        if threading.current_thread() is not threading.main_thread():
            sampled.set()
        return made

    def waiting(*args: Any) -> None:
        learn(*args)
        if not met:  # beside the last step nothing is sampled
            met.append(sampled.wait(60))  # what is awaited can come only while this step is not over
        sampled.clear()

    monkeypatch.setattr(Rollouts, "groups", noted)
    monkeypatch.setattr(run_module, "learn", waiting)
    trained(own, tmp_path / "run", *AHEAD, "steps=2")
    assert met == [True]


def test_a_run_that_samples_ahead_goes_on_exactly(
    own: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained(own, tmp_path / "whole", *AHEAD)
    calls = []
    forward = loop.policy_loss

    def stop(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return forward(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "policy_loss", stop)
        with pytest.raises(KeyboardInterrupt):
            trained(own, tmp_path / "run", *AHEAD)
    report = trained(own, tmp_path / "run", *AHEAD)
    assert 0 < report.resumed_at < 4
    assert same_end(tmp_path / "whole", tmp_path / "run")


def test_an_engine_that_runs_ahead_has_weights_of_its_own(own: Split) -> None:
    assert chosen(own).settings.rollout.in_place
    assert not chosen(own, *AHEAD).settings.rollout.in_place
