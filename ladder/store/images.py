"""Random access to the canonical images of a ladder, without holding them all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from ladder.errors import LadderError
from ladder.store.parts import Log

_BYTES_HELD = 256 * 2**20


class ImageReader:
    """Reads images by hash, a row group at a time; the last few row groups stay in memory."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._index: dict[str, tuple[Path, int, int]] = {}
        self._known: set[Path] = set()
        self._held: OrderedDict[tuple[Path, int], list[bytes]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, image_hash: str) -> bool:
        if image_hash not in self._index:
            self._refresh()
        return image_hash in self._index

    def read(self, image_hash: str) -> bytes:
        """Canonical bytes of an image; raises LadderError where the ladder lacks it."""
        if image_hash not in self:
            raise LadderError(f"{self._log.folder} has no image {image_hash}")
        path, group, row = self._index[image_hash]
        return self._group(path, group)[row]

    def read_many(self, hashes: Iterable[str]) -> dict[str, bytes]:
        """Canonical bytes of many images, each row group read at most once; all of them are held."""
        wanted = dict.fromkeys(hashes)
        missing = [h for h in wanted if h not in self]
        if missing:
            raise LadderError(f"{self._log.folder} has no image {missing[0]}")
        return {h: self.read(h) for h in sorted(wanted, key=self._index.__getitem__)}

    def _group(self, path: Path, group: int) -> list[bytes]:
        key = (path, group)
        if key not in self._held:
            column = pq.ParquetFile(path).read_row_group(group, columns=["data"]).column("data")
            self._held[key] = column.to_pylist()
            self._bytes += sum(map(len, self._held[key]))
            while self._bytes > _BYTES_HELD and len(self._held) > 1:
                self._bytes -= sum(map(len, self._held.popitem(last=False)[1]))
        self._held.move_to_end(key)
        return self._held[key]

    def _refresh(self) -> None:
        for path in self._log.paths():
            if path in self._known:
                continue
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                hashes = file.read_row_group(group, columns=["hash"]).column("hash").to_pylist()
                self._index.update((h, (path, group, row)) for row, h in enumerate(hashes))
            self._known.add(path)
