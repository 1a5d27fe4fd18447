"""The pool under load, hangs, kills and signals: real processes, judged by verdicts and not by the clock."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import HANGING

from ladder.errors import LadderError
from ladder.records import AnswerType, Item, Outcome, Verdict
from ladder.verify import Policy, verify
from ladder.verify.pool import WORKER_MEMORY, VerifierPool

PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
HUNG = "<answer>10</answer>"
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("hanging")


def make(gold: str, answer_type: AnswerType = AnswerType.EXPRESSION) -> Item:
    return Item("id", "q", (), (), gold, answer_type, "s", "1")


Case = tuple[str, Item]

RIGHT: Case = ("<answer>2\\sqrt{3}</answer>", make("\\sqrt{12}"))
QUICK: Case = ("<answer>5</answer>", make("5", AnswerType.INTEGER))
CASES: list[Case] = [
    RIGHT,
    ("<answer>\\sqrt{13}</answer>", make("\\sqrt{12}")),
    ("so \\boxed{(2,1)}", make("(1,2)")),
    ("<answer></answer>", make("\\pi")),
    ("<answer>x</answer>", make("\\frac{")),
    ("<answer>1</answer><answer>2</answer>", make("\\pi")),
    QUICK,
    ("<answer>6</answer>", make("5", AnswerType.INTEGER)),
    ("<answer>" + "x" * 5000 + "</answer>", make("\\pi")),
    ("<answer>x</answer>", make("x" * 5000)),
    ("<answer>\ud800\x00</answer>", make("\\pi")),
]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def workers() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if "ladder.verify.worker" in " ".join(child.cmdline())
    ]


def warm(pool: VerifierPool) -> VerifierPool:
    """With the worker and its spare up and idle."""
    assert pool.verify(*RIGHT).outcome is Outcome.CORRECT
    assert pool._dispatcher is not None
    its = pool._dispatcher._workers
    wait_until(lambda: [worker.ready for worker in its] == [True, True])
    return pool


def busy(pool: VerifierPool) -> psutil.Process:
    """The one worker of the pool that has cases."""
    assert pool._dispatcher is not None
    (worker,) = (worker for worker in pool._dispatcher._workers if worker.cases)
    return psutil.Process(worker.process.pid)


def some(n: int, start: int = 0) -> list[Case]:
    """Cases that only symbolic work decides, each with a gold of its own: right and wrong by turns."""
    return [
        (f"<answer>{i}+\\sqrt{{{4 if i % 2 else 9}}}</answer>", make(f"\\sqrt{{4}}+{i}"))
        for i in range(start, start + n)
    ]


def are_right(verdicts: dict[int, Verdict]) -> bool:
    return all((verdict.outcome is Outcome.CORRECT) == bool(i % 2) for i, verdict in verdicts.items())


# --- verdicts do not depend on how they were come by ------------------------------------------------------------

HOSTILE: list[Case] = [(HUNG, make(HANGING)), ("<answer>7</answer>", make(HANGING))]
MIXED = [*CASES, *some(55), *HOSTILE, *some(40), *CASES, *some(30)]


def judge_all(cases: list[Case], order: list[int], size: int, **settings: Any) -> dict[int, Verdict]:
    with VerifierPool(size, **settings) as pool:
        for i in order:
            pool.submit(i, *cases[i])
        verdicts = dict(pool.completed(block=True))
        assert pool.pending == 0
    return verdicts


@cache
def expected() -> list[Verdict | None]:
    return [None if case in HOSTILE else verify(*case) for case in MIXED]


@pytest.mark.parametrize(("size", "window"), [(1, 1), (1, 16), (3, 1), (3, 16)])
def test_a_verdict_depends_on_no_order_batch_or_number_of_workers(size: int, window: int) -> None:
    order = list(range(len(MIXED)))
    random.Random(size + window).shuffle(order)
    verdicts = judge_all(MIXED, order, size, window=window, deadline=3.0)
    for i, verdict in enumerate(expected()):
        if verdict is None:
            assert (verdicts[i].outcome, verdicts[i].reason) == (Outcome.TIMEOUT, "deadline")
        else:
            assert verdicts[i] == verdict, MIXED[i]


def test_a_gold_that_cannot_be_parsed_is_told_from_memory_and_equal_cases_are_judged_once() -> None:
    broken = make("\\frac{")
    with VerifierPool(1, deadline=20) as pool:
        first = pool.verify("<answer>x</answer>", broken)
        again = pool.verify("<answer>other</answer>", broken)
        same = [pool.verify(*RIGHT) for _ in range(3)]
        assert pool.counts["sent"] == 2
    assert (first.outcome, again.outcome) == (Outcome.UNVERIFIABLE, Outcome.UNVERIFIABLE)
    assert (again.extracted, again.reason) == ("other", first.reason)
    assert first == verify("<answer>x</answer>", broken)
    assert same == [verify(*RIGHT)] * 3


def test_equal_cases_in_flight_share_a_verdict_and_a_timeout_is_sought_again() -> None:
    with VerifierPool(1, deadline=0.5) as pool:
        futures = [pool.future(HUNG, make(HANGING)) for _ in range(5)]
        assert {f.result() for f in futures} == {Verdict(Outcome.TIMEOUT, "10", "deadline")}
        assert (pool.counts["sent"], pool.counts["shared"], pool.timeouts) == (1, 4, 1)
        pool.verify(HUNG, make(HANGING))
        assert (pool.counts["sent"], pool.timeouts) == (2, 2)


def test_the_policy_holds_in_the_pool_and_in_its_workers() -> None:
    for response in ("so \\boxed{2\\sqrt{3}}", "<answer>2\\sqrt{3}</answer>"):
        policy = Policy(format="strict")
        with VerifierPool(1, 20, policy) as pool:
            assert pool.verify(response, RIGHT[1]) == verify(response, RIGHT[1], policy)


# --- from anywhere ----------------------------------------------------------------------------------------------


def test_cheap_cases_start_no_process() -> None:
    threads = threading.active_count()
    with VerifierPool() as pool:
        pool.submit("a", *QUICK)
        assert [(tag, v.outcome) for tag, v in pool.completed()] == [("a", Outcome.CORRECT)]
        assert pool.verify(*QUICK).outcome is Outcome.CORRECT
        assert not workers()
        assert threading.active_count() == threads
        assert pool.counts | {"submitted": 2, "quick": 2, "sent": 0} == pool.counts


def test_many_threads_may_ask_at_once() -> None:
    found: dict[int, Verdict] = {}
    with VerifierPool(2, deadline=20) as pool:

        def ask(k: int) -> None:
            cases = some(30, 30 * (k // 2))  # two threads ask the same
            futures = [pool.future(*case) for case in cases[:15]]
            found.update({1000 * k + i: f.result() for i, f in enumerate(futures)})
            found.update({1000 * k + 15 + i: pool.verify(*case) for i, case in enumerate(cases[15:])})

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8 * 30
    assert are_right(found)


def test_threads_may_submit_and_read_one_stream() -> None:
    with VerifierPool(2, deadline=20) as pool:

        def submit(k: int) -> None:
            for i, case in enumerate(some(10, 10 * k)):
                pool.submit(10 * k + i, *case)

        def read(into: dict[int, Verdict]) -> None:
            for tag, verdict in pool.completed(block=True):
                assert tag not in into
                into[tag] = verdict

        submitting = [threading.Thread(target=submit, args=(k,)) for k in range(4)]
        for thread in submitting:
            thread.start()
        for thread in submitting:
            thread.join()
        seen: list[dict[int, Verdict]] = [{}, {}]
        reading = [threading.Thread(target=read, args=(into,)) for into in seen]
        for thread in reading:
            thread.start()
        for thread in reading:
            thread.join()
    assert not set(seen[0]) & set(seen[1])
    assert sorted(seen[0] | seen[1]) == list(range(40))
    assert are_right(seen[0] | seen[1])


def test_an_event_loop_goes_on_while_verdicts_are_made() -> None:
    async def main() -> list[Verdict]:
        with VerifierPool(2, deadline=20) as pool:
            ticks = 0
            asked = asyncio.gather(*(pool.averify(*case) for case in some(100)))
            while not asked.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert ticks > 1
            return list(await asked)

    verdicts = asyncio.run(main())
    assert len(verdicts) == 100
    assert are_right(dict(enumerate(verdicts)))


def _in_child(pool: VerifierPool, case: Case, results: Any) -> None:
    own = VerifierPool(1, deadline=20)
    results.put([own.verify(*case), pool.verify(*case)])


def test_a_forked_daemonic_child_judges_and_leaves_its_parents_pool_alone() -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with VerifierPool(1, deadline=20) as pool:
        warm(pool)
        pool.submit("mine", *some(1, 3)[0])
        child = context.Process(target=_in_child, args=(pool, some(1, 5)[0], results), daemon=True)
        child.start()
        verdicts = results.get(timeout=120)
        child.join(60)
        assert [v.outcome for v in verdicts] == [Outcome.CORRECT] * 2
        assert [tag for tag, _ in pool.completed(block=True)] == ["mine"]
        assert are_right({i: pool.verify(*some(1, i)[0]) for i in range(20, 24)})


def test_a_pickled_pool_is_another_one_of_the_same_settings() -> None:
    with (
        VerifierPool(3, 7.0, Policy(percent="either"), window=5) as pool,
        pickle.loads(pickle.dumps(pool)) as copy,
    ):
        assert copy.policy == pool.policy
        assert copy.__reduce__()[1] == (3, 7.0, Policy(percent="either"))
        assert copy.verify(*QUICK).outcome is Outcome.CORRECT
        assert pool.counts["submitted"] == 0


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
        pool.submit("hung", HUNG, make(HANGING))
        pool.submit("cheap", *QUICK)
        assert [tag for tag, _ in pool.completed()] == ["cheap"]
        assert pool.pending == 1


def test_a_promise_that_is_cancelled_takes_no_others_along() -> None:
    with VerifierPool(1, deadline=20) as pool:
        first, second = (pool.future(*RIGHT) for _ in range(2))
        assert first.cancel()
        assert second.result().outcome is Outcome.CORRECT
        with pytest.raises(CancelledError):
            first.result()


# --- bounded ----------------------------------------------------------------------------------------------------


def test_a_hung_case_times_out_while_others_flow() -> None:
    with VerifierPool(2, deadline=1.0) as pool:
        pool.submit("hung", HUNG, make(HANGING))
        for i, case in enumerate(some(20)):
            pool.submit(i, *case)
        verdicts = dict(pool.completed(block=True))
        assert pool.timeouts == 1
    assert verdicts.pop("hung") == Verdict(Outcome.TIMEOUT, "10", "deadline")
    assert are_right(verdicts)


def test_a_single_worker_recovers_from_hang_after_hang() -> None:
    with VerifierPool(1, deadline=1.0) as pool:
        for i in range(2):
            pool.submit(f"hung {i}", f"<answer>{i}</answer>", make(HANGING))
            pool.submit(i, *some(1, i)[0])
        verdicts = dict(pool.completed(block=True))
        assert pool.counts | {"timeouts": 2, "crashes": 0, "restarts": 2} == pool.counts
    assert are_right({i: verdicts[i] for i in range(2)})


EXPRESSIONS = [
    "9^{9^{9^9}}", "10^{10^{10}}!", "(((10^{10})!)!)!", "\\sum_{n=1}^{10^{12}}\\frac{1}{n^2+1}", "e^{x^{x^{x^{x^x}}}}",
    "(" * 300 + "x" + ")" * 300, "\\frac{1}{" * 200 + "x" + "}" * 200, "\\sqrt{" * 250, "x^{" * 300 + "2" + "}" * 300,
    "+".join(f"x^{{{i}}}y^{{{i}}}" for i in range(80)), "9" * 900, "9" * 1_000_000, "{" * 900, "\x00\x01\x1b[2J", "\ud800",
    "\\int_0^{10^{9}}\\sin(x^{99})e^{x^2}dx", "\\prod_{k=1}^{10^9}k^k", "\\binom{10^9}{10^8}", "1e999999999", "x!!!!!!!!!!",
]  # fmt: skip


def test_hostile_expressions_all_end_while_good_cases_flow() -> None:
    hostile = [(f"<answer>{text}</answer>", make(gold)) for text in EXPRESSIONS for gold in ("x+\\pi", text)]
    with VerifierPool(2, deadline=1.0) as pool:
        for i, case in enumerate(hostile):
            pool.submit(f"hostile {i}", *case)
        for i, case in enumerate(some(40)):
            pool.submit(i, *case)
        verdicts = dict(pool.completed(block=True))
        assert pool.counts["crashes"] == 0
    assert len(verdicts) == len(hostile) + 40
    assert are_right({i: verdicts[i] for i in range(40)})


def test_killed_in_the_middle_of_a_batch_a_worker_costs_one_case_and_nothing_is_judged_twice() -> None:
    with warm(VerifierPool(1, deadline=60)) as pool:
        told: Counter[Any] = Counter()
        for i, case in enumerate(some(40)):
            pool.submit(i, *case)
        pool.submit("lost", HUNG, make(HANGING))
        for i, case in enumerate(some(20, 40), 40):
            pool.submit(i, *case)
        verdicts = {}

        def read() -> None:
            for tag, verdict in pool.completed():
                told[tag] += 1
                verdicts[tag] = verdict

        wait_until(lambda: (read(), len(verdicts) == 40)[1])
        busy(pool).kill()
        for tag, verdict in pool.completed(block=True):
            told[tag] += 1
            verdicts[tag] = verdict
        assert pool.counts | {"crashes": 1, "timeouts": 1} == pool.counts
    assert verdicts.pop("lost") == Verdict(Outcome.TIMEOUT, "10", "crash")
    assert set(told.values()) == {1}
    assert sorted(verdicts) == list(range(60))
    assert are_right(verdicts)


def test_killed_while_idle_a_worker_costs_nothing() -> None:
    with warm(VerifierPool(1, deadline=60)) as pool:
        for worker in workers():
            worker.kill()
        wait_until(lambda: pool.counts["restarts"] == 2)
        assert pool.verify(*some(1, 1)[0]).outcome is Outcome.CORRECT
        assert pool.counts["crashes"] == 0


def test_a_worker_that_is_stopped_is_killed_from_outside_and_the_others_of_its_batch_go_on() -> None:
    with warm(VerifierPool(1, deadline=0.5)) as pool:
        stopped = workers()
        for worker in stopped:
            worker.suspend()
        for i, case in enumerate(some(6)):
            pool.submit(i, *case)
        verdicts = dict(pool.completed(block=True))
        assert not any(worker.is_running() and worker.status() != "zombie" for worker in stopped[:1])
    assert [verdict.reason for verdict in verdicts.values()].count("deadline") in (1, 2)
    assert are_right({i: v for i, v in verdicts.items() if v.reason != "deadline"})


def test_the_memory_of_a_worker_is_limited() -> None:
    with warm(VerifierPool(1, deadline=20)):
        limits = {worker.rlimit(psutil.RLIMIT_AS) for worker in workers()}
    assert limits == {(WORKER_MEMORY, WORKER_MEMORY)}


def test_a_worker_is_kept_however_much_memory_its_parent_has() -> None:
    held = bytearray(WORKER_MEMORY)
    with warm(VerifierPool(1, deadline=20)) as pool:
        before = workers()
        assert are_right({i: pool.verify(*case) for i, case in enumerate(some(5))})
        assert workers() == before
        assert pool.counts["restarts"] == 0
    assert len(held) == WORKER_MEMORY


def test_a_worker_bounds_itself_though_its_parent_blocks_and_ignores_the_timers_signal() -> None:
    script = f"""
