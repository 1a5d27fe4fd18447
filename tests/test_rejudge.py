"""`ladder verify LADDER`: stored rollouts are judged again, nothing is sampled, and exactly what changed is told."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import pytest
from helpers import (
    K,
    Run,
    digits_settings,
    ladder_command,
    part_rows,
    read_pool_rows,
    rows_of,
    told,
    write_rows,
)

from ladder.build import build
from ladder.config import read_toml
from ladder.rejudge import RejudgeReport, rejudge
from ladder.store import Store
from ladder.verify import Policy, fingerprint

KEY = 'item_id, prompt, model, sampling, "index", gold'
TABLE = "SELECT * EXCLUDE (images) FROM ladder ORDER BY position"
OLDER = "older-verifier"


def rewrite(ladder: Path, log: str, columns: str, where: str = "true") -> None:
    """Rewrite the parts of a log as `SELECT columns`."""
    with duckdb.connect() as connection:
        for part in (ladder / log).glob("*.parquet"):
            connection.execute(
                f"COPY (SELECT {columns} FROM '{part}' WHERE {where}) TO '{part}.new' (FORMAT parquet)"
            )
            shutil.move(f"{part}.new", part)


def verdicts(ladder: Path, outcome: str, verifier: str = fingerprint()) -> list[tuple[str, int]]:
    rows = part_rows(ladder, "verdicts", 'item_id, "index", outcome, verifier')
    return [row[:2] for row in rows if row[2:] == (outcome, verifier)]


@pytest.fixture
def aged(ladder: Path) -> Path:
    """A ladder whose verdicts are an older verifier's: it took the first three right answers for wrong, two wrong ones
    for right, and was too late with one; and the catalogue was derived from them."""
    right, wrong = verdicts(ladder, "correct"), verdicts(ladder, "wrong")
    assert len(right) > 4
    assert len(wrong) > 2

    def among(keys: list[tuple[str, int]]) -> str:
        return f'(item_id, "index") IN ({", ".join(f"({key[0]!r}, {key[1]})" for key in keys)})'

    outcome = (
        f"CASE WHEN {among(right[:3])} THEN 'wrong' WHEN {among(wrong[:2])} THEN 'correct' "
        f"WHEN {among(right[3:4])} THEN 'timeout' ELSE outcome END"
    )
    rewrite(ladder, "verdicts", f"* REPLACE ('{OLDER}' AS verifier, {outcome} AS outcome, 'old' AS reason)")
    with duckdb.connect(str(ladder / "ladder.duckdb")) as connection:
        connection.execute(f"UPDATE build SET value = '{OLDER}' WHERE key = 'verifier'")
    return ladder


def changes(report: RejudgeReport) -> dict[tuple[str, str], int]:
    return {(change.before, change.after): change.count for change in report.changes}


ALTERED = {("wrong", "correct"): 3, ("correct", "wrong"): 2, ("timeout", "correct"): 1}


def test_exactly_the_verdicts_that_changed_are_told(
    aged: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladder.build.create_engine", lambda *_: pytest.fail("no model is needed"))
    rollouts = part_rows(aged, "rollouts")
    report = rejudge(aged)
    items = rows_of(aged, "SELECT count(*) FROM items")[0][0]
    assert (report.judged, report.compared, report.changed) == (K * items, K * items, 6)
    assert changes(report) == ALTERED
    assert (report.before, report.verifier, report.views, report.new) == (OLDER, fingerprint(), 1, True)
    assert part_rows(aged, "rollouts") == rollouts
    assert rows_of(aged, TABLE) == rows_of(built, TABLE), "derived anew"
    assert {(e["reason_before"], len(e)) for change in report.changes for e in change.examples} == {
        ("old", 6)
    }


def test_examples_name_the_item_its_gold_and_both_reasons(aged: Path) -> None:
    report = rejudge(aged)
    (change,) = (c for c in report.changes if (c.before, c.after) == ("wrong", "correct"))
    for example in change.examples:
        (gold,) = rows_of(aged, f"SELECT gold FROM items WHERE id = '{example['item']}'")[0]
        assert example["gold"] == gold
        assert example["extracted"] == example["extracted_before"]
        assert example["reason"] != "old"


def test_no_more_than_five_examples_of_each_change_are_told(ladder: Path) -> None:
    rewrite(ladder, "verdicts", f"* REPLACE ('{OLDER}' AS verifier, 'no_answer' AS outcome)")
    report = rejudge(ladder)
    assert sum(len(change.examples) for change in report.changes) == sum(
        min(5, c.count) for c in report.changes
    )
    assert max(change.count for change in report.changes) > 5


def test_again_nothing_is_judged_and_the_same_is_told(aged: Path) -> None:
    first = rejudge(aged)
    before = {p: p.stat().st_mtime_ns for p in aged.rglob("*.parquet")}
    second = rejudge(aged)
    assert (second.judged, second.new) == (0, False)
    assert {p: p.stat().st_mtime_ns for p in aged.rglob("*.parquet")} == before
    assert (changes(second), second.compared) == (changes(first), first.compared)


def test_a_ladder_of_this_verifier_is_left_alone(built: Path, ladder: Path) -> None:
    report = rejudge(ladder)
    assert (report.judged, report.compared, report.changed, report.new) == (0, 0, 0, False)
    assert (ladder / "ladder.duckdb").stat().st_mtime_ns == (built / "ladder.duckdb").stat().st_mtime_ns


def test_only_what_has_no_verdict_of_this_verifier_is_judged(aged: Path, built: Path) -> None:
    """As after a run that was killed half-way."""
    Store(aged).verdicts.append_table(Store(built).verdicts.table().slice(0, 40))
    report = rejudge(aged)
    assert report.judged == report.compared - 40
    assert changes(report) == ALTERED
    keys = part_rows(aged, "verdicts", f"{KEY}, verifier")
    assert len(keys) == len(set(keys))
    assert rows_of(aged, TABLE) == rows_of(built, TABLE)


def test_rollouts_of_other_models_and_prompts_are_judged_too(aged: Path) -> None:
    store = Store(aged)
    table = store.rollouts.table()
    column = table.schema.get_field_index("model")
    store.rollouts.append_table(table.set_column(column, "model", [["another"] * len(table)]))
    report = rejudge(aged)
    assert (report.views, report.judged) == (2, 2 * report.compared)
    assert changes(report) == ALTERED, "the other model's rollouts have no verdict to compare with"
    judged = part_rows(aged, "verdicts", "model, verifier")
    assert judged.count(("another", fingerprint())) == report.compared


def test_a_corrected_gold_is_no_changed_verdict(ladder: Path, pool: Path) -> None:
    rows = read_pool_rows(pool)
    (source_id, item_id) = rows_of(
        ladder, "SELECT source_id, id FROM ladder WHERE subject = 'count' LIMIT 1"
    )[0]
    write_rows(pool, [row | {"answer": "77"} if row["id"] == source_id else row for row in rows])
    build(digits_settings(pool), ladder)
    rewrite(
        ladder,
        "verdicts",
        f"* REPLACE ('{OLDER}' AS verifier)",
        f"outcome <> 'wrong' OR item_id <> '{item_id}'",
    )
    report = rejudge(ladder)
    assert (report.changed, report.compared) == (0, report.judged - K)


def test_another_policy_judges_anew_and_is_the_ladders_from_then_on(ladder: Path, digits_pool: Path) -> None:
    report = rejudge(ladder, ["verify.format=strict"])
    assert report.verifier == fingerprint(Policy(format="strict"))
    assert report.judged == report.compared > 0
    assert {after for _, after in changes(report)} <= {"no_answer"}
    assert read_toml(ladder / "build.toml")["build"]["verify"]["format"] == "strict"
    assert dict(rows_of(ladder, "SELECT key, value FROM build"))["verifier"] == report.verifier
    again = build(digits_settings(digits_pool), ladder)
    assert (again.sampled, again.judged, again.new) == (0, 0, True), (
        "the pipeline's own policy has its verdicts still"
    )


def test_a_build_with_another_policy_samples_nothing_and_audits_and_judges_by_it(
    ladder: Path, digits_pool: Path
) -> None:
    items = rows_of(ladder, "SELECT count(*) FROM items")[0][0]
    before = Store(ladder).import_manifest()
    report = build(digits_settings(digits_pool, verify__format="strict"), ladder)
    mark = fingerprint(Policy(format="strict"))
    assert (report.items, report.sampled, report.judged) == (items, 0, K * items)
    assert report.verifier["submitted"] == K * items
    assert dict(rows_of(ladder, "SELECT key, value FROM build"))["verifier"] == mark
    manifest = Store(ladder).import_manifest()
    assert manifest is not None
    assert before is not None
    assert manifest["fingerprint"] != before["fingerprint"]
    assert manifest["work"] == {"mapped": items, "decoded": 0}


def test_workers_and_deadline_are_for_this_run_only(ladder: Path) -> None:
    before = (ladder / "build.toml").read_bytes()
    assert not rejudge(ladder, workers=2, deadline=9.0).new
    assert (ladder / "build.toml").read_bytes() == before


def test_items_that_left_the_pool_are_not_judged(ladder: Path, pool: Path) -> None:
    write_rows(pool, read_pool_rows(pool)[5:])
    build(digits_settings(pool), ladder)
    rewrite(ladder, "verdicts", f"* REPLACE ('{OLDER}' AS verifier)")
    report = rejudge(ladder)
    assert report.judged == K * rows_of(ladder, "SELECT count(*) FROM items")[0][0]


def test_a_build_that_did_not_come_to_its_end_is_told(ladder: Path, tmp_path: Path, run: Run) -> None:
    settings = (ladder / "build.toml").read_text()
    (ladder / "build.toml").write_text(settings.replace(f"k = {K}", f"k = {K + 1}"))
    assert "run `ladder build` again" in told(run("verify", ladder))
    (ladder / "build.toml").write_text(settings)
    (ladder / "ladder.duckdb").unlink()
    assert "run `ladder build` again" in told(run("verify", ladder))
    Store.create(tmp_path / "empty")
    assert "run `ladder build` again" in told(run("verify", tmp_path / "empty"))


def test_a_builder_is_waited_for(ladder: Path, run: Run) -> None:
    with Store.open(ladder).building("build"):
        assert "is in use by `ladder build`" in told(run("verify", ladder))


def test_the_command_tells_changes_with_examples_and_as_one_object(
    aged: Path, run: Run, tmp_path: Path
) -> None:
    other = shutil.copytree(aged, tmp_path / "other")
    code, out, _ = run("verify", aged)
    lines = out.splitlines()
    assert code == 0
    assert "6 of " in lines[0]
    assert [line for line in lines if line.startswith("  ") and line[2] != " "] == [
        "  wrong -> correct: 3", "  correct -> wrong: 2", "  timeout -> correct: 1",
    ]  # fmt: skip
    assert sum("gold " in line for line in lines) == 6
    code, out, _ = run("verify", other, "--json")
    report = json.loads(out)
    assert (code, report["changed"], report["new"]) == (0, 6, True)
    assert {(c["before"], c["after"]): c["count"] for c in report["changes"]} == ALTERED


def test_killed_and_run_again_it_loses_and_doubles_nothing(aged: Path, built: Path) -> None:
    process = subprocess.Popen(ladder_command("verify", str(aged)), stderr=subprocess.PIPE)
    lock = aged / ".lock"
    while process.poll() is None and "verify" not in (lock.read_text() if lock.is_file() else ""):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    report = rejudge(aged)
    assert changes(report) == ALTERED
    keys = part_rows(aged, "verdicts", f"{KEY}, verifier")
    assert len(keys) == len(set(keys)) == 2 * report.compared
    assert rows_of(aged, TABLE) == rows_of(built, TABLE)
