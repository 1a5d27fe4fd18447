"""A pool that means harm, through the real command: each row becomes what it must, nothing runs, nothing else is read."""

import ctypes
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import ladder_command
from hostile_images import Touch, encoded
from hostile_pool import write_pool, written_arrow, written_parquet
from hostile_rows import CANARY, CELLS, GOLDS, GOOD, MARKER, RAW, UNREADABLE, Pool, deep, with_value
from PIL import Image as PILImage

from ladder.images import read_image_bytes

MEMORY = 2**30  # bytes of the command and its workers together
SECONDS = 280
linux = pytest.mark.skipif(
    sys.platform != "linux", reason="counts what is opened with inotify, as Linux has it"
)
pytestmark = linux

#: In each process of the command: tells what it runs, connects to or unpickles, but for what is its own.
WATCH = """
import os, sys
_log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_told = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "urllib.Request", "webbrowser.open",
         "socket.getaddrinfo", "socket.gethostbyname", "ftplib.connect")
_named = ("os", "posix", "nt", "subprocess", "shutil", "runpy", "socket")
def _hook(event, arguments):
    if (
        event in _told
        or (event == "subprocess.Popen" and arguments[0] != sys.executable)
        or (event == "socket.connect" and isinstance(arguments[1], tuple))
        or (event == "pickle.find_class" and arguments[0].split(".")[0] in _named)
        or (event == "pickle.find_class" and arguments[1] in ("eval", "exec", "compile", "getattr", "__import__"))
    ):
        os.write(_log, f"{event} {arguments!r}"[:300].encode() + b"\\n")
sys.addaudithook(_hook)
os.write(_log, b"watching\\n")
"""


@dataclass
class Built:
    """What a build came to."""

    code: int
    report: dict[str, Any]
    told: str
    peak: int  # bytes
    events: list[str]
    opened: list[str]  # names in the folder outside of the pool
    out: Path


@contextmanager
def opened_in(folder: Path) -> Iterator[list[str]]:
    """The names of files in a folder that any process opens meanwhile."""
    libc, names = ctypes.CDLL(None, use_errno=True), list[str]()
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(descriptor, os.fsencode(folder), 0x20) > 0, os.strerror(ctypes.get_errno())
    try:
        yield names
        with pytest.raises(BlockingIOError):
            while data := os.read(descriptor, 65_536):
                while data:
                    length = struct.unpack_from("iIII", data)[3]
                    names.append(data[16 : 16 + length].rstrip(b"\0").decode())
                    data = data[16 + length :]
    finally:
        os.close(descriptor)


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process and its children hold; what they share is counted once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):
            total += one.memory_full_info().pss
    return total


def watched(process: subprocess.Popen[str]) -> list[int]:
    """The most memory held, growing until the process ends; that of one far above what is allowed is at once."""
    peak, one = [0], psutil.Process(process.pid)

    def look() -> None:
        while process.poll() is None:
            try:
                peak[0] = max(peak[0], memory_of(one))
            except psutil.Error:
                return
            if peak[0] > 3 * MEMORY // 2:
                process.kill()
            time.sleep(0.02)

    threading.Thread(target=look, daemon=True).start()
    return peak


#: A pipeline of all that lies in a pool's folder `rows`.
PIPELINE = """
name = "hostile"
[pool]
root = "{root}"
files = ["rows/*"]
[pool.columns]
id = "id"
options = "options"
meta = ["extra"]
"""


def build(base: Path, root: Path, outside: Path, pipeline: str = PIPELINE) -> Built:
    """`ladder build --until audit` of a pipeline, in a process of its own."""
    where, settings, log, out = base / "here", base / "hostile.toml", base / "events", base / "out"
    for folder in (where, base / "watch"):
        folder.mkdir(exist_ok=True)
    (base / "watch/sitecustomize.py").write_text(WATCH)
    settings.write_text(pipeline.replace("{root}", str(root)))
    command = ladder_command("build", str(settings), "--until", "audit", "--json", "--out", str(out))
    env = os.environ | {"PYTHONPATH": str(base / "watch"), "WATCH_LOG": str(log), "OMP_NUM_THREADS": "1"}
    with opened_in(outside) as opened, (base / "told").open("w+") as told:
        process = subprocess.Popen(
            command, cwd=where, env=env, stdout=subprocess.PIPE, stderr=told, text=True
        )
        peak = watched(process)
        stdout, _ = process.communicate(timeout=SECONDS)
        told.seek(0)
        words = told.read()
    report = json.loads(stdout) if process.returncode == 0 else {}
    return Built(process.returncode, report, words, peak[0], log.read_text().splitlines(), opened, out)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    base = tmp_path_factory.mktemp("hostile")
    return write_pool(base / "pool", base / "outside")


