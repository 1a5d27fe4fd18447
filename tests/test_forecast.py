"""`ladder build --dry-run` against what builds then do; and the log of runs that it takes its rates from."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from helpers import (
    K,
    Run,
    digits_overrides,
    digits_settings,
    ladder_command,
    part_rows,
    rows_of,
    told,
    write_rows,
)

from ladder.adaptive import AdaptiveSettings, StoppingRule
from ladder.build import build
from ladder.config import validate
from ladder.errors import BadInput
from ladder.forecast import Figure, forecast
from ladder.forecast import told as words
from ladder.forecast.figures import total
from ladder.forecast.footprint import footprint_of
from ladder.importing.stage import build_until_audit
from ladder.models import resolve_model
from ladder.pools.source import MakeDigits
from ladder.sampling.expected import expected_samples
from ladder.sampling.plan import State
from ladder.score import JEFFREYS
from ladder.settings import BuildSettings
from ladder.tiers import TierSettings

ITEMS = 55
FRESH = State(missing=8, correct=0, n=0, unjudged=0, ends=False)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


def size(ladder: Path) -> int:
    return sum(p.stat().st_size for log in ("rollouts", "verdicts") for p in (ladder / log).glob("*"))


def test_before_anything_is_there_the_forecast_is_a_bound_and_nothing_is_written(
    digits_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: Path
) -> None:
    monkeypatch.setattr("ladder.models.load_model", lambda *_, **__: pytest.fail("no weights are needed"))
    before = files(digits_pool)
    expected = forecast(digits_settings(digits_pool), tmp_path / "out", 100.0)
    assert (list(tmp_path.iterdir()), files(digits_pool)) == ([], before)
    assert expected.items == Figure(ITEMS, "at most", "rows before the audit")
    assert expected.rollouts == Figure(K * ITEMS, "at most")
    (main,) = expected.passes
    assert main.tokens_each == Figure(48, "at most", "max_tokens")
    (tokens,) = part_rows(built, "rollouts", "sum(tokens)")[0]
    assert main.tokens is not None
    assert main.tokens.value >= tokens
    assert main.seconds is not None
    assert main.seconds.value == pytest.approx(main.tokens.value / 100)
    assert expected.disk_bytes is not None
    assert expected.disk_bytes.value > size(built) / 2


def test_a_pool_that_is_still_to_be_made_has_as_many_rows_as_will_be_made(tmp_path: Path) -> None:
    expected = forecast(digits_settings(tmp_path / "no-pool"), tmp_path / "out")
    assert expected.items == Figure(ITEMS, "at most", "rows before the audit")
    assert list(tmp_path.iterdir()) == []


def test_an_imported_pool_has_its_items_and_prompts(digits_pool: Path, tmp_path: Path) -> None:
    settings = digits_settings(digits_pool)
    build_until_audit(settings, tmp_path / "out")
    before = files(tmp_path)
    expected = forecast(settings, tmp_path / "out")
    assert files(tmp_path) == before
    assert expected.items == Figure(ITEMS, "exact", "imported")
    assert expected.rollouts == Figure(K * ITEMS)
    (main,) = expected.passes
    assert main.seconds is None
    assert "unknown: give --rate" in words(expected)
    assert main.prompts is not None
    assert (main.prompts.encoded, main.prompts.too_long, main.prompts.unencodable) == (28, 0, 0)
    assert 20 < main.prompts.tokens < 200


def test_prompts_that_do_not_fit_are_told_before_a_model_is_loaded(digits_pool: Path, tmp_path: Path) -> None:
    settings = digits_settings(digits_pool, sampling__max_tokens=2030)
    build_until_audit(settings, tmp_path / "out")
    (main,) = forecast(settings, tmp_path / "out").passes
    assert main.prompts is not None
    assert main.prompts.too_long == main.prompts.encoded
    assert "28 encoded, 28 too long" in words(forecast(settings, tmp_path / "out"))


def test_a_pool_that_changed_is_counted_anew(ladder: Path, pool: Path) -> None:
    (pool / "rows.jsonl").write_text("{}\n" * 7, encoding="utf-8")
    assert forecast(digits_settings(pool), ladder).items == Figure(7, "at most", "rows before the audit")


def test_of_a_complete_ladder_nothing_is_to_be_sampled(ladder: Path, digits_pool: Path) -> None:
    before = files(ladder)
    expected = forecast(digits_settings(digits_pool), ladder)
    assert files(ladder) == before
    assert expected.rollouts == expected.tokens == expected.disk_bytes == expected.seconds == Figure(0)
    assert f"nothing to sample; {K * ITEMS} are stored" in words(expected)


def test_with_a_higher_k_the_difference_is_forecast_from_what_is_stored(
    ladder: Path, digits_pool: Path
) -> None:
    settings = digits_settings(digits_pool, sampling__k=3 * K)
    expected = forecast(settings, ladder)
    report = build(settings, ladder)
    assert expected.rollouts == Figure(report.sampled)
    (main,) = expected.passes
    assert main.tokens_each.source == f"measured on {K * ITEMS} stored rollouts"
    assert main.rate is not None
    assert main.rate.source == "measured in 1 run here"
    assert expected.tokens is not None
    assert report.tokens / 1.2 < expected.tokens.value < report.tokens * 1.2


def test_the_store_grows_as_its_merged_parts_tell(ladder: Path, digits_pool: Path) -> None:
    build(digits_settings(digits_pool, sampling__k=2 * K), ladder)
    settings, before = digits_settings(digits_pool, sampling__k=4 * K), size(ladder)
    expected = forecast(settings, ladder).passes[0].disk_bytes
    assert expected is not None
    assert expected.source == "as what is stored takes"
    build(settings, ladder)
    assert (size(ladder) - before) / 2 < expected.value < (size(ladder) - before) * 2


def test_adaptive_what_is_sampled_is_within_the_interval(
    ladder: Path, digits_pool: Path, tmp_path: Path
) -> None:
    settings = digits_settings(digits_pool, sampling__adaptive__k_max=16)
    for out in (ladder, tmp_path / "new"):
        build_until_audit(settings, out)
        expected = forecast(settings, out).rollouts
        assert expected is not None
        assert expected.low is not None
        assert expected.high is not None
        assert expected.low < expected.value < expected.high
        assert expected.low <= build(settings, out).sampled <= expected.high
        assert forecast(settings, out).rollouts == Figure(0)


def test_a_pass_over_some_tiers_is_exact_once_they_are_known(
    ladder: Path, digits_pool: Path, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"passes__greedy__sampling__temperature": 0.0, "passes__greedy__sampling__k": 1}
    settings = digits_settings(digits_pool, **more, passes__greedy__tiers=["medium", "easy"])
    (wanted,) = rows_of(ladder, "SELECT count(*) FROM ladder WHERE tier IN ('medium', 'easy')")[0]
    assert forecast(settings, ladder).rollouts == Figure(wanted)
    assert build(settings, ladder).sampled == wanted
    build_until_audit(settings, tmp_path / "new")
    assert forecast(settings, tmp_path / "new").rollouts == Figure((K + 1) * ITEMS, "at most")


@dataclass(frozen=True)
class Halfway:
    """A ladder whose build was terminated, the forecast then, and what the next one did."""

    path: Path
    stored: int
    runs: list[dict[str, Any]]
    forecast: Any
    sampled: int


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory, digits_pool: Path) -> Halfway:
    out = tmp_path_factory.mktemp("halfway") / "tiny-ladder"
    overrides = digits_overrides(digits_pool, transformers__slots=1)
    command = ladder_command("build", "digits", "--out", str(out), *(f"--set={o}" for o in overrides))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not list((out / "rollouts").glob("rollouts-*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=180)
    stored, runs = len(part_rows(out, "rollouts")), runs_of(out)
    settings = digits_settings(digits_pool)
    return Halfway(out, stored, runs, forecast(settings, out), build(settings, out).sampled)


def runs_of(ladder: Path) -> list[dict[str, Any]]:
    parts = sorted((ladder / "runs").glob("runs-*.parquet"))
    return [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]


def test_half_way_the_rest_is_forecast_exactly(halfway: Halfway) -> None:
    assert 0 < halfway.stored < K * ITEMS
    assert halfway.forecast.rollouts == Figure(halfway.sampled)
    assert halfway.sampled == K * ITEMS - halfway.stored
    assert halfway.forecast.seconds.value > 0


def test_a_terminated_run_is_logged_with_what_it_sampled(halfway: Halfway) -> None:
    (run,) = halfway.runs
    assert (run["pass"], run["engine"], run["workers"]) == ("main", "transformers", 1)
    assert (run["sampled"], run["refused"], run["failed"]) == (halfway.stored, 0, 0)
    assert 0 < run["waiting_share"] < 1
    assert run["seconds"] > 0
    assert json.loads(run["counts"]) == {}


def test_the_catalogue_has_a_row_for_every_run_and_none_for_a_build_that_did_nothing(
    halfway: Halfway, digits_pool: Path, run: Run
) -> None:
    build(digits_settings(digits_pool), halfway.path)
    code, out, _ = run("sql", halfway.path, "SELECT * FROM runs ORDER BY started", "--json")
    assert code == 0
    assert [row["sampled"] for row in json.loads(out)] == [halfway.stored, halfway.sampled]


def test_the_command_tells_it_or_prints_one_object(ladder: Path, digits_pool: Path, run: Run) -> None:
    sets = [f"--set={override}" for override in digits_overrides(digits_pool, sampling__k=K + 1)]
    code, out, err = run("build", "digits", *sets, "--out", ladder, "--dry-run", "--rate", "1000")
    assert (code, err) == (0, "")
    assert f"rollouts  {ITEMS}; {K * ITEMS} are stored" in out
    assert "at 1,000 tokens/s (given)" in out
    code, out, _ = run("build", "digits", *sets, "--out", ladder, "--dry-run", "--json")
    assert json.loads(out)["rollouts"]["value"] == ITEMS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "sampling.kk=1"], "sampling.kk"),
        (["--set", "model.name=none"], "no model 'none'"),
        (["--rate", "0"], "--rate 0"),
        (["--rate", "nan"], "--rate nan"),
        (["--set", "prompt.template=none"], "none"),
    ],
)
def test_what_a_build_refuses_its_forecast_refuses(
    arguments: list[str], message: str, run: Run, digits_pool: Path
) -> None:
    sets = [f"--set={override}" for override in digits_overrides(digits_pool)]
    assert message in told(run("build", "digits", *sets, "--dry-run", *arguments))


def test_another_embedded_pool_in_its_place_is_refused(pool: Path, tmp_path: Path) -> None:
    (pool / "made.json").write_text(MakeDigits(items=34).model_dump_json(), encoding="utf-8")
    with pytest.raises(BadInput, match="made with other settings"):
        forecast(digits_settings(pool), tmp_path / "out")


def test_a_place_that_holds_something_else_is_refused(digits_pool: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match="holds something that is no ladder"):
        forecast(digits_settings(digits_pool), tmp_path)


def test_what_does_not_fit_on_the_disk_is_warned_of(tmp_path: Path) -> None:
    write_rows(tmp_path / "pool", [{"question": "1?", "answer": "1"}])
    values = {"name": "x", "pool": {"root": str(tmp_path / "pool")}, "sampling": {"k": 10**12}}
    expected = forecast(validate(BuildSettings, values), tmp_path / "out")
    assert "warning: only" in words(expected)


def test_weights_are_counted_by_their_headers() -> None:
    directory = resolve_model("digits")
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    footprint = footprint_of(directory, config, "bfloat16")
    assert footprint is not None
    assert footprint.weight_bytes == pytest.approx(2 * 1.3e6, rel=0.1)
    assert footprint.position_bytes == 2 * 4 * 2 * 32 * 2  # keys and values, layers, heads, head size, bytes


def test_figures_are_worth_what_the_least_sure_of_them_is() -> None:
    assert Figure(2).times(Figure(3, "about", "measured")) == Figure(6, "about")
    assert Figure(2, "about", "", 1, 4).times(Figure(10, "at most")) == Figure(40, "at most")
    assert total([Figure(1), Figure(2, "about", "", 1, 4)]) == Figure(3, "about", "", 2, 5)
    assert total([Figure(1), None]) is None


def test_expected_samples_of_fresh_items_are_the_rules_own() -> None:
    rule = StoppingRule(8, AdaptiveSettings(), TierSettings())
    expected = expected_samples([FRESH] * 10, rule)
    assert expected.mean == pytest.approx(10 * rule.expected_cost(JEFFREYS))
    assert 80 <= expected.low < expected.mean < expected.high <= 640


def test_without_a_rule_or_with_a_gold_that_nobody_can_judge_what_is_missing_is_all() -> None:
    rule = StoppingRule(8, AdaptiveSettings(), TierSettings())
    ended = State(missing=3, correct=0, n=4, unjudged=0, ends=True)
    for expected in (
        expected_samples([ended] * 2, rule),
        expected_samples([FRESH._replace(ends=True)], None),
    ):
        assert expected.low == expected.mean == expected.high
    assert expected_samples([ended] * 2, rule).mean == 6


def test_what_is_stored_and_not_judged_is_not_sampled_again() -> None:
    rule = StoppingRule(8, AdaptiveSettings(), TierSettings())
    fresh, stored = (
        expected_samples([state], rule).mean for state in (FRESH, FRESH._replace(missing=0, unjudged=8))
    )
    assert stored == pytest.approx(fresh - 8)
