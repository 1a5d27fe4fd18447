"""What the tests of strategies need: items by hand, and the order that a strategy gives them."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

from ladder.strategies import Curriculum, create_kept, create_placed

KEEP_ALL = {"drop_unsolved": False, "drop_solved_share": 0.0}


@dataclass(frozen=True)
class Scored:
    """A row of `trainable`, but for its place."""

    id: str
    level: int
    difficulty: float
    complexity: float = 10.0
    tier: str = "medium"
    pass_rate: float = 0.5
    source: str | None = "pool"
    subject: str | None = None
    answer_type: str = "word"


@dataclass(frozen=True)
class Placed:
    """An item in its slot."""

    item: Scored
    slot: int


@dataclass(frozen=True)
class Arranged:
    """An order, and what was left out of it."""

    placed: list[Placed]
    left_out: dict[str, int]

    @property
    def ids(self) -> list[str]:
        return [p.item.id for p in self.placed]


def arrange(strategy: Curriculum, items: Sequence[Scored], seed: int, threads: int = 1) -> Arranged:
    """The order of a strategy, by DuckDB."""
    place = {i.id: n for n, i in enumerate(sorted(items, key=lambda i: (i.difficulty, i.complexity, i.id)))}
    rows = [asdict(item) | {"place": place[item.id]} for item in items]
    schema = pa.Table.from_pylist([asdict(Scored("", 0, 0.0)) | {"place": 0, "subject": ""}]).schema
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.register("rows", pa.Table.from_pylist(rows, schema=schema))
        connection.execute("CREATE TABLE trainable AS SELECT * FROM rows")
        left_out = create_kept(connection, strategy)
        create_placed(connection, strategy, seed)
        found = connection.execute("SELECT id, slot, position FROM placed ORDER BY position").fetchall()
        ((visits,),) = connection.execute(f"SELECT sum({strategy.visits(seed)}) FROM kept").fetchall()
    assert [position for _, _, position in found] == list(range(len(found)))
    assert len(found) <= (visits or 0)
    by_id = {item.id: item for item in items}
    return Arranged([Placed(by_id[i], slot) for i, slot, _ in found], left_out)


def items(per_level: int = 40, levels: Sequence[int] = range(9)) -> list[Scored]:
    """Items of each level; of one level they differ in complexity only."""
    return [
        Scored(f"{lv}-{i}", lv, 1 - lv / 8, float(i % 7), pass_rate=lv / 8)
        for lv in levels
        for i in range(per_level)
    ]


def in_rounds(count: int, **columns: Sequence[str]) -> list[Scored]:
    """Items whose columns take values in turn."""
    return [
        replace(Scored(f"{i}", 4, 0.5), **{name: values[i % len(values)] for name, values in columns.items()})
        for i in range(count)
    ]


#: Lists of items as a catalogue could hold them, with ties.
scored = st.lists(
    st.builds(
        Scored,
        st.uuids().map(str),
        st.integers(0, 8),
        st.integers(0, 20).map(lambda d: d / 20),
        st.integers(0, 5).map(float),
        st.sampled_from(["unsolved", "hard", "medium", "easy", "solved"]),
        st.integers(0, 16).map(lambda c: c / 16),
        st.sampled_from(["a", "b"]),
        st.sampled_from([None, "x", "y"]),
    ),
    max_size=60,
    unique_by=lambda i: i.id,
)


def key(seed: int, item_id: str, use: str) -> int:
    """The key of a named, seeded shuffle, written once more."""
    text = f"shuffle-2 {use} {seed} {item_id}".encode()
    return int.from_bytes(hashlib.md5(text).digest(), "little") >> 65
