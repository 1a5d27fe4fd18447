"""The catalogue: derived by SQL from the logs, so equal whenever they are."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from helpers import rows_of

from ladder.errors import BadInput
from ladder.identity import gold_digest
from ladder.records import AnswerType, Item, Reject, Rollout, RolloutKey
from ladder.sampling.plan import Plan
from ladder.store import Store, catalogue, sql
from ladder.store.catalogue import build_catalogue, facts_of, query
from ladder.store.parts import write_parquet
from ladder.store.sql import View
from ladder.store.wanted import stored_outcomes, unjudged_rollouts
from ladder.tiers import LevelTiers, QuantileTiers, TierSettings

VIEW = View(prompt="p", model="m", sampling="s", verifier="v", k=4)
FACTS = {"state": "x", "model_fingerprint": "m"}
ITEMS = [Item(name, f"q {name}", (), (), "3", AnswerType.INTEGER, "src", name) for name in "abc"]
SCORES = "SELECT id, n, correct, no_answer, timeouts, truncated, complexity FROM scores ORDER BY id"


def filled(path: Path, items: list[Item] = ITEMS) -> Store:
    store = Store.create(path)
    part = store.items.append([item.row() for item in items])
    store.finish_import({"items": [part.name] if part else [], "rejects": []})
    return store


def key(item: str, index: int, **more: Any) -> RolloutKey:
    return replace(RolloutKey(item, "p", "m", "s", index), **more)


def sampled(store: Store, *keys: RolloutKey, tokens: int = 2, finish: str = "stop", text: str = "t") -> None:
    ids = tuple(range(tokens))
    rollouts = (Rollout(k, text, ids, tuple(0.0 for _ in ids), finish, 0, "e") for k in keys)
    store.rollouts.append([rollout.row() for rollout in rollouts])


def judged(
    store: Store, outcome: str, *keys: RolloutKey, gold: str | None = None, verifier: str = "v"
) -> None:
    digest = gold or gold_digest(ITEMS[0])
    own = {"gold": digest, "verifier": verifier, "outcome": outcome, "extracted": "", "reason": ""}
    slots = RolloutKey.__slots__
    store.verdicts.append([{name: getattr(k, name) for name in slots} | own for k in keys])


def scores(store: Store, view: View = VIEW) -> dict[str, tuple[Any, ...]]:
    build_catalogue(store, view, TierSettings(), FACTS)
    return {row[0]: row[1:] for row in rows_of(store.path, SCORES)}


def golds(store: Store) -> dict[str, str]:
    return {item.id: gold_digest(item) for item in store.load_items()}


def missing_samples(store: Store, view: View, ids: list[str]) -> list[tuple[str, list[int]]]:
    return list(Plan(ids, stored_outcomes(store, view, golds(store)), view.k).missing())


def test_only_what_is_missing_is_missing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    everything = [(i.id, [0, 1, 2, 3]) for i in ITEMS]
    assert missing_samples(store, VIEW, [i.id for i in ITEMS]) == everything
    sampled(store, key("a", 0), key("a", 2), *(key("b", j) for j in range(4)))
    sampled(store, key("c", 0, prompt="q"), key("c", 1, model="n"), key("c", 2, sampling="t"), key("c", 9))
    assert missing_samples(store, VIEW, ["c", "b", "a"]) == [("c", [0, 1, 2, 3]), ("a", [1, 3])]
    assert missing_samples(store, replace(VIEW, k=5), ["b"]) == [("b", [4])]
    assert missing_samples(store, VIEW, []) == []


def test_a_rollout_is_judged_once_per_gold_and_verifier_and_again_after_a_timeout(tmp_path: Path) -> None:
    store = filled(tmp_path)
    sampled(store, *(key("a", j) for j in range(4)), key("gone", 0), key("a", 7))
    judged(store, "wrong", key("a", 0))
    judged(store, "wrong", key("a", 1), gold="another gold")
    judged(store, "wrong", key("a", 2), verifier="another")
    judged(store, "timeout", key("a", 3))
    expected = [("a", 1, "t", False), ("a", 2, "t", False), ("a", 3, "t", True)]
    assert sorted(unjudged_rollouts(store, VIEW, golds(store))) == expected
    judged(store, "correct", key("a", 3))
    assert sorted(unjudged_rollouts(store, VIEW, golds(store))) == expected[:2]


def test_counts_are_of_outcomes_that_count(tmp_path: Path) -> None:
    store = filled(tmp_path)
    sampled(store, *(key("a", j) for j in range(4)), *(key("b", j) for j in range(4)), tokens=3)
    judged(store, "correct", key("a", 0))
    judged(store, "no_answer", key("a", 1))
    judged(store, "timeout", key("a", 2))
    judged(store, "wrong", key("a", 3))
    for j in range(4):
        judged(store, "unverifiable", key("b", j))
    assert scores(store) == {"a": (3, 1, 1, 1, 0, 3.0), "b": (0, 0, 0, 0, 0, 3.0)}
    assert rows_of(tmp_path, "SELECT id, pass_rate FROM ladder") == [("a", 1 / 3)], (
        "without n there is no pass rate"
    )


def test_a_truncated_response_counts_as_wrong_and_is_flagged(tmp_path: Path) -> None:
    store = filled(tmp_path)
    sampled(store, key("a", 0), finish="length")
    sampled(store, key("a", 1))
    judged(store, "correct", key("a", 0), key("a", 1))
    assert scores(store)["a"][:5] == (2, 1, 0, 0, 1)


def test_a_verdict_that_came_in_time_replaces_a_timeout(tmp_path: Path) -> None:
    store = filled(tmp_path)
    sampled(store, key("a", 0), key("a", 1))
    judged(store, "timeout", key("a", 0), key("a", 1))
    judged(store, "wrong", key("a", 0))
    assert scores(store)["a"][:4] == (1, 0, 0, 1)


def test_a_rollout_stored_twice_counts_once(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for _ in range(2):
        sampled(store, key("a", 0))
        judged(store, "correct", key("a", 0))
    assert scores(store)["a"][:2] == (1, 1)


def test_only_the_views_rollouts_and_the_current_golds_count(tmp_path: Path) -> None:
    store = filled(tmp_path)
    sampled(store, key("a", 0), key("a", 1), key("a", 4), key("b", 0, model="n"), key("gone", 0))
    judged(store, "correct", key("a", 0), key("a", 4), key("b", 0, model="n"), key("gone", 0))
    judged(store, "correct", key("a", 1), gold="an old gold")
    assert {i: row[0] for i, row in scores(store).items()} == {"a": 1}
    assert {i: row[0] for i, row in scores(store, replace(VIEW, model="n")).items()} == {"b": 1}


def test_pass_at_j_comes_from_the_first_samples_alone(tmp_path: Path) -> None:
    """Later ones were taken because of what the first showed."""
    store = filled(tmp_path)
    sampled(store, *(key("a", j) for j in range(8)), *(key("b", j) for j in range(2)))
    judged(store, "correct", key("a", 0), *(key("a", j) for j in range(4, 8)))
    judged(store, "wrong", *(key("a", j) for j in range(1, 4)), key("b", 0), key("b", 1))
    build_catalogue(store, replace(VIEW, k=8), TierSettings(), FACTS, first=4)
    columns = "id, n, correct, pass_1, pass_2, pass_4"
    assert rows_of(tmp_path, f"SELECT {columns} FROM ladder ORDER BY id") == [
        ("a", 8, 5, pytest.approx(0.25), pytest.approx(0.5), 1.0),
        ("b", 2, 0, 0.0, 0.0, None),
    ]
    assert "pass_8" not in query(store, "SELECT * FROM ladder")[0]


def test_rates_are_corrected_for_guessing_and_lengths_told_in_several_ways(tmp_path: Path) -> None:
    options = ("1", "2", "3", "4")
    items = [
        ITEMS[0],
        replace(ITEMS[1], options=options),
        replace(ITEMS[2], options=options, question="longer"),
    ]
    store = filled(tmp_path, items)
    for item, correct in zip(items, (2, 2, 0), strict=True):
        for j in range(4):
            sampled(store, key(item.id, j), tokens=(1, 3, 5, 11)[j], finish="length" if j == 3 else "stop")
            judged(store, "correct" if j < correct else "no_answer", key(item.id, j), gold=gold_digest(item))
    build_catalogue(store, VIEW, TierSettings(), FACTS)
    columns = "guess_floor, corrected_rate, no_answer_rate, truncation_rate, complexity, correct_tokens, median_tokens"
    assert rows_of(
        tmp_path, f"SELECT id, {columns}, question_chars, image_count, pixels FROM ladder ORDER BY id"
    ) == [
        ("a", 0, 0.5, 0.5, 0.25, 5, 2, 4, 3, 0, 0),
        ("b", 0.25, pytest.approx(1 / 3), 0.5, 0.25, 5, 2, 4, 3, 0, 0),
        ("c", 0.25, 0, 1, 0.25, 5, None, 4, 6, 0, 0),
    ]


def test_pixels_are_those_of_all_images_of_an_item(tmp_path: Path) -> None:
    store = filled(tmp_path, [replace(ITEMS[0], images=("x", "y", "x")), ITEMS[1]])
    sizes = {"x": (10, 20), "y": (3, 5), "z": (900, 900)}
    store.images.append(
        [{"hash": h, "phash": 0, "width": w, "height": t, "data": b""} for h, (w, t) in sizes.items()]
    )
    for name in "ab":
        sampled(store, key(name, 0))
        judged(store, "wrong", key(name, 0))
    build_catalogue(store, VIEW, TierSettings(), FACTS)
    assert rows_of(tmp_path, "SELECT id, image_count, pixels FROM ladder ORDER BY id") == [
        ("a", 3, 415),
        ("b", 0, 0),
    ]


def test_a_further_pass_is_told_beside_the_ladders_own_and_other_models_as_a_panel(tmp_path: Path) -> None:
    store = filled(tmp_path)
    models = {"m": 1, "blind": 0, "n": 2, "o": 4}  # samples correct, of four
    for model, correct in models.items():
        keys = [
            key("a", j, model="m" if model == "blind" else model, prompt=model if model == "blind" else "p")
            for j in range(4)
        ]
        sampled(store, *keys)
        for j, each in enumerate(keys):
            judged(store, "correct" if j < correct else "wrong", each)
    sampled(store, key("b", 0))
    judged(store, "correct", key("b", 0))
    passes = {
        "blind": replace(VIEW, prompt="blind"),
        "strong": replace(VIEW, model="n"),
        "best": replace(VIEW, model="o"),
    }
    build_catalogue(store, VIEW, TierSettings(), FACTS, passes)
    columns = "id, pass_rate, blind_rate, blind_gain, strong_gain, best_gain, panel_mean"
    assert rows_of(tmp_path, f"SELECT {columns} FROM ladder ORDER BY id") == [
        ("a", 0.25, 0, -0.25, 0.25, 0.75, 0.75),
        ("b", 1, None, None, None, None, None),
    ]


def test_every_scored_item_has_exactly_one_tier_of_those_there_are_and_its_p_lies_in_a_band(
    tmp_path: Path,
) -> None:
    items = [replace(ITEMS[0], id=f"i{n:03d}") for n in range(120)]
    store = filled(tmp_path, items)
    sampled(store, *(key(item.id, j) for item in items for j in range(4)))
    for outcome, right in (("correct", True), ("wrong", False)):
        judged(
            store,
            outcome,
            *(key(i.id, j) for n, i in enumerate(items) for j in range(4) if (j < n % 5) is right),
        )
    for tiers in (TierSettings(), LevelTiers(by="level"), QuantileTiers(by="quantile")):
        build_catalogue(store, VIEW, tiers, FACTS)
        bands = rows_of(tmp_path, "SELECT tier, p_from, p_to FROM tiers ORDER BY number")
        assert [band[0] for band in bands] == list(tiers.names)
        assert [band[1] for band in bands[1:]] == [band[2] for band in bands[:-1]]
        assert (bands[0][1], bands[-1][2]) == (0, 1)
        counts = rows_of(
            tmp_path, "SELECT count(*), count(DISTINCT id), count(tier) FROM ladder JOIN tiers USING (tier)"
        )
        assert counts == [(120, 120, 120)]


def test_the_grid_holds_every_item_once_in_bands_of_about_equal_shares(tmp_path: Path) -> None:
    items = [replace(ITEMS[0], id=f"i{n:03d}") for n in range(120)]
    store = filled(tmp_path, items)
    for n, item in enumerate(items):
        sampled(store, key(item.id, 0), tokens=1 + n * 7 % 120)
        judged(store, "correct" if n % 3 else "wrong", key(item.id, 0))
    build_catalogue(store, VIEW, TierSettings(grid=(2, 4)), FACTS)
    rows = rows_of(
        tmp_path, "SELECT difficulty_band, complexity_band, items, complexity_low, complexity_high FROM grid"
    )
    assert sum(row[2] for row in rows) == 120
    assert {row[:2] for row in rows} <= {(d, c) for d in (1, 2) for c in (1, 2, 3, 4)}
    for band in range(1, 5):
        own = [row for row in rows if row[1] == band]
        assert sum(row[2] for row in own) == 30
        assert (min(row[3] for row in own), max(row[4] for row in own)) == (band * 30 - 29, band * 30)
    build_catalogue(store, VIEW, TierSettings(grid=(1, 1)), FACTS)
    assert rows_of(tmp_path, "SELECT difficulty_band, complexity_band, items FROM grid") == [(1, 1, 120)]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_the_catalogue_is_the_same_for_every_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    items = [replace(ITEMS[0], id=f"i{n:04d}") for n in range(3000)]
    store = filled(tmp_path, items)
    sampled(store, *(key(i.id, j) for i in items for j in range(4)))
    for outcome in ("correct", "wrong"):
        keys = [
            key(i.id, j)
            for n, i in enumerate(items)
            for j in range(4)
            if (j < n % 5) == (outcome == "correct")
        ]
        judged(store, outcome, *keys)
    tables = ("ladder", "scores", "posteriors", "firsts", "tiers", "priors", "items", "grid")

    def built() -> dict[str, list[tuple[Any, ...]]]:
        build_catalogue(store, VIEW, TierSettings(), FACTS)
        ordered = rows_of(tmp_path, "SELECT position, id FROM ladder")
        assert ordered == sorted(ordered), "rows lie in ladder order"
        return {name: rows_of(tmp_path, f"SELECT * FROM {name} ORDER BY ALL") for name in tables}

    usual = built()
    monkeypatch.setattr(catalogue, "bounded", lambda folder: sql.bounded(folder) | {"threads": threads})
    assert built() == usual


def test_nothing_is_left_beside_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MEMORY", "100MB")
    items = [replace(ITEMS[0], id=f"i{n:05d}", question="q" * 900) for n in range(20_000)]
    store = filled(tmp_path, items)
    before = {path.name for path in tmp_path.iterdir()}
    build_catalogue(store, VIEW, TierSettings(), FACTS)
    stored_outcomes(store, VIEW, golds(store))
    assert {path.name for path in tmp_path.iterdir()} - before == {"ladder.duckdb"}


def test_what_a_killed_process_spilled_is_deleted_a_day_later(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for name, age in ((".spill-1-0", 25), (".spill-2-0", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "duckdb_temp_storage").write_bytes(b"x")
        os.utime(tmp_path / name, times=(time.time() - age * 3600,) * 2)
    build_catalogue(store, VIEW, TierSettings(), FACTS)
    assert [path.name for path in tmp_path.glob(".spill*")] == [".spill-2-0"]


def test_golds_that_an_older_import_did_not_digest_are_digested(tmp_path: Path) -> None:
    store = filled(tmp_path)
    part = store.item_parts()[0]
    write_parquet(pq.read_table(part).drop_columns("gold_digest"), part)
    sampled(store, key("a", 0))
    judged(store, "correct", key("a", 0))
    assert scores(store)["a"][:2] == (1, 1)
    expected = [(item.id, gold_digest(item)) for item in ITEMS]
    assert rows_of(tmp_path, "SELECT id, gold_digest FROM items ORDER BY id") == expected


def test_an_import_writes_the_digests_of_its_golds(built: Path) -> None:
    store = Store.open(built)
    digests = dict(
        zip(
            *(pq.read_table(store.item_parts())[name].to_pylist() for name in ("id", "gold_digest")),
            strict=True,
        )
    )
    assert digests == {item.id: gold_digest(item) for item in store.load_items()}


def test_a_ladder_runs_from_easy_to_hard_and_ties_end_in_complexity_and_id(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for name, outcome, tokens in (("a", "wrong", 2), ("b", "correct", 9), ("c", "correct", 2)):
        sampled(store, key(name, 0), tokens=tokens)
        judged(store, outcome, key(name, 0))
    scores(store)
    assert rows_of(tmp_path, "SELECT position, id FROM ladder ORDER BY position") == [
        (0, "c"),
        (1, "b"),
        (2, "a"),
    ]


def test_deleted_and_built_again_the_catalogue_is_equal(ladder: Path) -> None:
    store = Store.open(ladder)
    tables = ("ladder", "items", "rejects", "scores", "priors", "build")
    before = {name: rows_of(ladder, f"SELECT * FROM {name} ORDER BY ALL") for name in tables}
    facts = facts_of(store)
    names = {"prompt": "prompt_fingerprint", "model": "model_fingerprint", "sampling": "sampling_fingerprint"}
    view = View(verifier=facts["verifier"], k=int(facts["k"]), **{n: facts[f] for n, f in names.items()})
    store.catalogue.unlink()
    assert facts_of(store) == {}
    build_catalogue(store, view, TierSettings(), facts)
    assert {name: rows_of(ladder, f"SELECT * FROM {name} ORDER BY ALL") for name in tables} == before
    assert len(before["ladder"]) > 40


@pytest.mark.parametrize("name", ["é ü", "a'b", 'q"q', "[1]x", "st*r", "$k $model", "{parts}"])
def test_a_ladder_may_lie_in_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    store = filled(tmp_path / name)
    filled(tmp_path / "star")
    sampled(store, key("a", 0))
    judged(store, "correct", key("a", 0))
    assert missing_samples(store, VIEW, ["a"]) == [("a", [1, 2, 3])]
    assert sorted(unjudged_rollouts(store, VIEW, golds(store))) == []
    assert scores(store)["a"][:2] == (1, 1)


def test_a_pool_without_a_usable_item_has_a_catalogue_of_its_rejects(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    part = store.rejects.append([{n: getattr(REJECT, n) for n in Reject.__slots__}])
    assert part is not None
    store.finish_import({"items": [], "rejects": [part.name]})
    assert scores(store) == {}
    assert rows_of(tmp_path, "SELECT reason FROM rejects") == [("gold_missing",)]
    assert rows_of(tmp_path, "SELECT count(*) FROM ladder") == [(0,)]


REJECT = Reject("src", "1", 1, "import", "gold_missing")


def test_a_query_gives_columns_and_rows_and_changes_nothing(built: Path) -> None:
    store = Store.open(built)
    assert query(store, "SELECT 1 AS one, 'x' AS two") == (["one", "two"], [(1, "x")])
    for bad in (
        "SELECT nothing FROM ladder",
        "SELEC 1",
        "DROP TABLE ladder",
        "INSERT INTO build VALUES ('a', 'b')",
    ):
        with pytest.raises(BadInput, match=r"Error") as told:
            query(store, bad)
        assert "LINE" not in str(told.value)


def test_a_ladder_without_a_catalogue_says_how_to_get_one(ladder: Path) -> None:
    (ladder / "ladder.duckdb").unlink()
    with pytest.raises(BadInput, match="finish its build with `ladder build`"):
        query(Store.open(ladder), "SELECT 1")
