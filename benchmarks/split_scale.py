"""Drawing splits of large ladders: seconds and memory from the catalogue to Parquet, for 1 and 10 million items.

    python benchmarks/split_scale.py [--items 1000000 10000000] [--strategies neuraladder gaussian]

The catalogues are synthetic, made by DuckDB and not timed: nine levels, five subjects, an image for each of the first million
items. Each split is drawn by the real code, with a probe held out by clusters of images and a quota, in a process of its own.
Writes benchmarks/results/split_scale.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
from results import write_result

from ladder.config import validate
from ladder.splits import SampleSettings
from ladder.splits.drawn import drawing
from ladder.splits.files import write_split
from ladder.store import Store

_IMAGES = 1_000_000

_LADDER = """
CREATE TABLE ladder AS SELECT row_number() OVER (ORDER BY difficulty, complexity, id) - 1 AS position, * FROM (
    SELECT md5(i::VARCHAR)[:24] AS id, ['unsolved', 'hard', 'hard', 'medium', 'medium', 'medium', 'easy', 'easy', 'solved'][c + 1] AS tier,
        c AS level, c / 8 AS pass_rate, 1 - (c + 0.5) / 9 AS difficulty, 100 + (hash(i) % 4000) / 8 AS complexity,
        'pool' || (i % 3) AS source, 'subject' || (i % 5) AS subject, 'integer' AS answer_type, 'train' AS split,
        []::VARCHAR[] AS flags, CASE WHEN i < {images} THEN [md5('image' || i)] ELSE [] END AS images
    FROM (SELECT i, (hash(i, 1) % 9)::INTEGER AS c FROM range({items}) t(i))
) ORDER BY position
"""


def make(place: Path, items: int) -> Store:
    """A ladder directory with a catalogue and image parts of so many items."""
    store = Store.create(place)
    store.images.folder.mkdir(parents=True)
    images = f"SELECT md5('image' || i) AS hash, hash(i, 2)::BIGINT AS phash FROM range({min(items, _IMAGES)}) t(i)"
    images = images.replace("hash(i, 2)::BIGINT", "(hash(i, 2) >> 1)::BIGINT")
    with duckdb.connect(str(store.catalogue)) as connection:
        connection.execute(_LADDER.format(items=items, images=_IMAGES))
        connection.execute(f"COPY ({images}) TO '{store.images.folder}/images-0.parquet'")
    return store


def draw(place: Path, strategy: str) -> dict[str, float]:
    """One split, drawn and written: rows, seconds, GiB at the peak of this process."""
    values: dict[str, Any] = {"strategy": {"strategy": strategy}, "quota": {"source": {"pool0": 0.3}}}
    settings = validate(SampleSettings, values)
    start = time.monotonic()
    with drawing(Store.open(place), settings) as drawn:
        split = write_split(drawn, strategy, {"self_contained": False}, False, True)
        rows = drawn.counts["train"]
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "rows": rows,
        "seconds": seconds,
        "peak": peak,
        "bytes": (split.path / "train.parquet").stat().st_size,
    }


def main() -> None:
    """Draw each strategy at each size in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--strategies", nargs="+", default=["neuraladder", "gaussian", "balanced"])
    parser.add_argument("--one", nargs=2, metavar=("LADDER", "STRATEGY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(draw(Path(arguments.one[0]), arguments.one[1])))
        return
    figures: dict[str, dict[str, Any]] = {}
    for items in arguments.items:
        with tempfile.TemporaryDirectory() as folder:
            place = make(Path(folder) / "ladder", items).path
            for strategy in arguments.strategies:
                command = [sys.executable, __file__, "--one", str(place), strategy]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout)
                print(strategy, items, found, flush=True)
                for name, unit in (("seconds", "s"), ("peak", "GiB"), ("rows", "rows")):
                    figures[f"{strategy}, {items:,} items: {name}"] = {
                        "value": round(found[name], 2),
                        "unit": unit,
                    }
    write_result("split_scale", figures)


if __name__ == "__main__":
    main()
