"""What several test files need: settings of small builds, pools written by hand, a scripted verb in a subprocess."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import duckdb
from PIL import Image as PILImage

from ladder.config import load, shipped
from ladder.images.album import Album
from ladder.pools.mapping import Mapped, Mapping, Refused
from ladder.pools.rows import Row, Unreadable
from ladder.records import AnswerType, Reference, Reject, Verdict
from ladder.settings import BuildSettings
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.verify import Extracted, Policy, dispatcher, quick

ROOT = Path(__file__).parents[1]
K = 4
Run = Callable[..., tuple[int, str, str]]  # see the fixture `run`
DIGITS = {"pool.make.items": 33, "pool.make.probe_items": 22, "sampling.k": K}

#: A gold at which verifier workers hang in a C call, under the fixture `hanging`, however good the verifier becomes.
#: There, all expressions go to workers.
HANGING = "\\int_0^1 \\Omega(x) dx"
_HANG = f"""
import ladder.verify.worker as worker
decided = worker.decided
def hang(found, reference, policy):
    while reference.gold == {HANGING!r}:
        3 ** 10_000_000
    return decided(found, reference, policy)
worker.decided = hang
"""
_MAIN = dispatcher._MAIN.replace("main(float", f"exec({_HANG!r}); main(float")


def _quick(found: Extracted, reference: Reference, policy: Policy, known: bool = False) -> Verdict | None:
    return None if reference.answer_type is AnswerType.EXPRESSION else quick(found, reference, policy, known)


def hang(patch: Callable[[str, object], object]) -> None:
    """What the fixture `hanging` patches."""
    patch("ladder.verify.dispatcher._MAIN", _MAIN)
    patch("ladder.verify.pool.quick", _quick)


def map_row(mapping: Mapping, number: int, row: Row) -> Mapped | Reject:
    """What a mapping makes of a row on its own."""
    found = mapping(number, row, Album(max_pixels=10**6, min_side=8))
    return found.reject if isinstance(found, Refused) else found


def digits_overrides(pool: Path, **more: Any) -> list[str]:
    """Overrides that make the shipped pipeline a small one on `pool`; `a__b=1` stands for `a.b=1`."""
    values = {"pool.root": str(pool)} | DIGITS | {k.replace("__", "."): v for k, v in more.items()}
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def digits_settings(pool: Path, **more: Any) -> BuildSettings:
    return load(BuildSettings, shipped("pipelines", "digits"), digits_overrides(pool, **more))


def write_rows(pool: Path, rows: Iterable[Any]) -> Path:
    """A pool of one JSONL file; a row that is a text is written as it is."""
    pool.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (pool / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return pool


def read_pool_rows(pool: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (pool / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def why(row: Row) -> str:
    """Why a row cannot be read."""
    assert isinstance(row, Unreadable), row
    return row.why


def is_lost(row: Row) -> bool:
    """Whether this stands for the rest of a file."""
    return isinstance(row, Unreadable) and row.reason == "file_unreadable"


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = (28, 28)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PILImage.effect_mandelbrot(size, (-2 + seed / 50, -1.5, 1, 1.5), 20).convert("RGB")
    picture.save(path)
    return path


def ladder_command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from ladder.cli import main; main()", *arguments]


def run_ladder(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        ladder_command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=270, check=False
    )


def told(result: tuple[int, str, str], code: int = 2) -> str:
    """The one line that is told of a failure."""
    assert result[0] == code, result
    assert result[1] == ""
    (line,) = result[2].splitlines()
    assert line.startswith("ladder: ")
    return line


def rows_of(ladder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of the catalogue, read by plain DuckDB."""
    with duckdb.connect(str(ladder / "ladder.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def part_rows(ladder: Path, log: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """Rows of a log's parts, in key order, read by plain DuckDB."""
    sql = f"SELECT {columns} FROM read_parquet('{ladder}/{log}/{log}-*.parquet') ORDER BY ALL"
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def catalogue_on(threads: int) -> Callable[[Store], AbstractContextManager[duckdb.DuckDBPyConnection]]:
    """What opens a ladder's catalogue, on so many threads of DuckDB."""

    @contextmanager
    def limited(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
        with catalogue(store) as connection:
            connection.execute(f"SET threads = {threads}")
            yield connection

    return limited
