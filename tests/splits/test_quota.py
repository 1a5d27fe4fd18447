"""Quotas and budgets: held, as large as they allow, drawn by the seed, and counted."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from arranged import KEEP_ALL, Scored, in_rounds, items
from hypothesis import given
from hypothesis import strategies as st

from ladder.config import validate
from ladder.errors import BadInput
from ladder.splits import SampleSettings
from ladder.splits.quota import apply_quotas
from ladder.strategies import Stages, create_kept, create_placed


def settings(**values: Any) -> SampleSettings:
    return validate(SampleSettings, {"strategy": {"strategy": "shuffled", **KEEP_ALL}, **values})


def chosen(
    found: Sequence[Scored], wanted: SampleSettings, threads: int = 1
) -> tuple[list[Scored], dict[str, int]]:
    """What takes part, and how many are left out by what."""
    rows = [asdict(item) | {"place": n} for n, item in enumerate(found)]
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.register("rows", pa.Table.from_pylist(rows))
        connection.execute("CREATE TABLE trainable AS SELECT * FROM rows")
        create_kept(connection, wanted.strategy)
        left_out = apply_quotas(connection, wanted)
        create_placed(connection, wanted.strategy, wanted.seed)
        ids = [i for (i,) in connection.execute("SELECT id FROM placed ORDER BY position").fetchall()]
    by_id = {item.id: item for item in found}
    return [by_id[i] for i in ids], left_out


def by(found: list[Scored], axis: str) -> Counter[str]:
    return Counter(getattr(item, axis) or "-" for item in found)


POOL = in_rounds(1000, source=["a", "a", "a", "b", "c"], subject=["x", "y", "y", None])  # type: ignore[list-item]


def test_a_number_is_the_most_of_a_kind() -> None:
    found, left = chosen(POOL, settings(quota={"source": {"a": 100}, "subject": {"-": 7}}))
    assert by(found, "source")["a"] <= 100
    assert by(found, "subject")["-"] == 7
    assert sum(left.values()) == 1000 - len(found)
    assert set(left) == {"quota_source", "quota_subject"}
    only, _ = chosen(POOL, settings(quota={"source": {"a": 100}}))
    assert by(only, "source") == {"a": 100, "b": 200, "c": 200}


def test_a_share_is_one_of_what_trains_and_takes_as_many_as_it_allows() -> None:
    found, _ = chosen(POOL, settings(quota={"source": {"a": 0.2}}))
    assert by(found, "source") == {"a": 100, "b": 200, "c": 200}, "100 of 500"


def test_a_star_is_for_each_kind_that_is_not_named() -> None:
    found, _ = chosen(POOL, settings(quota={"source": {"*": 50, "b": 60}}))
    assert by(found, "source") == {"a": 50, "b": 60, "c": 50}
    equal, _ = chosen(POOL, settings(quota={"source": {"*": 0.34}}))
    assert max(by(equal, "source").values()) <= 0.34 * len(equal)
    assert len(equal) > 550, "588 would be the most without rounding"


shares = st.sampled_from([0.3, 0.5, 0.75, 1.0, 40, 0])


@given(
    st.dictionaries(st.sampled_from(["a", "b", "*"]), shares),
    st.dictionaries(st.sampled_from(["x", "-"]), shares),
    st.one_of(st.none(), st.integers(1, 900)),
    st.one_of(st.none(), st.integers(80, 60_000)),
)
def test_every_quota_and_budget_holds(
    source: dict[str, float], subject: dict[str, float], items: int | None, tokens: int | None
) -> None:
    wanted = settings(quota={"source": source, "subject": subject}, max_items=items, max_tokens=tokens)
    try:
        found, left = chosen(POOL, wanted)
    except BadInput as error:
        assert "shares" in str(error)
        return
    for axis, caps in (("source", source), ("subject", subject)):
        for kind, count in by(found, axis).items():
            cap = caps.get(kind, caps.get("*", math.inf))
            assert count <= (cap * len(found) + 1e-6 if isinstance(cap, float) else cap)
    assert len(found) <= (items or math.inf)
    assert sum(80 for _ in found) <= (tokens or math.inf), "complexity 10, in groups of 8"
    assert len(found) + sum(left.values()) == len(POOL)


def test_shares_that_only_nothing_meets_are_refused() -> None:
    with pytest.raises(BadInput, match="add up to at least 1"):
        chosen(POOL, settings(quota={"source": {"*": 0.3}}))


def test_a_budget_takes_items_of_all_levels_and_a_smaller_one_some_of_them() -> None:
    large, left = chosen(items(), settings(max_items=180))
    small, _ = chosen(items(), settings(max_items=90))
    assert (len(large), left) == (180, {"budget": 180})
    assert min(Counter(i.level for i in large).values()) >= 8, "20 of each level are expected"
    assert {i.id for i in small} < {i.id for i in large}


def test_a_budget_in_tokens_is_complexity_times_group() -> None:
    found, _ = chosen(items(), settings(max_tokens=2000, group=4))
    spent = sum(math.ceil(i.complexity * 4) for i in found)
    assert 2000 - 6 * 4 <= spent <= 2000


def test_an_item_that_occurs_in_several_stages_costs_as_often() -> None:
    wanted = SampleSettings(strategy=Stages(), max_items=100)
    found, _ = chosen(items(), wanted)
    assert len(set(found)) < len(found) <= 100
    assert len(found) >= 98


def test_quotas_are_a_function_of_the_seed() -> None:
    wanted = {"quota": {"source": {"a": 0.3}}, "max_items": 77}
    first = chosen(POOL, settings(**wanted))
    assert chosen(POOL, settings(**wanted), threads=8) == first
    assert chosen(POOL, settings(**wanted, seed=1)) != first


@pytest.mark.parametrize("cap", [1.5, -1, "many"])
def test_a_quota_is_a_number_or_a_share(cap: Any) -> None:
    with pytest.raises(BadInput, match=r"quota\.source\.a"):
        settings(quota={"source": {"a": cap}})


def test_names_are_never_sql() -> None:
    hostile = "o'brien'; DROP TABLE trainable; --"
    found, left = chosen(in_rounds(20, source=[hostile, "b"]), settings(quota={"source": {hostile: 3}}))
    assert by(found, "source") == {hostile: 3, "b": 10}
    assert left == {"quota_source": 7}


@pytest.mark.parametrize(
    ("kind", "hint"), [("souce-b", "did you mean 'source-b'"), ("x", "'source-a', 'source-b'")]
)
def test_a_kind_that_nothing_is_of_is_told(kind: str, hint: str) -> None:
    pool = in_rounds(20, source=["source-a", "source-b"])
    with pytest.raises(
        BadInput, match=rf"quota\.source: no item that may train has the source '{kind}'"
    ) as told:
        chosen(pool, settings(quota={"source": {kind: 3}}))
    assert hint in str(told.value)
