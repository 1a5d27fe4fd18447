"""The catalogue: derived by SQL from the logs, so equal whenever they are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import rows_of

from ladder.errors import BadInput
from ladder.identity import gold_digest
from ladder.records import AnswerType, Item, Reject, Rollout, RolloutKey
from ladder.sampling.plan import Plan
from ladder.store import Store
from ladder.store.catalogue import build_catalogue, facts_of, query
from ladder.store.sql import View
from ladder.store.wanted import stored_outcomes, unjudged_rollouts
from ladder.tiers import TierSettings

VIEW = View(prompt="p", model="m", sampling="s", verifier="v", k=4)
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
    build_catalogue(store, view, TierSettings(), {"state": "x"})
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
