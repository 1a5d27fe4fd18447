"""Without torchrun there is one process, and it speaks. Two of them: tests/trainer/test_parallel_runs.py."""

import subprocess
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


LEAVES = """
import atexit, sys, threading, time
from ladder import launched

class Torn:
    def __del__(self):
        print("torn down", flush=True)

torn = Torn()
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.3), print("a thread ended"))).start()
print("left")
launched.leave()
"""


@pytest.mark.parametrize("count", [1, 2])
def test_of_several_processes_each_finishes_its_work_and_is_not_torn_down(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": str(count), "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    ended = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, text=True, check=True)
    assert ended.stdout.split("\n")[:3] == ["left", "a thread ended", "at exit"]
    assert ("torn down" in ended.stdout) == (count == 1)
