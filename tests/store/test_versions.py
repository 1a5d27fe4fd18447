"""Format versions: an older ladder is refused with the command that brings it forward, and is then what it was."""

import json
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w
from datasets import load_dataset
from helpers import Run, digits_settings, part_rows, rows_of, told

import ladder as ladder_package
from ladder.build import build
from ladder.errors import BadInput
from ladder.migrate import migrate
from ladder.splits import open_split
from ladder.store import FORMAT_VERSION, Store
from ladder.store.versions import MARKER, format_version

#: What version 1 had, written down when it was the present one.
TABLES_1 = {
    "ladder": "position, id, tier, tier_probability, level, pass_rate, p_mean, p_low, p_high, difficulty, complexity, n, "
    "correct, no_answer, timeouts, truncated, question, options, answer, answer_type, source, source_id, split, subject, "
    "flags, images",
    "items": "id, question, images, options, gold, answer_type, source, source_id, split, subject, tolerance, unit, flags, "
    "meta, gold_digest",
    "rejects": "*",
    "scores": "id, n, correct, no_answer, timeouts, unverifiable, truncated, complexity",
    "build": "key, value",
}
ITEM_1 = [
    "id", "question", "images", "options", "gold", "answer_type", "source", "source_id", "split", "subject", "tolerance",
    "unit", "flags", "meta",
]  # fmt: skip
TRAIN_1 = pa.schema(
    [
        ("id", pa.string()),
        ("level", pa.int64()),
        ("difficulty", pa.float64()),
        ("complexity", pa.float64()),
        ("slot", pa.int64()),
        ("position", pa.int64()),
        ("tier", pa.string()),
        ("subject", pa.string()),
    ]
)
PROBE_1 = pa.schema(
    [
        ("id", pa.string()),
        ("level", pa.int32()),
        ("difficulty", pa.float64()),
        ("complexity", pa.float64()),
        ("tier", pa.string()),
        ("subject", pa.string()),
    ]
)
FACTS_1 = {
    "strategy": "neuraladder",
    "seed": 0,
    "settings": {"seed": 0, "probe": {"per_tier": 80, "split": "probe", "near_bits": 4}},
    "ladder_state": "0123456789abcdef",
    "train_items": 20,
    "probe_items": 10,
    "near_probe_dropped": 3,
    "fingerprint": "fedcba9876543210",
}


def as_version_1(path: Path) -> Path:
    """Turn a ladder into what the code of version 1 would have left, with a split `old`."""
    rows = duckdb.connect(str(path / "ladder.duckdb"), read_only=True)
    with rows as connection:
        drawn = connection.sql(
            "SELECT id, level, difficulty, complexity, tier, subject, position AS slot, position FROM ladder ORDER BY position"
        ).to_arrow_table()
    split = path / "splits" / "old"
    split.mkdir(parents=True)
    pq.write_table(drawn.slice(0, 20).select(TRAIN_1.names).cast(TRAIN_1), split / "train.parquet")
    pq.write_table(drawn.slice(20, 10).select(PROBE_1.names).cast(PROBE_1), split / "probe.parquet")
    (split / "split.toml").write_text(tomli_w.dumps(FACTS_1))
    for part in (path / "items").glob("items-*.parquet"):
        pq.write_table(pq.read_table(part, columns=ITEM_1), part)
    _catalogue_1(path)
    marker = tomllib.loads((path / MARKER).read_text())
    (path / MARKER).write_text(tomli_w.dumps({"format_version": 1, "build": marker["build"]}))
    return path


def _catalogue_1(path: Path) -> None:
    new = path / "ladder.duckdb"
    old = new.rename(path / "newer.duckdb")
    with duckdb.connect(str(new)) as connection:
        connection.execute(f"ATTACH '{old}' AS newer (READ_ONLY)")
        for table, columns in TABLES_1.items():
            order = " ORDER BY position" if table == "ladder" else ""
            connection.execute(f"CREATE TABLE {table} AS SELECT {columns} FROM newer.{table}{order}")
        connection.execute("UPDATE build SET value = '0123456789abcdef' WHERE key = 'state'")
    old.unlink()


def derived(path: Path) -> dict[str, Any]:
    """All that is derived, but for the card, which names the splits."""
    tables = [name for (name,) in rows_of(path, "SHOW TABLES")]
    files = {p.relative_to(path): p.read_bytes() for p in (path / "tiers").rglob("*.parquet")}
    return {name: rows_of(path, f"FROM {name} ORDER BY ALL") for name in tables} | files


def item_rows(path: Path) -> list[tuple[Any, ...]]:
    return part_rows(path, "items")


@pytest.fixture
def older(ladder: Path) -> Path:
    return as_version_1(ladder)


@pytest.mark.parametrize(
    "command",
    ["sql {} 'SELECT 1'", "sample {}", "train {}/splits/old", "show items {}", "build digits --out {}"],
)
def test_an_older_ladder_is_refused_with_the_command_that_brings_it_forward(
    older: Path, run: Run, command: str
) -> None:
    line = told(
        run(*(word.strip("'").format(older) for word in command.replace("SELECT 1", "SELECT_1").split()))
    )
    assert f"`ladder migrate {older}` brings it forward" in line
    assert f"format_version 1, this Ladder reads {FORMAT_VERSION}" in line
    with pytest.raises(BadInput, match="ladder migrate"):
        ladder_package.open(older)


