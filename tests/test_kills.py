"""Builds that are killed or told to stop lose nothing, repeat next to nothing, and leave nothing behind.

The long form, with more kills and in more variants, is benchmarks/kills.py.
"""

import itertools
import random
import sys
from pathlib import Path

import pytest
from helpers import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from killed_builds import (
    SIGNALS,
    Found,
    Place,
    Variant,
    at_sample,
    at_the_end,
    kill_beside_a_long_answer,
    stop,
)
from rambler import write_rambler

LONG = 2000
VLLM = ("vllm.args.max_model_len=256", "vllm.args.max_num_seqs=4")
LONE = Variant("transformers", "transformers", ("transformers.slots=4",))
FLEET = Variant("fleet", "transformers", ("transformers.slots=4",), ("--workers", "2"), like=LONE)
SHARDS = Variant("shards", "transformers", ("transformers.slots=4",), shards=2, like=LONE)
IN_VLLM = Variant("vllm", "vllm", VLLM, exact=False, like=LONE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("kills"), items=25)


@pytest.mark.parametrize(
    "variant", [LONE, pytest.param(IN_VLLM, marks=pytest.mark.vllm)], ids=lambda variant: variant.name
)
def test_killed_at_random_moments_a_build_ends_as_one_that_was_not(place: Place, variant: Variant) -> None:
    life, _ = place.whole(LONE)
    found = Found()
    moments = [at_sample(life.samples), at_sample(life.samples), at_the_end()]
    place.killed(variant, moments, random.Random(), found)
    assert found.kills == 3
    assert found.sound, found
    assert max(found.repeated_seconds) <= 5, found


@pytest.mark.parametrize("variant", [FLEET, SHARDS], ids=lambda variant: variant.name)
def test_killed_on_several_engines_or_in_shards_a_build_ends_as_one_process_would(
    place: Place, variant: Variant
) -> None:
    life, _ = place.whole(LONE)
    found = Found()
    place.killed(variant, [at_sample(life.samples // 2)], random.Random(), found)
    assert found.kills == 1
    assert found.sound, found


@pytest.mark.parametrize(
    ("name", "variant"),
    [("SIGTERM", LONE), ("Ctrl-C", FLEET), ("Ctrl-C again and again", LONE)],
    ids=["SIGTERM", "Ctrl-C, fleet", "Ctrl-C again and again"],
)
def test_told_to_stop_a_build_stores_what_has_ended_and_ends_with_all_it_started(
    place: Place, name: str, variant: Variant
) -> None:
    life, _ = place.whole(LONE)
    out = f"stopped-{name}"
    (run,) = place.start(variant, out)
    rng = random.Random()
    at_sample(life.samples)(rng, run, life.samples // 2)
    stopped = stop(run, place.root / out, SIGNALS[name], (rng.uniform(0, 0.3) for _ in itertools.count()))
    assert stopped.orderly, stopped
    assert stopped.seconds < 30
    assert stopped.disk.stored


def test_finished_samples_survive_a_kill_beside_a_sibling_that_still_runs(tmp_path: Path) -> None:
    settings = (f'model.name="{write_rambler(tmp_path / "rambler")}"', f"sampling.max_tokens={LONG}")
    beside = kill_beside_a_long_answer(Place(tmp_path, items=4), Variant("long", "transformers", settings))
    assert (beside.siblings, beside.again, beside.longest, beside.complete) == (7, 0, LONG, True)
