"""About how many rows a pool has: as its files say, else counted, else by their size."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_picture

from ladder.pools.counting import RowCount, count_rows
from ladder.pools.source import Pool, PoolSettings

ROWS = [{"question": f"How much is {n} and {n}?", "answer": str(2 * n)} for n in range(30)]


def count(root: Path, seconds: float = 60.0, **more: Any) -> RowCount | None:
    return count_rows(Pool(PoolSettings(root=str(root), **more), "x", root), seconds)


def write_all(root: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, root / "rows.parquet")
    with pa.ipc.new_stream(root / "rows.arrow", table.schema) as stream:
        stream.write_table(table)
    (root / "rows.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in ROWS), encoding="utf-8")
    (root / "rows.json").write_text(json.dumps(ROWS, indent=1), encoding="utf-8")
    lines = ["question,answer", *(f"{r['question']},{r['answer']}" for r in ROWS)]
    (root / "rows.csv").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl", "json", "csv"])
def test_the_rows_of_a_file_are_counted(kind: str, tmp_path: Path) -> None:
    write_all(tmp_path)
    assert count(tmp_path, files=[f"*.{kind}"]) == (len(ROWS), True)


def test_files_of_all_kinds_count_together_and_a_picture_is_a_row(tmp_path: Path) -> None:
    write_all(tmp_path)
    write_picture(tmp_path / "a.png")
    assert count(tmp_path, files=["*.*"]) == (5 * len(ROWS) + 1, True)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_a_broken_file_is_the_one_row_that_says_so(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PAR1 torn")
    assert count(tmp_path, files=["*"]) == (1, True)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "json"])
def test_when_time_is_up_the_rest_is_judged_by_its_size(kind: str, tmp_path: Path) -> None:
    many = ROWS * 300
    for name in ("a", "b"):
        lines = {
            "jsonl": [json.dumps(row) for row in many],
            "json": [json.dumps(many)],
            "csv": ["question,answer", *(f"{row['question']},{row['answer']}" for row in many)],
        }[kind]
        (tmp_path / f"{name}.{kind}").write_text("\n".join([*lines, ""]), encoding="utf-8")
    found = count(tmp_path, seconds=0.0, files=[f"[ab].{kind}"])
    assert found is not None
    assert not found.counted
    assert found.rows == pytest.approx(2 * len(many), rel=0.1)


def test_a_data_set_says_how_many_rows_it_has(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    splits = {"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS[:5])}
    DatasetDict(splits).save_to_disk(str(tmp_path / "set"))
    assert count(tmp_path / "set", dataset={}) == (len(ROWS) + 5, True)
    assert count(tmp_path / "set", dataset={"splits": ["test"]}) == (5, True)
