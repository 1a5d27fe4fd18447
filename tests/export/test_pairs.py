"""Preference pairs: a right against a wrong response of the same item, the same ones every time."""

from collections import Counter
from pathlib import Path

import pytest
from export_files import exported, kept_of, part_rows
from helpers import rows_of

from ladder.export.pairs import preference_pairs
from ladder.export.settings import PairSettings
from ladder.splits import Split
from ladder.store import Store

_JUDGED = """
SELECT r.text, r.tokens, r.finish_reason, v.outcome FROM '{ladder}/rollouts/rollouts-*.parquet' r
JOIN '{ladder}/verdicts/verdicts-*.parquet' v USING (item_id, prompt, model, sampling, "index")
WHERE r.item_id = '{item}'
"""


def said_of(split: Split, item: str) -> dict[str, tuple[int, str, str]]:
    """(tokens, finish reason, outcome) by text, from the logs themselves."""
    rows = rows_of(split.ladder, _JUDGED.format(ladder=str(split.ladder).replace("'", "''"), item=item))
    return {text: (tokens, reason, outcome) for text, tokens, reason, outcome in rows}


def test_the_chosen_is_right_and_finished_and_the_rejected_wrong(digits_split: Split, tmp_path: Path) -> None:
    report = exported(digits_split, "mmpr", tmp_path / "out")
    rows = part_rows(tmp_path / "out", "mmpr")
    assert len(rows) > 3
    assert (
        len(rows) + report.left_out["no_pair"]
        == len(digits_split.train) + len(digits_split.probe) - report.rows["probe"]
    )
    for row in rows:
        said = said_of(digits_split, kept_of(row)["id"])
        tokens, reason, outcome = said[row["chosen"]]
        assert (reason, outcome) == ("stop", "correct")
        right = [t for t, why, o in said.values() if (why, o) == ("stop", "correct")]
        assert tokens == min(right)
        assert said[row["rejected"]][1:] in {("stop", "wrong"), ("stop", "no_answer")}


def test_more_pairs_take_other_responses_first(digits_split: Split) -> None:
    store, ids = Store.open(digits_split.ladder), [row["id"] for row in digits_split.train]
    many = preference_pairs(store, ids, PairSettings(per_item=16))
    assert any(len(pairs) > 1 for pairs in many.values())
    for pairs in many.values():
        assert len(set(pairs)) == len(pairs)
        right, wrong = {p.chosen for p in pairs}, {p.rejected for p in pairs}
        assert len(pairs) == len(right) * len(wrong)
        first = pairs[: min(len(right), len(wrong))]
        assert max(Counter(p.chosen for p in first).values()) == 1
        assert max(Counter(p.rejected for p in first).values()) == 1


def test_pairs_are_a_function_of_the_seed(digits_split: Split) -> None:
    store, ids = Store.open(digits_split.ladder), [row["id"] for row in digits_split.train]
    settings = PairSettings(chosen="any", seed=3)
    assert preference_pairs(store, ids, settings) == preference_pairs(store, ids[::-1], settings)
    drawn = [preference_pairs(store, ids, PairSettings(chosen="any", seed=seed)) for seed in range(4)]
    assert any(one != drawn[0] for one in drawn[1:])


@pytest.mark.parametrize("per_item", [1, 2])
def test_an_item_has_at_most_so_many_rows_and_its_items_come_in_order(
    digits_split: Split, per_item: int, tmp_path: Path
) -> None:
    exported(digits_split, "mmpr", tmp_path / "out", pairs=PairSettings(per_item=per_item))
    ids = [kept_of(row)["id"] for row in part_rows(tmp_path / "out", "mmpr")]
    assert max(Counter(ids).values()) <= per_item
    order = [row["id"] for row in digits_split.train]
    assert [order.index(one) for one in ids] == sorted(order.index(one) for one in ids)


def test_equal_responses_are_one_and_the_shortest_right_one_is_chosen(hostile: Split, tmp_path: Path) -> None:
    exported(hostile, "mmpr", tmp_path / "out")
    rows = part_rows(tmp_path / "out", "mmpr")
    assert rows
    assert all(row["chosen"].startswith("<answer>") for row in rows)
    assert {row["rejected"] for row in rows} <= {"<answer>zzz</answer>", "It is"}
