"""Difficulties as training has seen them: the discounted posterior, by hand, and what follows from it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers import rows_of

from ladder.errors import BadInput
from ladder.splits import OnlineSettings, ProbeSettings, SampleSettings, Split, sample
from ladder.store import Store
from ladder.strategies import Sorted


def wrote(ladder: Path, *groups: tuple[Any, ...], run: str = "r") -> None:
    """Outcomes of a run: (model, step, item, n, correct[, draw]), of 20 tokens."""
    store = Store.open(ladder)
    names = ("model", "step", "item_id", "n", "correct", "draw")
    rows = [dict(zip(names, group, strict=False)) | {"run": run, "mean_tokens": 20.0} for group in groups]
    store.outcomes.append_table(pa.Table.from_pylist(rows, schema=store.outcomes.schema))


def drawn(ladder: Path, name: str = "s", **online: Any) -> Split:
    settings = SampleSettings(
        difficulty="online",
        online=OnlineSettings(**online),
        probe=ProbeSettings(per_tier=1, near_bits=0),
        strategy=Sorted(drop_unsolved=False, drop_solved_share=0),
    )
    return sample(Store.open(ladder), settings, name, force=True)


def offline(ladder: Path) -> dict[str, tuple[int, int, float]]:
    """Counts and complexity of the items that may train."""
    rows = rows_of(ladder, "SELECT id, correct, n, complexity FROM ladder WHERE split = 'train'")
    return {i: (correct, n, complexity) for i, correct, n, complexity in rows}


def row(split: Split, item: str) -> dict[str, Any]:
    return next(r for r in split.train if r["id"] == item)


@pytest.mark.parametrize("memory", [0.0, 0.5, 1.0])
def test_what_was_known_is_discounted_by_every_group(ladder: Path, memory: float) -> None:
    known = offline(ladder)
    item, (correct, n, complexity) = next(iter(known.items()))
    wrote(ladder, ("m", 0, item, 8, 2), ("m", 5, item, 8, 7))
    ((a, b),) = rows_of(ladder, "SELECT a, b FROM priors")
    c, total = memory**2 * correct + memory * 2 + 7, memory**2 * n + memory * 8 + 8
    tokens = memory**2 * n * complexity + (memory * 8 + 8) * 20
    found = row(drawn(ladder, memory=memory), item)
    assert found["pass_rate"] == pytest.approx(c / total)
    assert found["difficulty"] == pytest.approx(1 - (a + c) / (a + b + total))
    assert found["complexity"] == pytest.approx(tokens / total)
    assert found["level"] == int(8 * c / total + 0.5)


def test_the_order_follows_and_what_training_did_not_meet_keeps_its_difficulty(ladder: Path) -> None:
    before = sample(
        Store.open(ladder),
        SampleSettings(
            probe=ProbeSettings(per_tier=1, near_bits=0),
            strategy=Sorted(drop_unsolved=False, drop_solved_share=0),
        ),
        "offline",
    )
    hardest, easiest = before.train[-1]["id"], before.train[0]["id"]
    wrote(
        ladder,
        *(("m", step, hardest, 8, 8) for step in range(6)),
        *(("m", step, easiest, 8, 0) for step in range(6)),
    )
    after = drawn(ladder)
    assert after.train[-1]["id"] == easiest
    assert row(after, hardest)["tier"] == "solved"
    assert row(after, easiest)["tier"] == "unsolved"
    assert after.probe == before.probe
    others = {r["id"]: r["difficulty"] for r in before.train} | {hardest: 0, easiest: 0}
    assert {r["id"]: r["difficulty"] for r in after.train} | {hardest: 0, easiest: 0} == others
    difficulties = [r["difficulty"] for r in after.train]
    assert difficulties == sorted(difficulties)


def test_a_step_that_was_done_again_after_a_kill_counts_once(ladder: Path) -> None:
    item = next(iter(offline(ladder)))
    wrote(ladder, ("m", 0, item, 8, 2), ("m", 1, item, 8, 3))
    first = drawn(ladder)
    wrote(ladder, ("m", 1, item, 8, 3))
    assert drawn(ladder).train == first.train
    assert first.facts["online"] == {"run": "r", "groups": 2, "items": 1}


@pytest.mark.parametrize("counts", [(7, 1), (1, 7)])
def test_of_a_step_that_was_done_again_what_was_written_last_counts(
    ladder: Path, counts: tuple[int, int]
) -> None:
    item = next(iter(offline(ladder)))
    wrote(ladder, ("m", 1, item, 8, 3), ("m", 1, item, 8, counts[0]))
    assert row(drawn(ladder, memory=0), item)["pass_rate"] == counts[0] / 8
    wrote(ladder, ("m", 1, item, 8, counts[1]))
    for _ in range(2):
        assert row(drawn(ladder, memory=0), item)["pass_rate"] == counts[1] / 8
        Store.open(ladder).outcomes.compact()


def test_several_groups_of_an_item_in_one_step_all_count(ladder: Path) -> None:
    item = next(iter(offline(ladder)))
    wrote(ladder, ("m", 1, item, 4, 0, 0), ("m", 1, item, 4, 4, 1), ("m", 1, item, 4, 4, 1))
    found = drawn(ladder, memory=0.5)
    assert found.facts["online"]["groups"] == 2
    known = offline(ladder)[item]
    assert row(found, item)["pass_rate"] == pytest.approx((known[0] / 4 + 4) / (known[1] / 4 + 2 + 4))


def test_outcomes_of_items_that_are_gone_are_told(ladder: Path) -> None:
    wrote(ladder, ("m", 1, "00" * 12, 4, 0, 0))
    with pytest.raises(BadInput, match="no outcomes of a run 'r' on items that it still has"):
        drawn(ladder)


def test_the_run_that_wrote_last_counts_or_the_one_that_is_named(ladder: Path) -> None:
    item = next(iter(offline(ladder)))
    wrote(ladder, ("m", 0, item, 8, 8), run="old")
    wrote(ladder, ("m", 0, item, 8, 0), run="new")
    assert row(drawn(ladder, memory=0), item)["pass_rate"] == 0
    assert row(drawn(ladder, memory=0, run="old"), item)["pass_rate"] == 1
    with pytest.raises(BadInput, match="has no outcomes of a run 'older'"):
        drawn(ladder, run="older")


def test_without_outcomes_one_is_told_what_to_do(ladder: Path) -> None:
    with pytest.raises(BadInput, match=r"no outcomes of training yet.*`ladder train`"):
        drawn(ladder)
