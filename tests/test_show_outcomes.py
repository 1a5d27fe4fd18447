"""`ladder show outcomes`: how the tiers moved in training, against the same figures computed once more in Python."""

import json
import threading
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from helpers import Run, rows_of, told
from outcome_rows import group, model_of, scored, written

from ladder.outcomes import movement
from ladder.score import Beta
from ladder.settings import settings_of
from ladder.store import Store


def shown(run: Run, ladder: Path, *arguments: str) -> dict[str, Any]:
    code, out, err = run("show", "outcomes", str(ladder), "--json", *arguments)
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    return dict(json.loads(line))


def test_before_any_training_there_is_nothing_to_show(run: Run, ladder: Path) -> None:
    assert shown(run, ladder) == {"runs": []}
    code, out, err = run("show", "outcomes", str(ladder))
    assert (code, out) == (0, "")
    assert err == "no outcomes: a run writes them, `ladder train` on a split of this ladder\n"


def test_each_tiers_thirds_are_compared_with_the_scores_of_the_items_met_in_them(
    run: Run, ladder: Path
) -> None:
    rows = written(ladder, "a-run", gain=0.4)
    found = shown(run, ladder)
    p = {item: (tier, mean_) for item, tier, mean_ in scored(ladder)}
    assert found["run"] == "a-run"
    assert found["unknown"] == 0
    for tier in found["tiers"]:
        for third, steps in (("first", range(3)), ("last", range(6, 9))):
            mine = [r for r in rows if p[r["item_id"]][0] == tier["tier"] and r["step"] in steps]
            differences = [r["correct"] / r["n"] - p[r["item_id"]][1] for r in mine]
            said = tier[third]
            assert said["groups"] == len(mine)
            assert said["rate"] == pytest.approx(mean(r["correct"] / r["n"] for r in mine))
            assert said["gain"] == pytest.approx(mean(differences))
            assert said["margin"] == pytest.approx(1.96 * stdev(differences) / len(mine) ** 0.5)
        mine = [r for r in rows if p[r["item_id"]][0] == tier["tier"]]
        assert tier["silent"] == pytest.approx(mean(r["correct"] in (0, 8) for r in mine))
        assert (tier["items"], tier["groups"]) == (len(mine) / 9, len(mine))


def test_a_run_is_told_in_figures(run: Run, ladder: Path) -> None:
    rows = written(ladder, "a-run", gain=0.3)
    (said,) = shown(run, ladder)["runs"]
    items = len({r["item_id"] for r in rows})
    first = [r for r in rows if r["step"] < 3]
    assert said == {
        "run": "a-run",
        "model": model_of(ladder),
        "scored": True,
        "first_step": 0,
        "last_step": 8,
        "groups": len(rows),
        "rollouts": 8 * len(rows),
        "items": items,
        "correct_first": pytest.approx(sum(r["correct"] for r in first) / (8 * len(first))),
        "correct_last": pytest.approx(
            sum(r["correct"] for r in rows if r["step"] > 5) / (8 * len([r for r in rows if r["step"] > 5]))
        ),
        "silent": pytest.approx(mean(r["correct"] in (0, 8) for r in rows)),
    }


def test_items_move_by_the_discounted_posterior(run: Run, ladder: Path) -> None:
    groups = defaultdict(list)
    for row in written(ladder, "a-run", gain=0.5):
        groups[row["item_id"]].append(row)
    found = shown(run, ladder)
    ((a, b),) = rows_of(ladder, "SELECT a, b FROM priors")
    tiering, moves = (
        settings_of(ladder).tiers.tiering(Beta(a, b), {}),
        defaultdict[str, Counter[str]](Counter),
    )
    for item, tier, correct, n in rows_of(ladder, "SELECT id, tier, correct, n FROM ladder"):
        for row in groups[item]:
            correct, n = 0.5 * correct + row["correct"], 0.5 * n + row["n"]
        moves[tier][tiering.of(correct, n)[0]] += 1
    assert found["moves"] == moves
    tiers = {tier["tier"]: tier for tier in found["tiers"]}
    assert tiers["medium"]["easier"] == moves["medium"]["easy"] + moves["medium"]["solved"] > 0
    assert tiers["medium"]["harder"] == moves["medium"]["hard"] + moves["medium"]["unsolved"]


def test_a_step_done_again_after_a_kill_counts_once(run: Run, ladder: Path) -> None:
    rows = written(ladder, "a-run", gain=0.2)
    before = run("show", "outcomes", str(ladder))
    Store.open(ladder).outcomes.append(rows[-20:])
    assert run("show", "outcomes", str(ladder)) == before


