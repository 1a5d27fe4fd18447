"""What the process promises of signals, in processes of their own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ladder.runtime import finishing, terminable

# On one thread, because DuckDB waits for those that are not the caller's before it ends an interrupted query.
QUERY = """
import duckdb
from ladder.runtime import terminable
connection = duckdb.connect(config={"threads": 1})
try:
    with terminable():
        print("asking", flush=True)
        connection.execute("SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b").fetchall()
except BaseException as error:
    print(type(error).__name__)
"""
ITS_OWN = """
from ladder.runtime import terminable
try:
    with terminable():
        raise RuntimeError("this was interrupted")
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_query_that_is_told_to_stop_ends_as_an_interrupt(sign: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", QUERY], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)  # it is at work by now
        process.send_signal(sign)
        out, _ = process.communicate(timeout=180)
    finally:
        process.kill()
    assert out == "KeyboardInterrupt\n"


def test_an_error_that_no_signal_made_stays_what_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", ITS_OWN], capture_output=True, text=True, check=True)
    assert done.stdout == "this was interrupted\n"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_what_is_short_is_finished_before_a_signal_is_heard(sign: signal.Signals) -> None:
    handler, done = signal.getsignal(sign), []
    with pytest.raises(KeyboardInterrupt), terminable():
        with finishing(60.0):
            for _ in range(3):
                os.kill(os.getpid(), sign)
                done.append(sign)
        done.append(None)
    assert done == [sign] * 3
    assert signal.getsignal(sign) is handler


def test_what_takes_longer_is_cut() -> None:
    with pytest.raises(KeyboardInterrupt), terminable(), finishing(0.05):
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            time.sleep(0.01)


def test_without_a_signal_finishing_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), finishing(0.01):
        raise ZeroDivisionError
    with finishing(0.01):
        time.sleep(0.05)
    assert signal.getsignal(signal.SIGTERM) is before
