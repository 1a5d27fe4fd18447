"""Counting: both ways to count agree with each other and with the rules written out in Python, whatever the logs hold."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import duckdb
import pytest

from ladder.records import RolloutKey, response_digest
from ladder.store import Store, counts
from ladder.store.counts import create_counts
from ladder.store.sql import View

VIEW = View(prompt="p", model="m", sampling="s", verifier="v", k=4)
COLUMNS = (
    "samples, n, correct, first_n, first_correct, no_answer, timeouts, unverifiable, truncated, complexity, correct_tokens, "
    "median_tokens"
)
Row = dict[str, Any]


def rollout(item: str, index: int, **more: Any) -> Row:
    key = RolloutKey(item, "p", "m", "s", index).row()
    text = more.pop("text", f"text of {item} {index}")
    return key | {"tokens": 3, "finish_reason": "stop", "response": response_digest(text)} | more


def verdict(of: Row, outcome: str, **more: Any) -> Row:
    key = {name: of[name] for name in (*RolloutKey.__slots__, "response")}
    own = {"gold": f"gold of {of['item_id']}", "verifier": "v", "outcome": outcome, "extracted": "x"}
    return key | own | more


@dataclass
class Logs:
    """What lies in a store, and the golds of its items."""

    rollouts: list[Row]
    verdicts: list[Row]
    golds: dict[str, str]


def counted(
    path: Path, logs: Logs, view: View = VIEW, first: int | None = None
) -> dict[str, tuple[Any, ...]]:
    store = Store.create(path)
    for log, rows in ((store.rollouts, logs.rollouts), (store.verdicts, logs.verdicts)):
        for some in (rows[::2], rows[1::2]):
            log.append(some)
    with duckdb.connect() as connection:
        create_counts(connection, store, view, logs.golds, first)
        rows = connection.sql(f"SELECT id, {COLUMNS} FROM counts").fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}


def by_the_rules(logs: Logs, view: View = VIEW, first: int | None = None) -> dict[str, tuple[Any, ...]]:
    """The rules of the design, one sample after the other."""
    asked = {"prompt": view.prompt, "model": view.model, "sampling": view.sampling}

    def meant(rows: Iterable[Row]) -> list[Row]:
        return [
            r
            for r in rows
            if r["item_id"] in logs.golds and r["index"] < view.k and asked.items() <= r.items()
        ]

    stored: dict[tuple[str, int], Row] = {}
    for row in sorted(meant(logs.rollouts), key=lambda r: -1 if r["response"] is None else r["response"]):
        stored.setdefault((row["item_id"], row["index"]), row)
    found: dict[str, list[tuple[int, Row, str]]] = {}
    for (item, index), row in stored.items():
        said = [
            v["outcome"]
            for v in meant(logs.verdicts)
            if (v["item_id"], v["index"], v["verifier"]) == (item, index, view.verifier)
            and v["gold"] == logs.golds[item]
            and (None in (v["response"], row["response"]) or v["response"] == row["response"])
        ]
        in_time = sorted(s for s in said if s != "timeout") or said[:1]
        found.setdefault(item, []).extend((index, row, outcome) for outcome in in_time[:1])
    return {item: _numbers(samples, first or view.k) for item, samples in found.items() if samples}


def _numbers(samples: list[tuple[int, Row, str]], first: int) -> tuple[Any, ...]:
    def many(*outcomes: str, below: int = 10**6, whole: bool = False) -> int:
        return len(
            [
                1
                for j, r, said in samples
                if said in outcomes and j < below and not (whole and r["finish_reason"] == "length")
            ]
        )

    tokens = [row["tokens"] for _, row, _ in samples]
    right = [r["tokens"] for _, r, said in samples if said == "correct" and r["finish_reason"] != "length"]
    scored = ("correct", "wrong", "no_answer")
    return (
        len(samples),
        many(*scored),
        many("correct", whole=True),
        many(*scored, below=first),
        many("correct", below=first, whole=True),
        many("no_answer"),
        many("timeout"),
        many("unverifiable"),
        sum(row["finish_reason"] == "length" for _, row, _ in samples),
        mean(tokens),
        mean(right) if right else None,
        median(tokens),
    )


def random_logs(seed: int, items: int, k: int) -> Logs:
    """Logs in which most items are as a build leaves them, and the others are not, each in another way."""
    rng = random.Random(seed)
    logs = Logs([], [], {})
    for number in range(items):
        item, odd = f"item-{number:04d}", rng.random() < 0.4
        logs.golds[item] = f"gold of {item}"
        p = rng.random()
        for index in range(rng.choice([k, k, k, k + 2, rng.randrange(k + 1)])):
            row = rollout(item, index, tokens=rng.randrange(90))
            row["finish_reason"] = "length" if rng.random() < 0.2 else "stop"
            said = "correct" if rng.random() < p else rng.choice(["wrong", "no_answer", "unverifiable"])
            rollouts, verdicts = [row], [verdict(row, said)]
            if odd and rng.random() < 0.5:
                _spoil(rng, row, rollouts, verdicts)
            logs.rollouts += rollouts
            logs.verdicts += verdicts
    rng.shuffle(logs.rollouts)
    rng.shuffle(logs.verdicts)
    return logs


def _spoil(rng: random.Random, row: Row, rollouts: list[Row], verdicts: list[Row]) -> None:
    how = rng.randrange(11)
    if how == 0:  # sampled and judged twice
        rollouts.append(dict(row))
        verdicts.append(dict(verdicts[0]))
    elif how == 1:  # sampled twice, with another response each time
        other = row | {"tokens": 200, "response": rng.randrange(2**62), "finish_reason": "stop"}
        rollouts.append(other)
        verdicts.append(verdict(other, rng.choice(["correct", "wrong"])))
    elif how == 2:
        verdicts[:] = [verdict(row, "timeout")]
    elif how == 3:
        verdicts.append(verdict(row, "timeout"))
    elif how == 4:
        verdicts.clear()
    elif how == 5:
        verdicts[:] = [v | {"gold": "an old gold"} for v in verdicts]
    elif how == 6:
        verdicts.append(verdicts[0] | {"gold": "an old gold", "outcome": "wrong"})
    elif how == 7:
        verdicts.append(verdicts[0] | {"verifier": "another", "outcome": "wrong"})
    elif how == 8:  # of an older part
        verdicts[0]["response"] = None
        rollouts[0]["response"] = rng.choice([None, row["response"]])
    elif how == 9:  # the rollout that it judged is gone
        verdicts[0]["response"] = 5
    else:
        rollouts.clear()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("k", "first"), [(4, None), (6, 4), (1, None)])
def test_counts_follow_the_rules_whatever_the_logs_hold(
    tmp_path: Path, seed: int, k: int, first: int | None
) -> None:
    logs, view = random_logs(seed, 150, k), replace(VIEW, k=k)
    expected = by_the_rules(logs, view, first)
    assert counted(tmp_path, logs, view, first) == expected
    assert len(expected) > 100


def test_the_quick_way_to_count_agrees_with_the_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = random_logs(9, 400, 4)
    quick = counted(tmp_path / "quick", logs)
    monkeypatch.setattr(counts, "PACKED_SAMPLES", 0)
    assert quick == counted(tmp_path / "exact", logs)


def test_most_items_of_a_clean_log_never_see_the_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [rollout(f"i{n}", j) for n in range(50) for j in range(4)]
    logs = Logs(rows, [verdict(row, "wrong") for row in rows], {f"i{n}": f"gold of i{n}" for n in range(50)})
    monkeypatch.setattr(counts, "create_judged", None)
    assert len(counted(tmp_path, logs)) == 50


def test_more_samples_than_are_packed_are_counted_too(tmp_path: Path) -> None:
    k = counts.PACKED_SAMPLES + 3
    rows = [rollout("a", j, tokens=j) for j in range(k)]
    logs = Logs(rows, [verdict(row, "correct") for row in rows], {"a": "gold of a"})
    view = replace(VIEW, k=k)
    assert counted(tmp_path, logs, view, 8) == by_the_rules(logs, view, 8)


@pytest.mark.parametrize("tokens", [2**31 - 1, 2**28, -1, None])
def test_an_absurd_number_of_tokens_stops_nothing(tmp_path: Path, tokens: int | None) -> None:
    rows = [rollout("a", 0, tokens=tokens), rollout("a", 1, tokens=5)]
    logs = Logs(rows, [verdict(row, "correct") for row in rows], {"a": "gold of a"})
    assert counted(tmp_path, logs)["a"][:3] == (2, 2, 2)


def test_two_items_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way groups by a 64-bit hash; here that hash is as bad as it can be."""
    rows = [rollout(name, j, tokens=j) for name in ("a", "b") for j in range(4)]
    logs = Logs(
        rows,
        [verdict(r, "correct" if r["item_id"] == "a" else "wrong", gold="one") for r in rows],
        dict.fromkeys("ab", "one"),
    )
    for name in ("_PACKED", "_COUNTED"):
        sql = getattr(counts, name)
        same = sql.replace("hash(item_id) AS item", "7::UBIGINT AS item").replace(
            "SELECT hash(item_id),", "SELECT 7::UBIGINT,"
        )
        monkeypatch.setattr(counts, name, same.replace("c.item = hash(g.id)", "c.item = 7"))
    assert counts._PACKED.count("7::UBIGINT") == 2
    assert counted(tmp_path, logs) == by_the_rules(logs)
    halves = Logs([r for r in rows if (r["index"] < 2) == (r["item_id"] == "a")], [], logs.golds)
    halves.verdicts = [verdict(r, "correct", gold="one") for r in halves.rollouts]
    assert counted(tmp_path / "halves", halves) == by_the_rules(halves)
