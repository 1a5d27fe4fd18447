"""Without torchrun there is one process, and it speaks. Two of them: tests/trainer/test_parallel_runs.py."""

import sys

import pytest

from ladder import launched


def test_without_torchrun_a_process_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")  # another launcher's, of which nothing is known
    monkeypatch.setenv("RANK", "3")
    assert (launched.count(), launched.index()) == (1, 0)
    assert launched.first_to_fail()
    launched.done("nobody waits for it")


def test_without_torchrun_what_is_said_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), launched.one_voice():
        print("out")
        print("err", file=sys.stderr)
        raise ZeroDivisionError
    assert capsys.readouterr() == ("out\n", "err\n")


def test_of_several_processes_the_first_alone_is_heard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with launched.one_voice():
            print(f"out {rank}")
            print(f"err {rank}", file=sys.stderr)
    assert capsys.readouterr() == ("out 0\n", "err 0\n")