import signal, sys
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
import ladder.verify.dispatcher as d
d._GRACE_S = 600
from ladder.verify.pool import VerifierPool
sys.path += {PATHS!r}
from test_verify_pool import HANGING, HUNG, make
import pytest
from helpers import hang
hang(pytest.MonkeyPatch().setattr)
with VerifierPool(1, deadline=1.0) as pool:
    print(pool.verify(HUNG, make(HANGING)).reason)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120, check=True
    )
    assert done.stdout == "deadline\n"


# --- the end ----------------------------------------------------------------------------------------------------


def test_workers_leave_ctrl_c_to_the_parent() -> None:
    with warm(VerifierPool(1, deadline=20)) as pool:
        before = workers()
        for worker in before:
            os.kill(worker.pid, signal.SIGINT)
        assert pool.verify(*some(1, 1)[0]).outcome is Outcome.CORRECT
        assert workers() == before
        assert all(os.getpgid(worker.pid) != os.getpgid(0) for worker in before)


def test_closing_ends_the_workers_and_tells_who_still_waits() -> None:
    threads = threading.active_count()
    pool = VerifierPool(2)
    future: Future[Verdict] = pool.future(HUNG, make(HANGING))
    pool.submit("hung too", "<answer>11</answer>", make(HANGING))
    wait_until(workers)
    pool.close()
    pool.close()
    assert not workers()
    assert threading.active_count() == threads
    with pytest.raises(LadderError, match="closed before"):
        future.result()
    with pytest.raises(LadderError, match="closed before"):
        list(pool.completed(block=True))
    with pytest.raises(LadderError, match="is closed"):
        pool.submit("late", *QUICK)


