"""Python's way into a ladder: what `ladder.open` gives.

Everything is read when it is asked for, and nothing is held open or changed: a build, a training run and any number of
readers may work on one ladder at once. How to make a ladder, a split or a model is left to their own rooms.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ladder.errors import BadInput, LadderError

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import PIL.Image
    import pyarrow as pa

    from ladder.store import Store

#: Values for the `$name` or `?` of an SQL text.
Params = Mapping[str, object] | Sequence[object] | None

_ROWS_AT_ONCE = 1000
_PICTURED_AT_ONCE = 200
_LOGS = ("rollouts", "verdicts", "outcomes")

T = TypeVar("T")


class Table:
    """Rows that were read: in memory, but for the images, of which it holds the hashes."""

    def __init__(self, table: pa.Table, store: Store) -> None:
        self._table, self._store = table, store

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return list(self._table.column_names)

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as tuples."""
        if not self.columns:
            return []
        return list(zip(*(column.to_pylist() for column in self._table.columns), strict=True))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries."""
        for batch in self._table.to_batches(_ROWS_AT_ONCE):
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        return f"Table({len(self):,} rows: {', '.join(self.columns)})"

    def arrow(self) -> pa.Table:
        """As an Arrow table; `images` are hashes: see `Ladder.image`."""
        return self._table

    def pandas(self) -> pd.DataFrame:
        """As a pandas data frame; `images` are hashes: see `Ladder.image`."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    def dataset(self, cache_dir: str | os.PathLike[str] | None = None) -> datasets.Dataset:
        """As a `datasets.Dataset`. A column `images` becomes the pictures themselves (the Image feature): these are
        written to the cache of `datasets`, as `load_dataset` does, or below `cache_dir`. Raises LadderError for an image
        that the ladder lacks."""
        import datasets as hf
        from datasets.table import InMemoryTable

        features = hf.Features.from_arrow_schema(self._table.schema)
        if "images" not in features or features["images"] != hf.List(hf.Value("string")):
            return hf.Dataset(InMemoryTable(self._table))
        features["images"] = hf.List(hf.Image())
        if not len(self):
            return hf.Dataset.from_dict({name: [] for name in features}, features=features)
        try:
            return hf.Dataset.from_generator(
                partial(_pictured, self._table, self._store),
                features=features,
                cache_dir=None if cache_dir is None else str(cache_dir),
                fingerprint=self._fingerprint(),
            )
        except hf.exceptions.DatasetGenerationError as error:
            raise error.__cause__ if isinstance(error.__cause__, LadderError) else error from None

    def _fingerprint(self) -> str:
        """What the cache knows the rows by: themselves, and the parts that their images are in."""
        import pyarrow as pa

        from ladder.digest import digest

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._table.schema) as writer:
            writer.write_table(self._table, _ROWS_AT_ONCE)
        parts = [path.name for path in self._store.images.paths()]
        return digest("dataset-1", sink.getvalue().to_pybytes(), *parts)


def _pictured(table: pa.Table, store: Store) -> Iterator[dict[str, Any]]:
    """Rows with the encoded bytes of their images."""
    for batch in table.to_batches(_PICTURED_AT_ONCE):
        rows = batch.to_pylist()
        held = store.image_reader.read_many(h for row in rows for h in row["images"] or ())
        for row in rows:
            yield row | {"images": [{"bytes": held[h], "path": f"{h}.png"} for h in row["images"] or ()]}


