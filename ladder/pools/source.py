"""A pool as a pipeline declares it: where it lies, its files, its mapping. Streams items and rejects."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import field_validator

from ladder.config import Settings
from ladder.digest import fingerprint
from ladder.errors import BadInput, LadderError
from ladder.pools.mapping import Columns, ImageLimits, Mapped, Mapping
from ladder.pools.readers import BROKEN, read_rows
from ladder.records import Reject

_CHUNK = 512


class MakeDigits(Settings):
    """The embedded pool, written to the root as a raw pool before it is imported."""

    kind: Literal["digits"] = "digits"
    items: int = 2200
    probe_items: int = 660
    seed: int = 0


class PoolSettings(Settings):
    """Where a raw pool lies and what its columns mean. `root` is relative to the working directory, `files` are patterns
    below it."""

    root: str
    files: tuple[str, ...] = ("*.jsonl",)
    source: str | None = None
    licence: str = "unknown"
    make: MakeDigits | None = None
    columns: Columns = Columns()

    @field_validator("files")
    @classmethod
    def _below_root(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in files:
            if not PurePath(pattern).parts or PurePath(pattern).is_absolute():
                raise ValueError(f"{pattern!r} is no pattern of files below the pool's root")
        return files


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
        if self._settings.make is None and not self._root.is_dir():
            raise BadInput(
                f"the pool {self._root} does not exist; set its place with --set pool.root=DIRECTORY"
            )
        if self._settings.make is None and not self._files():
            raise BadInput(f"the pool {self._root} has no file {' or '.join(self._settings.files)}")

    def fingerprint(self) -> str:
        """Digest of mapping and files (name, size, modification time): equal means nothing to import."""
        stats = [
            (str(p.relative_to(self._root)), p.stat().st_size, p.stat().st_mtime_ns) for p in self._files()
        ]
        settings = self._settings.model_dump(mode="json") | {"limits": self._limits.model_dump()}
        return fingerprint("pool-1", [settings, stats])

    def read(self) -> Iterator[Mapped | Reject]:
        """Items and rejects in row order; images are decoded by a few threads, a chunk ahead at most."""
        mapping = Mapping(self._source, self._root, self._settings.columns, self._limits)
        rows = enumerate(row for path in self._files() for row in read_rows(path))
        with ThreadPoolExecutor(max_workers=4) as threads:
            while chunk := list(islice(rows, _CHUNK)):
                yield from threads.map(lambda numbered: _mapped(mapping, *numbered), chunk)

    def _files(self) -> list[Path]:
        found = {path for pattern in self._settings.files for path in self._root.glob(pattern)}
        return sorted(path for path in found if path.is_file())


def _mapped(mapping: Mapping, number: int, row: dict[str, Any]) -> Mapped | Reject:
    if BROKEN in row:
        return Reject(mapping.source, str(number), number, "import", "row_unreadable", str(row[BROKEN]))
    return mapping(number, row)