@pytest.fixture(scope="module")
def built(hostile: Pool) -> Built:
    return build(hostile.root.parent, hostile.root, hostile.outside)


def parts(out: Path, kind: str) -> list[dict[str, Any]]:
    paths = sorted((out / "items").glob(f"{kind}-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def reasons(built: Built, rows: int) -> list[str | None]:
    """What each row became, by its number."""
    found = {reject["row"]: reject["reason"] for reject in parts(built.out, "rejects")}
    assert found.keys() <= set(range(rows))
    return [found.get(row) for row in range(rows)]


def test_the_pool_is_large_enough_to_mean_something(hostile: Pool) -> None:
    bad = [name for name, reason in hostile.expected if reason is not GOOD]
    assert len(bad) >= 250
    names = {*RAW, *CELLS, *GOLDS}
    assert names <= {name for name, _ in hostile.expected}
    assert len(names) == len(RAW) + len(CELLS) + len(GOLDS)


def test_every_row_is_accounted_for(hostile: Pool, built: Built) -> None:
    assert built.code == 0, built.told
    assert "Traceback" not in built.told
    report = built.report
    assert report["rows"] == len(hostile.expected)
    assert report["items"] + sum(report["rejects"].values()) == report["rows"]
    assert report["items"] == len(parts(built.out, "items"))
    assert sum(report["rejects"].values()) == len(parts(built.out, "rejects"))


def test_each_hostile_row_is_refused_for_its_reason_and_each_good_one_kept(
    hostile: Pool, built: Built
) -> None:
    found = reasons(built, len(hostile.expected))
    wrong = {
        f"{row}: {name}": {"expected": expected, "is": is_}
        for row, ((name, expected), is_) in enumerate(zip(hostile.expected, found, strict=True))
        if is_ != expected
    }
    assert wrong == {}


def test_good_rows_come_out_as_they_went_in(hostile: Pool, built: Built) -> None:
    items = parts(built.out, "items")
    after = {item["source_id"] for item in items if item["source_id"].startswith("good after ")}
    assert after == {name for name, _ in hostile.expected if name.startswith("good after ")}
    assert len({item["id"] for item in items}) == len(items)
    stored = {image["hash"] for image in parts(built.out, "images")}
    assert {image for item in items for image in item["images"]} <= stored


def test_texts_are_kept_as_they_are_and_run_nowhere(built: Built) -> None:
    questions = [item["question"] for item in parts(built.out, "items")]
    for text in (
        "<script>alert(1)</script>",
        "DROP TABLE items",
        "{{ 7 * 7 }}",
        "\x1b[2J\x1b]0;owned\x07\x9b31m",
        "a\0b",
    ):
        assert sum(text in question for question in questions) == 1


def test_nothing_runs_connects_or_is_unpickled(hostile: Pool, built: Built) -> None:
    assert "watching" in built.events
    assert set(built.events) == {"watching"}
    assert list(hostile.root.parent.rglob(MARKER)) == []


def test_nothing_outside_of_the_pool_is_opened_or_shown(hostile: Pool, built: Built) -> None:
    assert built.opened == []
    secret = CANARY.encode()
    written = [path for path in built.out.rglob("*") if path.is_file()]
    assert written
    for path in written:
        data = path.read_bytes()
        assert secret not in data, path
        assert b"root:x:0" not in data, path
        if path.suffix == ".parquet":
            rows = repr(pq.read_table(path).to_pylist())
            assert CANARY not in rows, path
            assert "root:x:0" not in rows, path
    canary = read_image_bytes((hostile.outside / "canary.png").read_bytes(), max_pixels=10**6, min_side=8)
    assert canary.hash not in {image["hash"] for image in parts(built.out, "images")}
    assert CANARY not in built.told + json.dumps(built.report)


def test_what_is_opened_outside_or_run_would_be_seen(hostile: Pool, tmp_path: Path) -> None:
    with opened_in(hostile.outside) as opened:
        (hostile.root / "links/canary.png").read_bytes()
    assert opened == ["canary.png"]
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    script = "import pickle, sys; pickle.loads(bytes.fromhex(sys.argv[1]))"
    env = os.environ | {"PYTHONPATH": str(tmp_path), "WATCH_LOG": str(tmp_path / "events")}
    data = pickle.dumps(Touch()).hex()
    subprocess.run([sys.executable, "-c", script, data], cwd=tmp_path, env=env, check=True)
    told = (tmp_path / "events").read_text()
    assert "pickle.find_class" in told
    assert "os.system" in told
    assert (tmp_path / MARKER).exists()


def test_the_memory_stays_below_a_gibibyte(built: Built) -> None:
    assert 0 < built.peak < MEMORY


def test_what_is_told_of_a_reject_is_one_bounded_line(built: Built) -> None:
    for reject in parts(built.out, "rejects"):
        if reject["stage"] == "import":
            assert len(reject["detail"]) <= 300
        assert len(reject["question"]) <= 100_000


def inflating_cell() -> bytes:
    return written_parquet(
        pa.table({"question": ["x" * 400_000_000], "answer": ["1"]}), compression="zstd", use_dictionary=False
    )


def inflating_batch() -> bytes:
    table = pa.table({"question": ["a cell"], "answer": ["1"], "extra": ["x" * 400_000_000]})
    return written_arrow(table, compression="zstd")


def shared_value() -> bytes:
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array(["x" * 40_000_000]))
    return written_parquet(pa.table({"question": values, "answer": ["1"] * 64}), compression="zstd")


def large_images() -> bytes:
    table = pa.table({"question": ["a"] * 32, "answer": ["1"] * 32, "image": [bytes(30_000_000)] * 32})
    return written_parquet(table, compression="zstd", use_dictionary=False)


def endless_paths() -> bytes:
    return written_parquet(pa.table({"question": ["a"], "answer": ["1"], "image": [["a.png"] * 5_000_000]}))


LOST = "file_unreadable"
#: Small files that are large once read: their rows, and what must become of each.
BOMBS: dict[str, tuple[Callable[[], bytes], str, int, str]] = {
    "a cell of 400 MB": (inflating_cell, "parquet", 1, LOST),
    "a batch of 400 MB": (inflating_batch, "arrow", 1, LOST),
    "a value of 40 MB in each row": (shared_value, "parquet", 64, UNREADABLE),
    "images of 30 MB": (large_images, "parquet", 1, LOST),
    "five million paths": (endless_paths, "parquet", 1, UNREADABLE),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_table_that_inflates_is_read_within_a_gibibyte(tmp_path: Path, name: str) -> None:
    make, suffix, rows, expected = BOMBS[name]
    for folder in ("pool/rows", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / f"pool/rows/bomb.{suffix}").write_bytes(make())
    built = build(tmp_path, tmp_path / "pool", tmp_path / "outside")
    assert built.code == 0
    assert built.peak < MEMORY
    assert reasons(built, rows) == [expected] * rows


#: Rows of the second pool are sent to other processes, for those of the first take longer than that needs to begin.
SLOW_AND_DEEP = """
name = "hostile"
[images]
workers = 2
[pools.slow]
root = "{root}"
files = ["slow.jsonl"]
[pools.deep]
root = "{root}"
files = ["deep.jsonl"]
"""


@pytest.mark.parametrize("levels", [500, 900])
def test_rows_that_cannot_be_sent_to_a_process_cost_only_themselves(tmp_path: Path, levels: int) -> None:
    root = tmp_path / "pool"
    for folder in (root, tmp_path / "outside"):
        folder.mkdir()
    (root / "slow.png").write_bytes(encoded("PNG", PILImage.new("1", (8_000, 8_000))))
    slow = {"question": "What is white?", "answer": "1", "image": "slow.png"}
    (root / "slow.jsonl").write_text(json.dumps(slow))
    good = json.dumps({"question": "How many?", "answer": "2"}).encode()
    (root / "deep.jsonl").write_bytes(with_value(deep(levels)) + b"\n" + good)
    built = build(tmp_path, root, tmp_path / "outside", SLOW_AND_DEEP)
    assert built.code == 0, built.told
    assert built.report["rows"] == 3
    assert [(r["row"], r["reason"]) for r in parts(built.out, "rejects")] == [(0, "row_unreadable")]