class Rows:
    """Some rows of a ladder, in a fixed order. They are read anew each time that they are asked for; `columns` and `where`
    (an SQL condition, with `params` for its `$name` or `?`) leave out what is not wanted before it is in memory.

    All of its methods raise BadInput for a column or a condition that there is not, and where the ladder has not come that
    far."""

    def __init__(self, ask: Callable[[str, Params], Table], source: str, order: str = "") -> None:
        self._ask, self._source, self._order = ask, source, order

    def read(
        self, columns: Sequence[str] | None = None, where: str | None = None, params: Params = None
    ) -> Table:
        """The rows, in memory."""
        wanted = [columns] if isinstance(columns, str) else columns
        chosen = "*" if not wanted else ", ".join(map(_identifier, wanted))
        order = f" ORDER BY {self._order}" if self._order else ""
        return self._ask(f"SELECT {chosen} FROM {self._where(where)}{order}", params)

    def arrow(
        self, columns: Sequence[str] | None = None, where: str | None = None, params: Params = None
    ) -> pa.Table:
        """As an Arrow table; `images` are hashes: see `Ladder.image`."""
        return self.read(columns, where, params).arrow()

    def pandas(
        self, columns: Sequence[str] | None = None, where: str | None = None, params: Params = None
    ) -> pd.DataFrame:
        """As a pandas data frame; `images` are hashes: see `Ladder.image`."""
        return self.read(columns, where, params).pandas()

    def dataset(
        self,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        params: Params = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> datasets.Dataset:
        """As a `datasets.Dataset`, with the pictures where `images` is among the columns: see `Table.dataset`."""
        return self.read(columns, where, params).dataset(cache_dir)

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return self._ask(f"SELECT * FROM {self._source} LIMIT 0", None).columns

    def __len__(self) -> int:
        return self.count()

    def count(self, where: str | None = None, params: Params = None) -> int:
        """How many rows there are, or how many for which a condition holds."""
        return int(self._ask(f"SELECT count(*) FROM {self._where(where)}", params).rows[0][0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries."""
        return iter(self.read())

    def __repr__(self) -> str:
        return f"Rows({self.count():,} of {', '.join(self.columns)})"

    def _where(self, condition: str | None) -> str:
        return self._source if condition is None else f"{self._source} WHERE ({condition}\n)"


class Named(dict[str, T]):
    """Things by name, in order; a name that there is not is told as BadInput."""

    def __init__(self, things: Mapping[str, T], what: str, where: Path) -> None:
        super().__init__(things)
        self._what, self._where = what, where

    def __missing__(self, name: str) -> T:
        there = ", ".join(self) or "none"
        raise BadInput(f"{self._where} has no {self._what} {name!r}; there are: {there}")


class DrawnSplit:
    """A split of a ladder: `facts` is its `split.toml`, each part the items in the order in which it holds them, with
    all that the ladder knows of them. `position` is the place in the part, `ladder_position` that in the ladder."""

    def __init__(self, path: Path, facts: dict[str, Any], parts: dict[str, Rows]) -> None:
        self.path, self.facts = path, facts
        self.parts: Named[Rows] = Named(parts, "part", path)

    def __repr__(self) -> str:
        return f"DrawnSplit({str(self.path)!r}: {', '.join(self.parts)})"

    @property
    def train(self) -> Rows:
        """The items to train on, in training order."""
        return self.parts["train"]

    @property
    def probe(self) -> Rows:
        """The items to measure with all through training."""
        return self.parts["probe"]

    @property
    def validation(self) -> Rows:
        """Held-out items besides the probe; raises BadInput where the split has none."""
        return self.parts["validation"]


class Ladder:
    """A ladder's directory, for reading: see `ladder.open`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises BadInput where there is no ladder, or one of another format version."""
        from ladder.store import Store

        self.path = Path(path)
        self._store = Store.open(self.path)

    def __repr__(self) -> str:
        counts = self.counts
        scored = f"{counts['scored']:,} of them scored" if self.scored else "not scored yet"
        stored = ", ".join(f"{counts[name]:,} {name}" for name in _LOGS)
        return f"Ladder({str(self.path)!r}: {counts['items']:,} items, {scored}; {stored})"

    @property
    def scored(self) -> bool:
        """Whether there is a catalogue: scores, tiers, and which rollouts count. A build makes it last."""
        return self._store.catalogue.is_file()

    @property
    def counts(self) -> dict[str, int]:
        """What there is, also of a ladder that is only half built: `items`, `rejects` (rows), `rollouts`, `verdicts`,
        `outcomes` (stored rows), and `scored` items."""
        imported = (self._store.import_manifest() or {}).get("counts", {"items": 0, "rejects": {}})
        logs = (self._store.rollouts, self._store.verdicts, self._store.outcomes)
        return {
            "items": imported["items"],
            "rejects": sum(imported["rejects"].values()),
            **{name: log.read(_row_count) for name, log in zip(_LOGS, logs, strict=True)},
            "scored": len(self.scores) if self.scored else 0,
        }

    @property
    def facts(self) -> dict[str, str]:
        """How the ladder was made: model, prompt, k, verifier, versions, ...; empty where it is not scored yet."""
        from ladder.store.catalogue import facts_of

        return facts_of(self._store)

    @property
    def items(self) -> Rows:
        """All items, scored or not, by id. Of a ladder that is not scored yet, those of its import."""
        return Rows(self.sql, "items", "id")

    @property
    def rejects(self) -> Rows:
        """Rows and items that were left out, with stage, reason and detail."""
        return Rows(self.sql, "rejects", "source, row, source_id, reason")

    @property
    def scores(self) -> Rows:
        """The table `ladder`: each scored item with its scores, in ladder order, from easy to hard."""
        return Rows(self.sql, "ladder", "position")

    @property
    def tiers(self) -> Named[Rows]:
        """The rows of `scores` by tier, from easy to hard; tiers without an item are left out."""
        names = self.sql("SELECT tier FROM ladder GROUP BY tier ORDER BY avg(position)").rows
        found = {name: Rows(self.sql, _of_tier(name), "position") for (name,) in names}
        return Named(found, "tier", self.path)

    def tier(self, name: str) -> Rows:
        """The rows of `scores` of one tier; raises BadInput naming those there are."""
        return self.tiers[name]

    @property
    def rollouts(self) -> Rows:
        """The rollouts that count, each once: those of the model, prompt and sampling that the ladder was derived from
        (`pass` is `main`) and of its further passes, below their k. `outcome` is what a rollout counts as (truncated,
        never `correct`), null where it is not judged yet; `extracted` the answer that the verifier saw."""
        return Rows(self.sql, "rollouts", "pass <> 'main', pass, item_id, \"index\"")

    @property
    def verdicts(self) -> Rows:
        """Every stored verdict, of any verifier, on any gold that an item had."""
        return Rows(self.sql, "verdicts", 'item_id, prompt, model, sampling, "index", gold, verifier')

    @property
    def outcomes(self) -> Rows:
        """What training saw of the items: one row for each group of each step."""
        return Rows(self.sql, "outcomes", "run, step, item_id")

    @property
    def splits(self) -> Named[DrawnSplit]:
        """The splits that `ladder sample` drew, by name."""
        folders = sorted(path.parent for path in (self.path / "splits").glob("[!.]*/split.toml"))
        return Named({folder.name: self._split(folder) for folder in folders}, "split", self.path)

    def _split(self, folder: Path) -> DrawnSplit:
        from ladder.config import read_toml

        parts = {
            path.stem: Rows(partial(self._ask, split=path), "split", "position")
            for path in sorted(folder.glob("[!.]*.parquet"))
        }
        return DrawnSplit(folder, read_toml(folder / "split.toml"), parts)

    def image(self, image_hash: str) -> PIL.Image.Image:
        """A canonical image; raises LadderError where the ladder lacks it, or holds something else in its place."""
        from ladder.images import open_canonical

        data = self._store.image_reader.read(image_hash)
        try:
            return open_canonical(data)
        except Exception as error:  # the boundary: PIL raises anything on hostile bytes
            raise LadderError(f"{self.path}: image {image_hash} is no sound PNG: {error}") from None

    def sql(self, query: str, params: Params = None) -> Table:
        """What one SQL query gives: over the catalogue (`ladder`, `items`, `scores`, `passes`, `doubts`, ...) and over
        `rollouts`, `verdicts` and `outcomes` as this class has them. Raises BadInput with DuckDB's own words."""
        return self._ask(query, params)

    def _ask(self, query: str, params: Params, split: Path | None = None) -> Table:
        from ladder.store.asking import ask

        return Table(ask(self._store, query, params, split), self._store)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _of_tier(name: str) -> str:
    literal = "'" + name.replace("'", "''") + "'"
    return f"(FROM ladder WHERE tier = {literal})"


def _row_count(parts: list[Path]) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in parts)
