"""`ladder migrate`: bring a ladder of an older format version forward. Nothing is sampled or judged, no model is loaded.

Each step rewrites what its version changed, file by file, and may be killed and run again: the version is marked when its
files are there. What the ladder derives from its logs is derived anew. A step is of its time: it uses no schema that may
change after it.

1 -> 2: items got the column gold_digest; splits the columns source, answer_type and pass_rate, and `split.toml` says from which
ladder they were drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ladder.config import read_toml
from ladder.derive import derive, derived_views
from ladder.identity import gold_digest
from ladder.records import Item
from ladder.runtime import quiet, terminable
from ladder.settings import settings_of
from ladder.store import Store
from ladder.store.asking import ask
from ladder.store.parts import write_file, write_parquet, write_text
from ladder.store.tables import open_part
from ladder.store.versions import FORMAT_VERSION, MARKER, format_version


@dataclass(frozen=True)
class Migrated:
    """What was done to a ladder."""

    path: str
    before: int
    after: int
    splits: int  # that were rewritten
    derived: bool  # whether catalogue, tiers, card and report were derived anew


def migrate(path: Path) -> Migrated:
    """Bring a ladder to FORMAT_VERSION; raises BadInput where there is none, or a newer one, or others work in it."""
    quiet()
    format_version(path)
    store = Store(path)
    with store.building("migrate"), terminable():
        before = format_version(path)
        splits = sum(_STEPS[version](store) for version in range(before, FORMAT_VERSION))
        if before < FORMAT_VERSION:
            _mark(path)
        return Migrated(str(path), before, FORMAT_VERSION, splits, _derived(store))


def told(report: Migrated) -> str:
    """The report for a terminal."""
    if report.before == report.after and not report.derived:
        return f"{report.path}: format_version {report.after} already, nothing to do"
    done = f"{report.splits:,} splits rewritten" if report.splits else "splits are as they were"
    rest = "derived anew" if report.derived else "the next `ladder build` derives it"
    return f"{report.path}: format_version {report.before} -> {report.after}: {done}, {rest}"


def _mark(path: Path) -> None:
    import tomli_w

    write_text(tomli_w.dumps(read_toml(path / MARKER) | {"format_version": FORMAT_VERSION}), path / MARKER)


def _derived(store: Store) -> bool:
    """Derive anew what this version derives otherwise. A ladder that was not built to its end is left to `ladder build`."""
    manifest = store.import_manifest()
    if manifest is None or "build" not in read_toml(store.path / MARKER) or not store.catalogue.is_file():
        return False
    settings = settings_of(store.path)
    views = derived_views(store, settings)
    return views is not None and derive(settings, store, views, manifest)


# --- 1 -> 2 --------------------------------------------------------------------------------------------------

_TYPES_2 = {"position": pa.int64(), "slot": pa.int64(), "level": pa.int32()} | dict.fromkeys(
    ("pass_rate", "difficulty", "complexity"), pa.float64()
)
_HELD_2 = (
    "id", "tier", "level", "pass_rate", "difficulty", "complexity", "source", "subject", "answer_type",
)  # fmt: skip
_TRAIN_2 = ("position", "slot", *_HELD_2)
_KNOWN_2 = ("pass_rate", "source", "answer_type")
_ROWS_2 = 4096


def _to_2(store: Store) -> int:
    for path in store.item_parts():
        with open_part(path) as file:
            if "gold_digest" not in file.schema_arrow.names:
                write_file(path, partial(_items_2, file))
    return _splits_2(store)


def _items_2(old: pq.ParquetFile, new: BinaryIO) -> None:
    """Write the rows of an items part with their digests, some at a time."""
    field = pa.field("gold_digest", pa.string())
    with pq.ParquetWriter(new, old.schema_arrow.append(field), compression="zstd") as writer:
        for batch in old.iter_batches(_ROWS_2):
            digests = [gold_digest(Item.from_row(row)) for row in batch.to_pylist()]
            writer.write_batch(batch.append_column(field, pa.array(digests, field.type)))


def _splits_2(store: Store) -> int:
    found = [path.parent for path in (store.path / "splits").glob("[!.]*/split.toml")]
    older = [folder for folder in sorted(found) if "self_contained" not in read_toml(folder / "split.toml")]
    if older:
        known = _known_2(store)
        for folder in older:
            _split_2(folder, known, store.path.absolute().name)
    return len(older)


def _known_2(store: Store) -> pa.Table:
    """What splits now say of their items."""
    if store.catalogue.is_file():
        return ask(store, "SELECT id, pass_rate, source, answer_type FROM ladder")
    return ask(store, "SELECT id, NULL::DOUBLE AS pass_rate, source, answer_type FROM items")


def _split_2(folder: Path, known: pa.Table, ladder: str) -> None:
    import tomli_w

    counts: dict[str, int] = {"validation": 0, "tokens": 0}
    for part, columns in (("train", _TRAIN_2), ("probe", _HELD_2)):
        with open_part(folder / f"{part}.parquet") as file:
            table = file.read()
        counts[part] = table.num_rows
        write_parquet(_part_2(table, columns, known), folder / f"{part}.parquet")
    facts: dict[str, Any] = read_toml(folder / "split.toml")
    own = {"name": ladder, "fingerprint": "", "state": facts.pop("ladder_state", "")}
    counts["train_items"] = facts.pop("train_items", counts["train"])
    facts.pop("probe_items", None)
    left_out = {"near_held_out": facts.pop("near_probe_dropped", 0)}
    facts |= {"self_contained": False, "ladder": own, "counts": counts, "left_out": left_out}
    readme = _README_2.format(name=folder.name, ladder=ladder, fingerprint=facts["fingerprint"])
    write_text(readme, folder / "README.md")
    write_text(tomli_w.dumps(facts), folder / "split.toml")


_README_2 = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: train.parquet
  - split: probe
    path: probe.parquet
fingerprint: '{fingerprint}'
---

The split {name} of the ladder {ladder}; split.toml says how it was drawn.
"""


def _part_2(table: pa.Table, columns: tuple[str, ...], known: pa.Table) -> pa.Table:
    places = pc.index_in(table["id"], value_set=known["id"])
    values = {name: table[name] for name in table.column_names} | {
        name: known[name].take(places) for name in _KNOWN_2
    }
    schema = pa.schema([(name, _TYPES_2.get(name, pa.string())) for name in columns])
    return pa.table([values[name].cast(schema.field(name).type) for name in columns], schema=schema)


_STEPS: dict[int, Callable[[Store], int]] = {1: _to_2}
