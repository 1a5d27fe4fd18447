"""A pool as a pipeline declares it: where it lies, its files, its mapping. Streams items and rejects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from ladder.config import Settings, merged, read_toml, shipped
from ladder.digest import fingerprint
from ladder.errors import BadInput, LadderError
from ladder.images.album import Album
from ladder.pools.cells import columns_of
from ladder.pools.hub import DatasetSettings, dataset_rows
from ladder.pools.json_rows import line_row
from ladder.pools.mapping import (
    Columns,
    Golds,
    ImageSettings,
    Mapped,
    Mapping,
    OptionSettings,
    QuestionSettings,
    Refused,
)
from ladder.pools.readers import Layout, Row, read_lines, read_rows
from ladder.pools.rows import Unreadable, lost
from ladder.progress import say
from ladder.records import Reject


class MakeDigits(Settings):
    """The embedded pool, written to the root as a raw pool before it is imported."""

    kind: Literal["digits"] = "digits"
    items: int = 2200
    probe_items: int = 660
    seed: int = 0


class PoolSettings(Settings):
    """Where a raw pool lies and what its columns mean. `root` is relative to the working directory, `files` are patterns
    below it, read in the order in which they are named; `where` keeps the rows whose columns have one of the values.

    `pipeline` names a shipped pipeline (or a file) whose `[pool]` these settings depart from.
    """

    root: str
    files: tuple[str, ...] = ("*.jsonl",)
    layout: Layout = Layout()
    dataset: DatasetSettings | None = None
    source: str | None = None
    licence: str = "unknown"
    #: A published evaluation set, or the splits that are: their items are flagged.
    evaluation: bool | tuple[str, ...] = False
    make: MakeDigits | None = None
    columns: Columns = Columns()
    questions: QuestionSettings = QuestionSettings()
    options: OptionSettings = OptionSettings()
    golds: Golds = Golds()
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_pipeline(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "pipeline" not in values:
            return values
        own = {key: value for key, value in values.items() if key != "pipeline"}
        path = shipped("pipelines", str(values["pipeline"]))
        base = read_toml(path)
        if "pool" not in base:
            raise BadInput(f"{path} has no [pool] of its own")
        return merged({"source": base.get("name")} | base["pool"], own)

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


class Raw(NamedTuple):
    """A row that is not parsed yet: its line, and the columns that say where it comes from."""

    line: bytes
    origin: Row
    fields: tuple[str, ...]

    def row(self) -> Row:
        """The row."""
        found = line_row(self.line, self.fields)
        return found if isinstance(found, Unreadable) else found | self.origin


class Pool:
    """One pool, ready to be read; `asked_only` where its golds do not matter."""

    def __init__(self, settings: PoolSettings, name: str, root: Path, asked_only: bool = False) -> None:
        self.settings, self.name, self.root = settings, name, root
        self.mapping = Mapping(
            settings.source or name,
            root,
            settings.columns,
            settings.golds,
            settings.options,
            settings.where,
            asked_only,
            settings.questions,
        )

    def prepare(self) -> None:
        """Make an embedded pool if it is not there yet; raises BadInput where the pool does not exist."""
        if self.settings.make is not None:
            self._make(self.settings.make)
        self.check()

    def _make(self, make: MakeDigits) -> None:
        """Write the embedded pool, with its settings beside it; raises BadInput where another one lies there."""
        from ladder.pools.digits import write_pool

        if self.made(make):
            return
        mark, wanted = self.root / "made.json", make.model_dump_json()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            say(f"  making the embedded pool in {self.root}")
            mark.write_text(wanted, encoding="utf-8")
            write_pool(self.root, items=make.items, probe_items=make.probe_items, seed=make.seed)
        except OSError as error:
            raise LadderError(f"cannot make the pool {self.root}: {error.strerror or error}") from None

    def made(self, make: MakeDigits) -> bool:
        """Whether the embedded pool is there; raises BadInput where another one is."""
        mark = self.root / "made.json"
        there = (self.root / "rows.jsonl").is_file()
        if there and mark.is_file() and mark.read_text(encoding="utf-8") != make.model_dump_json():
            raise BadInput(
                f"{self.root} holds a pool made with other settings (pool.make); choose another pool.root"
            )
        return there

    def check(self) -> None:
        """Raises BadInput where there is nothing to read."""
        if self.settings.make is not None:
            self.made(self.settings.make)
        dataset = self.settings.dataset
        if dataset is not None and (dataset.name is not None or self.root.is_dir()):
            return
        if self.settings.make is None and not self.root.is_dir():
            raise BadInput(
                f"the pool {self.root} does not exist; set its place with --set pool.root=DIRECTORY"
            )
        if self.settings.make is None and not self.files():
            raise BadInput(f"the pool {self.root} has no file {' or '.join(self.settings.files)}")

    def fingerprint(self) -> str:
        """Digest of mapping and files (name, size, modification time): equal means that the same rows are there."""
        # Of a data set all files count, for which of them hold its rows is its own affair.
        files = self.files() if self.settings.dataset is None else self._matching(("**/*",))
        stats = [(str(p.relative_to(self.root)), *_size_and_time(p)) for p in files]
        return fingerprint("pool-1", [self.name, self.settings.model_dump(mode="json"), stats])

    def mapping_fingerprint(self) -> str:
        """Digest of all that says what becomes of a row, but for its images."""
        said = self.settings.model_dump(
            mode="json", include={"layout", "columns", "questions", "options", "golds", "where"}
        )
        return fingerprint("mapping-2", [self.mapping.source, self.mapping.asked_only, said])

    def unseen(self, columns: Collection[str]) -> list[str]:
        """Settings that name none of the columns that rows were seen to have, as `image = 'imge'`."""
        told = []
        for name in sorted(self.settings.columns.model_fields_set - {"composite", "meta", "ladder"}):
            setting = getattr(self.settings.columns, name)
            named = [setting] if isinstance(setting, str) else setting or ()
            heads = {column.partition(".")[0] for one in named for column in columns_of(one)}
            if heads and heads.isdisjoint(columns):
                told.append(f"{name} = {setting!r}")
        return told

    def read(self, album: Album | None = None) -> Iterator[Mapped | Reject]:
        """Items and rejects in row order, without the comparisons of an import."""
        if album is None:
            limits = ImageSettings()
            album = Album(max_pixels=limits.max_pixels, min_side=limits.min_side)
        for number, row in enumerate(self.rows()):
            found = self.mapping(number, row, album)
            yield found.reject if isinstance(found, Refused) else found

    def rows(self) -> Iterator[Row]:
        """The raw rows, in the order of files and of rows within these."""
        return (raw.row() if isinstance(raw, Raw) else raw for raw in self.raw_rows())

    def raw_rows(self) -> Iterator[Raw | Row]:
        """As `rows`, those that stand on a line of their own not parsed yet."""
        if self.settings.dataset is not None:
            yield from dataset_rows(self.settings.dataset, self.root, self._wanted)
            return
        for path in self.files():
            yield from self.rows_of(path)

    @property
    def _wanted(self) -> set[str]:
        return self.settings.columns.names() | self.settings.where.keys()

    def rows_of(self, path: Path) -> Iterator[Raw | Row]:
        """The rows of one of its files, each with where it comes from, for that may say what it is."""
        place = path.relative_to(self.root)
        if not path.resolve().is_relative_to(self.root.resolve()):
            yield lost(f"{place} is a link that leaves the pool's root", "file_outside_root")
            return
        if not path.is_file():
            yield lost(f"{place} is no regular file")
            return
        origin = {
            "_file": place.as_posix(),
            "_folder": place.parent.as_posix(),
            "_parent": path.parent.name,
            "_stem": path.stem,
        }
        if (lines := read_lines(path, self.settings.layout)) is None:
            for row in read_rows(path, self.settings.layout, self._wanted):
                yield row if isinstance(row, Unreadable) else row | origin
            return
        fields = self.settings.layout.fields
        try:
            for line in lines:
                yield line if isinstance(line, dict) else Raw(line, origin, fields)
        except OSError as error:
            yield lost(error.strerror or error)

    def files(self) -> list[Path]:
        """The files that hold its rows, in order; of a data set that is its own affair."""
        return self._matching(self.settings.files)

    def _matching(self, patterns: Iterable[str]) -> list[Path]:
        """What is there of the first pattern, by name, then of the next; none twice, and no folders."""
        found = [path for pattern in patterns for path in sorted(self.root.glob(pattern))]
        return [path for path in dict.fromkeys(found) if not path.is_dir()]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        info = path.stat()
    except OSError:  # a link to nothing
        return 0, 0
    return info.st_size, info.st_mtime_ns
