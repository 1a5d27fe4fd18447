"""The pool under load, hangs, kills and signals: real processes, judged by verdicts and not by the clock."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ladder.errors import LadderError
from ladder.records import AnswerType, Item, Outcome, Verdict
from ladder.verify import verify
from ladder.verify.pool import WORKER_MEMORY, VerifierPool

TOWER = "9^{9^{9^9}}"
ROOT = Path(__file__).parents[2]


def make(gold: str, answer_type: AnswerType = AnswerType.EXPRESSION) -> Item:
    return Item("id", "q", (), (), gold, answer_type, "s", "1")


CASES = [
    ("<answer>2\\sqrt{3}</answer>", make("\\sqrt{12}")),
    ("<answer>\\sqrt{13}</answer>", make("\\sqrt{12}")),
    ("so \\boxed{(2,1)}", make("(1,2)")),
    ("<answer></answer>", make("\\pi")),
    ("<answer>x</answer>", make("\\frac{")),
    ("<answer>1</answer><answer>2</answer>", make("\\pi")),
    ("<answer>5</answer>", make("5", AnswerType.INTEGER)),
    ("<answer>red</answer>", make("blue", AnswerType.WORD)),
    ("<answer>" + "x" * 5000 + "</answer>", make("\\pi")),
    ("<answer>x</answer>", make("x" * 5000)),
]


def wait_until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.02)
    assert condition()  # type: ignore[operator]


def workers() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if "ladder.verify.worker" in " ".join(child.cmdline())
    ]


def judge_all(order: list[int], size: int) -> dict[int, Verdict]:
    with VerifierPool(size, deadline=20) as pool:
        for i in order:
            pool.submit(i, *CASES[i])
        assert pool.pending == len(order)
        verdicts = dict(pool.completed(block=True))
        assert pool.pending == 0
    return verdicts


def test_verdicts_do_not_depend_on_order_or_on_workers() -> None:
    expected = {i: verify(*case) for i, case in enumerate(CASES)}
    order = list(range(len(CASES)))
    assert judge_all(order, 1) == expected
    random.Random(0).shuffle(order)
    assert judge_all(order + order, 2) == expected


def test_cheap_cases_start_no_process() -> None:
    with VerifierPool() as pool:
        pool.submit("a", "<answer>5</answer>", make("5", AnswerType.INTEGER))
        assert [(tag, v.outcome) for tag, v in pool.completed()] == [("a", Outcome.CORRECT)]
        assert not workers()


def test_a_hung_case_times_out_while_others_flow() -> None:
    with VerifierPool(2, deadline=1.0) as pool:
        pool.submit("hung", "<answer>10</answer>", make(TOWER))
        for i in range(20):
            pool.submit(i, f"<answer>{i}+\\sqrt{{4}}</answer>", make(f"\\sqrt{{4}}+{i}"))
        verdicts = dict(pool.completed(block=True))
        assert pool.timeouts == 1
    assert verdicts.pop("hung") == Verdict(Outcome.TIMEOUT, "10", "deadline")
    assert {verdict.outcome for verdict in verdicts.values()} == {Outcome.CORRECT}


def test_a_single_worker_recovers_from_hang_after_hang() -> None:
    with VerifierPool(1, deadline=0.5) as pool:
        for i in range(2):
            pool.submit(f"hung {i}", "<answer>10</answer>", make(TOWER))
            pool.submit(i, *CASES[0])
        verdicts = dict(pool.completed(block=True))
        assert pool.timeouts == 2
    assert [verdicts[i].outcome for i in range(2)] == [Outcome.CORRECT] * 2


def test_a_worker_that_is_stopped_is_killed_from_outside() -> None:
    with VerifierPool(1, deadline=0.5) as pool:
        pool.submit("warm", *CASES[0])
        list(pool.completed(block=True))
        stopped = workers()
        for worker in stopped:
            worker.suspend()
        pool.submit("stuck", *CASES[0])
        assert [v.reason for _, v in pool.completed(block=True)] == ["deadline"]
        for worker in stopped:
            if worker.is_running():
                worker.resume()
        pool.submit("next", *CASES[0])
        assert [v.outcome for _, v in pool.completed(block=True)] == [Outcome.CORRECT]


def test_a_worker_killed_by_others_is_a_missing_verdict_and_is_replaced() -> None:
    with VerifierPool(1, deadline=60) as pool:
        pool.submit("warm", *CASES[0])
        list(pool.completed(block=True))  # a worker is up, and has the next case as soon as it is submitted
        pool.submit("lost", "<answer>10</answer>", make(TOWER))
        for worker in workers():
            worker.kill()
        pool.submit("next", *CASES[0])
        verdicts = dict(pool.completed(block=True))
    assert verdicts["lost"] == Verdict(Outcome.TIMEOUT, "10", "crash")
    assert verdicts["next"].outcome is Outcome.CORRECT


def test_workers_leave_ctrl_c_to_the_parent() -> None:
    with VerifierPool(1, deadline=20) as pool:
        pool.submit("warm", *CASES[0])
        list(pool.completed(block=True))
        before = {worker.pid for worker in workers() if worker.cpu_times().user > 0.2}
        for pid in before:
            os.kill(pid, signal.SIGINT)
        pool.submit("next", *CASES[0])
        assert [v.outcome for _, v in pool.completed(block=True)] == [Outcome.CORRECT]
        assert all(os.getpgid(worker.pid) != os.getpgid(0) for worker in workers())


def test_it_works_from_a_thread() -> None:
    verdicts: dict[int, Verdict] = {}
    thread = threading.Thread(target=lambda: verdicts.update(judge_all([0, 1, 6], 1)))
    thread.start()
    thread.join()
    assert [verdicts[i].outcome for i in (0, 1, 6)] == [Outcome.CORRECT, Outcome.WRONG, Outcome.CORRECT]


def test_cases_may_be_submitted_while_verdicts_are_read() -> None:
    with VerifierPool(1, deadline=20) as pool:
        pool.submit(0, *CASES[0])
        seen = []
        for tag, _ in pool.completed(block=True):
            seen.append(tag)
            if tag < 5:
                pool.submit(tag + 1, *CASES[(tag + 1) % 2])
    assert seen == list(range(6))


def test_reading_without_blocking_gives_what_is_ready_and_keeps_the_rest() -> None:
    with VerifierPool(1, deadline=60) as pool:
        pool.submit("hung", "<answer>10</answer>", make(TOWER))
        pool.submit("cheap", "<answer>5</answer>", make("5", AnswerType.INTEGER))
        assert [tag for tag, _ in pool.completed()] == ["cheap"]
        assert pool.pending == 1


def test_the_memory_of_a_worker_is_limited() -> None:
    with VerifierPool(1, deadline=20) as pool:
        pool.submit("warm", *CASES[0])
        list(pool.completed(block=True))
        limits = [worker.rlimit(psutil.RLIMIT_AS) for worker in workers()]
    assert (WORKER_MEMORY, WORKER_MEMORY) in limits


def test_closing_ends_the_workers() -> None:
    with VerifierPool(2) as pool:
        pool.submit("hung", "<answer>10</answer>", make(TOWER))
        assert workers()
    assert not workers()


@pytest.mark.parametrize("busy", [False, True])
def test_workers_die_with_a_parent_that_is_killed(busy: bool) -> None:
    script = f"""
import sys, time
from ladder.verify.pool import VerifierPool
sys.path.append({str(Path(__file__).parent)!r})
from test_verify_pool import CASES, make, workers
pool = VerifierPool(1, deadline=2.0)
pool.submit("warm", *CASES[0])
list(pool.completed(block=True))
if {busy}:
    pool.submit("hung", "<answer>10</answer>", make({TOWER!r}))
print(*[worker.pid for worker in workers()], flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert pids
    wait_until(lambda: not any(psutil.pid_exists(pid) and _is_worker(pid) for pid in pids))


def _is_worker(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_that_cannot_start_are_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with VerifierPool() as pool, pytest.raises(LadderError, match="do not start"):
        pool.submit("a", *CASES[0])
        list(pool.completed(block=True))
