"""Further passes over a ladder's items: direct, blind, and a panel of other models; and what was refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import K, Run, digits_overrides, digits_settings, part_rows, rows_of, told

from ladder.build import build
from ladder.config import load, shipped
from ladder.errors import BadInput, LadderError
from ladder.models import resolve_model
from ladder.rejudge import rejudge
from ladder.settings import BuildSettings

PASSES = {
    "passes.direct.prompt.template": "brief-direct",
    "passes.direct.sampling.k": 2,
    "passes.blind.prompt.template": "brief-blind",
    "passes.blind.sampling.k": 2,
    "passes.other.sampling.k": 3,
    "passes.other.tiers": ["unsolved", "hard"],
}


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policy with some noise on its weights: another member of a panel."""
    from transformers import AutoModelForImageTextToText

    source, folder = resolve_model("digits"), tmp_path_factory.mktemp("other") / "model"
    shutil.copytree(source, folder)
    model = AutoModelForImageTextToText.from_pretrained(source)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * parameter.std() * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def settings(pool: Path, other: Path, **more: Any) -> BuildSettings:
    named = {k.replace(".", "__"): v for k, v in PASSES.items()} | {"passes__other__model__name": str(other)}
    return digits_settings(pool, **named | more)


@pytest.fixture(scope="module")
def asked(
    tmp_path_factory: pytest.TempPathFactory, built: Path, digits_pool: Path, other_model: Path
) -> Path:
    """The small ladder with three further passes."""
    out = tmp_path_factory.mktemp("passes") / "tiny-ladder"
    shutil.copytree(built, out)
    report = build(settings(digits_pool, other_model), out)
    counts = rows_of(out, "SELECT pass, count(*), min(n), max(n) FROM passes GROUP BY 1 ORDER BY 1")
    assert report.sampled == sum(items * n for _, items, n, _ in counts)
    return out


def test_each_pass_asks_its_items_as_often_as_it_is_told(asked: Path) -> None:
    counts = rows_of(asked, "SELECT pass, count(*), min(n), max(n) FROM passes GROUP BY 1 ORDER BY 1")
    (items,) = rows_of(asked, "SELECT count(*) FROM items")[0]
    (hard,) = rows_of(asked, "SELECT count(*) FROM ladder WHERE tier IN ('unsolved', 'hard')")[0]
    assert counts == [("blind", items, 2, 2), ("direct", items, 2, 2), ("other", hard, 3, 3)]
    assert 0 < hard < items


def test_the_ladder_itself_is_what_it_was_with_the_rates_of_the_passes_beside_it(
    asked: Path, built: Path
) -> None:
    rates = "direct_rate, blind_rate, other_rate"
    gains = "direct_gain, blind_gain, other_gain"
    sql = "SELECT {} FROM ladder ORDER BY position"
    own = rows_of(asked, sql.format(f"* EXCLUDE ({rates}, {gains}, panel_mean)"))
    assert own == rows_of(built, sql.format("* EXCLUDE panel_mean"))
    for direct, blind, other in rows_of(asked, sql.format(rates)):
        assert direct in (0, 0.5, 1)
        assert blind in (0, 0.5, 1)
        assert other is None or 0 <= other <= 1


def test_without_its_image_a_question_is_another_prompt_of_the_same_model(asked: Path) -> None:
    prompts = part_rows(
        asked, "rollouts", "DISTINCT prompt, model, count(*) OVER (PARTITION BY prompt, model)"
    )
    assert len({prompt for prompt, _, _ in prompts}) == 3
    assert len({model for _, model, _ in prompts}) == 2
    (blind, seeing) = rows_of(
        asked, "SELECT avg(blind_rate), avg(pass_rate) FROM ladder WHERE subject = 'read'"
    )[0]
    assert blind < seeing


def test_again_nothing_is_sampled_and_a_changed_pass_costs_only_itself(
    asked: Path, tmp_path: Path, digits_pool: Path, other_model: Path
) -> None:
    copy = Path(shutil.copytree(asked, tmp_path / "tiny-ladder"))
    assert build(settings(digits_pool, other_model), copy).new is False
    more = build(settings(digits_pool, other_model, passes__blind__sampling__k=3), copy)
    (items,) = rows_of(copy, "SELECT count(*) FROM items")[0]
    assert (more.sampled, more.new) == (items, True)
    without = build(digits_settings(digits_pool), copy)
    assert (without.sampled, without.new) == (0, True)
    assert rows_of(copy, "SELECT count(*) FROM passes") == [(0,)]