def test_a_forgotten_pool_ends_its_workers() -> None:
    pool = warm(VerifierPool(1))
    assert workers()
    del pool
    gc.collect()
    wait_until(lambda: not workers())


SCRIPT = f"""
import sys, threading, time
from ladder.verify.pool import VerifierPool
sys.path += {PATHS!r}
from test_verify_pool import HANGING, HUNG, make, warm, workers
import pytest
from helpers import hang
hang(pytest.MonkeyPatch().setattr)
pool = warm(VerifierPool(1, deadline={{deadline}}))
if {{busy}}:
    pool.submit("hung", HUNG, make(HANGING))
print(*[worker.pid for worker in workers()], flush=True)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_workers_die_with_a_parent_that_is_killed(busy: bool) -> None:
    script = SCRIPT.format(deadline=2.0, busy=busy) + "time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert pids
    wait_until(lambda: not any(map(_is_alive, pids)))


def test_an_interpreter_that_exits_without_closing_its_pool_leaves_nothing_behind() -> None:
    script = SCRIPT.format(deadline=600, busy=True)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120, check=True
    )
    assert done.stderr == ""
    pids = [int(pid) for pid in done.stdout.split()]
    assert pids
    assert not any(map(_is_alive, pids))


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_that_cannot_start_are_an_error_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with VerifierPool() as pool:
        future = pool.future(*RIGHT)
        pool.submit("a", *some(1)[0])
        for _ in range(2):
            with pytest.raises(LadderError, match="do not start"):
                list(pool.completed(block=True))
        with pytest.raises(LadderError, match="do not start"):
            future.result()
        with pytest.raises(LadderError, match="do not start"):
            pool.verify(*some(1, 1)[0])
        assert pool.verify(*QUICK).outcome is Outcome.CORRECT, "what needs no worker is judged all the same"


def test_a_failure_of_the_dispatcher_reaches_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("by test")

    monkeypatch.setattr("ladder.verify.dispatcher._Worker.replies", broken)
    with VerifierPool() as pool, pytest.raises(LadderError, match="by test"):
        pool.verify(*RIGHT)
    assert not workers()
