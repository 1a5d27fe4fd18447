"""A pool as a pipeline declares it: where it lies, its files, its mapping. Streams items and rejects."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import Field, field_validator

from ladder.config import Settings
from ladder.digest import fingerprint
from ladder.errors import BadInput, LadderError
from ladder.pools.hub import DatasetSettings, dataset_rows
from ladder.pools.mapping import Columns, Golds, ImageLimits, Mapped, Mapping, OptionSettings
from ladder.pools.readers import Layout, Row, read_rows
from ladder.pools.rows import lost
from ladder.records import Reject

_AHEAD = 32  # rows held at once: each may hold its images


class MakeDigits(Settings):
    """The embedded pool, written to the root as a raw pool before it is imported."""

    kind: Literal["digits"] = "digits"
    items: int = 2200
    probe_items: int = 660
    seed: int = 0


class PoolSettings(Settings):
    """Where a raw pool lies and what its columns mean. `root` is relative to the working directory, `files` are patterns
    below it, read in the order in which they are named; `where` keeps the rows whose columns have one of the values."""

    root: str
    files: tuple[str, ...] = ("*.jsonl",)
    layout: Layout = Layout()
    dataset: DatasetSettings | None = None
    source: str | None = None
    licence: str = "unknown"
    make: MakeDigits | None = None
    columns: Columns = Columns()
    options: OptionSettings = OptionSettings()
    golds: Golds = Golds()
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("where", mode="before")
    @classmethod
    def _lists(cls, where: Any) -> Any:
        if not isinstance(where, dict):
            return where
        return {column: [_written(v) for v in _listed(wanted)] for column, wanted in where.items()}

    @field_validator("files")
    @classmethod
    def _below_root(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in files:
            if not PurePath(pattern).parts or PurePath(pattern).is_absolute():
                raise ValueError(f"{pattern!r} is no pattern of files below the pool's root")
        return files


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _written(value: Any) -> Any:
    """A value as the text that its cell is compared as."""
    return (
        str(value).lower()
        if isinstance(value, bool)
        else str(value)
        if isinstance(value, int | float)
        else value
    )


class Pool:
    """One pool, ready to be read."""

    def __init__(self, settings: PoolSettings, limits: ImageLimits, name: str, root: Path) -> None:
        self._settings, self._limits, self._root = settings, limits, root
        self._source = settings.source or name

    def prepare(self) -> None:
        """Make an embedded pool if it is not there yet; raises BadInput where the pool does not exist."""
        if self._settings.make is not None:
            self._make(self._settings.make)
        self.check()

    def _make(self, make: MakeDigits) -> None:
        """Write the embedded pool, with its settings beside it; raises BadInput where another one lies there."""
        from ladder.pools.digits import write_pool

        mark, wanted = self._root / "made.json", make.model_dump_json()
        if (self._root / "rows.jsonl").is_file():
            if mark.is_file() and mark.read_text(encoding="utf-8") != wanted:
                raise BadInput(
                    f"{self._root} holds a pool made with other settings (pool.make); choose another pool.root"
                )
            return
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            mark.write_text(wanted, encoding="utf-8")
            write_pool(self._root, items=make.items, probe_items=make.probe_items, seed=make.seed)
        except OSError as error:
            raise LadderError(f"cannot make the pool {self._root}: {error.strerror or error}") from None

    def check(self) -> None:
        """Raises BadInput where there is nothing to read."""
        dataset = self._settings.dataset
        if dataset is not None and (dataset.name is not None or self._root.is_dir()):
            return
        if self._settings.make is None and not self._root.is_dir():
            raise BadInput(
                f"the pool {self._root} does not exist; set its place with --set pool.root=DIRECTORY"
            )
        if self._settings.make is None and not self._files():
            raise BadInput(f"the pool {self._root} has no file {' or '.join(self._settings.files)}")

    def fingerprint(self) -> str:
        """Digest of mapping and files (name, size, modification time): equal means nothing to import."""
        # Of a data set all files count, for which of them hold its rows is its own affair.
        files = self._files() if self._settings.dataset is None else self._matching(("**/*",))
        stats = [(str(p.relative_to(self._root)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        settings = self._settings.model_dump(mode="json") | {"limits": self._limits.model_dump()}
        return fingerprint("pool-1", [settings, stats])

    def read(self) -> Iterator[Mapped | Reject]:
        """Items and rejects in row order; images are decoded by a few threads, some rows ahead at most."""
        settings = self._settings
        mapping = Mapping(
            self._source,
            self._root,
            settings.columns,
            self._limits,
            settings.golds,
            settings.options,
            settings.where,
        )
        waiting: deque[Future[Mapped | Reject]] = deque()
        with ThreadPoolExecutor(max_workers=4) as threads:
            for number, row in enumerate(self._rows()):
                waiting.append(threads.submit(mapping, number, row))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            yield from (future.result() for future in waiting)

    def _rows(self) -> Iterator[Row]:
        wanted = self._settings.columns.names() | self._settings.where.keys()
        if self._settings.dataset is not None:
            yield from dataset_rows(self._settings.dataset, self._root, wanted)
            return
        for path in self._files():
            yield from self._file_rows(path, wanted)

    def _file_rows(self, path: Path, wanted: set[str]) -> Iterator[Row]:
        """A file's rows, each with where it comes from, for that may say what it is."""
        place = path.relative_to(self._root)
        if not path.resolve().is_relative_to(self._root.resolve()):
            yield lost(f"{place} is a link that leaves the pool's root", "file_outside_root")
            return
        origin = {
            "_file": place.as_posix(),
            "_folder": place.parent.as_posix(),
            "_parent": path.parent.name,
            "_stem": path.stem,
        }
        for row in read_rows(path, self._settings.layout, wanted):
            yield row | origin

    def _files(self) -> list[Path]:
        return self._matching(self._settings.files)

    def _matching(self, patterns: Iterable[str]) -> list[Path]:
        """Files of the first pattern, by name, then those of the next; none twice."""
        found = [path for pattern in patterns for path in sorted(self._root.glob(pattern))]
        return [path for path in dict.fromkeys(found) if path.is_file()]
