"""Who may work in a ladder at once: real processes, which may be killed."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ladder.errors import BadInput, LadderError
from ladder.store import Store

# Does what each line of stdin says, and says when it is done.
WORKER = """
import os, sys
from contextlib import ExitStack
from pathlib import Path
from ladder.errors import BadInput
from ladder.store import Store
store = Store.open(Path(sys.argv[1]))
with ExitStack() as stack:
    for line in sys.stdin:
        what, *numbers = line.split()
        try:
            if what == "build":
                held = stack.enter_context(store.building("build"))
            elif what == "shard":
                held = stack.enter_context(store.sharing("build", int(numbers[0]), int(numbers[1])))
            elif what == "enter":
                section = held.exclusively("import")
                section.__enter__()
            elif what == "leave":
                section.__exit__(None, None, None)
            elif what == "last":
                what = str(held.last())
            elif what == "fork" and os.fork() == 0:
                sys.stdin.close()
                os.closerange(0, 3)
                import time
                time.sleep(20)
                os._exit(0)
            print(what, flush=True)
        except BadInput as error:
            print(error, flush=True)
"""


class Worker:
    """A process that holds what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stdin, self.stdout, self.stderr = (
            self.process.stdin,
            self.process.stdout,
            self.process.stderr,
        )
        self.name = f"process {self.process.pid} on "

    def ask(self, what: str) -> None:
        assert self.stdin is not None
        self.stdin.write(f"{what}\n")
        self.stdin.flush()

    def answer(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline().rstrip("\n")

    def does(self, what: str) -> str:
        self.ask(what)
        return self.answer()

    def says_that_it_waits(self) -> str:
        assert self.stderr is not None
        return self.stderr.readline()

    def ends(self, how: int = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.communicate()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path)


@pytest.fixture
def workers(store: Store) -> Iterator[list[Worker]]:
    found = [Worker(store.path) for _ in range(3)]
    yield found
    for worker in found:
        worker.ends(signal.SIGKILL)


def test_many_shards_work_at_once_and_each_number_once(store: Store, workers: list[Worker]) -> None:
    first, second, third = workers
    assert first.does("shard 1 8") == "shard"
    assert second.does("shard 2 8") == "shard"
    said = third.does("shard 1 16")
    assert re.search(rf"shard 1 of .* is being built by `ladder build --shard 1/8`, {first.name}", said)
    assert third.does("shard 3 8") == "shard"
    first.ends(signal.SIGKILL)
    with store.sharing("build", 1, 8):
        pass


def test_shares_of_another_n_are_refused_while_there_are_any(workers: list[Worker]) -> None:
    first, second, third = workers
    first.does("shard 1 8")
    said = second.does("shard 2 16")
    assert re.search(rf"being built in other shares, by `ladder build --shard 1/8`, {first.name}", said)
    assert third.does("shard 7 8") == "shard"
    first.ends(signal.SIGKILL)
    said = second.does("shard 1 16")
    assert "--shard 7/8" in said
    assert first.name not in said
    third.ends()
    assert second.does("shard 2 16") == "shard"


def test_shares_that_start_at_once_where_others_were_killed_do_not_refuse_each_other(store: Store) -> None:
    (store.path / ".locks").mkdir()
    for _ in range(20):
        for i in range(4):
            (store.path / ".locks" / f"shard-{i}").write_text(f"`ladder build --shard {i}/9`, long dead")
        ready, found = threading.Barrier(4), list[int]()

        def hold(number: int, ready: threading.Barrier = ready, found: list[int] = found) -> None:
            ready.wait()
            with store.sharing("build", number, 4):
                found.append(number)

        threads = [threading.Thread(target=hold, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == [0, 1, 2, 3]


def test_a_builder_is_refused_by_the_names_of_the_shards(store: Store, workers: list[Worker]) -> None:
    first, second, _ = workers
    first.does("shard 1 8")
    second.does("shard 2 8")
    with pytest.raises(BadInput) as told, store.building("build"):
        pass
    for i, worker in enumerate((first, second), 1):
        assert f"`ladder build --shard {i}/8`, {worker.name}" in str(told.value)
    first.ends(signal.SIGKILL)
    with pytest.raises(BadInput) as told, store.building("build"):
        pass
    assert first.name not in str(told.value), "a killed one is not named"
    second.ends(signal.SIGKILL)
    with store.building("build"):
        pass


def test_of_many_shards_a_few_are_named(store: Store) -> None:
    with ExitStack() as stack:
        for i in range(6):
            stack.enter_context(store.sharing("build", i, 6))
        with (
            pytest.raises(BadInput, match=r"shard 2/6`, .* and 3 more shards; wait"),
            store.building("build"),
        ):
            pass


def test_a_killed_builder_is_never_named_again(store: Store, workers: list[Worker]) -> None:
    first, second, third = workers
    assert first.does("build") == "build"
    assert f"is in use by `ladder build`, {first.name}" in second.does("build")
    first.ends(signal.SIGKILL)
    assert second.does("shard 0 2") == "shard"
    assert (store.path / ".lock").read_text() == ""
    said = third.does("build")
    assert second.name in said
    assert first.name not in said
    second.ends(signal.SIGKILL)
    assert third.does("build") == "build"


def test_a_shard_waits_for_a_builder_and_says_so(workers: list[Worker]) -> None:
    builder, shard, _ = workers
    builder.does("build")
    shard.ask("shard 0 2")
    assert re.match(rf"  waiting for `ladder build`, {builder.name}", shard.says_that_it_waits())
    builder.ends(signal.SIGKILL)
    assert shard.answer() == "shard"


def test_one_shard_at_a_time_does_what_only_one_may_do(workers: list[Worker]) -> None:
    first, second, third = workers
    for i, worker in enumerate(workers):
        worker.does(f"shard {i} 3")
    first.does("enter")
    second.ask("enter")
    said = second.says_that_it_waits()
    assert re.match(rf"  import: waiting for `ladder build --shard 0/3`, {first.name}\S+ \(import\)", said)
    first.does("leave")
    assert second.answer() == "enter"
    third.ask("enter")
    second.ends(signal.SIGKILL)
    assert third.answer() == "enter", "the section of a killed shard is free"


def test_the_last_shard_holds_the_ladder_alone(store: Store, workers: list[Worker]) -> None:
    first, second, third = workers
    first.does("shard 0 3")
    second.does("shard 1 3")
    assert first.does("last") == "False"
    assert second.does("last") == "True"
    with pytest.raises(BadInput, match=f"`ladder build --shard 1/3`, {second.name}"), store.building("build"):
        pass
    third.ask("shard 2 3")
    assert second.name in third.says_that_it_waits()
    second.ends()
    assert third.answer() == "shard"
    assert third.does("last") == "True"


def test_of_shards_that_end_at_once_one_is_the_last(store: Store) -> None:
    for _ in range(20):
        found: list[bool] = []
        ready = threading.Barrier(4)

        def end(number: int, ready: threading.Barrier = ready, found: list[bool] = found) -> None:
            with store.sharing("build", number, 4) as held:
                ready.wait()
                found.append(held.last())

        threads = [threading.Thread(target=end, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.count(True) >= 1


def test_a_builder_does_all_as_the_last_and_only_one(store: Store) -> None:
    with store.building("build") as held:
        with held.exclusively("import"), held.exclusively("derive"):
            pass
        assert held.last()


def test_a_worker_that_outlives_a_killed_build_holds_nothing(store: Store, workers: list[Worker]) -> None:
    for worker, what in zip(workers, ("build", "shard 1 2"), strict=False):
        assert worker.does(what) == what.split()[0]
        worker.does("fork")
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait()
        with store.building("build"):
            pass


def test_a_ladder_that_may_not_be_written_is_told(store: Store) -> None:
    (store.path / ".locks").write_text("")
    with pytest.raises(LadderError, match=r"cannot write in .*\.locks"), store.sharing("build", 0, 2):
        pass
    (store.path / ".lock").mkdir()
    with pytest.raises(LadderError, match=f"cannot write in {store.path}: Is a directory"):
        store.building("build").__enter__()


def test_what_is_let_go_names_nobody(store: Store) -> None:
    with store.sharing("build", 0, 1) as held, held.exclusively("import"):
        assert str(os.getpid()) in (store.path / ".locks" / "section").read_text()
        assert held.last()
    with store.building("build"):
        assert str(os.getpid()) in (store.path / ".lock").read_text()
    assert [p.read_text() for p in sorted((store.path / ".locks").iterdir())] == ["", ""]
    assert (store.path / ".lock").read_text() == ""
