"""The ladder directory: append-only logs (the truth), who may work in it at once, and what is derived from them.

What the rollouts are for is not its business. `Store.open` takes an existing ladder, `Store.create` also an empty place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from ladder import records
from ladder.errors import BadInput, LadderError
from ladder.records import Item
from ladder.store import locks
from ladder.store.drafts import draft_schema, placed_schema
from ladder.store.images import ImageReader
from ladder.store.locks import Held
from ladder.store.parts import Log, write_text
from ladder.store.tables import row_groups
from ladder.store.versions import FORMAT_VERSION, MARKER, check_version

CATALOGUE = "ladder.duckdb"

_ITEMS_READ = 1 << 14  # rows held at once, beside what was asked for


class Store:
    """Paths and logs of one ladder directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items = Log(path / "items", "items", records.item_schema())
        self.images = Log(path / "items", "images", records.image_schema(), row_group=64)
        self.rejects = Log(path / "items", "rejects", records.reject_schema())
        self.drafts = Log(path / "items", "drafts", draft_schema())
        self.placed = Log(path / "items", "rows", placed_schema())
        self.rollouts = Log(path / "rollouts", "rollouts", records.rollout_schema())
        self.verdicts = Log(path / "verdicts", "verdicts", records.verdict_schema())
        self.refusals = Log(path / "rollouts", "refusals", records.refusal_schema())
        self.runs = Log(path / "runs", "runs", records.run_schema())
        self.outcomes = Log(path / "outcomes", "outcomes", records.outcome_schema())

    @classmethod
    def create(cls, path: Path) -> Store:
        """A ladder directory, new or existing; raises BadInput where the place holds something else."""
        store = cls.at(path)
        if not (path / MARKER).is_file():
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LadderError(f"cannot make {path}: {error.strerror or error}") from None
            write_text(f"format_version = {FORMAT_VERSION}\n", path / MARKER)
        return store

    @classmethod
    def at(cls, path: Path) -> Store:
        """As `create`, but nothing is written: a place for a new ladder is an empty one."""
        if (path / MARKER).is_file():
            return cls.open(path)
        if path.exists() and not path.is_dir():
            raise BadInput(f"{path} is a file; name a directory for the ladder")
        if path.is_dir() and any(not p.name.startswith(".") for p in path.iterdir()):
            raise BadInput(
                f"{path} holds something that is no ladder (it has no {MARKER}); choose an empty directory"
            )
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """An existing ladder directory; raises BadInput where it is none, or of a format this version cannot read."""
        check_version(path)
        return cls(path)

    @property
    def catalogue(self) -> Path:
        """The DuckDB file that is derived from the logs."""
        return self.path / CATALOGUE

    def building(self, verb: str) -> AbstractContextManager[Held]:
        """Hold the directory as its only builder; raises BadInput naming who works in it: see ladder.store.locks."""
        return locks.building(self.path, verb)

    def sharing(self, verb: str, shard: int, of: int) -> AbstractContextManager[Held]:
        """Hold the directory together with other shards, as the only one of its number: see ladder.store.locks."""
        return locks.sharing(self.path, verb, shard, of)

    def compact(self) -> int:
        """Merge small parts of the logs that sampling and training write; how many parts fewer there are. Only for who
        holds the directory alone. The names of the parts change, so it comes before what is derived from them."""
        logs = (self.rollouts, self.verdicts, self.refusals, self.runs, self.outcomes)
        return sum(log.compact() for log in logs)

    # --- items: each import writes all items anew (without images), and its manifest last -------------------

    def import_manifest(self) -> dict[str, Any] | None:
        """The latest complete import: {number, pool, parts, rejects, counts}, or None."""
        manifests = sorted((self.path / "items").glob("import-*.json"))
        return json.loads(manifests[-1].read_text(encoding="utf-8")) if manifests else None

    def finish_import(self, manifest: dict[str, Any]) -> None:
        """Declare an import complete: from here on its items are the ladder's."""
        number = (self.import_manifest() or {"number": 0})["number"] + 1
        text = json.dumps({"number": number} | manifest, indent=2) + "\n"
        write_text(text, self.path / "items" / f"import-{number:06d}.json")

    def item_parts(self) -> list[Path]:
        """The parts that hold the ladder's items."""
        manifest = self.import_manifest()
        return [self.path / "items" / name for name in manifest["items"]] if manifest else []

    def reject_parts(self) -> list[Path]:
        """The parts that hold the latest import's rejects."""
        manifest = self.import_manifest()
        return [self.path / "items" / name for name in manifest["rejects"]] if manifest else []

    def load_items(self, ids: Sequence[str] | None = None) -> list[Item]:
        """The ladder's items, or those of some ids in that order; raises LadderError for an id that it lacks."""
        wanted = None if ids is None else set(ids)
        found: dict[str, Item] = {}
        for table in row_groups(self.item_parts(), self.items.schema, _ITEMS_READ):
            if wanted is not None:
                table = table.filter(pa.array([i in wanted for i in table["id"].to_pylist()], pa.bool_()))
            found |= {row["id"]: Item.from_row(row) for row in table.to_pylist()}
        missing = [i for i in ids or () if i not in found]
        if missing:
            raise LadderError(f"{self.path} has no item {missing[0]} (and {len(missing) - 1} more)")
        return [found[i] for i in (ids if ids is not None else found)]

    @cached_property
    def image_reader(self) -> ImageReader:
        """Canonical image bytes by hash."""
        return ImageReader(self.images)

    def pictures(self, item: Item) -> list[tuple[str, bytes]]:
        """An item's images as the encoder takes them: (hash, canonical bytes)."""
        return [(h, self.image_reader.read(h)) for h in item.images]
