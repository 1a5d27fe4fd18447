"""A fleet under Ray: a real cluster on this machine, of which an actor is killed."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from fleets import SETTINGS, alone, busy, descendants, model, request, samples
from helpers import digits_settings, part_rows, rows_of

from ladder.build import Running, build
from ladder.engines.base import Completion, drive
from ladder.engines.fleet_ray import create_ray_fleet, placement
from ladder.engines.settings import EngineSettings
from ladder.errors import BadInput

REQUESTS = [request(number) for number in range(40)]


def actors() -> list[int]:
    """Process ids of the engines."""
    return [process.pid for process in descendants() if process.name().startswith("ray::RayEngine")]


def test_a_killed_actor_is_replaced_and_the_samples_are_those_of_one_engine(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fleet = create_ray_fleet(SETTINGS, model(), None, 2)
    found: list[Completion] = []
    for completion in drive(fleet, REQUESTS):
        found.append(completion)
        if len(found) == 30:
            os.kill(busy(fleet), signal.SIGKILL)
    fleet.close()
    assert samples(found) == alone(REQUESTS)
    assert fleet.counts["engine_restarts"] == 1
    assert 0 < fleet.counts["samples_drawn_again"] <= fleet.capacity
    out, err = capfd.readouterr()
    assert out == "", "stdout is for data"
    assert "died: its worker process has died" in err
    assert not actors()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_build_under_ray_equals_that_of_one_engine(digits_pool: Path, built: Path, tmp_path: Path) -> None:
    report = build(digits_settings(digits_pool), tmp_path / "ray", Running(ray="local"))
    assert report.engine == {}
    table = "SELECT id, n, correct FROM scores ORDER BY id"
    assert rows_of(tmp_path / "ray", table) == rows_of(built, table)
    told = 'item_id, "index", token_ids'
    assert part_rows(tmp_path / "ray", "rollouts", told) == part_rows(built, "rollouts", told)


def test_without_a_cluster_or_ray_itself_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"pip install 'neuraladder\[ray\]'"):
        create_ray_fleet(SETTINGS, model(), None, 2)


def engine(**more: Any) -> EngineSettings:
    return EngineSettings.model_validate(more)


TWO_GPUS = engine(engine="vllm", vllm={"args": {"tensor_parallel_size": 2}})


@pytest.mark.parametrize(
    ("settings", "nodes", "workers", "size", "each"),
    [
        (engine(), [{"CPU": 64, "GPU": 8}, {"CPU": 64, "GPU": 4}], None, 12, {"num_gpus": 1, "num_cpus": 1}),
        (TWO_GPUS, [{"CPU": 64, "GPU": 5}, {"CPU": 8}], None, 2, {"num_gpus": 2, "num_cpus": 1}),
        (engine(), [{"CPU": 64}, {"CPU": 32}], None, 2, {"num_cpus": 32}),
        (engine(), [{"CPU": 5}], 2, 2, {"num_cpus": 2}),
        (engine(), [{"CPU": 2}], 4, 4, {"num_cpus": 0.5}),
        (engine(model={"device": "cpu"}), [{"CPU": 4, "GPU": 1}], None, 1, {"num_cpus": 4}),
    ],
)
def test_engines_get_the_gpus_they_need_or_their_share_of_the_cores(
    settings: EngineSettings,
    nodes: list[dict[str, float]],
    workers: int | None,
    size: int,
    each: dict[str, Any],
) -> None:
    found, options = placement(settings, nodes, workers)
    options.pop("scheduling_strategy", None)
    assert (found, options) == (size, each)


def test_an_engine_that_fits_on_no_node_is_told() -> None:
    with pytest.raises(BadInput, match="no node of the Ray cluster has the 2 GPUs"):
        placement(TWO_GPUS, [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}], None)
