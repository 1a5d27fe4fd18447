"""`ladder diff`: each change is found, counted and shown, and nothing else is; chance is not taken for a change."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from helpers import Run, digits_settings, read_pool_rows, rows_of, told, write_rows
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact, spearmanr

from ladder.build import build
from ladder.config import validate
from ladder.diff import diff
from ladder.diff.chance import ALPHA, shifts
from ladder.splits import SampleSettings, open_split, sample
from ladder.store import Store


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def rebuilt(ladder: Path, pool: Path, **values: Any) -> Path:
    build(digits_settings(pool, **values), ladder)
    return ladder


def test_a_copy_differs_in_nothing(built: Path, copy: Path) -> None:
    found, text = diff(built, copy)
    assert found["settings"] == found["rejects"] == found["verdicts"]["changes"] == []
    assert (
        found["items"]["only_a"]["count"] == found["items"]["only_b"]["count"] == found["golds"]["count"] == 0
    )
    assert found["moved"] == 0
    assert (found["shifts"]["up"], found["shifts"]["down"]) == (0, 0)
    assert found["order"] == pytest.approx(1)
    assert found["verdicts"]["same_samples"] == 1
    assert "no item moved" in text


def test_other_tier_cuts_move_items_and_change_no_verdict(built: Path, copy: Path, pool: Path) -> None:
    rebuilt(copy, pool, tiers__cuts=[0.3, 0.5, 0.6, 0.99])
    found, _ = diff(built, copy)
    before, after = (dict(rows_of(ladder, "SELECT id, tier FROM ladder")) for ladder in (built, copy))
    assert found["moved"] == sum(before[i] != after[i] for i in before) > 0
    matrix = {(row["a"], row["b"]): row["items"] for row in found["tiers"]}
    assert matrix == {
        pair: sum((before[i], after[i]) == pair for i in before)
        for pair in {(before[i], after[i]) for i in before}
    }
    assert [row["key"] for row in found["settings"] if row["key"].startswith("tiers")] == ["tiers.cuts"]
    assert found["verdicts"]["changed"] == 0
    assert found["pass_rates"]["difference"] == 0


def test_items_that_came_and_went_are_told_with_the_reason(built: Path, copy: Path, pool: Path) -> None:
    rows = read_pool_rows(pool)
    gone, broken, *rest = rows
    new = rest[0] | {"id": "new", "question": "What else is there to be seen?"}
    write_rows(pool, [broken | {"answer": ""}, *rest, new])
    rebuilt(copy, pool)
    found, text = diff(built, copy)
    assert found["items"]["only_a"]["count"] == 2
    assert found["items"]["only_b"]["count"] == 1
    assert {row["source_id"] for row in found["items"]["only_a"]["examples"]} == {gone["id"], broken["id"]}
    assert found["items"]["only_b"]["examples"][0]["question"].endswith("What else is there to be seen?")
    assert found["items"]["common"] == len(rows) - 2
    assert sum(row["b"] for row in found["rejects"]) == 1
    assert "only in the first: 2" in text


def test_corrected_golds_and_the_verdicts_that_they_change_are_told(
    built: Path, copy: Path, pool: Path
) -> None:
    rows = read_pool_rows(pool)
    solved = rows_of(
        built, "SELECT source_id, answer FROM ladder WHERE tier = 'solved' AND answer_type = 'integer'"
    )
    changed, gold = solved[0]
    write_rows(pool, [row | {"answer": "777"} if row["id"] == changed else row for row in rows])
    rebuilt(copy, pool)
    found, text = diff(built, copy)
    assert found["golds"]["count"] == 1
    (example,) = found["golds"]["examples"]
    assert (example["source_id"], example["a"], example["b"]) == (changed, gold, "777")
    (change,) = found["verdicts"]["changes"]
    assert (change["before"], change["after"], change["gold_changed"]) == ("correct", "wrong", True)
    assert change["count"] == found["verdicts"]["changed"] == 4
    assert {row["gold"] for row in change["examples"]} == {"777"}
    assert "golds changed: 1" in text
    assert found["verdicts"]["same_samples"] == 1


def test_another_policy_changes_verdicts_on_the_same_gold(built: Path, copy: Path, pool: Path) -> None:
    rebuilt(copy, pool, verify__format="strict")
    found, _ = diff(built, copy)
    keys = {row["key"] for row in found["settings"]}
    assert keys - {"pool.root"} == {"(verifier)", "verify.format"}
    assert all(not change["gold_changed"] for change in found["verdicts"]["changes"])
    judged = [{(i, j): o for i, j, o in last_verdicts(ladder)} for ladder in (built, copy)]
    assert found["verdicts"]["changed"] == sum(judged[0][key] != judged[1][key] for key in judged[0])


def last_verdicts(ladder: Path) -> list[tuple[Any, ...]]:
    verifier = dict(rows_of(ladder, "SELECT key, value FROM build"))["verifier"]
    sql = f"""SELECT item_id, "index", outcome FROM read_parquet('{ladder}/verdicts/*.parquet') WHERE verifier = ?"""
    with duckdb.connect() as connection:
        return connection.execute(sql, [verifier]).fetchall()


def test_samples_under_another_seed_are_other_samples(built: Path, tmp_path: Path, pool: Path) -> None:
    other = rebuilt(tmp_path / "other", pool, sampling__seed=5)
    found, text = diff(built, other)
    assert found["verdicts"]["compared"] == 0
    assert "verdicts: no sample is in both" in text
    assert "fresh samples of an unchanged model would give" in text
    keys = {row["key"] for row in found["settings"]}
    assert keys - {"pool.root"} == {"sampling.seed", "(sampling_fingerprint)"}


def test_the_command_prints_one_object(run: Run, built: Path, copy: Path) -> None:
    code, out, err = run("diff", built, copy, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["items"]["common"] == 55
    assert run("diff", built, copy)[1].startswith(f"{built} -> {copy}\n")


def test_what_cannot_be_compared_is_told(run: Run, built: Path, tmp_path: Path) -> None:
    assert "is not a ladder" in told(run("diff", built, tmp_path))
    Store.create(tmp_path / "new")
    assert "finish its build" in told(run("diff", tmp_path / "new", built))


# --- splits --------------------------------------------------------------------------------------------------


def drawn(ladder: Path, name: str, strategy: str = "neuraladder", **values: Any) -> Path:
    settings = {"strategy": {"strategy": strategy}, "probe": {"per_tier": 2}} | values
    return sample(Store.open(ladder), validate(SampleSettings, settings), name).path


def test_two_orders_of_the_same_items_differ_in_order_only(ladder: Path) -> None:
    splits = [drawn(ladder, "a", "sorted"), drawn(ladder, "b", "reversed")]
    found, text = diff(*splits)
    assert all(row["only_a"] == row["only_b"] == 0 for row in found["parts"].values())
    assert found["same_until"] == 0
    first, second = ([row["id"] for row in open_split(path).train] for path in splits)
    assert found["order"] == pytest.approx(spearmanr(range(len(first)), [second.index(i) for i in first])[0])
    assert found["order"] < 0
    assert not found["same"]
    assert "settings.strategy.strategy: 'sorted' -> 'reversed'" in text


def test_a_shorter_split_is_the_same_as_far_as_it_goes(ladder: Path) -> None:
    whole, part = drawn(ladder, "a", "sorted"), drawn(ladder, "b", "sorted", max_items=5, take="first")
    found, _ = diff(whole, part)
    assert found["same_until"] == 5
    assert found["parts"]["train"]["only_a"] == found["parts"]["train"]["a"] - 5
    assert diff(whole, whole)[0]["same"]
    assert diff(whole, whole)[0]["same_until"] is None


def test_a_split_is_not_compared_with_a_ladder(run: Run, ladder: Path) -> None:
    assert "compare two ladders or two splits" in told(run("diff", ladder, drawn(ladder, "a")))


# --- chance --------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_an_item_is_tested_as_fishers_exact_test_does(n: int, m: int, data: st.DataObject) -> None:
    c, d = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    found = shifts([(c, n, d, m, 3)])
    significant = fisher_exact([[c, n - c], [d, m - d]]).pvalue <= ALPHA * (1 + 1e-9)
    assert found.up + found.down == (3 if significant else 0)
    assert (found.up > 0) == (significant and d * n > c * m)


def test_what_chance_gives_is_what_is_expected_and_a_change_is_more() -> None:
    draws = np.random.default_rng(3)
    p = draws.beta(0.7, 0.7, 20_000)
    before, after = draws.binomial(8, p), draws.binomial(16, p)

    def counted(second: np.ndarray) -> list[tuple[int, int, int, int, int]]:
        pairs, items = np.unique(np.stack([before, second]), axis=1, return_counts=True)
        return [(int(c), 8, int(d), 16, int(i)) for (c, d), i in zip(pairs.T, items, strict=True)]

    same = shifts(counted(after))
    assert abs(same.up + same.down - same.expected) < 4 * same.deviation
    assert same.expected < ALPHA * 20_000
    better = shifts(counted(draws.binomial(16, np.clip(p + 0.3, 0, 1))))
    assert better.up - better.expected > 20 * better.deviation
