"""Evaluation: counts, intervals, pairing."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ladder.errors import BadInput, LadderError
from ladder.settings import BuildSettings
from ladder.splits import Split
from trainer.evaluate import Evaluation, ItemResult, _asking, bootstrap, compare, evaluate, measures, summary
from trainer.setup import build_settings_of
from trainer.tables import comparison_table, evaluation_table


def result(i: int, correct: int, greedy: bool = True, tier: str = "easy") -> ItemResult:
    return ItemResult(f"i{i}", tier, "sum" if i % 2 else "read", 8, correct, greedy, 10.0)


def evaluation(*items: ItemResult) -> Evaluation:
    return Evaluation("m", "s", 8, 1.0, 1, list(items))


def test_the_three_measures() -> None:
    values = measures([result(0, 4), result(1, 0, greedy=False), result(2, 8)])
    assert values["mean"].tolist() == [0.5, 0, 1]
    assert values["greedy"].tolist() == [1, 0, 1]
    assert values["pass"].tolist() == [1, 0, 1]


def test_the_bootstrap_interval_covers_the_mean_and_matches_the_normal_one() -> None:
    values = np.random.default_rng(0).random(400)
    interval = bootstrap(values)
    error = values.std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_pairing_sees_a_small_gain_that_unpaired_intervals_hide() -> None:
    rng = np.random.default_rng(1)
    before = evaluation(*(result(i, int(c)) for i, c in enumerate(rng.integers(0, 8, 200))))
    after = evaluation(*(result(i, r.correct + (i % 2)) for i, r in enumerate(before.items)))
    row = compare(before, after)["all"]["mean"]
    assert row["difference"]["low"] > 0
    assert row["difference"]["mean"] == pytest.approx(1 / 16)
    assert row["before"]["high"] > row["after"]["low"]


def test_evaluations_of_different_items_do_not_compare() -> None:
    with pytest.raises(BadInput, match="different items"):
        compare(evaluation(result(0, 1)), evaluation(result(1, 1)))


def test_an_evaluation_survives_its_file(tmp_path: Path) -> None:
    one = evaluation(result(0, 3), result(1, 5))
    one.save(tmp_path / "e.json")
    assert Evaluation.read(tmp_path / "e.json") == one
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(BadInput, match="no evaluation"):
        Evaluation.read(tmp_path / "bad.json")


def test_missing_items_are_left_out_of_means_and_of_both_sides_of_a_comparison() -> None:
    missing = ItemResult("i0", "easy", "read", 0, 0, None, None)
    before, after = evaluation(result(0, 8), result(1, 4)), evaluation(missing, result(1, 6))
    whole = summary(after)["all"]
    assert (whole["items"], whole["left_out"], whole["mean"]["mean"], whole["tokens"]["mean"]) == (
        2,
        1,
        0.75,
        10,
    )
    for one, other, sign in ((before, after, 1), (after, before, -1)):
        paired = compare(one, other)["all"]["mean"]
        assert paired["difference"]["mean"] == sign * 0.25
        assert {paired["before"]["mean"], paired["after"]["mean"]} == {0.5, 0.75}


def test_a_part_without_a_result_has_null_for_json_and_a_dash_for_people(tmp_path: Path) -> None:
    one = evaluation(result(1, 4), ItemResult("i0", "hard", "read", 0, 0, None, None))
    assert json.loads(json.dumps(summary(one), allow_nan=False))["tier:hard"]["mean"]["mean"] is None
    line = next(
        line for line in evaluation_table(summary(one), 8).splitlines() if line.startswith("tier:hard")
    )
    assert line.split() == ["tier:hard", "1", "-", "-", "-", "-"]
    assert comparison_table(compare(one, one), 8).count(" - ") > 0
    one.save(tmp_path / "e.json")
    assert Evaluation.read(tmp_path / "e.json") == one


def test_the_mean_of_nothing_is_not_a_number() -> None:
    interval = bootstrap(np.array([float("nan")]))
    assert all(math.isnan(value) for value in (interval.mean, interval.low, interval.high))


def test_an_evaluation_of_which_nothing_counts_is_told(split: Split) -> None:
    """The ladder's model without the positions for a single answer."""
    settings = build_settings_of(split, ["sampling.max_tokens=1000000"])
    with pytest.raises(LadderError, match=r"no sample of the 2 items of .* counts: nothing was measured"):
        evaluate(split, split.probe[:2], "digits", settings, n=1, seed=1)


def test_a_real_evaluation_counts_every_sample_and_depends_on_its_seed(split: Split) -> None:
    settings = build_settings_of(split)
    first, again, other = (
        evaluate(split, split.probe, "digits", settings, n=3, seed=seed) for seed in (1, 1, 2)
    )
    assert [r.id for r in first.items] == [r["id"] for r in split.probe]
    assert all(r.n == 3 and 0 <= r.correct <= 3 and r.tokens > 0 for r in first.items)
    assert first == again
    assert [r.greedy for r in first.items] == [r.greedy for r in other.items]
    assert [r.tokens for r in first.items] != [r.tokens for r in other.items]


def test_tables_name_every_part() -> None:
    one = evaluation(result(0, 3), result(1, 5, tier="hard"))
    table = evaluation_table(summary(one), 8)
    for part in ("all", "tier:easy", "tier:hard", "subject:sum", "subject:read", "mean@8", "pass@8"):
        assert part in table
    assert "difference (paired)" in comparison_table(compare(one, one), 8)


def test_a_model_is_evaluated_where_it_can_run() -> None:
    def engine(scored_by: str, model: str) -> str:
        pool = {"root": "."}
        settings = BuildSettings.model_validate({"name": "x", "pool": pool, "engine": scored_by})
        return _asking(settings, model).engine

    assert [engine(e, "digits") for e in ("vllm", "server", "auto")] == ["vllm", "server", "auto"]
    assert [engine(e, "run/model") for e in ("vllm", "server", "replay")] == ["vllm", "auto", "auto"]
    with pytest.raises(BadInput, match="recorded answers: say which model"):
        engine("replay", "digits")