@pytest.mark.parametrize("counts", [(8, 0), (0, 8)])
def test_of_a_step_done_again_what_was_written_last_counts(
    run: Run, ladder: Path, counts: tuple[int, int]
) -> None:
    item = scored(ladder)[0][0]
    for correct in counts:
        Store.open(ladder).outcomes.append([group("r", 0, item, correct)])
    (said,) = shown(run, ladder)["runs"]
    assert (said["groups"], said["correct_last"]) == (1, counts[1] / 8)


def test_draws_of_an_item_in_one_step_count_each(run: Run, ladder: Path) -> None:
    item = scored(ladder)[0][0]
    Store.open(ladder).outcomes.append([group("r", 0, item, c, draw=d) for d, c in enumerate((0, 8, 3))])
    (said,) = shown(run, ladder)["runs"]
    assert (said["groups"], said["items"], said["silent"]) == (3, 1, pytest.approx(2 / 3))


def test_the_latest_run_is_shown_unless_another_is_named(run: Run, ladder: Path) -> None:
    written(ladder, "run-b", gain=0.1, steps=3)
    written(ladder, "run-a", gain=0.1, steps=3)
    assert shown(run, ladder)["run"] == "run-a"
    assert shown(run, ladder, "--run", "run-b")["run"] == "run-b"
    assert "'run-a', 'run-b'" in told(run("show", "outcomes", str(ladder), "--run", "run-c"))
    out = ladder.parent / "out"
    out.mkdir()
    (out / "run.json").write_text('{"id": "run-b"}')
    assert shown(run, ladder, "--run", str(out))["run"] == "run-b"
    assert "the beginning of several" in told(run("show", "outcomes", str(ladder), "--run", "run-"))


def test_a_runs_name_may_be_cut_short(run: Run, ladder: Path) -> None:
    written(ladder, "run-b", gain=0.1, steps=3)
    assert shown(run, ladder, "--run", "ru")["run"] == "run-b"


def test_what_cannot_be_compared_is_told(run: Run, ladder: Path) -> None:
    item = scored(ladder)[0][0]
    Store.open(ladder).outcomes.append([group("r", 0, item, 3), group("r", 0, "gone", 3)])
    _, out, _ = run("show", "outcomes", str(ladder))
    assert "another model than the ladder was scored with" in out
    assert "1 groups are of items that the ladder no longer has" in out
    assert "told by the probe" in out
    assert "without any learning" in out


def test_a_run_whose_items_are_all_gone_is_shown_without_movement(run: Run, ladder: Path) -> None:
    Store.open(ladder).outcomes.append([group("r", 0, "gone", 3)])
    found = shown(run, ladder)
    assert (found["unknown"], found["moves"]) == (1, {})
    assert all(tier["met"] == 0 and tier["last"]["gain"] is None for tier in found["tiers"])


def test_groups_of_which_nothing_counted_say_nothing(run: Run, ladder: Path) -> None:
    Store.open(ladder).outcomes.append([group("r", 0, scored(ladder)[0][0], 0, n=0)])
    assert shown(run, ladder) == {"runs": []}


def test_a_runs_name_cannot_command_the_terminal(run: Run, ladder: Path) -> None:
    Store.open(ladder).outcomes.append([group("\x1b]0;owned\x07", 0, scored(ladder)[0][0], 3)])
    _, out, _ = run("show", "outcomes", str(ladder))
    assert "\x1b" not in out
    assert "owned" in out


def test_filters_of_items_are_refused_and_run_is_for_outcomes(run: Run, ladder: Path) -> None:
    assert "--tier selects items" in told(run("show", "outcomes", str(ladder), "--tier", "hard"))
    assert "show outcomes" in told(run("show", "items", str(ladder), "--run", "r"))


def test_a_pool_that_is_not_scored_is_told(run: Run, ladder: Path) -> None:
    written(ladder, "r", gain=0.1, steps=2)
    (ladder / "ladder.duckdb").unlink()
    assert "ladder build" in told(run("show", "outcomes", str(ladder)))


def test_writers_and_merges_beside_it_break_nothing(ladder: Path) -> None:
    written(ladder, "r", gain=0.1, steps=2)
    items, stop, seen = [item for item, _, _ in scored(ladder)], threading.Event(), []

    def write() -> None:
        store = Store.open(ladder)
        for step in range(2, 40):
            store.outcomes.append([group("r", step, item, 4) for item in items[:5]])
            if step % 8 == 0:
                store.outcomes.compact()
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not stop.is_set():
        found = movement(Store.open(ladder))
        assert found is not None
        seen.append(found.runs[0].groups)
    thread.join()
    last = movement(Store.open(ladder))
    assert last is not None
    assert [*seen, last.runs[0].groups] == [*sorted(seen), 2 * len(items) + 38 * 5]