def test_a_gold_that_another_model_contradicts_alike_each_time_is_doubted(
    asked: Path, tmp_path: Path, digits_pool: Path, other_model: Path
) -> None:
    import json

    copy = Path(shutil.copytree(asked, tmp_path / "tiny-ladder"))
    pool = Path(shutil.copytree(digits_pool, tmp_path / "pool"))
    (sure,) = rows_of(
        copy,
        "SELECT id, source_id FROM ladder WHERE subject = 'count' AND pass_rate = 1 ORDER BY id LIMIT 1",
    )
    rows = [json.loads(line) for line in (pool / "rows.jsonl").read_text().splitlines()]
    right = next(row["answer"] for row in rows if row["id"] == sure[1])
    wrong = [row | {"answer": "9"} if row["id"] == sure[1] else row for row in rows]
    (pool / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    report = build(settings(pool, other_model), copy)
    assert report.sampled == 3, "now unsolved, it is asked of the other model, and nothing else is"
    doubts = rows_of(copy, f"SELECT answer, pass, instead FROM doubts WHERE id = '{sure[0]}'")
    assert doubts == [("9", "other", right)]


def test_judged_again_all_passes_keep_their_place(asked: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(asked, tmp_path / "tiny-ladder"))
    before = rows_of(copy, "SELECT * FROM passes ORDER BY ALL")
    report = rejudge(copy, ["verify.format=strict"])
    assert report.judged == len(part_rows(copy, "rollouts"))
    after = rows_of(copy, "SELECT * FROM passes ORDER BY ALL")
    assert [row[:4] for row in after] == [row[:4] for row in before]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("passes.main.sampling.k=2", "passes.main: the name is taken"),
        ('passes."a-b".sampling.k=2', "the name becomes a column"),
        ("passes.blind.sampling.kk=2", "unknown key 'passes.blind.sampling.kk', did you mean"),
        ('passes.blind.tiers=["hrad"]', "there is no tier 'hrad'"),
    ],
)
def test_a_pass_that_cannot_be_is_told_before_anything_runs(override: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load(BuildSettings, shipped("pipelines", "digits"), [override])


def command(pool: Path, out: Path, *more: str) -> list[str]:
    return ["build", "digits", "--out", str(out), *(f"--set={o}" for o in (*digits_overrides(pool), *more))]


def test_a_pass_may_be_named_like_a_word_of_sql(ladder: Path, digits_pool: Path, run: Run) -> None:
    more = ["passes.order.sampling.k=1", "passes.order.prompt.template=brief-direct"]
    code, _, err = run(*command(digits_pool, ladder, *more))
    assert code == 0, err
    assert {rate for (rate,) in rows_of(ladder, "SELECT order_rate FROM ladder")} <= {0, 1}


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (["passes.again.sampling.k=2"], ["passes.again", "main"]),
        (
            [f"passes.{name}.prompt.template=brief-direct" for name in ("first", "second")],
            ["passes.second", "first"],
        ),
        (["passes.blind.sampling.k=1", "passes.Blind.sampling.k=2"], ["equal but for case"]),
    ],
)
def test_passes_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, digits_pool: Path, run: Run, more: list[str], names: list[str]
) -> None:
    line = told(run(*command(digits_pool, tmp_path / "out", *more)))
    assert all(name in line for name in names), line
    assert not (tmp_path / "out").exists()


def test_what_an_engine_refuses_is_a_reject_that_costs_nothing_again(
    tmp_path: Path, digits_pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = load(
        BuildSettings,
        shipped("pipelines", "digits"),
        digits_overrides(digits_pool, sampling__max_tokens=10**6),
    )
    scoreless = "none of the items could be scored: prompt and answer need"
    with pytest.raises(LadderError, match=scoreless):
        build(long, tmp_path / "out")
    (items,) = rows_of(tmp_path / "out", "SELECT count(*) FROM items")[0]
    reasons = rows_of(
        tmp_path / "out", "SELECT stage, reason, source, count(*) FROM rejects GROUP BY ALL ORDER BY ALL"
    )
    assert ("sampling", "too_long", "digits", items) in reasons
    monkeypatch.setattr("ladder.build.create_engine", lambda *_: pytest.fail("no model is needed"))
    with pytest.raises(LadderError, match=scoreless):
        build(long, tmp_path / "out")


def test_adaptive_a_build_asks_more_of_some_items_and_ends_where_a_killed_one_does(
    tmp_path: Path, ladder: Path, digits_pool: Path
) -> None:
    adaptive = digits_settings(digits_pool, sampling__adaptive__k_max=16)
    report = build(adaptive, tmp_path / "whole")
    counts = rows_of(tmp_path / "whole", "SELECT n, count(*) FROM scores GROUP BY 1 ORDER BY 1")
    assert counts[0][0] >= K
    assert counts[-1][0] <= 16
    assert len(counts) > 1
    assert report.sampled == sum(n * items for n, items in counts)
    more = build(adaptive, ladder)
    assert more.sampled == report.sampled - K * sum(items for _, items in counts)
    sql = "SELECT * EXCLUDE (images) FROM ladder ORDER BY position"
    assert rows_of(ladder, sql) == rows_of(tmp_path / "whole", sql)
    assert build(adaptive, ladder).new is False


def test_under_another_seed_they_are_other_rollouts_and_the_old_ones_stay(
    ladder: Path, digits_pool: Path
) -> None:
    before = part_rows(ladder, "rollouts")
    report = build(digits_settings(digits_pool, sampling__seed=1), ladder)
    assert report.sampled == len(before)
    texts = "SELECT list(pass_rate ORDER BY id) FROM ladder"
    other = rows_of(ladder, texts)
    assert build(digits_settings(digits_pool), ladder).sampled == 0
    assert rows_of(ladder, texts) != other
    assert set(map(str, before)) < set(map(str, part_rows(ladder, "rollouts")))


def test_card_and_report_tell_of_the_passes(asked: Path) -> None:
    card, report = (asked / "README.md").read_text(), (asked / "report.html").read_text()
    (blind,) = (line for line in card.splitlines() if line.startswith("| pass `blind` |"))
    assert "`digits` on transformers, template `brief-blind`, 2 samples at temperature 1.0" in blind
    assert ": 55 items, mean pass rate 0." in blind
    assert "<td>blind</td><td>55</td>" in report