def test_a_migrated_ladder_is_what_it_was(older: Path, built: Path, run: Run) -> None:
    code, out, err = run("migrate", older, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "path": str(older), "before": 1, "after": FORMAT_VERSION, "splits": 1, "derived": True,
    }  # fmt: skip
    assert format_version(older) == FORMAT_VERSION
    assert derived(older) == derived(built)
    assert item_rows(older) == item_rows(built)
    assert run("migrate", older)[1].endswith(f"format_version {FORMAT_VERSION} already, nothing to do\n")


def test_items_are_migrated_some_at_a_time(older: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one row group, and of several."""
    monkeypatch.setattr("ladder.migrate._ROWS_2", 7)
    (part,) = (older / "items").glob("items-*.parquet")
    rows = pq.read_table(part)
    for size in (rows.num_rows, 10):
        pq.write_table(rows, part, row_group_size=size)
        (older / MARKER).write_text((older / MARKER).read_text().replace("version = 2", "version = 1"))
        migrate(older)
        assert pq.read_metadata(part).num_row_groups >= rows.num_rows / 7
        assert item_rows(older) == item_rows(built)


def test_a_migrated_split_is_the_same_split(older: Path, built: Path, tmp_path: Path) -> None:
    ids = [i for (i,) in rows_of(built, "SELECT id FROM ladder ORDER BY position")]
    migrate(older)
    split = open_split(older / "splits" / "old")
    assert [row["id"] for row in split.train] == ids[:20]
    assert [row["id"] for row in split.probe] == ids[20:30]
    said = {i: rest for i, *rest in rows_of(built, "SELECT id, pass_rate, source, answer_type FROM ladder")}
    for row in (*split.train, *split.probe):
        assert [row["pass_rate"], row["source"], row["answer_type"]] == said[row["id"]]
    assert [row["slot"] for row in split.train] == list(range(20))
    assert split.facts["fingerprint"] == FACTS_1["fingerprint"], "a run that trains on it goes on"
    assert split.facts["settings"] == FACTS_1["settings"]
    assert split.facts["ladder"]["state"] == FACTS_1["ladder_state"]
    assert split.facts["left_out"] == {"near_held_out": 3}
    assert len(ladder_package.open(older).splits["old"].train) == 20
    loaded = load_dataset(str(split.path), cache_dir=str(tmp_path / "cache"))
    assert {part: loaded[part]["id"][:] for part in loaded} == {"train": ids[:20], "probe": ids[20:30]}


def test_after_a_migration_nothing_is_sampled_again(older: Path, digits_pool: Path) -> None:
    migrate(older)
    report = build(digits_settings(digits_pool), older)
    assert (report.sampled, report.judged, report.new) == (0, 0, False)


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 4, 5, 6, 8, 12])
def test_a_migration_that_was_killed_goes_on(
    older: Path, built: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    left = writes
    replace = Path.replace

    def die(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", die)
        migrate(older)
    migrate(older)
    assert derived(older) == derived(built)
    assert len(open_split(older / "splits" / "old").train) == 20
    assert not migrate(older).derived


def test_a_half_built_older_ladder_is_brought_forward_and_left_to_its_build(
    older: Path, digits_pool: Path, run: Run, built: Path
) -> None:
    (older / "ladder.duckdb").unlink()
    (older / MARKER).write_text("format_version = 1\n")
    assert run("migrate", older)[1].endswith("1 splits rewritten, the next `ladder build` derives it\n")
    rows = open_split(older / "splits" / "old").train
    assert [row["pass_rate"] for row in rows] == [None] * 20
    assert all(row["source"] and row["answer_type"] for row in rows)
    assert build(digits_settings(digits_pool), older).sampled == 0
    assert derived(older) == derived(built)


def test_a_newer_ladder_is_refused_with_advice_to_upgrade(ladder: Path, run: Run) -> None:
    (ladder / MARKER).write_text(f"format_version = {FORMAT_VERSION + 1}\n")
    for verb in (("migrate",), ("sql", "SELECT 1")):
        line = told(run(verb[0], ladder, *verb[1:]))
        assert f"format_version {FORMAT_VERSION + 1}, this Ladder reads {FORMAT_VERSION}" in line
        assert "pip install --upgrade neuraladder" in line


@pytest.mark.parametrize("text", ["", "format_version = 0", "format_version = true", "format_version = '2'"])
def test_a_version_that_is_none_is_told(ladder: Path, text: str) -> None:
    (ladder / MARKER).write_text(text)
    with pytest.raises(BadInput, match="says no format_version that there is"):
        Store.open(ladder)
    with pytest.raises(BadInput, match="says no format_version that there is"):
        migrate(ladder)


def test_what_is_no_ladder_is_not_migrated(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is not a ladder: it has no build\.toml"):
        migrate(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_ladder_that_somebody_builds_is_not_migrated(older: Path) -> None:
    with Store(older).building("build"), pytest.raises(BadInput, match="is in use by `ladder build`"):
        migrate(older)
    assert format_version(older) == 1
