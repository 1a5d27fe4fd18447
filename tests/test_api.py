"""`ladder.open`: what it gives is what the files hold, in the ladder's order, and reading changes nothing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Image as ImageFeature
from datasets import List, load_dataset
from helpers import ROOT, Run, part_rows, rows_of, run_ladder

import ladder as ladder_package
from ladder.api import Ladder, Rows
from ladder.errors import BadInput, LadderError
from ladder.records import Rollout, RolloutKey
from ladder.store import FORMAT_VERSION, Store

TIERS = "SELECT tier, count(*) FROM ladder GROUP BY 1 ORDER BY avg(position)"


@pytest.fixture(scope="module")
def lad(built: Path) -> Ladder:
    return ladder_package.open(built)


@pytest.fixture
def split(ladder: Path, run: Run) -> Path:
    """A copy of the ladder with a split."""
    code, _, err = run("sample", ladder, "--set", "probe.per_tier=2")
    assert code == 0, err
    return ladder


def test_importing_ladder_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'duckdb', 'pyarrow', 'pandas', 'datasets', 'transformers', 'numpy', 'pydantic'}"
    code = f"import sys, ladder, ladder.api; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scores_are_the_table_ladder_in_its_order(lad: Ladder, built: Path) -> None:
    expected = rows_of(built, "SELECT * FROM ladder ORDER BY position")
    assert lad.scores.read().rows == expected
    assert [tuple(row.values()) for row in lad.scores] == expected
    assert len(lad.scores) == len(expected) == lad.counts["scored"]
    frame = lad.scores.pandas()
    assert list(frame["position"]) == list(range(len(expected)))


def test_tiers_are_the_scores_by_tier_from_easy_to_hard(lad: Ladder, built: Path) -> None:
    expected = rows_of(built, TIERS)
    assert [(name, len(rows)) for name, rows in lad.tiers.items()] == expected
    for name, count in expected:
        table = lad.tier(name).arrow()
        assert set(table["tier"].to_pylist()) == {name}
        assert table.num_rows == count
        assert table["position"].to_pylist() == sorted(table["position"].to_pylist())


def test_a_tiers_dataset_has_the_rows_and_pictures_of_its_files(
    lad: Ladder, built: Path, tmp_path: Path
) -> None:
    files = load_dataset(str(built), "medium", split="train", cache_dir=str(tmp_path / "a"))
    mine = lad.tier("medium").dataset(cache_dir=tmp_path / "b")
    assert mine.features["images"] == List(ImageFeature())
    both = [name for name in files.column_names if name in mine.column_names]
    assert {"id", "question", "answer", "images", "p_mean", "position"} <= set(both)
    for one, other in zip(files, mine, strict=True):
        assert [i.tobytes() for i in one["images"]] == [i.tobytes() for i in other["images"]]
        assert {n: one[n] for n in both if n != "images"} == {n: other[n] for n in both if n != "images"}


def test_a_dataset_is_cached_as_long_as_its_rows_are_the_same(ladder: Path, tmp_path: Path) -> None:
    def dataset(where: str) -> Any:
        return ladder_package.open(ladder).scores.dataset(["id", "images"], where, cache_dir=tmp_path / "c")

    first, again, other = dataset("n > 0"), dataset("n > 0"), dataset("correct > 0")
    assert first.cache_files == again.cache_files != other.cache_files
    assert len(other) < len(first)
    assert other["id"][:] == ladder_package.open(ladder).scores.arrow(["id"], "correct > 0")["id"].to_pylist()


def test_without_images_a_dataset_is_in_memory_and_without_rows_it_is_empty(
    lad: Ladder, tmp_path: Path
) -> None:
    rates = lad.scores.dataset(["id", "pass_rate", "options"])
    assert rates.cache_files == []
    assert rates["id"][:] == [row["id"] for row in lad.scores]
    nothing = lad.scores.dataset(where="n < 0", cache_dir=tmp_path)
    assert len(nothing) == 0
    assert nothing.features["images"] == List(ImageFeature())


def test_an_image_that_is_gone_is_told(ladder: Path, tmp_path: Path) -> None:
    for part in (ladder / "items").glob("images-*.parquet"):
        part.unlink()
    opened = ladder_package.open(ladder)
    with pytest.raises(LadderError, match="has no image"):
        opened.scores.dataset(cache_dir=tmp_path)
    with pytest.raises(LadderError, match="has no image"):
        opened.image("x")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("data", [EPS, b"BM" + bytes(60), b"", b"\x89PNG\r\n\x1a\n cut"])
def test_no_decoder_but_that_of_png_ever_sees_a_stored_image(ladder: Path, data: bytes) -> None:
    (path,) = (ladder / "items").glob("images-*.parquet")
    table = pq.read_table(path)
    stored = pa.array([data] * len(table), pa.binary())
    pq.write_table(table.set_column(table.schema.get_field_index("data"), "data", stored), path)
    with pytest.raises(LadderError, match="is no sound PNG"):
        ladder_package.open(ladder).image(table["hash"][0].as_py())


def test_images_are_hashes_until_they_are_asked_for(lad: Ladder) -> None:
    row = next(iter(lad.scores.read(where="len(images) > 0")))
    picture = lad.image(row["images"][0])
    assert picture.size == (56, 56)


def test_columns_and_conditions_leave_out_the_rest(lad: Ladder, built: Path) -> None:
    table = lad.scores.arrow(
        ["id", "n"], "tier = $tier AND subject <> $subject", {"tier": "easy", "subject": "x"}
    )
    assert table.column_names == ["id", "n"]
    assert table["id"].to_pylist() == [
        i for (i,) in rows_of(built, "SELECT id FROM ladder WHERE tier = 'easy' ORDER BY position")
    ]
    assert lad.scores.count("tier = ? -- a remark", ["easy"]) == len(lad.tier("easy")) == table.num_rows
    assert lad.scores.columns == lad.scores.arrow().column_names


def test_items_and_rejects_are_all_there_are(lad: Ladder, built: Path) -> None:
    items = {item.id: item for item in Store.open(built).load_items()}
    rows = {row["id"]: row for row in lad.items}
    assert {i: (row["question"], row["gold"], tuple(row["images"])) for i, row in rows.items()} == {
        i: (item.question, item.gold, item.images) for i, item in items.items()
    }
    assert [row["reason"] for row in lad.rejects] == [
        r for (r,) in rows_of(built, "SELECT reason FROM rejects")
    ]


def test_rollouts_are_those_that_count_each_once_with_its_outcome(ladder: Path) -> None:
    before = ladder_package.open(ladder).rollouts.read()
    assert len(before) == len(part_rows(ladder, "rollouts"))
    assert set(before.arrow()["pass"].to_pylist()) == {"main"}
    store = Store.open(ladder)
    stored = store.rollouts.table()
    other = stored.set_column(stored.column_names.index("model"), "model", pa.array(["x"] * len(stored)))
    store.rollouts.append_table(stored.slice(0, 20))  # once more
    store.rollouts.append_table(other)  # of another model
    assert ladder_package.open(ladder).rollouts.read().rows == before.rows


def test_rollouts_agree_with_the_scores(lad: Ladder, built: Path) -> None:
    counted = lad.sql(
        "SELECT item_id, count(*), count(*) FILTER (outcome = 'correct'), avg(tokens) FROM rollouts GROUP BY 1 ORDER BY 1"
    )
    assert counted.rows == rows_of(built, "SELECT id, n, correct, complexity FROM ladder ORDER BY id")


def test_a_truncated_rollout_is_not_correct_and_an_unjudged_one_has_no_outcome(ladder: Path) -> None:
    store = Store.open(ladder)
    verdicts = {r["outcome"]: r for r in store.verdicts.table().to_pylist()}
    stored = {(r["item_id"], r["index"]): r for r in store.rollouts.table().to_pylist()}
    right = verdicts["correct"]
    row = stored[right["item_id"], right["index"]]
    for path in (*store.rollouts.paths(), *store.verdicts.paths()):
        path.unlink()
    store.rollouts.append([row | {"finish_reason": "length"}])
    store.verdicts.append([right])
    key = RolloutKey(row["item_id"], row["prompt"], row["model"], row["sampling"], 1)
    store.rollouts.append([Rollout(key, "new", (), (), "stop", 0, "e").row()])
    rollouts = ladder_package.open(ladder).rollouts.read(["index", "outcome", "finish_reason"])
    expected = {(row["index"], "wrong", "length")} | ({(1, None, "stop")} if row["index"] != 1 else set())
    assert set(rollouts.rows) == expected


def test_verdicts_and_outcomes_are_all_that_are_stored(ladder: Path) -> None:
    store = Store.open(ladder)
    opened = ladder_package.open(ladder)
    assert len(opened.verdicts) == store.verdicts.table().num_rows
    assert (len(opened.outcomes), opened.outcomes.columns) == (0, store.outcomes.schema.names)
    row = {"run": "r", "step": 1, "item_id": "a", "model": "m", "n": 8, "correct": 3, "mean_tokens": 2.5}
    store.outcomes.append([row])
    assert list(opened.outcomes) == [row | {"draw": None}]
    assert opened.counts["outcomes"] == 1


def test_a_splits_parts_are_its_items_in_its_order(split: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    opened = ladder_package.open(split)
    drawn = opened.splits["neuraladder"]
    for part in ("train", "probe"):
        ids = pq.read_table(split / "splits" / "neuraladder" / f"{part}.parquet")["id"].to_pylist()
        rows = drawn.parts[part].read()
        assert [row["id"] for row in rows] == ids
        assert [row["position"] for row in rows] == list(range(len(ids)))
        questions = dict(opened.sql("SELECT id, question FROM ladder").rows)
        assert [row["question"] for row in rows] == [questions[i] for i in ids]
    assert drawn.facts["strategy"] == "neuraladder"
    assert drawn.train.dataset(cache_dir=tmp_path)[0]["images"][0].size == (56, 56)
    with pytest.raises(BadInput, match="has no part 'validation'; there are: "):
        _ = drawn.validation


def test_a_split_of_items_that_the_ladder_lost_is_told(split: Path) -> None:
    import pyarrow.parquet as pq

    path = split / "splits" / "neuraladder" / "train.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("id")
    pq.write_table(table.set_column(place, "id", pa.array([f"x{i}" for i in range(len(table))])), path)
    with pytest.raises(
        LadderError, match=f"no longer scores {len(table)} of its items; draw the split again"
    ):
        ladder_package.open(split).splits["neuraladder"].train.read()


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT nothing FROM ladder", "Binder Error"),
        ("SELEC 1", "Parser Error"),
        ("", "one query at a time, not 0"),
        ("SELECT 1; SELECT 2", "one query at a time, not 2"),
        ("COPY ladder TO 'written.csv'", "read-only"),
        ("DROP TABLE ladder", "read-only"),
        ("INSERT INTO build VALUES ('a', 'b')", "read-only"),
        ("SELECT * FROM query", "Table with name query does not exist"),
        ("SELECT $missing", "missing"),
        ("FROM rollouts SELECT nothing", "nothing"),
    ],
)
def test_a_bad_query_is_told_in_one_line(lad: Ladder, query: str, why: str) -> None:
    with pytest.raises(BadInput, match=why) as told:
        lad.sql(query)
    assert "\n" not in str(told.value)


def test_a_bad_column_or_condition_is_told(lad: Ladder) -> None:
    with pytest.raises(BadInput, match="nothing"):
        lad.scores.arrow(["nothing"])
    with pytest.raises(BadInput, match="Error"):
        lad.scores.pandas(where="tier = ")
    with pytest.raises(BadInput, match=r"has no tier 'x'; there are: solved, easy"):
        lad.tier("x")
    with pytest.raises(BadInput, match="has no split 'x'; there are: none"):
        _ = lad.splits["x"]


def test_sums_are_whole_numbers(lad: Ladder) -> None:
    answer = lad.sql(
        "SELECT sum(n) AS total, 900000000000000000000000000::HUGEINT AS large, [1, 2] AS some FROM ladder"
    )
    assert answer.columns == ["total", "large", "some"]
    assert type(answer.rows[0][0]) is int
    assert answer.rows[0][0] == len(lad.rollouts)
    assert int(answer.rows[0][1]) == 9 * 10**26
    assert repr(answer) == "Table(1 rows: total, large, some)"


def test_the_command_sql_asks_the_same(built: Path, run: Run, lad: Ladder) -> None:
    query = "SELECT outcome, count(*) FROM rollouts GROUP BY 1 ORDER BY 1"
    code, out, _ = run("sql", built, query)
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()[1:]]
    assert [(name, int(count)) for name, count in lines] == lad.sql(query).rows


def test_a_place_that_is_no_ladder_is_told(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(BadInput, match=r"is not a ladder: it has no build\.toml"):
            ladder_package.open(place)


def test_a_half_built_ladder_gives_what_it_has_and_says_how_to_go_on(ladder: Path) -> None:
    whole = ladder_package.open(ladder)
    expected, counts = {row["id"] for row in whole.items}, whole.counts
    (ladder / "ladder.duckdb").unlink()
    (ladder / "build.toml").write_text(f"format_version = {FORMAT_VERSION}\n")
    half = ladder_package.open(ladder)
    assert not half.scored
    assert half.counts == counts | {"scored": 0}
    assert "not scored yet" in repr(half)
    assert {row["id"] for row in half.items} == expected
    assert half.sql("SELECT count(*) FROM items").rows == [(len(expected),)]
    assert len(half.verdicts) == counts["verdicts"]
    assert (len(half.rejects), half.facts) == (0, {})
    unready: list[Any] = [lambda: half.tiers, lambda: len(half.scores), lambda: half.rollouts.read()]
    for ask in unready:
        with pytest.raises(
            BadInput, match="not scored yet, it holds 55 items: finish its build with `ladder build`"
        ):
            ask()


def test_before_any_import_there_is_nothing_and_it_is_told(tmp_path: Path) -> None:
    Store.create(tmp_path / "new")
    new = ladder_package.open(tmp_path / "new")
    assert set(new.counts.values()) == {0}
    assert len(new.items) == len(new.rejects) == len(new.verdicts) == len(new.outcomes) == 0
    with pytest.raises(BadInput, match="it holds no items yet"):
        len(new.scores)


def test_a_moved_ladder_is_the_same(split: Path, tmp_path: Path) -> None:
    def all_of(opened: Ladder) -> list[Any]:
        views: list[Rows] = [opened.items, opened.scores, opened.rollouts, opened.verdicts]
        views += [opened.splits["neuraladder"].train, opened.splits["neuraladder"].probe]
        return [view.read().rows for view in views]

    before = all_of(ladder_package.open(split))
    moved = tmp_path / "elsewhere" / "é 'b' [1]"
    moved.parent.mkdir()
    split.rename(moved)
    assert all_of(ladder_package.open(moved)) == before
    assert run_ladder("sql", str(moved), "SELECT count(*) FROM ladder").stdout.split() == [
        "count_star()",
        "55",
    ]


def test_nothing_in_a_ladder_names_the_place_where_it_lies(split: Path, digits_pool: Path) -> None:
    for path in split.rglob("*"):
        if path.is_file():
            data = path.read_bytes().replace(str(digits_pool).encode(), b"")
            assert str(split).encode() not in data, path
            assert str(split.parent).encode() not in data, path


READS = """
import os, sys, ladder
lad = ladder.open(sys.argv[1])
assert not os.access(lad.path, os.W_OK)
print(len(lad.scores), len(lad.rollouts), len(lad.items), len(lad.splits["neuraladder"].probe), lad.counts["verdicts"])
spilling = "SELECT lag(h) OVER (ORDER BY h) AS before, h FROM (SELECT md5(range::VARCHAR) AS h FROM range(1000000))"
print(lad.sql(f"SET memory_limit = '60MB'; SET threads = 1; SELECT count(*) FROM ({spilling}) WHERE before >= h").rows)
"""
_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def test_a_ladder_that_cannot_be_written_is_read(split: Path, tmp_path: Path) -> None:
    """Rights do not hold root back: for root the directory is mounted read-only, in a namespace of its own."""
    everything = sorted([split, *split.rglob("*")])
    before = [(path, path.stat().st_mtime_ns) for path in everything]
    mounted = ["unshare", "-m", "sh", "-c", _READ_ONLY, str(split)] if os.getuid() == 0 else []
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = subprocess.run(
            [*mounted, sys.executable, "-c", READS, str(split)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    assert "[(0,)]" in done.stdout.splitlines(), done.stdout
    assert [(path, path.stat().st_mtime_ns) for path in sorted([split, *split.rglob("*")])] == before


def test_a_catalogue_that_is_none_is_told(ladder: Path) -> None:
    (ladder / "ladder.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(LadderError, match=r"ladder\.duckdb"):
        len(ladder_package.open(ladder).scores)


def _blocks(file: Path) -> list[str]:
    blocks = re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), re.S)
    return [block for block in blocks if re.search(r"\blad\b", block)]


@pytest.mark.parametrize("file", ["README.md", "docs/python.md"])
def test_the_examples_run(file: str, split: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(split, tmp_path / "work" / "my-ladder")
    monkeypatch.chdir(tmp_path / "work")
    known: dict[str, Any] = {}
    for block in _blocks(ROOT / file):
        exec(block, known)
    assert file == "README.md" or known["answers"].columns == ["tier", "extracted", "times"]


USER = """
import ladder

lad = ladder.open("my-ladder")
reveal_type(lad)
reveal_type(lad.scores)
reveal_type(lad.sql("SELECT 1").rows)
reveal_type(lad.splits["x"].train)
count: str = len(lad.items)
lad.scores.arrow(column=["id"])
"""


def test_a_users_type_checker_sees_the_types(tmp_path: Path) -> None:
    assert (ROOT / "ladder" / "py.typed").is_file()
    assert (ROOT / "trainer" / "py.typed").is_file()
    (tmp_path / "user.py").write_text(USER)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--ignore-missing-imports",
            "user.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("user.py")]
    assert told[:4] == [
        'note: Revealed type is "ladder.api.Ladder"',
        'note: Revealed type is "ladder.api.Rows"',
        'note: Revealed type is "list[tuple[Any, ...]]"',
        'note: Revealed type is "ladder.api.Rows"',
    ]
    assert "Incompatible types in assignment" in told[4]
    assert 'Unexpected keyword argument "column"' in told[5]
    assert len([line for line in told if line.startswith("error")]) == 2
