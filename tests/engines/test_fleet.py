"""A fleet is one engine: the same samples wherever they are drawn, and each of them once whoever dies."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from fleets import SETTINGS, Threads, alone, busy, descendants, model, request, samples, with_text
from helpers import digits_overrides, digits_settings, ladder_command, part_rows, rows_of

from ladder.build import Running, build
from ladder.engines import create_engine
from ladder.engines.base import Completion, Engine, Refused, drive
from ladder.engines.fleet import FleetEngine, create_fleet
from ladder.engines.fleet_local import environments, gpus_of
from ladder.engines.fleet_member import Ask, Cancel
from ladder.engines.settings import EngineSettings
from ladder.errors import BadInput, LadderError
from ladder.models import resolve_model
from ladder.sampling import Recorder

REQUESTS = [request(number) for number in range(40)]


def members() -> list[int]:
    """Process ids of the members that this process has."""
    return [process.pid for process in descendants() if is_member(process)]


def is_member(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "fleet_local" in " ".join(process.cmdline())
    return False


@pytest.fixture(scope="module")
def fleet() -> Iterator[Engine]:
    engine = create_fleet(SETTINGS, model(), 2)
    yield engine
    engine.close()


def test_a_fleet_draws_the_samples_of_one_engine(fleet: Engine) -> None:
    assert samples(list(drive(fleet, REQUESTS))) == alone(REQUESTS)
    assert fleet.name == "transformers"
    assert fleet.fingerprint == model().fingerprint
    assert fleet.counts == {}


def test_what_cannot_be_sampled_is_refused_under_its_own_name(fleet: Engine) -> None:
    other: list[Any] = []
    hopeless = [with_text("word " * 20_000, "long"), with_text("Say <|im_end|>!", "special")]
    found = list(drive(fleet, [*hopeless, request(1)], other.append))
    assert {(c.request_id, c.index) for c in found} == {("1", j) for j in range(4)}
    reasons = {event.request_id: (event.reason, event.indices) for event in other}
    assert reasons == {"long": ("too_long", (0, 1, 2, 3)), "special": ("unencodable", (0, 1, 2, 3))}


def test_a_killed_member_is_replaced_and_every_sample_comes_once(
    fleet: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    found: list[Completion] = []
    for completion in drive(fleet, REQUESTS):
        found.append(completion)
        if len(found) == 30:
            os.kill(busy(fleet), signal.SIGKILL)
    assert samples(found) == alone(REQUESTS)
    assert fleet.counts["engine_restarts"] == 1
    assert 0 < fleet.counts["samples_drawn_again"] <= fleet.capacity
    assert "died: signal SIGKILL" in capfd.readouterr().err
    assert len(members()) == 2


def test_closing_ends_the_members_whatever_they_are_at() -> None:
    before = set(members())
    fleet = create_fleet(SETTINGS, model(), 1)
    for asked in REQUESTS:
        fleet.submit(asked)
    next(fleet.completed())
    assert len(set(members()) - before) == 1
    fleet.close()
    assert set(members()) == before
    fleet.close()


def test_a_members_bad_input_ends_the_fleet_with_its_own_words(tmp_path: Path) -> None:
    before = members()
    broken = copytree(resolve_model("digits"), tmp_path / "broken")
    (weights,) = broken.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    settings = SETTINGS.model_copy(update={"model": SETTINGS.model.model_copy(update={"name": str(broken)})})
    with pytest.raises(BadInput, match=f"cannot load the model in {broken}"):
        create_fleet(settings, replace(model(), directory=broken), 1)
    assert members() == before


def parts(ladder: Path) -> list[Path]:
    return list((ladder / "rollouts").glob("*.parquet"))


def test_a_build_by_workers_of_which_one_is_killed_equals_that_of_one_engine(
    digits_pool: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, stored, store = set(members()), [], Recorder.rollout

    def killing(self: Recorder, *arguments: Any) -> None:
        store(self, *arguments)
        stored.append(arguments)
        if len(stored) == 60:
            os.kill((set(members()) - others).pop(), signal.SIGKILL)

    monkeypatch.setattr(Recorder, "rollout", killing)
    settings = digits_settings(digits_pool, transformers__slots=4)
    report = build(settings, tmp_path / "two", Running(workers=2))
    assert report.engine["engine_restarts"] == 1
    for table in ("SELECT id, n, correct FROM scores ORDER BY id", "SELECT id, tier FROM ladder ORDER BY id"):
        assert rows_of(tmp_path / "two", table) == rows_of(built, table)
    told = 'item_id, "index", token_ids'
    assert part_rows(tmp_path / "two", "rollouts", told) == part_rows(built, "rollouts", told)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_member_outlives_its_parent(how: signal.Signals, digits_pool: Path, tmp_path: Path) -> None:
    overrides = digits_overrides(digits_pool, sampling__k=500, transformers__slots=4)
    sets = [part for override in overrides for part in ("--set", override)]
    command = ladder_command("build", "digits", "--out", str(tmp_path / "out"), "--workers", "1", *sets)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not parts(tmp_path / "out"):
            assert process.poll() is None
            threading.Event().wait(0.05)
        started = psutil.Process(process.pid).children(recursive=True)
        assert any(map(is_member, started))
        process.send_signal(how)
        process.wait(60)
        gone, left = psutil.wait_procs(started, timeout=60)
        assert (len(gone), left) == (len(started), [])
        assert process.stderr is not None
        if how == signal.SIGTERM:
            assert process.returncode == 1
            assert "stopped; the same command goes on from what is stored" in process.stderr.read()


LOADING = threading.Lock()  # transformers loads no two models at once


def create(_number: int = 0) -> Engine:
    with LOADING:
        return create_engine(SETTINGS, model())


@pytest.fixture
def started() -> Iterator[Callable[[Threads], FleetEngine]]:
    """Starts the fleet of a crew; ends it after the test."""
    fleets: list[FleetEngine] = []

    def start(crew: Threads) -> FleetEngine:
        fleets.append(FleetEngine(crew, model().fingerprint))
        return fleets[-1]

    yield start
    for fleet in fleets:
        fleet.close()


POISON = replace(request(0, name="poison"), prompt=SimpleNamespace(encoded=None))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2])
def test_a_request_that_ends_engine_after_engine_is_refused_and_the_others_are_sampled(
    size: int, started: Callable[[Threads], FleetEngine]
) -> None:
    fleet = started(Threads(size, create))
    other: list[Any] = []
    asked = [*REQUESTS[:3], POISON, *REQUESTS[3:12]]
    found = list(drive(fleet, asked, other.append))
    assert samples(found) == alone(REQUESTS[:12])
    (event,) = other
    assert isinstance(event, Refused)
    assert (event.request_id, event.reason, event.indices) == ("poison", "engine_died", (0, 1, 2, 3))
    assert fleet.counts["engine_restarts"] == 4


def test_engines_that_sample_nothing_end_the_fleet(started: Callable[[Threads], FleetEngine]) -> None:
    fleet = started(Threads(1, create))
    with pytest.raises(LadderError, match=r"engine 0 died 5 times in a row .* TypeError"):
        list(drive(fleet, [replace(POISON, id=str(i)) for i in range(6)]))


def broken(_number: int) -> Engine:
    raise RuntimeError("out of\nmemory")


def test_engines_that_never_start_end_the_fleet() -> None:
    crew = Threads(2, broken)
    with pytest.raises(LadderError, match=r"died 3 times in a row .* RuntimeError: out of memory$"):
        FleetEngine(crew, "x")
    assert crew.closed


def test_a_fleet_goes_on_without_a_place_where_no_engine_starts(
    capsys: pytest.CaptureFixture[str], started: Callable[[Threads], FleetEngine]
) -> None:
    fleet = started(Threads(2, lambda number: (broken if number else create)(number)))
    assert samples(list(drive(fleet, REQUESTS[:12]))) == alone(REQUESTS[:12])
    assert fleet.counts == {"engine_restarts": 2, "engines_given_up": 1}
    assert "going on with 1" in capsys.readouterr().err


def test_an_engine_with_another_model_ends_the_fleet() -> None:
    with pytest.raises(LadderError, match=r"engine 0 \(process .*\) has another model"):
        FleetEngine(Threads(1, create), "another")


def asked_first(crew: Threads, number: int) -> int:
    (first, *_) = crew.started[number].orders
    assert isinstance(first, Ask)
    return sum(len(r.indices) for r in first.requests)


def test_a_member_holds_no_more_than_its_lease(started: Callable[[Threads], FleetEngine]) -> None:
    crew = Threads(1, create)
    fleet = started(crew)
    assert len(list(drive(fleet, REQUESTS))) == 160
    assert asked_first(crew, 0) <= 0.75 * fleet.capacity


def test_the_last_requests_wait_for_a_member_that_is_starting(
    started: Callable[[Threads], FleetEngine],
) -> None:
    crew = Threads(2, create, late=(1,))
    fleet = started(crew)
    for asked in REQUESTS[:2]:
        fleet.submit(asked)
    events = fleet.completed()
    found = [next(events)]
    assert asked_first(crew, 0) == 4, "half of eight samples"
    crew.begin(crew.started[1])
    found += events
    assert {(c.request_id, c.index) for c in found} == {(str(i), j) for i in range(2) for j in range(4)}


def test_a_cancelled_request_is_heard_of_no_more(started: Callable[[Threads], FleetEngine]) -> None:
    crew = Threads(1, create)
    fleet = started(crew)
    for asked in REQUESTS[:4]:
        fleet.submit(asked)
    fleet.cancel("3")
    events = fleet.completed()
    first = next(events)
    fleet.cancel(first.request_id)
    left = {event.request_id for event in events}
    assert left <= {"0", "1", "2"}
    assert any(isinstance(order, Cancel) for order in crew.started[0].orders)


def test_gpus_are_dealt_out_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EngineSettings.model_validate(
        {"engine": "vllm", "vllm": {"args": {"tensor_parallel_size": 2}}}
    )
    monkeypatch.setattr("ladder.engines.fleet_local._gpus", lambda _: ["0", "2", "3", "5"])
    assert gpus_of(settings) == 2
    assert [e["CUDA_VISIBLE_DEVICES"] for e in environments(settings, 2)] == ["0,2", "3,5"]
    with pytest.raises(BadInput, match="3 workers with 2 GPUs each need 6 GPUs, and there are 4"):
        environments(settings, 3)


def test_cores_are_shared_unless_the_user_has_said_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environments(SETTINGS, 3) == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environments(SETTINGS, 3) == [{}] * 3
